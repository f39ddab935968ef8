"""What a network over sequences remembers, and whether it is healthy."""

import math

import torch
from torch import Tensor

from throughtime.insight.diagnosis import diagnose
from throughtime.insight.memory import ContextCurve, memory_horizon
from throughtime.problems.labelling.networks import SequenceNetwork, StepRecurrent
from throughtime.runs import ContextRecord, Diagnosis


@torch.no_grad()
def sequence_context(
    model: SequenceNetwork, x: Tensor, lengths: Tensor, wanted: Tensor, *, by_loss: bool = False
) -> ContextRecord | None:
    """The error at each sequence's last step with the last k steps alone.

    >>> sequence_context(model, x, lengths, wanted).horizon  # x [T,B,C]
    16

    The share of wrong answers, or the mean absolute error; ``by_loss``: cross-entropy or squared
    error. None where no last step has a known answer.
    """
    model.eval()
    items = torch.arange(len(lengths))
    if model.config.every_step:
        wanted = wanted[lengths - 1, items]
    known = model.output.known(wanted)
    x, lengths, wanted = x[:, known], lengths[known], wanted[known]
    if not len(lengths):
        return None
    longest = int(lengths.max())
    asked = sorted({*(2**n for n in range(longest.bit_length())), longest})
    found: list[Tensor] = []
    items = torch.arange(len(lengths))
    for k in asked:
        given = lengths.clamp(max=k)
        rows = (lengths - given + torch.arange(k).unsqueeze(1)).clamp(max=longest - 1)
        answer = model.answer(x[rows, items], given)
        if model.config.every_step:
            answer = answer[given - 1, items]
        found.append(model.output.error_of_prediction(answer, wanted, by_loss=by_loss))
    each = torch.stack(found)
    count = each.shape[1]
    error = each.std(dim=1) / math.sqrt(count) if count > 1 else torch.zeros(len(asked))
    curve = ContextCurve(tuple(asked), each.mean(dim=1), error.double(), each)
    return ContextRecord(
        curve.steps, tuple(curve.loss.tolist()), tuple(curve.error.tolist()), memory_horizon(curve)
    )


def sequence_loss(model: SequenceNetwork, x: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
    """What the network is trained to lower."""
    return model.loss(x, lengths, wanted)


def sequence_diagnosis(
    model: SequenceNetwork, x: Tensor, lengths: Tensor, wanted: Tensor, seed: int = 0
) -> Diagnosis | None:
    """The diagnosis of a recurrent network under its own loss; None for the others."""
    if not isinstance(model, StepRecurrent):
        return None
    return diagnose(model, x, lengths, wanted, loss=sequence_loss, seed=seed)

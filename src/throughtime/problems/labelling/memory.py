"""Context curve and diagnosis of a sequence network."""

import math

import torch
from torch import Tensor

from throughtime.insight.diagnosis import diagnose
from throughtime.insight.memory import ContextCurve, memory_horizon
from throughtime.problems.labelling.networks import SequenceNetwork, StepRecurrent
from throughtime.runs import ContextRecord, Diagnosis


@torch.no_grad()
def sequence_context(
    model: SequenceNetwork, x: Tensor, lengths: Tensor, targets: Tensor, *, by_loss: bool = False
) -> ContextRecord | None:
    """The error at the last step of each sequence, given only the last k steps.

    >>> sequence_context(model, x, lengths, targets).horizon  # x [T,B,C]
    16

    The error is the share of wrong answers or the mean absolute error; with ``by_loss``
    cross-entropy or squared error. Returns None if no last step has a known answer.
    """
    model.eval()
    items = torch.arange(len(lengths))
    if model.config.every_step:
        targets = targets[lengths - 1, items]
    known = model.output.known(targets)
    x, lengths, targets = x[:, known], lengths[known], targets[known]
    if not len(lengths):
        return None
    longest = int(lengths.max())
    contexts = sorted({*(2**n for n in range(longest.bit_length())), longest})
    found: list[Tensor] = []
    items = torch.arange(len(lengths))
    for k in contexts:
        context_lengths = lengths.clamp(max=k)
        rows = (lengths - context_lengths + torch.arange(k).unsqueeze(1)).clamp(max=longest - 1)
        prediction = model.answer(x[rows, items], context_lengths)
        if model.config.every_step:
            prediction = prediction[context_lengths - 1, items]
        found.append(model.output.error_of_prediction(prediction, targets, by_loss=by_loss))
    each = torch.stack(found)
    count = each.shape[1]
    error = each.std(dim=1) / math.sqrt(count) if count > 1 else torch.zeros(len(contexts))
    curve = ContextCurve(tuple(contexts), each.mean(dim=1), error.double(), each)
    return ContextRecord(
        curve.steps, tuple(curve.loss.tolist()), tuple(curve.error.tolist()), memory_horizon(curve)
    )


def sequence_loss(model: SequenceNetwork, x: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
    """The training loss of the network."""
    return model.loss(x, lengths, targets)


def sequence_diagnosis(
    model: SequenceNetwork, x: Tensor, lengths: Tensor, targets: Tensor, seed: int = 0
) -> Diagnosis | None:
    """Diagnosis of a recurrent network with its own loss; None for other networks."""
    if not isinstance(model, StepRecurrent):
        return None
    return diagnose(model, x, lengths, targets, loss=sequence_loss, seed=seed)

"""Context curve and diagnosis of a sequence network."""

import torch
from torch import Tensor

from throughtime.insight.diagnosis import diagnose
from throughtime.insight.memory import curve_of, memory_horizon
from throughtime.network_records import ContextRecord, Diagnosis
from throughtime.problems.labelling.networks import SequenceNetwork, StepRecurrent


@torch.no_grad()
def sequence_context(
    model: SequenceNetwork, x: Tensor, lengths: Tensor, targets: Tensor, *, by_loss: bool = False
) -> ContextRecord | None:
    """The error at the last step of each sequence, when only its last k steps are its own.

    >>> sequence_context(model, x, lengths, targets).horizon  # x [T,B,C]
    16

    Older steps are those of another sequence, as far from its end, again and again if it is
    shorter. The error is the share of wrong answers or the mean absolute error; with ``by_loss``
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
    items = torch.arange(len(lengths))
    other = items.roll(max(1, len(items) // 2))
    # steps before the end, [T,B]; padding has none
    back = (lengths - 1 - torch.arange(len(x)).unsqueeze(1)).clamp(min=0)
    theirs = (lengths[other] - 1 - back % lengths[other]).clamp(min=0)
    replaced = x[theirs, other]

    def losses(k: int) -> Tensor:
        mixed = torch.where((back < k).unsqueeze(-1), x, replaced)
        prediction = model.answer(mixed, lengths)
        if model.config.every_step:
            prediction = prediction[lengths - 1, items]
        return model.output.error_of_prediction(prediction, targets, by_loss=by_loss).double()

    curve = curve_of(losses, int(lengths.max()))
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

"""Keeping gradients from exploding."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Clipped(NamedTuple):
    """What clipping measured and did."""

    norm: float  # global norm before
    clipped: bool


def clip_by_global_norm(parameters: Iterable[Tensor], most: float) -> Clipped:
    """Scale all gradients so that their joint norm is at most `most` (Pascanu et al. 2013).

    >>> clip_by_global_norm(model.parameters(), 1.0)
    Clipped(norm=3.2, clipped=True)

    A norm that is not finite leaves the gradients alone: there is no direction to keep.
    """
    owners = [parameter for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in owners if p.grad is not None])
    value = float(norm)
    clipped = most < value < float("inf")
    if clipped:
        torch.nn.utils.clip_grads_with_norm_(owners, most, norm)
    return Clipped(value, clipped)

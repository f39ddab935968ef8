"""A call of a layer in the one form that every path takes, and the checks torch.nn makes."""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.nn import cells

Hidden = Tensor | tuple[Tensor, Tensor]  # h, or (h, c) for the LSTM


class Call(NamedTuple):
    """One call in the one form that every path takes: time first, batched, state complete."""

    x: Tensor  # [T, B, I], or [sum of lengths, I] when packed
    state: cells.State  # each [L*D, B, H]
    batch_sizes: Tensor | None  # of a PackedSequence
    lengths: Tensor | None  # [B]
    reset: Tensor | None  # [T, B]

    @property
    def beyond_torch(self) -> str:
        """What torch's fused operators lack for this call, or nothing."""
        if self.lengths is not None:
            return "lengths"
        if self.reset is not None:
            return "reset"
        return "empty sequences" if self.x.shape[0] == 0 else ""

    @property
    def beyond_native(self) -> str:
        """What the kernels lack for this call, or nothing."""
        if self.lengths is not None:
            return "lengths"
        if self.reset is not None:
            return "reset"
        return "PackedSequence" if self.batch_sizes is not None else ""


def check_sizes(input_size: int, hidden_size: int, num_layers: int, proj_size: int) -> None:
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


def check_switches(bias: bool, batch_first: bool, dropout: float) -> None:
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    if isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError("dropout should be a number in range [0, 1], the probability of a zero")


def check_lengths(lengths: Tensor, x: Tensor) -> Tensor:
    steps, batch = x.shape[0], x.shape[1]
    whole = not lengths.dtype.is_floating_point and lengths.dtype != torch.bool
    if not whole or lengths.shape != (batch,):
        raise RuntimeError(
            f"lengths must be whole numbers of shape [{batch}], one per sample; "
            f"got {lengths.dtype} {list(lengths.shape)}"
        )
    if batch and (int(lengths.min()) < 0 or int(lengths.max()) > steps):
        raise RuntimeError(
            f"lengths must lie in 0..{steps}, the steps of the input; "
            f"got {int(lengths.min())}..{int(lengths.max())}"
        )
    return lengths.to(x.device)

"""RNNCell, LSTMCell and GRUCell: drop-in replacements for the cells of torch.nn."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.nn import cell_types, cells, engines
from throughtime.nn.calls import Hidden
from throughtime.nn.cell_types import CellType


class RecurrentCell(nn.Module):
    """Base class of cells: one step of one layer, with the parameter names of torch.nn."""

    cell_type: CellType
    bias_ih: nn.Parameter | None
    bias_hh: nn.Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gate_size = self.cell_type.weight_blocks * hidden_size

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        self.weight_ih = parameter(gate_size, input_size)
        self.weight_hh = parameter(gate_size, hidden_size)
        self.register_parameter("bias_ih", parameter(gate_size) if bias else None)
        self.register_parameter("bias_hh", parameter(gate_size) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter uniformly from +-1/sqrt(H), in torch's order (its default)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor, hx: Hidden | None = None) -> Any:
        """Compute one step from input [B,I] or [I] and state [B,H] or [H]."""
        states: tuple[Any, ...] | None = None
        count, name = len(self.cell_type.states), type(self).__name__
        if hx is not None:
            if count > 1 and isinstance(hx, Tensor):
                raise TypeError(f"{name}: hx must be a pair (h, c); got a tensor")
            states = tuple(hx) if count > 1 else (hx,)
        for what, tensor in (("input", input), *(("hx", s) for s in states or ())):
            if tensor.dim() not in (1, 2):
                raise ValueError(
                    f"{name}: expected {what} to be 1D or 2D, got {tensor.dim()}D instead"
                )
        x = input if input.dim() == 2 else input.unsqueeze(0)
        if states is None:
            states = (x.new_zeros(x.shape[0], self.hidden_size),) * count
        elif input.dim() == 1:
            states = tuple(s.unsqueeze(0) for s in states)
        weights = cells.Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if engines.choose_for_cells() == "torch":
            operator: Any = getattr(torch, f"{self.cell_type.mode.lower()}_cell")
            result = operator(x, states if count > 1 else states[0], *weights[:4])
            new = result if count > 1 else (result,)
        else:
            new, _ = cells.step(self.cell_type.step, cells.input_part(x, weights), states, weights)
        if input.dim() == 1:
            new = tuple(s.squeeze(0) for s in new)
        return new if count > 1 else new[0]

    def extra_repr(self) -> str:
        """Sizes, and options that differ from their defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += "" if self.bias else ", bias=False"
        other = getattr(self, "nonlinearity", "tanh")
        return text + ("" if other == "tanh" else f", nonlinearity={other}")


class RNNCell(RecurrentCell):
    """One step of `RNN`, like `torch.nn.RNNCell`.

    >>> h = RNNCell(8, 32)(torch.randn(16, 8))  # [B,I] -> [B,H]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {nonlinearity}")
        self.cell_type = cell_types.RNN_RELU if nonlinearity == "relu" else cell_types.RNN_TANH
        super().__init__(input_size, hidden_size, bias, device, dtype)

    @property
    def nonlinearity(self) -> str:
        """Either "tanh" or "relu"."""
        return self.cell_type.hidden_activation


class LSTMCell(RecurrentCell):
    """One step of `LSTM`, like `torch.nn.LSTMCell`.

    >>> h, c = LSTMCell(8, 32)(torch.randn(16, 8))  # [B,I] -> [B,H] twice
    """

    cell_type = cell_types.LSTM


class GRUCell(RecurrentCell):
    """One step of `GRU`, like `torch.nn.GRUCell`.

    >>> h = GRUCell(8, 32)(torch.randn(16, 8))  # [B,I] -> [B,H]
    """

    cell_type = cell_types.GRU

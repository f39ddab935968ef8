"""RNNCell, LSTMCell and GRUCell: one step of one layer, drop-in for torch.nn's."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime.nn import cells
from throughtime.nn.calls import Hidden
from throughtime.nn.native import choose_path


class _Cell(nn.Module):
    """One step of one layer, with torch.nn's parameter names."""

    kind: ClassVar[str]
    nonlinearity: str = "tanh"
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
        gate_size = cells.GATES[self.kind] * hidden_size

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        self.weight_ih = parameter(gate_size, input_size)
        self.weight_hh = parameter(gate_size, hidden_size)
        self.register_parameter("bias_ih", parameter(gate_size) if bias else None)
        self.register_parameter("bias_hh", parameter(gate_size) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default: uniform in +-1/sqrt(H), every parameter, drawn in torch's order."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor, hx: Hidden | None = None) -> Any:
        """One step: input [B,I] or [I], state [B,H] or [H]."""
        states: tuple[Any, ...] | None = None
        if hx is not None:
            if self.kind == "LSTM" and isinstance(hx, Tensor):
                raise TypeError("LSTMCell: hx is a pair (h, c); got a tensor")
            states = tuple(hx) if self.kind == "LSTM" else (hx,)
        for name, tensor in (("input", input), *(("hx", s) for s in states or ())):
            if tensor.dim() not in (1, 2):
                raise ValueError(
                    f"{self.kind}Cell: expected {name} to be 1D or 2D, got {tensor.dim()}D instead"
                )
        x = input if input.dim() == 2 else input.unsqueeze(0)
        if states is None:
            count = 2 if self.kind == "LSTM" else 1
            states = (x.new_zeros(x.shape[0], self.hidden_size),) * count
        elif input.dim() == 1:
            states = tuple(s.unsqueeze(0) for s in states)
        if choose_path("cells", lambda: "").name == "torch":
            new = self._by_torch(x, states)
        else:
            weights = cells.Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
            x_part = functional.linear(x, weights.ih, weights.bias_ih)
            new, _ = cells.step(self.kind, x_part, states, weights, self.nonlinearity)
        if input.dim() == 1:
            new = tuple(s.squeeze(0) for s in new)
        return new if self.kind == "LSTM" else new[0]

    def _by_torch(self, x: Tensor, states: cells.State) -> cells.State:
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if self.kind == "LSTM":
            return torch.lstm_cell(x, states, *weights)
        if self.kind == "GRU":
            return (torch.gru_cell(x, states[0], *weights),)
        operator = torch.rnn_tanh_cell if self.nonlinearity == "tanh" else torch.rnn_relu_cell
        return (operator(x, states[0], *weights),)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        text += "" if self.bias else ", bias=False"
        return text + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class RNNCell(_Cell):
    """One step of `RNN`, as `torch.nn.RNNCell`.

    >>> h = RNNCell(8, 32)(torch.randn(16, 8))  # [B,I] -> [B,H]
    """

    kind = "RNN"

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
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity


class LSTMCell(_Cell):
    """One step of `LSTM`, as `torch.nn.LSTMCell`.

    >>> h, c = LSTMCell(8, 32)(torch.randn(16, 8))  # [B,I] -> [B,H] twice
    """

    kind = "LSTM"


class GRUCell(_Cell):
    """One step of `GRU`, as `torch.nn.GRUCell`.

    >>> h = GRUCell(8, 32)(torch.randn(16, 8))  # [B,I] -> [B,H]
    """

    kind = "GRU"

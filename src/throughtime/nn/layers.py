"""RNN, LSTM and GRU layers, drop-in for torch.nn's.

Same arguments, parameter names, gate order, inputs, outputs and error types, so a ``state_dict``
loads both ways. Own modules rather than subclasses: torch.compile refuses torch.nn's by class.
"""

import math
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from throughtime.nn import cells, native
from throughtime.nn.calls import Call, Hidden, check_lengths, check_sizes, check_switches
from throughtime.nn.native import Path


class _Layer(nn.Module):
    """What the three layers share: parameters, checks, shapes, the stack of layers."""

    kind: ClassVar[str]
    nonlinearity: str = "tanh"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size, hidden_size, num_layers, proj_size)
        check_switches(bias, batch_first, dropout)
        if proj_size and self.kind != "LSTM":
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout acts between layers, so it needs num_layers greater than 1; "
                f"got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size

        gate_size = cells.GATES[self.kind] * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else self._output_size * self._directions
            shapes = {"weight_ih": (gate_size, width), "weight_hh": (gate_size, self._output_size)}
            if bias:
                shapes |= {"bias_ih": (gate_size,), "bias_hh": (gate_size,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for direction in range(self._directions):
                for name, shape in shapes.items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    setattr(self, name + _suffix(layer, direction), parameter)
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    @property
    def mode(self) -> str:
        """torch.nn's name of the cell: RNN_TANH, RNN_RELU, LSTM or GRU."""
        return f"RNN_{self.nonlinearity.upper()}" if self.kind == "RNN" else self.kind

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters, a list for each layer and direction, as torch.nn gives them."""
        return [
            [getattr(self, name) for name in self._names(layer, direction)]
            for layer in range(self.num_layers)
            for direction in range(self._directions)
        ]

    def reset_parameters(self) -> None:
        """torch's default: uniform in +-1/sqrt(H), every parameter, drawn in torch's order."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing to do; here because code written for torch.nn calls it."""

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Hidden | None = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run whole sequences; see the class for shapes."""
        call = self._read(input, hx, lengths, reset)
        path = self._path(call)
        if path.name == "torch":
            output, state = self._by_torch(call)
        elif path.name == "native":
            output, state = self._by_layer(call, native.sequence, {})
        else:
            output, state = self._by_oracle(call)
        return self._give_back(input, output, state)

    def step(self, x_t: Tensor, state: Hidden | None = None) -> tuple[Tensor, Any]:
        """One time step, for streams: the state goes in and comes out.

        >>> layer, state = GRU(8, 32), None
        >>> for x_t in stream:  # x_t [B, 8] or [8]
        ...     h_t, state = layer.step(x_t, state)  # h_t [B, 32] or [32]

        State as `hx` of a whole sequence. Raises ValueError for a bidirectional layer, whose other
        direction would have to begin at the end of the stream.
        """
        if self.bidirectional:
            raise ValueError(f"a bidirectional {self.kind} cannot step: it needs the whole input")
        if x_t.dim() not in (1, 2):
            raise ValueError(f"{self.kind}.step: expected x_t to be 1D or 2D, got {x_t.dim()}D")
        time = 1 if self.batch_first and x_t.dim() == 2 else 0
        output, new_state = self(x_t.unsqueeze(time), state)
        return output.squeeze(time), new_state

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults: dict[str, object] = {
            "proj_size": 0,
            "num_layers": 1,
            "nonlinearity": "tanh",
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value!r}"
        return text

    # ---------------------------------------------------------------- reading the arguments

    def _read(
        self,
        input: Tensor | PackedSequence,
        hx: Hidden | None,
        lengths: Tensor | None,
        reset: Tensor | None,
    ) -> Call:
        """Check a call as torch.nn does, and bring it to the form of `Call`."""
        states = None if hx is None else (hx if isinstance(hx, tuple) else (hx,))
        batch_sizes = None
        if isinstance(input, PackedSequence):
            if lengths is not None or reset is not None:
                raise ValueError("a PackedSequence brings its lengths; give a tensor for `reset`")
            x, batch_sizes, order, _ = input
            batch = int(batch_sizes[0])
            if states is not None and order is not None:
                states = tuple(s.index_select(1, order) for s in states)
        else:
            x = input
            if x.dim() not in (2, 3):
                raise ValueError(
                    f"{self.kind}: expected input to be 2D or 3D, got {x.dim()}D tensor instead"
                )
            for s in states or ():
                if s.dim() != x.dim():
                    raise RuntimeError(
                        f"for {x.dim()}-D input, hx should also be {x.dim()}-D "
                        f"but got {s.dim()}-D tensor"
                    )
            if x.dim() == 2:
                x = x.unsqueeze(1)
                states = None if states is None else tuple(s.unsqueeze(1) for s in states)
                reset = None if reset is None else reset.unsqueeze(1)
                lengths = None if lengths is None else lengths.reshape(1)
            elif self.batch_first:
                x = x.transpose(0, 1)
                reset = None if reset is None else reset.transpose(0, 1)
            batch = x.shape[1]
        self._check_input(x)
        state = self._check_state(states, batch, x)
        if lengths is not None:
            lengths = check_lengths(lengths, x)
        if reset is not None and (reset.dtype != torch.bool or reset.shape != x.shape[:2]):
            raise RuntimeError(
                f"reset must be bool with one entry per step and sample, {list(x.shape[:2])} when "
                f"time is first; got {reset.dtype} {list(reset.shape)}"
            )
        return Call(x, state, batch_sizes, lengths, reset)

    def _check_input(self, x: Tensor) -> None:
        weight = self._weights(0, 0).ih
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise ValueError(
                f"input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). Convert "
                f"input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {x.shape[-1]}"
            )

    def _check_state(self, states: cells.State | None, batch: int, x: Tensor) -> cells.State:
        sizes = (
            (self._output_size, self.hidden_size) if self.kind == "LSTM" else (self.hidden_size,)
        )
        shapes = [(self.num_layers * self._directions, batch, size) for size in sizes]
        if states is None:
            return tuple(x.new_zeros(shape) for shape in shapes)
        if len(states) != len(shapes):
            raise RuntimeError(f"{self.kind}: expected {len(shapes)} states, got {len(states)}")
        for index, (state, shape) in enumerate(zip(states, shapes, strict=True)):
            if state.shape != shape:
                raise RuntimeError(
                    f"Expected hidden[{index}] size {shape}, got {list(state.shape)}"
                )
        return states

    # ---------------------------------------------------------------- computing

    def _path(self, call: Call) -> Path:
        weights = [weight for group in self.all_weights for weight in group]
        beyond = call.beyond_native or ("proj_size" if self.proj_size else "")
        beyond = beyond or native.beyond_native(call.x, *call.state, *weights)
        return native.choose_path(beyond, call.beyond_torch)

    def _by_torch(self, call: Call) -> tuple[Tensor, cells.State]:
        operators = {
            "RNN_TANH": torch.rnn_tanh,
            "RNN_RELU": torch.rnn_relu,
            "LSTM": torch.lstm,
            "GRU": torch.gru,
        }
        operator: Any = operators[self.mode]
        weights = [weight for group in self.all_weights for weight in group]
        state = call.state if self.kind == "LSTM" else call.state[0]
        how = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        if call.batch_sizes is not None:
            output, *new_state = operator(call.x, call.batch_sizes, state, weights, *how)
        else:
            output, *new_state = operator(call.x, state, weights, *how, False)
        return output, tuple(new_state)

    def _by_oracle(self, call: Call) -> tuple[Tensor, cells.State]:
        lengths = call.lengths
        if call.batch_sizes is not None:
            x, lengths = pad_packed_sequence(PackedSequence(call.x, call.batch_sizes))
            call = call._replace(x=x)
            lengths = lengths.to(x.device)
        output, state = self._by_layer(
            call, cells.sequence, {"lengths": lengths, "reset": call.reset}
        )
        if call.batch_sizes is not None and lengths is not None:
            output = pack_padded_sequence(output, lengths.cpu()).data
        return output, state

    def _by_layer(
        self, call: Call, sequence: Any, options: dict[str, Any]
    ) -> tuple[Tensor, cells.State]:
        """The stack of layers and directions, each computed by `sequence`."""
        x = call.x
        last_states: list[cells.State] = []
        for layer in range(self.num_layers):
            outputs: list[Tensor] = []
            for direction in range(self._directions):
                at = layer * self._directions + direction
                output, state = sequence(
                    self.kind,
                    x,
                    tuple(s[at] for s in call.state),
                    self._weights(layer, direction),
                    nonlinearity=self.nonlinearity,
                    backwards=direction == 1,
                    **options,
                )
                outputs.append(output)
                last_states.append(state)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = functional.dropout(x, self.dropout)
        return x, tuple(torch.stack(parts) for parts in zip(*last_states, strict=True))

    def _give_back(
        self, input: Tensor | PackedSequence, output: Tensor, state: cells.State
    ) -> tuple[Any, Any]:
        """Output and state in the caller's own form."""
        given: Tensor | PackedSequence = output
        if isinstance(input, PackedSequence):
            given = PackedSequence(
                output, input.batch_sizes, input.sorted_indices, input.unsorted_indices
            )
            if input.unsorted_indices is not None:
                state = tuple(s.index_select(1, input.unsorted_indices) for s in state)
        elif input.dim() == 2:
            given = output.squeeze(1)
            state = tuple(s.squeeze(1) for s in state)
        elif self.batch_first:
            given = output.transpose(0, 1)
        return given, (state if self.kind == "LSTM" else state[0])

    # ---------------------------------------------------------------- parameters

    def _names(self, layer: int, direction: int) -> list[str]:
        names = ["weight_ih", "weight_hh"]
        names += ["bias_ih", "bias_hh"] if self.bias else []
        names += ["weight_hr"] if self.proj_size else []
        return [name + _suffix(layer, direction) for name in names]

    def _weights(self, layer: int, direction: int) -> cells.Weights:
        suffix = _suffix(layer, direction)
        return cells.Weights(
            getattr(self, "weight_ih" + suffix),
            getattr(self, "weight_hh" + suffix),
            getattr(self, "bias_ih" + suffix, None),
            getattr(self, "bias_hh" + suffix, None),
            getattr(self, "weight_hr" + suffix, None),
        )


class RNN(_Layer):
    """Elman's recurrent network (Elman 1990): h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    >>> layer = RNN(8, 32, num_layers=2, nonlinearity="relu")
    >>> output, h_n = layer(torch.randn(100, 16, 8))  # [T,B,I] -> [T,B,H], [L*D,B,H]

    Arguments, inputs and outputs are those of `torch.nn.RNN`. Further, on a call: ``lengths [B]``
    (0 allowed, any order; past its length a sample's output is 0 and its state stands still) and
    ``reset [T,B]``, bool (``[B,T]`` with batch_first): no state crosses into a step marked True.

    Raises ValueError, TypeError or RuntimeError where torch.nn does.
    """

    kind = "RNN"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'."
            )
        sizes = (input_size, hidden_size, num_layers)
        how = (bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__(*sizes, *how, device, dtype)
        self.nonlinearity = nonlinearity


class LSTM(_Layer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000).

    >>> layer = LSTM(8, 32, batch_first=True)
    >>> output, (h_n, c_n) = layer(torch.randn(16, 100, 8))  # [B,T,I] -> [B,T,H], [L*D,B,H] twice

    Arguments, inputs and outputs are those of `torch.nn.LSTM`, with ``proj_size`` (Sak et al.
    2014). Gate order: input, forget, cell, output. ``lengths`` and ``reset`` as in `RNN`.

    Raises ValueError, TypeError or RuntimeError where torch.nn does.
    """

    kind = "LSTM"


class GRU(_Layer):
    """Gated recurrent unit (Cho et al. 2014, reset after the product as in torch and cuDNN).

    >>> layer = GRU(8, 32, bidirectional=True)
    >>> output, h_n = layer(torch.randn(100, 16, 8))  # [T,B,I] -> [T,B,2*H], [L*D,B,H]

    Arguments, inputs and outputs are those of `torch.nn.GRU`. Gate order: reset, update, new.
    ``lengths`` and ``reset`` as in `RNN`.

    Raises ValueError, TypeError or RuntimeError where torch.nn does.
    """

    kind = "GRU"


def explain_path(
    layer: RNN | LSTM | GRU,
    input: Tensor | PackedSequence,
    hx: Hidden | None = None,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> Path:
    """Which path would compute ``layer(input, ...)``, and why; nothing is computed.

    >>> explain_path(GRU(8, 32), torch.randn(100, 16, 8)).name
    'native'

    Raises what the call itself would raise.
    """
    return layer._path(layer._read(input, hx, lengths, reset))  # pyright: ignore[reportPrivateUsage]


def _suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + ("_reverse" if direction else "")

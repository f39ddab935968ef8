"""RNN, LSTM and GRU layers, drop-in for torch.nn's.

Same arguments, parameter names, gate order, inputs, outputs and error types, so a ``state_dict``
loads both ways. Own modules rather than subclasses: torch.compile refuses torch.nn's by class.
"""

import warnings
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from throughtime.nn import calls, cells, initialization, native
from throughtime.nn.calls import Call, Given, Hidden, Seen
from throughtime.nn.differentiation import How, sequence
from throughtime.nn.native import Path

# options that torch.nn's layers do not have
BEYOND_TORCH = ("recurrent_dropout", "zoneout", "layer_norm", "clip_hidden_grad", "checkpoint")


class Observer(Protocol):
    """Who looks into a layer: `throughtime.observe`."""

    active: bool  # not in the steps between those that are looked at

    def look(
        self, layer: int, given: Given, order: Tensor | None, norms: list[cells.Norms]
    ) -> Seen | None:
        """Where one layer's call leaves what there is to see; None: not this time."""
        ...


class Layer(nn.Module):
    """What the three layers share: parameters and the stack of layers."""

    observer: Observer | None = None  # set while `throughtime.observe` looks
    kind: ClassVar[str]
    nonlinearity: str = "tanh"
    weight_ih_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        clip_hidden_grad: float = 0.0,
        checkpoint: bool = False,
        init: str = "torch",
    ) -> None:
        super().__init__()
        if proj_size is not None and self.kind != "LSTM":
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        proj_size = proj_size or 0
        calls.check_sizes(input_size, hidden_size, num_layers, proj_size)
        calls.check_switches(bias=bias, batch_first=batch_first)
        calls.check_probabilities(
            dropout=dropout, recurrent_dropout=recurrent_dropout, zoneout=zoneout
        )
        if not clip_hidden_grad >= 0:
            raise ValueError(f"clip_hidden_grad must not be negative; got {clip_hidden_grad}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout acts between layers, so it needs num_layers greater than 1; "
                f"got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3 if self.kind == "RNN" else 2,  # RNN has a constructor of its own
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.recurrent_dropout = float(recurrent_dropout)
        self.zoneout = float(zoneout)
        self.layer_norm = layer_norm
        self.clip_hidden_grad = float(clip_hidden_grad)
        self.checkpoint = checkpoint
        self.init = init

        self._names: list[str] = []  # of the weights, as `_flat_weights` gives them
        gate_size = cells.GATES[self.kind] * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else self._output_size * self._directions
            shapes = {"weight_ih": (gate_size, width), "weight_hh": (gate_size, self._output_size)}
            if bias:
                shapes |= {"bias_ih": (gate_size,), "bias_hh": (gate_size,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            if layer_norm:
                shapes |= {"norm_ih": (gate_size,), "norm_hh": (gate_size,)}
                if self.kind == "LSTM":
                    shapes |= {"norm_c": (hidden_size,), "norm_bias_c": (hidden_size,)}
            for direction in range(self._directions):
                for name, shape in shapes.items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    setattr(self, name + _suffix(layer, direction), parameter)
                    if not name.startswith("norm_"):
                        self._names.append(name + _suffix(layer, direction))
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
        per = len(self._names) // (self.num_layers * self._directions)
        flat: list[Any] = self._flat_weights()
        return [flat[i : i + per] for i in range(0, len(flat), per)]

    def reset_parameters(self) -> None:
        """Draw all weights anew, as ``init`` says; by default as torch does."""
        initialization.by_name(self.init)(self)

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
        call = calls.read(self, input, hx, lengths, reset)
        weights = self._flat_weights()
        path = self._path(call, weights)
        if path.name == "torch":
            output, state = self._by_torch(call, weights)
        else:
            compute = self._natively if path.name == "native" else self._by_equations
            output, state = self._by_layer(call, weights, compute)
        return calls.give_back(self, input, output, state)

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
            "recurrent_dropout": 0.0,
            "zoneout": 0.0,
            "layer_norm": False,
            "clip_hidden_grad": 0.0,
            "checkpoint": False,
            "init": "torch",
        }
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value!r}"
        return text

    # ---------------------------------------------------------------- computing

    def _path(self, call: Call, weights: list[Tensor]) -> Path:
        beyond = "layer_norm" if self.layer_norm else ""
        if self.zoneout and self.proj_size:
            beyond = beyond or "zoneout of a projection"
        beyond = beyond or native.beyond_native((call.x, *call.state, *weights))
        return native.choose_path(beyond, lambda: self._beyond_torch(call, beyond))

    def _beyond_torch(self, call: Call, beyond_native: str) -> str:
        """What torch's operators lack for a call, or nothing."""
        if beyond_native == "forward-mode derivatives":
            return beyond_native  # of the LSTM
        extra = next((n for n in BEYOND_TORCH if getattr(self, n)), "")
        given = next((n for n in ("lengths", "reset") if getattr(call, n) is not None), "")
        empty = "" if call.x.shape[0] else "empty sequences"
        looks = self.observer is not None and self.observer.active
        return extra or given or empty or ("observation" if looks else "")

    def _by_torch(self, call: Call, weights: list[Tensor]) -> tuple[Tensor, cells.State]:
        operators = {
            "RNN_TANH": torch.rnn_tanh,
            "RNN_RELU": torch.rnn_relu,
            "LSTM": torch.lstm,
            "GRU": torch.gru,
        }
        operator: Any = operators[self.mode]
        state = call.state if self.kind == "LSTM" else call.state[0]
        how = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        if call.batch_sizes is not None:
            output, *new_state = operator(call.x[0], call.batch_sizes, state, weights, *how)
            output = output.unsqueeze(0)
        else:
            output, *new_state = operator(call.x, state, weights, *how, False)
        return output, tuple(new_state)

    def _by_layer(
        self, call: Call, weights: list[Tensor], compute: Any
    ) -> tuple[Tensor, cells.State]:
        """The stack of layers, each computed by `compute`."""
        x, directions = call.x, self._directions
        per = len(weights) // self.num_layers
        states: list[cells.State] = []
        for layer in range(self.num_layers):
            own = slice(layer * directions, (layer + 1) * directions)
            h_0, *c_0 = call.state if self.num_layers == 1 else (s[own] for s in call.state)
            given = Given(
                x,
                h_0,
                c_0[0] if c_0 else None,
                call.lengths,
                call.batch_sizes,
                call.reset,
                *self._masks(x, h_0, c_0),
                weights=weights[per * layer : per * (layer + 1)],
            )
            norms: list[cells.Norms] = []
            if self.layer_norm:
                norms = [self._norms(layer, d) for d in range(directions)]
            seen = None
            if self.observer is not None:
                seen = self.observer.look(layer, given, call.order, norms)
            x, *state = compute(given, norms, seen)
            states.append(tuple(state))
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = functional.dropout(x, self.dropout)
        if len(states) == 1:
            return x, states[0]
        return x, tuple(torch.cat(parts) for parts in zip(*states, strict=True))

    def _natively(
        self, given: Given, norms: list[cells.Norms], seen: Seen | None
    ) -> tuple[Tensor, ...]:
        del norms  # the kernels have none
        checkpoint = self.checkpoint and seen is None  # who looks wants all of it
        y, h_n, c_n = sequence(How(self.mode, self.clip_hidden_grad, checkpoint, seen), given)
        return (y, h_n) if c_n is None else (y, h_n, c_n)

    def _by_equations(
        self, given: Given, norms: list[cells.Norms], seen: Seen | None
    ) -> tuple[Tensor, ...]:
        return calls.by_equations(self.mode, given, self.clip_hidden_grad, norms, seen)

    def _masks(self, x: Tensor, h_0: Tensor, c_0: list[Tensor]) -> tuple[Tensor | None, ...]:
        """h_mask, zone_h and zone_c of `Given`, drawn anew at each call in training."""
        h_mask = None
        if self.recurrent_dropout and self.training:
            h_mask = functional.dropout(torch.ones_like(h_0), self.recurrent_dropout)
        if not self.zoneout:
            return h_mask, None, None

        def zone(state: Tensor) -> Tensor:
            shape = (state.shape[0], x.shape[0], x.shape[1], state.shape[2])
            if self.training:
                return torch.bernoulli(x.new_empty(1).fill_(self.zoneout).expand(shape))
            return x.new_full((1,), self.zoneout).expand(shape[-1]).contiguous().expand(shape)

        return h_mask, zone(h_0), zone(c_0[0]) if c_0 else None

    # ---------------------------------------------------------------- parameters

    def _flat_weights(self) -> list[Tensor]:
        """Layer by layer, direction by direction, in torch.nn's order."""
        own = self._parameters  # a parametrized weight is an attribute and not among them
        return [own[n] if n in own else getattr(self, n) for n in self._names]  # pyright: ignore

    def _norms(self, layer: int, direction: int) -> cells.Norms:
        names = ("norm_ih", "norm_hh", "norm_c", "norm_bias_c")[: 4 if self.kind == "LSTM" else 2]
        return cells.Norms(*(getattr(self, n + _suffix(layer, direction)) for n in names))


class RNN(Layer):
    """Elman's recurrent network (Elman 1990): h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    >>> layer = RNN(8, 32, num_layers=2, nonlinearity="relu")
    >>> output, h_n = layer(torch.randn(100, 16, 8))  # [T,B,I] -> [T,B,H], [L*D,B,H]

    Arguments, inputs and outputs are those of `torch.nn.RNN`. Further, on a call: ``lengths [B]``
    (0 allowed, any order; past its length a sample's output is 0 and its state stands still) and
    ``reset [T,B]``, bool (``[B,T]`` with batch_first): no state crosses into a step marked True.

    Raises ValueError, TypeError or RuntimeError where torch.nn does.
    """

    kind: ClassVar[str] = "RNN"

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
        **options: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'."
            )
        how = {"bias": bias, "batch_first": batch_first, "dropout": dropout}
        how |= {"bidirectional": bidirectional, "device": device, "dtype": dtype}
        super().__init__(input_size, hidden_size, num_layers, **how, **options)
        self.nonlinearity = nonlinearity


class LSTM(Layer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000).

    >>> layer = LSTM(8, 32, batch_first=True)
    >>> output, (h_n, c_n) = layer(torch.randn(16, 100, 8))  # [B,T,I] -> [B,T,H], [L*D,B,H] twice

    Arguments, inputs and outputs are those of `torch.nn.LSTM`, with ``proj_size`` (Sak et al.
    2014). Gate order: input, forget, cell, output. ``lengths`` and ``reset`` as in `RNN`.

    Raises ValueError, TypeError or RuntimeError where torch.nn does.
    """

    kind: ClassVar[str] = "LSTM"


class GRU(Layer):
    """Gated recurrent unit (Cho et al. 2014, reset after the product as in torch and cuDNN).

    >>> layer = GRU(8, 32, bidirectional=True)
    >>> output, h_n = layer(torch.randn(100, 16, 8))  # [T,B,I] -> [T,B,2*H], [L*D,B,H]

    Arguments, inputs and outputs are those of `torch.nn.GRU`. Gate order: reset, update, new.
    ``lengths`` and ``reset`` as in `RNN`.

    Raises ValueError, TypeError or RuntimeError where torch.nn does.
    """

    kind: ClassVar[str] = "GRU"


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
    call = calls.read(layer, input, hx, lengths, reset)
    return layer._path(call, layer._flat_weights())  # pyright: ignore[reportPrivateUsage]


def _suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + ("_reverse" if direction else "")

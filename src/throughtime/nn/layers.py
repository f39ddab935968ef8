"""RNN, LSTM and GRU layers, drop-in for torch.nn's.

Same arguments, parameter names, gate order, inputs, outputs and error types, so a ``state_dict``
loads both ways. Own modules rather than subclasses: torch.compile refuses torch.nn's by class.
"""

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from throughtime.nn import calls, cell_types, cells, engines, initialization
from throughtime.nn.calls import CallOptions, Hidden, LayerCall, StackCall, Trace
from throughtime.nn.cell_types import CellType
from throughtime.nn.engines.base import LayerRun, Path

# options that torch.nn's layers do not have
_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")  # as in cells.Weights
BEYOND_TORCH = ("recurrent_dropout", "zoneout", "layer_norm", "clip_hidden_grad", "checkpoint")


class Observer(Protocol):
    """What `throughtime.observe` attaches to a layer."""

    active: bool  # False between the calls that are observed

    def trace(self, layer: int, call: LayerCall, order: Tensor | None) -> Trace | None:
        """Where one layer's call leaves its values; None: not this call."""
        ...


class RecurrentLayer(nn.Module):
    """Layers of one recurrent cell: parameters, the stack of layers, and how it is called.

    >>> class MinGRU(RecurrentLayer):  # a cell of your own
    ...     gates = (Gate("update"), Gate("new", "linear"))
    ...     cell_type = CellType("MinGRU", min_gru_step, gates)
    >>> layer = MinGRU(8, 32, num_layers=2, bidirectional=True)

    Arguments, inputs and outputs are those of `LSTM`.
    """

    cell_type: CellType
    observer: Observer | None = None  # set within `throughtime.observe`
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
        cell = self.cell_type
        if not cell.native:
            cell.check_step()
        if proj_size is not None and not cell.projects:
            projecting = [c.name for c in cell_types.CELL_TYPES.values() if c.projects]
            others = [c.name for c in cell_types.CELL_TYPES.values() if not c.projects]
            raise ValueError(
                f"proj_size argument is only supported for {', '.join(projecting)}, not "
                + " or ".join(dict.fromkeys(others))
            )
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
                stacklevel=3 if type(self).__init__ is not RecurrentLayer.__init__ else 2,
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

        # of each layer and direction: its suffix, and the names of its `Weights`
        self._names: list[tuple[str, list[str | None]]] = []
        for layer in range(num_layers):
            width = input_size if layer == 0 else self._output_size * self._directions
            shapes = self._shapes(width)
            for direction in range(self._directions):
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                for name, shape in shapes.items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    setattr(self, name + suffix, parameter)
                names = [name + suffix if name in shapes else None for name in _WEIGHTS]
                self._names.append((suffix, names))
        self.reset_parameters()

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """The parameters of one layer and direction with `width` inputs, in torch.nn's order."""
        cell, rows = self.cell_type, self.cell_type.weight_blocks * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width)}
        if cell.recurrent_weights:
            shapes["weight_hh"] = (rows, self._output_size)
        if self.bias:
            shapes["bias_ih"] = (rows,)
            if cell.recurrent_weights:
                shapes["bias_hh"] = (rows,)
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        if self.layer_norm:
            shapes["norm_ih"] = (rows,)
            if cell.recurrent_weights:
                shapes["norm_hh"] = (rows,)
            if cell.normalizes:
                shapes |= {"norm_c": (self.hidden_size,), "norm_bias_c": (self.hidden_size,)}
        return shapes

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    @property
    def mode(self) -> str:
        """torch.nn's name of the cell: RNN_TANH, RNN_RELU, LSTM or GRU."""
        return self.cell_type.mode

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters, a list for each layer and direction, as torch.nn gives them."""
        return [[w for w in one[:5] if w is not None] for one in self.weights()]  # pyright: ignore

    def reset_parameters(self) -> None:
        """Draw all weights again by ``init``; by default as torch does."""
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
        call = calls.read(self, input, hx, lengths, reset, self.weights())
        engine, _ = engines.choose(self, call)
        output, state = engine.run(self, call)
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
            name = self.cell_type.name
            raise ValueError(f"a bidirectional {name} cannot step: it needs the whole input")
        if x_t.dim() not in (1, 2):
            name = self.cell_type.name
            raise ValueError(f"{name}.step: expected x_t to be 1D or 2D, got {x_t.dim()}D")
        time = 1 if self.batch_first and x_t.dim() == 2 else 0
        output, new_state = self(x_t.unsqueeze(time), state)
        return output.squeeze(time), new_state

    def extra_repr(self) -> str:
        """Its sizes, and the options that differ from their defaults."""
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
            value = getattr(self, name, default)
            if value != default:
                text += f", {name}={value!r}"
        return text

    # ---------------------------------------------------------------- computing

    @property
    def observed(self) -> bool:
        """Whether an observer wants this call's values."""
        return self.observer is not None and self.observer.active

    def beyond_torch(self) -> str:
        """The first of its options that torch.nn's layers do not have, or nothing."""
        return next((name for name in BEYOND_TORCH if getattr(self, name)), "")

    def layer_by_layer(self, call: StackCall, run: LayerRun) -> tuple[Tensor, cells.State]:
        """The stack of layers, each computed by `run`, with dropout between them."""
        x, directions = call.x, self._directions
        states: list[cells.State] = []
        for layer in range(self.num_layers):
            own = slice(layer * directions, (layer + 1) * directions)
            state = call.state if self.num_layers == 1 else tuple(s[own] for s in call.state)
            h_mask, zones = self._masks(x, state)
            one = LayerCall(
                self.cell_type,
                x,
                state,
                call.weights[own],
                lengths=call.lengths,
                batch_sizes=call.batch_sizes,
                reset=call.reset,
                h_mask=h_mask,
                zones=zones,
                options=CallOptions(self.clip_hidden_grad, self.checkpoint),
            )
            if self.observer is not None:
                trace = self.observer.trace(layer, one, call.order)
                if trace is not None:  # an observer needs all of it
                    one = one._replace(options=CallOptions(self.clip_hidden_grad, trace=trace))
            x, state = run(one)
            states.append(state)
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = functional.dropout(x, self.dropout)
        if len(states) == 1:
            return x, states[0]
        return x, tuple(torch.cat(parts) for parts in zip(*states, strict=True))

    def _masks(
        self, x: Tensor, state: cells.State
    ) -> tuple[Tensor | None, tuple[Tensor | None, ...]]:
        """h_mask and zones of `LayerCall`, drawn anew at each call in training."""
        h_mask = None
        if self.recurrent_dropout and self.training:
            h_mask = functional.dropout(torch.ones_like(state[0]), self.recurrent_dropout)
        if not self.zoneout:
            return h_mask, ()

        def zone(state: Tensor) -> Tensor:
            shape = (state.shape[0], x.shape[0], x.shape[1], state.shape[2])
            if self.training:
                return torch.bernoulli(x.new_empty(1).fill_(self.zoneout).expand(shape))
            return x.new_full((1,), self.zoneout).expand(shape[-1]).contiguous().expand(shape)

        return h_mask, tuple(map(zone, state))

    # ---------------------------------------------------------------- parameters

    def weights(self) -> tuple[cells.Weights, ...]:
        """The parameters of each layer and direction, by what they are."""
        own = self._parameters  # a parametrized weight is an attribute and not among them
        return tuple(
            cells.Weights(
                *(
                    None if n is None else own[n] if n in own else getattr(self, n)  # pyright: ignore
                    for n in names
                ),
                norms=self._norms(suffix) if self.layer_norm else None,
            )
            for suffix, names in self._names
        )

    def _norms(self, suffix: str) -> cells.Norms:
        names = ("norm_ih", "norm_hh", "norm_c", "norm_bias_c")[
            : 4 if self.cell_type.normalizes else 2
        ]
        return cells.Norms(*(getattr(self, name + suffix, None) for name in names))  # pyright: ignore


class RNN(RecurrentLayer):
    """Elman's recurrent network (Elman 1990): h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    >>> layer = RNN(8, 32, num_layers=2, nonlinearity="relu")
    >>> output, h_n = layer(torch.randn(100, 16, 8))  # [T,B,I] -> [T,B,H], [L*D,B,H]

    The arguments are those of `torch.nn.RNN`; ``nonlinearity`` is "tanh" or "relu".
    """

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
        self.cell_type = cell_types.RNN_RELU if nonlinearity == "relu" else cell_types.RNN_TANH
        super().__init__(input_size, hidden_size, num_layers, **how, **options)

    @property
    def nonlinearity(self) -> str:
        """tanh or relu."""
        return self.cell_type.hidden_activation


class LSTM(RecurrentLayer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000).

    >>> layer = LSTM(8, 32, batch_first=True)
    >>> output, (h_n, c_n) = layer(torch.randn(16, 100, 8))  # [B,T,I] -> [B,T,H], [L*D,B,H] twice

    The arguments are those of `torch.nn.LSTM`, with ``proj_size`` (Sak et al. 2014). Gate order:
    input, forget, cell, output.
    """

    cell_type = cell_types.LSTM


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014, reset after the product as in torch and cuDNN).

    >>> layer = GRU(8, 32, bidirectional=True)
    >>> output, h_n = layer(torch.randn(100, 16, 8))  # [T,B,I] -> [T,B,2*H], [L*D,B,H]

    The arguments are those of `torch.nn.GRU`. Gate order: reset, update, new.
    """

    cell_type = cell_types.GRU


_OPTIONS = """
    Args:
        input_size: I, numbers of a step of the input.
        hidden_size: H, units.
        num_layers: L, layers one on top of the other.
        bias: Whether there are the biases b_ih and b_hh.
        batch_first: Whether input and output are [B,T,...] and not [T,B,...]; states are not.
        dropout: Probability with which outputs between layers are set to 0, in training.
        bidirectional: Whether a second direction reads from the last step to the first.
        recurrent_dropout: Probability with which a unit of h_{t-1} is set to 0 on its way into the
            recurrent product, the same units at every step of a sequence, drawn anew at each call
            (Gal and Ghahramani 2016). In training; in eval mode nothing is dropped.
        zoneout: Probability with which a unit of the state (h, and of the LSTM c) stays as it was,
            drawn anew at each step (Krueger et al. 2017). In eval mode each state is the mean:
            zoneout times the old one plus the rest times the new one.
        layer_norm: Whether W_ih x and W_hh h, and of the LSTM c on its way to h, are normalized
            over their units, with gains and a bias (Ba et al. 2016, eq. 20 to 22). In training and
            in eval mode; computed by the plain equations.
        clip_hidden_grad: Bound on the length of dL/dh_t of each sample, at every step of the
            backward pass; 0 for none. The forward pass is as it was.
        checkpoint: Whether training keeps about the square root of T states and computes the others
            again: less memory, the same bits, a third more time. LSTM and GRU.
        init: How weights begin: "torch", "orthogonal", "identity" (RNN), "forget-bias:1" or
            "chrono:784" (the longest time to keep, in steps); see `initialize`.

    Call:
        ``layer(x, state, lengths=[B], reset=[T,B])``. ``lengths``: steps of each sample, 0 allowed,
        in any order; past its length a sample's output is 0 and its state stands still. ``reset``,
        bool, [B,T] with batch_first: no state crosses into a step marked True. ``layer.step(x_t,
        state)`` computes one step of a stream.

    Raises:
        ValueError, TypeError, RuntimeError: Where `torch.nn` does.
    """
for _layer in (RNN, LSTM, GRU):
    _layer.__doc__ = (_layer.__doc__ or "").rstrip() + "\n" + _OPTIONS


def explain_path(
    layer: RecurrentLayer,
    input: Tensor | PackedSequence,
    hx: Hidden | None = None,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> Path:
    """Which engine would compute ``layer(input, ...)``, and why; nothing is computed.

    >>> explain_path(GRU(8, 32), torch.randn(100, 16, 8)).name
    'native'

    Args:
        layer: A layer of this library.
        input: What it would be called with, and likewise the others.
        hx: The first state.
        lengths: Steps of each sample, [B].
        reset: Where new sequences begin, [T,B].

    Returns:
        ``name`` ("native", "torch" or "equations") and ``reason``.

    Raises:
        ValueError, TypeError, RuntimeError: What the call itself would raise.
    """
    call = calls.read(layer, input, hx, lengths, reset, layer.weights())
    return engines.choose(layer, call)[1]

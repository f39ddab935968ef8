"""RNN, LSTM and GRU layers: drop-in replacements for those of torch.nn.

Arguments, parameter names, gate order, inputs, outputs and error types are the same, so each loads
the other's ``state_dict``. They do not subclass torch.nn's, which torch.compile rejects by class.
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

_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")  # order of cells.Weights
# options that torch.nn's layers do not have
BEYOND_TORCH = ("recurrent_dropout", "zoneout", "layer_norm", "clip_hidden_grad", "checkpoint")


class Observer(Protocol):
    """Records the calls of a layer; attached by `throughtime.observe`."""

    active: bool  # False for calls that are not observed

    def trace(self, layer: int, call: LayerCall, order: Tensor | None) -> Trace | None:
        """Return where to record the values of a call, or None to skip it."""
        ...


class RecurrentLayer(nn.Module):
    """Base class of recurrent layers: the parameters and forward pass of a stack of layers.

    >>> class MinGRU(RecurrentLayer):  # a cell of your own
    ...     gates = (Gate("update"), Gate("new", "linear"))
    ...     cell_type = CellType("MinGRU", min_gru_step, gates)
    >>> layer = MinGRU(8, 32, num_layers=2, bidirectional=True)

    Arguments, inputs and outputs are the same as for `LSTM`.
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

        # per layer and direction: the parameter suffix, and the names of its `Weights`
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
        """Shapes of the parameters of one layer and direction with `width` inputs."""
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
        """Name of the cell in torch.nn: RNN_TANH, RNN_RELU, LSTM or GRU."""
        return self.cell_type.mode

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """Parameters, one list per layer and direction, in the format of torch.nn."""
        return [[w for w in one[:5] if w is not None] for one in self.weights()]  # pyright: ignore

    def reset_parameters(self) -> None:
        """Initialize all weights again as given by ``init``."""
        initialization.by_name(self.init)(self)

    def flatten_parameters(self) -> None:
        """Do nothing; exists for compatibility with torch.nn."""

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Hidden | None = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Process whole sequences; see the class docstring for shapes."""
        call = calls.read(self, input, hx, lengths, reset, self.weights())
        engine, _ = engines.choose(self, call)
        output, state = engine.run(self, call)
        return calls.restore_form(self, input, output, state)

    def step(self, x_t: Tensor, state: Hidden | None = None) -> tuple[Tensor, Any]:
        """Compute one time step of a stream; takes and returns the state.

        >>> layer, state = GRU(8, 32), None
        >>> for x_t in stream:  # x_t [B, 8] or [8]
        ...     h_t, state = layer.step(x_t, state)  # h_t [B, 32] or [32]

        The state has the shape of `hx` in `forward`. Raises ValueError for a bidirectional layer,
        because its reverse direction starts at the end of the sequence.
        """
        if self.bidirectional:
            name = self.cell_type.name
            raise ValueError(f"a bidirectional {name} needs the whole sequence: no single steps")
        if x_t.dim() not in (1, 2):
            name = self.cell_type.name
            raise ValueError(f"{name}.step: expected x_t to be 1D or 2D, got {x_t.dim()}D")
        time = 1 if self.batch_first and x_t.dim() == 2 else 0
        output, new_state = self(x_t.unsqueeze(time), state)
        return output.squeeze(time), new_state

    def extra_repr(self) -> str:
        """Sizes, and options that differ from their defaults."""
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

    # ---------------------------------------------------------------- forward pass

    @property
    def observed(self) -> bool:
        """Whether an observer records this call."""
        return self.observer is not None and self.observer.active

    def beyond_torch(self) -> str:
        """Return the first option in use that torch.nn's layers do not have, or an empty string."""
        return next((name for name in BEYOND_TORCH if getattr(self, name)), "")

    def layer_by_layer(self, call: StackCall, run: LayerRun) -> tuple[Tensor, cells.State]:
        """Compute each layer of the stack with `run`, with dropout between layers."""
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
                if trace is not None:  # no checkpointing: an observer needs all values
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
        """Draw h_mask and zones of `LayerCall`; new values for each call in training."""
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
        """The parameters of each layer and direction, as `Weights`."""
        own = self._parameters  # a parametrized weight is an attribute, not in here
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
    """Elman recurrent network (Elman 1990): h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    >>> layer = RNN(8, 32, num_layers=2, nonlinearity="relu")
    >>> output, h_n = layer(torch.randn(100, 16, 8))  # [T,B,I] -> [T,B,H], [L*D,B,H]

    Takes the arguments of `torch.nn.RNN`; ``nonlinearity`` is "tanh" or "relu".
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
        options |= {"bias": bias, "batch_first": batch_first, "dropout": dropout}
        options |= {"bidirectional": bidirectional, "device": device, "dtype": dtype}
        self.cell_type = cell_types.RNN_RELU if nonlinearity == "relu" else cell_types.RNN_TANH
        super().__init__(input_size, hidden_size, num_layers, **options)

    @property
    def nonlinearity(self) -> str:
        """Either "tanh" or "relu"."""
        return self.cell_type.hidden_activation


class LSTM(RecurrentLayer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000).

    >>> layer = LSTM(8, 32, batch_first=True)
    >>> output, (h_n, c_n) = layer(torch.randn(16, 100, 8))  # [B,T,I] -> [B,T,H], [L*D,B,H] twice

    Takes the arguments of `torch.nn.LSTM`, with ``proj_size`` (Sak et al. 2014). Gate order:
    input, forget, cell, output.
    """

    cell_type = cell_types.LSTM


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014; reset after the product, as in torch and cuDNN).

    >>> layer = GRU(8, 32, bidirectional=True)
    >>> output, h_n = layer(torch.randn(100, 16, 8))  # [T,B,I] -> [T,B,2*H], [L*D,B,H]

    Takes the arguments of `torch.nn.GRU`. Gate order: reset, update, new.
    """

    cell_type = cell_types.GRU


_OPTIONS = """
    Args:
        input_size: Number of input features, I.
        hidden_size: Number of units, H.
        num_layers: Number of stacked layers, L.
        bias: Whether to use the biases b_ih and b_hh.
        batch_first: Whether input and output are [B,T,...] instead of [T,B,...]; not for states.
        dropout: Dropout probability of the outputs between layers, in training.
        bidirectional: Whether to add a second direction that runs backwards in time.
        recurrent_dropout: Dropout probability of h_{t-1} in the recurrent product, with the same
            units dropped at every step and new ones drawn for each call (Gal and Ghahramani 2016).
            Active in training; has no effect in eval mode.
        zoneout: Probability that a unit of the state (h, and c of an LSTM) keeps its previous
            value, drawn for each step (Krueger et al. 2017). In eval mode the new state is the
            mean: zoneout * previous + (1 - zoneout) * new.
        layer_norm: Whether to normalize W_ih x, W_hh h, and the c that an LSTM's h is computed
            from, over their units, with gains and a bias (Ba et al. 2016, eq. 20 to 22). Active in
            training and in eval mode; computed by the plain equations.
        clip_hidden_grad: Maximum norm of dL/dh_t per sample, at every step of the backward pass;
            0 disables clipping. Does not change the forward pass.
        checkpoint: Whether training stores only about sqrt(T) states and recomputes the others:
            less memory, bitwise equal results, a third more time. For LSTM and GRU.
        init: Weight initialization: "torch", "orthogonal", "identity" (RNN), "forget-bias:1" or
            "chrono:784" (the longest time scale, in steps); see `initialize`.

    Call:
        ``layer(x, state, lengths=[B], reset=[T,B])``. ``lengths``: number of steps of each sample,
        0 or more, in any order; beyond its length, a sample's output is 0 and its state does not
        change. ``reset``: bool, [B,T] with batch_first; no state is carried into a step where it is
        True. ``layer.step(x_t, state)`` computes one step of a stream.

    Raises:
        ValueError, TypeError, RuntimeError: In the same cases as `torch.nn`.
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
    """Return which engine would compute ``layer(input, ...)``, and why, without computing it.

    >>> explain_path(GRU(8, 32), torch.randn(100, 16, 8)).name
    'native'

    Args:
        layer: A layer of this library.
        input: Input of the call.
        hx: Initial state of the call.
        lengths: Number of steps of each sample, [B].
        reset: True where a new sequence begins, [T,B].

    Returns:
        ``name`` ("native", "torch" or "equations") and ``reason``.

    Raises:
        ValueError, TypeError, RuntimeError: In the same cases as the call itself.
    """
    call = calls.read(layer, input, hx, lengths, reset, layer.weights())
    return engines.choose(layer, call)[1]

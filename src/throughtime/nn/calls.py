"""Layer calls: argument checks, the common form for all engines, and saved values."""

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from throughtime.nn import cells
from throughtime.nn.cell_types import CellType

Hidden = Tensor | tuple[Tensor, ...]  # h, or (h, c) for the LSTM


class Saved(NamedTuple):
    """Results of a forward pass. Tensors that the cell or the call does not use are empty."""

    y: Tensor  # [T', B', D*P]
    h_n: Tensor  # [D, B, P]
    c_n: Tensor  # [D, B, H]: the second state
    values: Tensor  # [D, T', B', K, H]: the values listed in `CellType.saved`
    marks: Tensor  # [D, ceil(T / every), B, H]: with checkpointing, replaces `values`


@dataclass
class Trace:
    """Values of a layer's forward and backward passes, recorded for an observer.

    Rows beyond a sample's length are undefined. With `norms`, only Euclidean norms are stored.
    """

    saved: Saved | None = None
    gradients: tuple[Tensor, ...] | None = None  # per state, [D, T', B', N]; norms [D, T', B']
    norms: bool = False
    fixed: bool = False  # do not overwrite gradients: the backward pass is differentiated again

    def reduced(self, values: Tensor) -> Tensor:
        """Return [..., N] unchanged, or its norms [...] if `norms` is set."""
        return values.norm(dim=-1) if self.norms else values


@dataclass(frozen=True)
class CallOptions:
    """Non-tensor arguments of a call."""

    clip: float = 0.0  # maximum norm of dL/dh_t per sample; 0 disables clipping
    checkpoint: bool = False  # store about sqrt(T) states and recompute the others
    trace: Trace | None = None


class LayerCall(NamedTuple):
    """A call of one layer in D directions; direction 1 runs backwards in time.

    A packed batch has T' = 1 and B' = the sum of its lengths; otherwise T' = T and B' = B.
    """

    cell: CellType
    x: Tensor  # [T', B', I]
    state: cells.State  # h [D, B, P], then other states [D, B, H]
    weights: tuple[cells.Weights, ...]  # one per direction
    lengths: Tensor | None = None  # [B]
    batch_sizes: Tensor | None = None  # [T], only for packed batches
    reset: Tensor | None = None  # [T, B]
    h_mask: Tensor | None = None  # [D, B, P]: factor applied to h before the recurrent product
    zones: tuple[Tensor | None, ...] = ()  # [D, T', B', N]: fraction of each state that is kept
    options: CallOptions = CallOptions()

    @property
    def steps(self) -> int:
        """T."""
        return (self.x if self.batch_sizes is None else self.batch_sizes).shape[0]

    @property
    def directions(self) -> int:
        """D."""
        return len(self.weights)


class StackCall(NamedTuple):
    """A call of a stack of layers: time first, batched, with an explicit initial state."""

    x: Tensor  # [T, B, I], or [1, sum of lengths, I] when packed
    state: cells.State  # each [L*D, B, H]
    batch_sizes: Tensor | None  # [T], only for a PackedSequence
    lengths: Tensor | None  # [B]
    reset: Tensor | None  # [T, B]
    weights: tuple[cells.Weights, ...]  # one per layer and direction
    order: Tensor | None = None  # [B]: index of each sample in the sorted PackedSequence

    def tensors(self) -> list[Tensor]:
        """Return input, state and weights, in this order."""
        return [self.x, *self.state, *flat_weights(self.weights)]


def flat_weights(weights: Sequence[cells.Weights]) -> list[Tensor]:
    """List weights in torch.nn's order, without those of layer_norm."""
    return [w for one in weights for w in one[:5] if w is not None]


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


def check_switches(**switches: object) -> None:
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")


def check_probabilities(**probabilities: Any) -> None:
    for name, value in probabilities.items():
        wrong = isinstance(value, bool) or not isinstance(value, numbers.Real)
        if wrong or not 0 <= float(value) <= 1:
            raise ValueError(f"{name} should be a probability, a number in [0, 1]; got {value!r}")


class LayerSizes(Protocol):
    """Properties of a layer that are needed to check its calls."""

    weight_ih_l0: Tensor

    @property
    def cell_type(self) -> CellType:
        """The cell of the layer."""
        ...

    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    bidirectional: bool
    proj_size: int


def _states(cell: CellType, hx: Hidden) -> tuple[Any, ...]:
    """Each state of a call; errors of torch.nn's types where their number is wrong."""
    wanted = len(cell.states)
    if wanted == 1:
        return (hx,)
    if len(hx) != wanted:
        names = ", ".join(f"{name}_0" for name in cell.states)
        kind = "a tensor" if isinstance(hx, Tensor) else f"{len(hx)} items"
        error = IndexError if len(hx) < wanted else RuntimeError
        raise error(f"{cell.name}: hx must be {wanted} tensors, ({names}); got {kind}")
    return tuple(hx[n] for n in range(wanted))


def read(
    layer: LayerSizes,
    input: Tensor | PackedSequence,
    hx: Hidden | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    weights: tuple[cells.Weights, ...],
) -> StackCall:
    """Check the arguments as torch.nn does and convert them to a `StackCall`."""
    states: tuple[Any, ...] | None = None
    if hx is not None:
        states = _states(layer.cell_type, hx)
    if isinstance(input, PackedSequence):
        if lengths is not None or reset is not None:
            raise ValueError(
                "got a PackedSequence with `lengths` or `reset`: a PackedSequence already has its "
                "lengths; pass a padded tensor to use `reset`"
            )
        return _read_packed(layer, input, states, weights)
    x = input
    if x.dim() not in (2, 3):
        raise ValueError(
            f"{layer.cell_type.name}: expected input to be 2D or 3D, got {x.dim()}D tensor instead"
        )
    for s in states or ():
        if s.dim() != x.dim():
            raise RuntimeError(
                f"for {x.dim()}-D input, hx should also be {x.dim()}-D but got {s.dim()}-D tensor"
            )
    if x.dim() == 2:
        x = x.unsqueeze(1)
        states = None if states is None else tuple(s.unsqueeze(1) for s in states)
        reset = None if reset is None else reset.unsqueeze(1)
        lengths = None if lengths is None else lengths.reshape(1)
    elif layer.batch_first:
        x = x.transpose(0, 1)
        reset = None if reset is None else reset.transpose(0, 1)
    batch = x.shape[1]
    _check_input(layer, x)
    state = _check_state(layer, states, batch, x)
    if lengths is not None:
        lengths = _check_lengths(lengths, x)
    if reset is not None and (reset.dtype != torch.bool or reset.shape != x.shape[:2]):
        raise RuntimeError(
            f"reset must be bool of shape {list(x.shape[:2])} (time first), one entry per step and "
            f"sample; got {reset.dtype} {list(reset.shape)}"
        )
    return StackCall(x, state, None, lengths, reset, weights)


def _read_packed(
    layer: LayerSizes,
    input: PackedSequence,
    states: tuple[Any, ...] | None,
    weights: tuple[cells.Weights, ...],
) -> StackCall:
    data, batch_sizes, order, inverse = input
    if data.dim() != 2:
        raise RuntimeError(f"input must have 2 dimensions, got {data.dim()}")
    if states is not None and order is not None:
        states = tuple(s.index_select(1, order) for s in states)
    _check_input(layer, data)
    state = _check_state(layer, states, int(batch_sizes[0]), data)
    return StackCall(data.unsqueeze(0), state, batch_sizes, None, None, weights, inverse)


def _check_input(layer: LayerSizes, x: Tensor) -> None:
    dtype = layer.weight_ih_l0.dtype
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(
            f"input dtype ({x.dtype}) does not match weight dtype ({dtype}). Convert "
            f"input: input.to({dtype}), or convert model: model.to({x.dtype})"
        )
    if x.shape[-1] != layer.input_size:
        raise RuntimeError(
            "input.size(-1) must be equal to input_size. "
            f"Expected {layer.input_size}, got {x.shape[-1]}"
        )


def _check_state(
    layer: LayerSizes, states: tuple[Any, ...] | None, batch: int, x: Tensor
) -> cells.State:
    others = len(layer.cell_type.states) - 1
    sizes = [layer.proj_size or layer.hidden_size, *[layer.hidden_size] * others]
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    shapes = [(rows, batch, size) for size in sizes]
    if states is None:
        return tuple(x.new_zeros(shape) for shape in shapes)
    for index, (state, shape) in enumerate(zip(states, shapes, strict=True)):
        if state.shape != shape:
            raise RuntimeError(f"Expected hidden[{index}] size {shape}, got {list(state.shape)}")
    return states


def _check_lengths(lengths: Tensor, x: Tensor) -> Tensor:
    steps, batch = x.shape[0], x.shape[1]
    integral = not lengths.dtype.is_floating_point and lengths.dtype != torch.bool
    if not integral or lengths.shape != (batch,):
        raise RuntimeError(
            f"lengths must be integers of shape [{batch}], one per sample; "
            f"got {lengths.dtype} {list(lengths.shape)}"
        )
    if torch.compiler.is_compiling():  # values are unknown here; the kernels check them
        return lengths.to(x.device, torch.int64)
    if batch and (int(lengths.min()) < 0 or int(lengths.max()) > steps):
        raise RuntimeError(
            f"lengths must be between 0 and {steps}, the number of input steps; "
            f"got values from {int(lengths.min())} to {int(lengths.max())}"
        )
    return lengths.to(x.device, torch.int64)


def restore_form(
    layer: LayerSizes, input: Tensor | PackedSequence, output: Tensor, state: cells.State
) -> tuple[Any, Any]:
    """Convert output and state to the form of the caller's input."""
    restored: Tensor | PackedSequence = output
    if isinstance(input, PackedSequence):
        restored = PackedSequence(
            output[0], input.batch_sizes, input.sorted_indices, input.unsorted_indices
        )
        if input.unsorted_indices is not None:
            state = tuple(s.index_select(1, input.unsorted_indices) for s in state)
    elif input.dim() == 2:
        restored = output.squeeze(1)
        state = tuple(s.squeeze(1) for s in state)
    elif layer.batch_first:
        restored = output.transpose(0, 1)
    return restored, (state[0] if len(state) == 1 else state)

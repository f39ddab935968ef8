"""A call of a layer in the one form that every path takes, the checks torch.nn makes, and what a
call leaves behind."""

import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from throughtime.nn import cells

Hidden = Tensor | tuple[Tensor, Tensor]  # h, or (h, c) for the LSTM


class Given(NamedTuple):
    """A call of one layer. D directions, the second from the last step to the first. A packed batch
    has B' = 1 step of all its rows; else T' = T and B' = B."""

    x: Tensor  # [T', B', I]
    h_0: Tensor  # [D, B, P]
    c_0: Tensor | None  # [D, B, H], LSTM alone
    lengths: Tensor | None  # [B]
    batch_sizes: Tensor | None  # [T], packed alone
    reset: Tensor | None  # [T, B]
    h_mask: Tensor | None  # [D, B, P]: factor on h as it enters the recurrent product
    zone_h: Tensor | None  # [D, T', B', P]: the share of h that stays as it was
    zone_c: Tensor | None  # [D, T', B', H]
    weights: list[Tensor]  # for each direction: ih, hh, the two biases or none, hr or none

    @property
    def sizes(self) -> tuple[int, int, int]:
        """T, D, H."""
        steps = self.x.shape[0] if self.batch_sizes is None else self.batch_sizes.shape[0]
        directions = self.h_0.shape[0]
        per = len(self.weights) // directions
        # a projection's weight is the last of an odd number
        hidden = self.weights[per - 1 if per % 2 else 1].shape[1]
        return steps, directions, hidden


class Kept(NamedTuple):
    """What forward leaves. Tensors that a cell or a call does without are empty."""

    y: Tensor  # [T', B', D*P]
    h_n: Tensor  # [D, B, P]
    c_n: Tensor  # [D, B, H]
    gates: Tensor  # [D, T', B', K, H]: the gates, then the LSTM's cell state or the GRU's W_hn h
    marks: Tensor  # [D, ceil(T / every), B, H]: with a checkpoint, in the place of `gates`


@dataclass
class Seen:
    """What a layer's forward and backward passes leave to look at; rows beyond a sample's length
    hold anything. With `norms`, lengths of the vectors in place of the vectors."""

    kept: Kept | None = None
    dh: Tensor | None = None  # [D, T', B', P]: dL/dh_t; with `norms` [D, T', B']
    dc: Tensor | None = None  # [D, T', B', H]: dL/dc_t
    norms: bool = False
    fixed: bool = False  # the gradients that were differentiated again stay

    def reduced(self, values: Tensor) -> Tensor:
        """[..., N] as it is, or its length."""
        return values.norm(dim=-1) if self.norms else values


def by_equations(
    mode: str,
    given: Given,
    clip: float = 0.0,
    norms: Sequence[cells.Norms] = (),
    seen: Seen | None = None,
) -> tuple[Tensor, ...]:
    """One layer by the plain equations: y [T',B',D*P], h_n and, for the LSTM, c_n [D,B,.].

    `mode` is torch.nn's name of the cell: RNN_TANH, RNN_RELU, LSTM or GRU.
    """
    kind, nonlinearity = ("RNN", mode[4:].lower()) if mode.startswith("RNN") else (mode, "tanh")
    directions = given.h_0.shape[0]
    per = len(given.weights) // directions
    x, lengths = given.x, given.lengths
    spread = None
    if given.batch_sizes is not None:
        spread, lengths = _spread(given.batch_sizes, given.h_0.shape[1])
        x = x[0][spread]
    outputs: list[Tensor] = []
    states: list[cells.State] = []
    steps: list[list[Any]] = [[None] * x.shape[0] if seen else [] for _ in range(directions)]
    for d in range(directions):
        own = given.weights[per * d : per * (d + 1)]
        zones = [None if z is None else z[d] for z in (given.zone_h, given.zone_c)]
        if spread is not None:
            zones = [None if z is None else z[0][spread] for z in zones]
        output, state = cells.sequence(
            kind,
            x,
            tuple(s[d] for s in (given.h_0, given.c_0) if s is not None),
            cells.Weights(
                own[0],
                own[1],
                bias_ih=own[2] if per >= 4 else None,
                bias_hh=own[3] if per >= 4 else None,
                hr=own[-1] if per % 2 else None,
            ),
            nonlinearity=nonlinearity,
            backwards=d == 1,
            extras=cells.Extras(
                lengths=lengths,
                reset=given.reset,
                h_mask=None if given.h_mask is None else given.h_mask[d],
                zone_h=zones[0],
                zone_c=zones[1],
                clip=clip,
                norms=norms[d] if norms else None,
            ),
            seen=steps[d] if seen else None,
        )
        outputs.append(output)
        states.append(state)
    y = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
    inside = None
    if spread is not None and lengths is not None:
        inside = torch.arange(x.shape[0], device=x.device).unsqueeze(1) < lengths
        y = y[inside].unsqueeze(0)
    last = tuple(torch.stack(parts) for parts in zip(*states, strict=True))
    if seen is not None:
        _look(seen, steps, inside, y, last)
    return (y, *last)


def _look(
    seen: Seen,
    steps: list[list[tuple[cells.State, cells.Gates]]],  # [D][T]
    inside: Tensor | None,  # [T, B], where y is packed
    y: Tensor,
    last: cells.State,
) -> None:
    """Fill `seen` now, and its gradients when a backward pass comes by."""

    def placed(values: list[Tensor]) -> Tensor:  # T of [B, ...] to [T', B', ...]
        whole = torch.stack(values)
        return whole if inside is None else whole[inside].unsqueeze(0)

    nothing = y.new_empty(0)
    gates = nothing
    if steps[0] and (steps[0][0][1] or len(last) == 2):
        gates = torch.stack(
            [placed([torch.stack((*g, *s[1:]), dim=1).detach() for s, g in d]) for d in steps]
        )
    c_n = last[1].detach() if len(last) == 2 else nothing
    seen.kept = Kept(y.detach(), last[0].detach(), c_n, gates, nothing)

    # plain numbers alone: a hook that held a tensor of the graph would keep the graph for ever
    shapes = [(len(steps), *y.shape[:2], s.shape[-1]) for s in last]
    if seen.norms:
        shapes = [shape[:3] for shape in shapes]
    packed = inside is not None
    counts = [] if inside is None else inside.sum(dim=1).tolist()

    def watch(part: int, d: int, t: int) -> Callable[[Tensor], None]:
        first, count = sum(counts[:t]), counts[t] if packed else 0

        def store(gradient: Tensor) -> None:
            if seen.dh is None:
                seen.dh, *dc = (gradient.new_zeros(shape) for shape in shapes)
                seen.dc = dc[0] if dc else None
            whole = (seen.dh, seen.dc)[part]
            assert whole is not None
            gradient = seen.reduced(gradient.detach())
            if packed:
                whole[d, 0, first : first + count].copy_(gradient[:count])
            else:
                whole[d, t].copy_(gradient)

        return store

    for d, states in enumerate(steps):
        for t, (state, _) in enumerate(states):
            for part, tensor in enumerate(state):
                if tensor.requires_grad:
                    tensor.register_hook(watch(part, d, t))  # pyright: ignore


def _spread(batch_sizes: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Where each step and sample of a packed batch lies: rows [T,B], any beyond; lengths [B]."""
    inside = torch.arange(batch) < batch_sizes.unsqueeze(1)
    first = batch_sizes.cumsum(0) - batch_sizes
    rows = (first.unsqueeze(1) + torch.arange(batch)) * inside
    return rows, inside.sum(0)


class Call(NamedTuple):
    """A call of a whole stack of layers: time first, batched, state complete."""

    x: Tensor  # [T, B, I], or [1, sum of lengths, I] when packed
    state: cells.State  # each [L*D, B, H]
    batch_sizes: Tensor | None  # [T], of a PackedSequence
    lengths: Tensor | None  # [B]
    reset: Tensor | None  # [T, B]
    order: Tensor | None = None  # [B]: where a PackedSequence's sorted batch has each sample


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
            raise ValueError(
                f"{name} should be a number in range [0, 1], a probability; got {value!r}"
            )


class Facts(Protocol):
    """What of a layer its calls are held against."""

    kind: ClassVar[str]
    weight_ih_l0: Tensor
    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    bidirectional: bool
    proj_size: int


def read(
    layer: Facts,
    input: Tensor | PackedSequence,
    hx: Hidden | None,
    lengths: Tensor | None,
    reset: Tensor | None,
) -> Call:
    """Check a call as torch.nn does, and bring it to the form of `Call`."""
    states: tuple[Any, ...] | None = None
    if hx is not None:
        states = (hx[0], hx[1]) if layer.kind == "LSTM" else (hx,)
    if isinstance(input, PackedSequence):
        if lengths is not None or reset is not None:
            raise ValueError("a PackedSequence brings its lengths; give a tensor for `reset`")
        return _read_packed(layer, input, states)
    x = input
    if x.dim() not in (2, 3):
        raise ValueError(
            f"{layer.kind}: expected input to be 2D or 3D, got {x.dim()}D tensor instead"
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
            f"reset must be bool with one entry per step and sample, {list(x.shape[:2])} when "
            f"time is first; got {reset.dtype} {list(reset.shape)}"
        )
    return Call(x, state, None, lengths, reset)


def _read_packed(layer: Facts, input: PackedSequence, states: tuple[Any, ...] | None) -> Call:
    data, batch_sizes, order, back = input
    if data.dim() != 2:
        raise RuntimeError(f"input must have 2 dimensions, got {data.dim()}")
    if states is not None and order is not None:
        states = tuple(s.index_select(1, order) for s in states)
    _check_input(layer, data)
    state = _check_state(layer, states, int(batch_sizes[0]), data)
    return Call(data.unsqueeze(0), state, batch_sizes, None, None, back)


def _check_input(layer: Facts, x: Tensor) -> None:
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
    layer: Facts, states: tuple[Any, ...] | None, batch: int, x: Tensor
) -> cells.State:
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size]
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    shapes = [(rows, batch, size) for size in sizes[: 2 if layer.kind == "LSTM" else 1]]
    if states is None:
        return tuple(x.new_zeros(shape) for shape in shapes)
    for index, (state, shape) in enumerate(zip(states, shapes, strict=True)):
        if state.shape != shape:
            raise RuntimeError(f"Expected hidden[{index}] size {shape}, got {list(state.shape)}")
    return states


def _check_lengths(lengths: Tensor, x: Tensor) -> Tensor:
    steps, batch = x.shape[0], x.shape[1]
    whole = not lengths.dtype.is_floating_point and lengths.dtype != torch.bool
    if not whole or lengths.shape != (batch,):
        raise RuntimeError(
            f"lengths must be whole numbers of shape [{batch}], one per sample; "
            f"got {lengths.dtype} {list(lengths.shape)}"
        )
    if torch.compiler.is_compiling():  # values are not known; the kernels check them
        return lengths.to(x.device, torch.int64)
    if batch and (int(lengths.min()) < 0 or int(lengths.max()) > steps):
        raise RuntimeError(
            f"lengths must lie in 0..{steps}, the steps of the input; "
            f"got {int(lengths.min())}..{int(lengths.max())}"
        )
    return lengths.to(x.device, torch.int64)


def give_back(
    layer: Facts, input: Tensor | PackedSequence, output: Tensor, state: cells.State
) -> tuple[Any, Any]:
    """Output and state in the caller's own form."""
    given: Tensor | PackedSequence = output
    if isinstance(input, PackedSequence):
        given = PackedSequence(
            output[0], input.batch_sizes, input.sorted_indices, input.unsorted_indices
        )
        if input.unsorted_indices is not None:
            state = tuple(s.index_select(1, input.unsorted_indices) for s in state)
    elif input.dim() == 2:
        given = output.squeeze(1)
        state = tuple(s.squeeze(1) for s in state)
    elif layer.batch_first:
        given = output.transpose(0, 1)
    return given, (state if layer.kind == "LSTM" else state[0])

"""The only door from torch to C++: whether the kernels are there, and the two operators they are.

An operator computes one layer, its two directions side by side. It is called directly where nothing
watches, and through torch's dispatcher (``torch.ops.throughtime``) where something does: compilers,
exporters, tracers. `differentiation.py` makes the two one differentiable function.
"""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.nn.calls import Given, Kept

try:
    from throughtime import _native as kernels  # pyright: ignore[reportMissingModuleSource]

    unavailable = ""
except ImportError as error:  # a source tree that was never built
    kernels = None
    unavailable = str(error)

PATHS = ("native", "torch", "oracle")
KEPT_WIDTH = {"RNN_TANH": 0, "RNN_RELU": 0, "GRU": 4, "LSTM": 5}
_CELLS = {"RNN_TANH": "ELMAN_TANH", "RNN_RELU": "ELMAN_RELU", "GRU": "GRU", "LSTM": "LSTM"}


class Path(NamedTuple):
    """Which path computes a call, and why."""

    name: str  # of PATHS
    reason: str


_forced: ContextVar[str | None] = ContextVar("forced path", default=None)


@contextmanager
def forced_path(name: str) -> Generator[None]:
    """Take one path whatever the call, to compare paths with each other.

    >>> with forced_path("oracle"):
    ...     output, state = layer(x)

    Raises ValueError for an unknown name here, and at the call where that path cannot compute it.
    """
    if name not in PATHS:
        raise ValueError(f"path is one of {', '.join(PATHS)}; got {name!r}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


_NATIVE = Path("native", "the project's kernels")


def choose_path(beyond_native: str, beyond_torch: Callable[[], str]) -> Path:
    """The path of a call. The arguments name what each path lacks for it, or are empty."""
    forced = None if torch.compiler.is_compiling() else _forced.get()
    if forced:
        lacks = {"native": beyond_native, "torch": beyond_torch()}.get(forced, "")
        if lacks:
            raise ValueError(f"path {forced!r} cannot compute this call: it has no {lacks}")
        return Path(forced, "forced by forced_path()")
    if not beyond_native:
        return _NATIVE
    if not beyond_torch():
        return Path(
            "torch", f"torch's fused operator; the project's kernels have no {beyond_native}"
        )
    return Path("oracle", f"the plain equations; the project's kernels have no {beyond_native}")


def beyond_native(tensors: Sequence[Tensor | None]) -> str:
    """What the kernels lack for a call on these tensors, or nothing."""
    if kernels is None:
        return f"build here ({unavailable})"
    first = tensors[0]
    assert first is not None
    dtype = first.dtype
    if dtype not in (torch.float32, torch.float64):
        return f"dtype {dtype}"
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            return f"device {tensor.device.type!r}"
        if tensor.dtype is not dtype:
            return "mixed dtypes"
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    if torch.compiler.is_compiling():
        return ""
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return "torch.jit.trace"
    return "forward-mode derivatives" if forward_mode() else ""


def forward_mode() -> bool:
    """Whether a dual number or torch.func.jvp watches: the kernels have no such derivative."""
    from torch.autograd import forward_ad

    level: int = forward_ad._current_level  # pyright: ignore[reportPrivateUsage]
    if level >= 0:
        return True
    functorch: Any = torch._C._functorch  # pyright: ignore
    if functorch.peek_interpreter_stack() is None:
        return False
    stack = functorch.get_interpreter_stack()
    return any(level.key() == functorch.TransformType.Jvp for level in stack)


def empty_kept(cell: str, keep: bool, checkpoint: bool, given: Given, marked: int) -> Kept:
    """The tensors that forward writes, not yet written."""
    x, h_0 = given.x, given.h_0
    _, directions, hidden = given.sizes
    batch, size = h_0.shape[1], h_0.shape[2]
    lstm = cell == "LSTM"
    width = KEPT_WIDTH[cell] or (1 if given.zone_h is not None else 0)
    nothing = (0,)
    return Kept(
        x.new_empty(x.shape[0], x.shape[1], directions * size),
        torch.empty_like(h_0, memory_format=torch.contiguous_format),
        x.new_empty((directions, batch, hidden) if lstm else nothing),
        x.new_empty(
            (directions, x.shape[0], x.shape[1], width, hidden)
            if keep and width and not checkpoint
            else nothing
        ),
        x.new_empty((directions, marked, batch, hidden) if lstm and checkpoint else nothing),
    )


def mark_every(steps: int, checkpoint: bool) -> int:
    """Steps between two kept states: about the square root of T; 0 without a checkpoint."""
    return max(1, math.isqrt(steps)) if checkpoint else 0


def forward(cell: str, keep: bool, checkpoint: bool, given: Given) -> Kept:
    """One layer through all of time, by the kernels."""
    assert kernels is not None
    steps = given.sizes[0]
    every = mark_every(steps, checkpoint)
    kept = empty_kept(cell, keep, checkpoint, given, -(-steps // every) if every else 0)
    layers = _layers(kernels, cell, every, given, kept)
    kernels.forward(layers, torch.get_num_threads())
    return kept


def _layers(module: Any, cell: str, every: int, given: Given, kept: Kept) -> list[Any]:
    """The checked arrays of each direction."""
    kind = getattr(module.Cell, _CELLS[cell])
    directions, size = given.h_0.shape[0], given.h_0.shape[2]
    weights = [w.contiguous() for w in given.weights]
    per = len(weights) // directions
    x = _rows(given.x)
    lengths, batch_sizes, reset = given.lengths, given.batch_sizes, given.reset
    found: list[Any] = []
    for d in range(directions):
        own = weights[per * d : per * (d + 1)]
        found.append(
            module.layer(
                kind,
                d == 1,
                x,
                own[0],
                own[1],
                own[2] if per >= 4 else None,
                own[3] if per >= 4 else None,
                own[-1] if per % 2 else None,
                given.h_0[d].contiguous(),
                None if given.c_0 is None else given.c_0[d].contiguous(),
                kept.y if directions == 1 else kept.y[..., d * size : (d + 1) * size],
                _one(kept.gates, d),
                kept.h_n[d],
                _one(kept.c_n, d),
                None if lengths is None else lengths.contiguous(),
                None if batch_sizes is None else batch_sizes.contiguous(),
                None if reset is None else reset.contiguous(),
                None if given.h_mask is None else given.h_mask[d].contiguous(),
                None if given.zone_h is None else _rows(given.zone_h[d]),
                None if given.zone_c is None else _rows(given.zone_c[d]),
                every,
                _one(kept.marks, d),
            )
        )
    return found


class Gradients(NamedTuple):
    """What backward wrote; `dx` is empty where nobody asked."""

    dx: Tensor  # [T', B', I]
    dh_0: Tensor  # [D, B, P]
    dc_0: Tensor  # [D, B, H]
    weights: list[Tensor]  # as Given.weights
    dh_seen: Tensor  # [D, T', B', P]: dL/dh_t; empty where nobody looks
    dc_seen: Tensor  # [D, T', B', H]


def empty_gradients(wants_dx: bool, seen: bool, given: Given) -> Gradients:
    """The tensors that backward writes, not yet written."""
    x, h_0, c_0 = given.x, given.h_0, given.c_0
    directions = h_0.shape[0]
    rows = (directions, x.shape[0], x.shape[1])
    nothing = x.new_empty(0)
    return Gradients(
        x.new_empty(x.shape) if wants_dx else nothing,
        h_0.new_empty(h_0.shape),
        nothing if c_0 is None else c_0.new_empty(c_0.shape),
        [w.new_empty(w.shape) for w in given.weights],
        x.new_empty((*rows, h_0.shape[2])) if seen else nothing,
        nothing if c_0 is None or not seen else x.new_empty((*rows, c_0.shape[2])),
    )


def backward(
    cell: str,
    checkpoint: bool,
    clip: float,
    wants: tuple[bool, bool],
    cotangents: tuple[Tensor | None, Tensor | None, Tensor | None],
    given: Given,
    kept: Kept,
) -> Gradients:
    """Gradients of a layer. `wants`: dx, and dL/dh_t to look at. Cotangents of y, h_n, c_n."""
    assert kernels is not None
    dy, dh_n, dc_n = cotangents
    found = empty_gradients(*wants, given)
    layers = _layers(kernels, cell, mark_every(given.sizes[0], checkpoint), given, kept)
    directions, size = given.h_0.shape[0], given.h_0.shape[2]
    per = len(given.weights) // directions
    gradients: list[Any] = []
    more_dx = torch.empty_like(found.dx) if directions == 2 and wants[0] else None
    for d, layer in enumerate(layers):
        own = found.weights[per * d : per * (d + 1)]
        db_ih, db_hh = own[2:4] if per >= 4 else (None, None)
        part = dy
        if dy is not None and directions == 2:
            part = dy[..., d * size : (d + 1) * size]
        gradients.append(
            kernels.gradient(
                layer,
                None if part is None else _rows(part),
                None if dh_n is None else dh_n[d].contiguous(),
                None if dc_n is None or given.c_0 is None else dc_n[d].contiguous(),
                clip,
                None if not wants[0] else found.dx if d == 0 else more_dx,
                own[0],
                own[1],
                own[-1] if per % 2 else None,
                db_ih,
                db_hh,
                found.dh_0[d],
                _one(found.dc_0, d),
                _one(found.dh_seen, d),
                _one(found.dc_seen, d),
            )
        )
    kernels.backward(gradients, torch.get_num_threads())
    if more_dx is not None:
        found.dx.add_(more_dx)
    return found


def _rows(tensor: Tensor) -> Tensor:
    """[T, B, N] with the values of a row side by side; rows may lie anywhere."""
    return tensor if tensor.stride(2) == 1 or tensor.shape[2] == 1 else tensor.contiguous()


def _one(tensor: Tensor, direction: int) -> Tensor | None:
    """One direction's part, or None of a tensor that is empty because nobody needs it."""
    return None if tensor.dim() == 1 else tensor[direction].contiguous()


def cpu_features() -> list[str]:
    """What this processor can do for the kernels, e.g. ``['avx2', 'fma']``; empty if not built."""
    return kernels.cpu_features() if kernels else []


def instruction_sets() -> list[str]:
    """The instruction sets built in that run here, best first; empty if not built."""
    return kernels.instruction_sets() if kernels else []


@contextmanager
def instruction_set(name: str) -> Generator[None]:
    """Compute by another instruction set, to test that one. Raises ValueError if it is not here."""
    before = kernels.instruction_set_in_use() if kernels else ""
    if not (kernels and kernels.use_instruction_set(name)):
        raise ValueError(f"instruction set is one of {', '.join(instruction_sets())}; got {name!r}")
    try:
        yield
    finally:
        kernels.use_instruction_set(before)


# ------------------------------------------------------------------ as torch's operators

_GIVEN = (
    "Tensor x, Tensor h_0, Tensor? c_0, Tensor? lengths, Tensor? batch_sizes, Tensor? reset, "
    "Tensor? h_mask, Tensor? zone_h, Tensor? zone_c, Tensor[] weights"
)
library = torch.library.Library("throughtime", "DEF")
library.define(
    f"forward(str cell, bool keep, bool checkpoint, {_GIVEN})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
library.define(
    "backward(str cell, bool checkpoint, float clip, bool wants_dx, Tensor? dy, Tensor? dh_n,"
    f" Tensor? dc_n, {_GIVEN}, Tensor y, Tensor h_n, Tensor c_n, Tensor gates, Tensor marks)"
    " -> (Tensor, Tensor, Tensor, Tensor[])"
)


def _forward_op(cell: str, keep: bool, checkpoint: bool, *given: Any) -> tuple[Tensor, ...]:
    return tuple(forward(cell, keep, checkpoint, Given(*given)))


def _forward_fake(cell: str, keep: bool, checkpoint: bool, *given: Any) -> tuple[Tensor, ...]:
    marked: Any = 0
    if checkpoint and cell == "LSTM":  # the square root of a length that is not known
        marked = torch.library.get_ctx().new_dynamic_size()
    return tuple(empty_kept(cell, keep, checkpoint, Given(*given), marked))


def _backward_op(
    cell: str, checkpoint: bool, clip: float, wants_dx: bool, *rest: Any
) -> tuple[Any, ...]:
    given, kept = Given(*rest[3:13]), Kept(*rest[13:])
    found = backward(cell, checkpoint, clip, (wants_dx, False), rest[:3], given, kept)
    return tuple(found[:4])


def _backward_fake(
    cell: str, checkpoint: bool, clip: float, wants_dx: bool, *rest: Any
) -> tuple[Any, ...]:
    return tuple(empty_gradients(wants_dx, False, Given(*rest[3:13]))[:4])


library.impl("forward", _forward_op, "CPU")
library.impl("backward", _backward_op, "CPU")
torch.library.register_fake("throughtime::forward", _forward_fake, lib=library)
torch.library.register_fake("throughtime::backward", _backward_fake, lib=library)

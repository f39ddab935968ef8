"""Interface between torch and the C++ kernels: a forward and a backward operator.

An operator computes one layer with all its directions. It is normally called directly. It is called
through torch's dispatcher (``torch.ops.throughtime``) if a compiler, exporter or tracer must see
the call. `autograd.py` combines the two operators into a differentiable function.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.nn import cells
from throughtime.nn.calls import LayerCall, Saved, flat_weights
from throughtime.nn.cell_types import CellType

try:
    from throughtime import _native as kernels  # pyright: ignore[reportMissingModuleSource]

    unavailable = ""
except ImportError as error:  # source tree without a build
    kernels = None
    unavailable = str(error)

_OPTIONAL = 9  # number of tensors of a flat call before its weights


class KernelCall(NamedTuple):
    """Arguments of the operators; absent tensors are None."""

    x: Tensor  # [T', B', I]
    h_0: Tensor  # [D, B, P]
    c_0: Tensor | None  # [D, B, H]
    lengths: Tensor | None  # [B]
    batch_sizes: Tensor | None  # [T], only for packed batches
    reset: Tensor | None  # [T, B]
    h_mask: Tensor | None  # [D, B, P]
    zone_h: Tensor | None  # [D, T', B', P]
    zone_c: Tensor | None  # [D, T', B', H]
    weights: list[Tensor]  # of all directions, one after the other; see `direction`

    @classmethod
    def of(cls, call: LayerCall) -> "KernelCall":
        """Convert a layer call."""
        h_0, c_0 = call.state if len(call.state) == 2 else (*call.state, None)
        zone_h, zone_c = (*call.zones, None, None)[:2]
        weights = flat_weights(call.weights)
        masks = (call.lengths, call.batch_sizes, call.reset, call.h_mask)
        return cls(call.x, h_0, c_0, *masks, zone_h, zone_c, weights)

    @classmethod
    def from_flat(cls, tensors: Sequence[Any]) -> "KernelCall":
        """Undo `flat`."""
        return cls(*tensors[:_OPTIONAL], weights=list(tensors[_OPTIONAL:]))

    def flat(self) -> tuple[Tensor | None, ...]:
        """Return all tensors in one tuple, the weights last."""
        return (*self[:_OPTIONAL], *self.weights)

    def direction(self, d: int) -> cells.Weights:
        """Return the weights of one direction, by name."""
        per = len(self.weights) // self.h_0.shape[0]
        own = self.weights[per * d : per * (d + 1)]
        bias_ih, bias_hh = own[2:4] if per >= 4 else (None, None)
        return cells.Weights(own[0], own[1], bias_ih, bias_hh, own[-1] if per % 2 else None)

    @property
    def steps(self) -> int:
        """T."""
        return (self.x if self.batch_sizes is None else self.batch_sizes).shape[0]


class CellFacts(NamedTuple):
    """Sizes of a cell in the kernels."""

    gates: int
    states: int
    saved: int  # values per unit and step that forward saves for backward
    saved_with_zoneout: int


@cache
def facts(cell: str) -> CellFacts:
    """Return the sizes of a cell that the kernels support."""
    assert kernels is not None
    return CellFacts(*kernels.cell_facts(getattr(kernels.Cell, cell)))


def lacking(
    cell: CellType, tensors: Sequence[Tensor], *, layer_norm: bool, zoned_projection: bool
) -> str:
    """Return the name of a feature that the kernels do not support, or an empty string."""
    if not cell.native:
        return f"the {cell.name} cell"
    if layer_norm:
        return "layer_norm"
    if zoned_projection:
        return "zoneout with proj_size"
    if kernels is None:
        return f"this installation ({unavailable})"
    dtype = tensors[0].dtype
    if dtype not in (torch.float32, torch.float64):
        return f"dtype {dtype}"
    for tensor in tensors:
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


def compute(call: LayerCall) -> bool:
    """Return whether the kernels support a call of one layer."""
    weights = call.weights[0]
    return not lacking(
        call.cell,
        [call.x, *call.state, *flat_weights(call.weights)],
        layer_norm=weights.norms is not None,
        zoned_projection=bool(call.zones) and weights.hr is not None,
    )


def forward_mode() -> bool:
    """Return whether forward-mode differentiation is active; the kernels do not support it."""
    from torch.autograd import forward_ad

    level: int = forward_ad._current_level  # pyright: ignore[reportPrivateUsage]
    if level >= 0:
        return True
    functorch: Any = torch._C._functorch  # pyright: ignore
    if functorch.peek_interpreter_stack() is None:
        return False
    stack = functorch.get_interpreter_stack()
    return any(level.key() == functorch.TransformType.Jvp for level in stack)


def empty_saved(cell: str, keep: bool, checkpoint: bool, call: KernelCall, marked: int) -> Saved:
    """Allocate the tensors that forward writes."""
    x, h_0 = call.x, call.h_0
    directions, batch, size = h_0.shape
    of_cell = facts(cell)
    width = of_cell.saved if call.zone_h is None else of_cell.saved_with_zoneout
    second = None if call.c_0 is None else call.c_0.shape[2]
    hidden = size if second is None else second
    empty = (0,)
    return Saved(
        x.new_empty(x.shape[0], x.shape[1], directions * size),
        torch.empty_like(h_0, memory_format=torch.contiguous_format),
        x.new_empty(empty if second is None else (directions, batch, second)),
        x.new_empty(
            (directions, x.shape[0], x.shape[1], width, hidden)
            if keep and width and not checkpoint
            else empty
        ),
        x.new_empty(
            (directions, marked, batch, second) if checkpoint and second is not None else empty
        ),
    )


def mark_every(steps: int, checkpoint: bool) -> int:
    """Return the steps between two stored states, about sqrt(T); 0 without checkpointing."""
    return max(1, math.isqrt(steps)) if checkpoint else 0


def forward(cell: str, keep: bool, checkpoint: bool, call: KernelCall) -> Saved:
    """Compute one layer over all time steps."""
    assert kernels is not None
    steps = call.steps
    every = mark_every(steps, checkpoint)
    saved = empty_saved(cell, keep, checkpoint, call, -(-steps // every) if every else 0)
    layers = _layers(kernels, cell, every, call, saved)
    kernels.forward(layers, torch.get_num_threads())
    return saved


def _layers(module: Any, cell: str, every: int, call: KernelCall, saved: Saved) -> list[Any]:
    """Return the checked arrays of each direction."""
    kind = getattr(module.Cell, cell)
    directions, _, size = call.h_0.shape
    x = _rows(call.x)
    found: list[Any] = []
    for d in range(directions):
        weights = call.direction(d)
        found.append(
            module.layer(
                cell=kind,
                backwards=d == 1,
                x=x,
                w_ih=weights.ih.contiguous(),
                w_hh=_contiguous(weights.hh),
                b_ih=_contiguous(weights.bias_ih),
                b_hh=_contiguous(weights.bias_hh),
                w_hr=_contiguous(weights.hr),
                h_0=call.h_0[d].contiguous(),
                c_0=None if call.c_0 is None else call.c_0[d].contiguous(),
                y=saved.y if directions == 1 else saved.y[..., d * size : (d + 1) * size],
                kept=_direction_of(saved.values, d),
                h_n=saved.h_n[d],
                c_n=_direction_of(saved.c_n, d),
                lengths=_contiguous(call.lengths),
                batch_sizes=_contiguous(call.batch_sizes),
                reset=_contiguous(call.reset),
                h_mask=None if call.h_mask is None else call.h_mask[d].contiguous(),
                zone_h=None if call.zone_h is None else _rows(call.zone_h[d]),
                zone_c=None if call.zone_c is None else _rows(call.zone_c[d]),
                mark_every=every,
                marks=_direction_of(saved.marks, d),
            )
        )
    return found


class Cotangents(NamedTuple):
    """Gradients of a loss with respect to the outputs of forward; None means 0."""

    dy: Tensor | None  # [T', B', D*P]
    dh_n: Tensor | None  # [D, B, P]
    dc_n: Tensor | None  # [D, B, H]


class Gradients(NamedTuple):
    """Results of backward; `dx` is empty if it was not requested."""

    dx: Tensor  # [T', B', I]
    dh_0: Tensor  # [D, B, P]
    dc_0: Tensor  # [D, B, H]
    weights: list[Tensor]  # in the order of KernelCall.weights
    dh: Tensor  # [D, T', B', P]: dL/dh_t; empty without an observer
    dc: Tensor  # [D, T', B', H]: dL/dc_t

    def direction(self, d: int, directions: int) -> cells.Weights:
        """Return the weight gradients of one direction."""
        per = len(self.weights) // directions
        own = self.weights[per * d : per * (d + 1)]
        db_ih, db_hh = own[2:4] if per >= 4 else (None, None)
        return cells.Weights(own[0], own[1], db_ih, db_hh, own[-1] if per % 2 else None)


def empty_gradients(wants_dx: bool, observed: bool, call: KernelCall) -> Gradients:
    """Allocate the tensors that backward writes."""
    x, h_0, c_0 = call.x, call.h_0, call.c_0
    rows = (h_0.shape[0], x.shape[0], x.shape[1])
    empty = x.new_empty(0)
    return Gradients(
        x.new_empty(x.shape) if wants_dx else empty,
        h_0.new_empty(h_0.shape),
        empty if c_0 is None else c_0.new_empty(c_0.shape),
        [w.new_empty(w.shape) for w in call.weights],
        x.new_empty((*rows, h_0.shape[2])) if observed else empty,
        empty if c_0 is None or not observed else x.new_empty((*rows, c_0.shape[2])),
    )


def backward(
    cell: str,
    checkpoint: bool,
    clip: float,
    cotangents: Cotangents,
    call: KernelCall,
    saved: Saved,
    *,
    wants_dx: bool,
    observed: bool,
) -> Gradients:
    """Compute the gradients of a layer; with ``observed`` also dL/dh_t and dL/dc_t."""
    assert kernels is not None
    dy, dh_n, dc_n = cotangents
    found = empty_gradients(wants_dx, observed, call)
    layers = _layers(kernels, cell, mark_every(call.steps, checkpoint), call, saved)
    directions, _, size = call.h_0.shape
    gradients: list[Any] = []
    more_dx = torch.empty_like(found.dx) if directions == 2 and wants_dx else None
    for d, layer in enumerate(layers):
        own = found.direction(d, directions)
        part = dy
        if dy is not None and directions == 2:
            part = dy[..., d * size : (d + 1) * size]
        gradients.append(
            kernels.gradient(
                layer=layer,
                dy=None if part is None else _rows(part),
                dh_n=None if dh_n is None else dh_n[d].contiguous(),
                dc_n=None if dc_n is None or call.c_0 is None else dc_n[d].contiguous(),
                clip=clip,
                dx=None if not wants_dx else found.dx if d == 0 else more_dx,
                dw_ih=own.ih,
                dw_hh=own.hh,
                dw_hr=own.hr,
                db_ih=own.bias_ih,
                db_hh=own.bias_hh,
                dh_0=found.dh_0[d],
                dc_0=_direction_of(found.dc_0, d),
                dh_seen=_direction_of(found.dh, d),
                dc_seen=_direction_of(found.dc, d),
            )
        )
    kernels.backward(gradients, torch.get_num_threads())
    if more_dx is not None:
        found.dx.add_(more_dx)
    return found


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _rows(tensor: Tensor) -> Tensor:
    """Make each row [N] of [T, B, N] contiguous; T and B may have any stride."""
    return tensor if tensor.stride(2) == 1 or tensor.shape[2] == 1 else tensor.contiguous()


def _direction_of(tensor: Tensor, direction: int) -> Tensor | None:
    """Return the part of one direction, or None if the tensor is empty (not needed)."""
    return None if tensor.dim() == 1 else tensor[direction].contiguous()


def cpu_features() -> list[str]:
    """Return relevant CPU features, e.g. ``['avx2', 'fma']``; empty without a native build."""
    return kernels.cpu_features() if kernels else []


def instruction_sets() -> list[str]:
    """Return the supported instruction sets, best first; empty without a native build."""
    return kernels.instruction_sets() if kernels else []


@contextmanager
def instruction_set(name: str) -> Generator[None]:
    """Use another instruction set, for tests. Raises ValueError if it is not available."""
    before = kernels.instruction_set_in_use() if kernels else ""
    if not (kernels and kernels.use_instruction_set(name)):
        raise ValueError(
            f"instruction set must be one of {', '.join(instruction_sets())}; got {name!r}"
        )
    try:
        yield
    finally:
        kernels.use_instruction_set(before)


# ------------------------------------------------------------------ registration with torch

_CALL_SCHEMA = (
    "Tensor x, Tensor h_0, Tensor? c_0, Tensor? lengths, Tensor? batch_sizes, Tensor? reset, "
    "Tensor? h_mask, Tensor? zone_h, Tensor? zone_c, Tensor[] weights"
)
library = torch.library.Library("throughtime", "DEF")
library.define(
    f"forward(str cell, bool keep, bool checkpoint, {_CALL_SCHEMA})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
library.define(
    "backward(str cell, bool checkpoint, float clip, bool wants_dx, Tensor? dy, Tensor? dh_n,"
    f" Tensor? dc_n, {_CALL_SCHEMA}, Tensor y, Tensor h_n, Tensor c_n, Tensor gates, Tensor marks)"
    " -> (Tensor, Tensor, Tensor, Tensor[])"
)


def _forward_op(cell: str, keep: bool, checkpoint: bool, *tensors: Any) -> tuple[Tensor, ...]:
    return tuple(forward(cell, keep, checkpoint, KernelCall(*tensors)))


def _forward_fake(cell: str, keep: bool, checkpoint: bool, *tensors: Any) -> tuple[Tensor, ...]:
    call = KernelCall(*tensors)
    marked: Any = 0
    if checkpoint and call.c_0 is not None:  # sqrt(T) is unknown for a dynamic T
        marked = torch.library.get_ctx().new_dynamic_size()
    return tuple(empty_saved(cell, keep, checkpoint, call, marked))


class _BackwardTensors(NamedTuple):
    """The arguments of the backward operator after its options."""

    cotangents: Cotangents
    call: KernelCall
    saved: Saved

    @classmethod
    def of(cls, tensors: Sequence[Any]) -> "_BackwardTensors":
        first, last = len(Cotangents._fields), len(Saved._fields)
        return cls(
            Cotangents(*tensors[:first]),
            KernelCall(*tensors[first:-last]),
            Saved(*tensors[-last:]),
        )


def _backward_op(
    cell: str, checkpoint: bool, clip: float, wants_dx: bool, *tensors: Any
) -> tuple[Any, ...]:
    arguments = _BackwardTensors.of(tensors)
    found = backward(cell, checkpoint, clip, *arguments, wants_dx=wants_dx, observed=False)
    return found.dx, found.dh_0, found.dc_0, found.weights


def _backward_fake(
    cell: str, checkpoint: bool, clip: float, wants_dx: bool, *tensors: Any
) -> tuple[Any, ...]:
    found = empty_gradients(wants_dx, False, _BackwardTensors.of(tensors).call)
    return found.dx, found.dh_0, found.dc_0, found.weights


library.impl("forward", _forward_op, "CPU")
library.impl("backward", _backward_op, "CPU")
torch.library.register_fake("throughtime::forward", _forward_fake, lib=library)
torch.library.register_fake("throughtime::backward", _backward_fake, lib=library)

"""The native kernels as a differentiable function, `sequence`.

There are two `torch.autograd.Function`s: the layer, and its backward pass, which can be
differentiated again (by the plain equations). Both have a `torch.vmap` rule, so that `torch.func`
works: with `torch.library.register_autograd` its derivatives would be wrong or missing.

torch passes their arguments by position. `KernelCall.flat` and `KernelCall.from_flat` convert the
tensors of a call; the options come first, in the order of `_OPTIONS`.
"""

import inspect
from typing import Any

import torch
from torch import Tensor

from throughtime.nn.calls import LayerCall, Saved, Trace
from throughtime.nn.cell_types import CELL_TYPES, CellType
from throughtime.nn.engines import equations, kernels
from throughtime.nn.engines.kernels import Cotangents, Gradients, KernelCall

_OPTIONS = ("cell", "clip", "checkpoint", "trace")
_NO_GRADIENT = (None,) * len(_OPTIONS)


def sequence(call: LayerCall) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute one layer; return output [T',B',D*P] and the last state, [D,B,N] each."""
    kernel_call, options, cell = KernelCall.of(call), call.options, call.cell.native
    tensors, trace = kernel_call.flat(), options.trace
    leaves = (kernel_call.x, kernel_call.h_0, kernel_call.c_0, *kernel_call.weights)
    needs_grad = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in leaves)
    if needs_grad or (transformed() and not torch.compiler.is_compiling()):
        saved: Any = _Sequence.apply(cell, options.clip, options.checkpoint, trace, *tensors)
    elif _needs_dispatcher(tensors):
        saved = torch.ops.throughtime.forward(cell, False, False, *kernel_call)
    else:
        saved = kernels.forward(cell, trace is not None, False, kernel_call)
        if trace is not None:
            trace.saved = saved
    y, h_n, c_n = saved[:3]
    return y, (h_n,) if kernel_call.c_0 is None else (h_n, c_n)


def transformed() -> bool:
    """Return whether a torch.func transform is active."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore


def _needs_dispatcher(tensors: Any) -> bool:
    """Whether a compiler, transform, dispatch mode or tensor subclass must see the operators."""
    return (
        torch.compiler.is_compiling()
        or transformed()
        or torch._C._len_torch_dispatch_stack() > 0  # pyright: ignore
        or any(t is not None and type(t) not in (Tensor, torch.nn.Parameter) for t in tensors)
    )


class _Sequence(torch.autograd.Function):
    """The forward pass: maps the options and the tensors of a `KernelCall` to `Saved`."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        cell: str, clip: float, checkpoint: bool, trace: Trace | None, *tensors: Any
    ) -> Any:
        del clip, trace
        call = KernelCall.from_flat(tensors)
        if _needs_dispatcher(tensors):
            return torch.ops.throughtime.forward(cell, True, checkpoint, *call)
        return tuple(kernels.forward(cell, True, checkpoint, call))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.cell, ctx.clip, ctx.checkpoint, ctx.trace, *tensors = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)
        if ctx.trace is not None:
            ctx.trace.saved = Saved(*(t.detach() for t in output))

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:  # pyright: ignore
        count, stored = len(Saved._fields), ctx.saved_tensors  # read only once
        saved, tensors = Saved(*stored[-count:]), stored[:-count]
        outer, call = Cotangents(*cotangents[:3]), KernelCall.from_flat(tensors)
        wants_dx = ctx.needs_input_grad[len(_OPTIONS)]
        options = (ctx.cell, ctx.checkpoint, ctx.clip)
        if torch.compiler.is_compiling():  # second derivatives are not supported there
            dx, dh_0, dc_0, weights = torch.ops.throughtime.backward(
                *options, wants_dx, *outer, *call, *saved
            )
        elif torch.is_grad_enabled() or _needs_dispatcher((*tensors, *cotangents)):
            found: Any = _Gradients.apply(*options, wants_dx, ctx.trace, *outer, *saved, *tensors)
            dx, dh_0, dc_0, *weights = found
            if ctx.trace is not None:  # a second derivative passes only part of the gradient here
                ctx.trace.fixed = torch.is_grad_enabled()
        else:
            found = _backward(*options, outer, call, saved, wants_dx, ctx.trace)
            dx, dh_0, dc_0, weights = found.dx, found.dh_0, found.dc_0, found.weights
        of_call = KernelCall(
            dx if wants_dx else None,  # pyright: ignore[reportArgumentType]
            dh_0,
            None if call.c_0 is None else dc_0,
            *_no_options(),
            weights=weights,
        )
        return (*_NO_GRADIENT, *of_call.flat())

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """Merge calls that share all but x and states into one larger batch; otherwise loop."""
        options, tensors = args[: len(_OPTIONS)], args[len(_OPTIONS) :]
        call = KernelCall.from_flat(tensors)
        dims: Any = KernelCall.from_flat(in_dims[len(_OPTIONS) :])
        others = call._replace(x=None, h_0=None, c_0=None, weights=[])  # pyright: ignore
        fixed = dims._replace(x=None, h_0=None, c_0=None)
        # only x and states may vary; a packed batch has no batch axis to merge
        if all(d is None for d in fixed.flat()) and all(t is None for t in others.flat()):
            size = info.batch_size

            def merged(t: Any, dim: Any) -> Any:  # [., B, .] of each -> [., size * B, .]
                if t is None:
                    return None
                t = t.unsqueeze(1) if dim is None else t.movedim(dim, 1)
                return t.expand(-1, size, -1, -1).flatten(1, 2)

            together = call._replace(
                x=merged(call.x, dims.x),
                h_0=merged(call.h_0, dims.h_0),
                c_0=merged(call.c_0, dims.c_0),
            )
            found = _Sequence.apply(*options, *together.flat())
            batch = call.h_0.shape[1 if dims.h_0 is None or dims.h_0 > 1 else 2]
            axes = Saved(y=1, h_n=1, c_n=1, values=2, marks=2)  # pyright: ignore
            parts = [
                t.unflatten(a, (size, batch)) if t.dim() > 1 else t.expand(size, -1)
                for t, a in zip(found, axes, strict=True)  # pyright: ignore
            ]
            out_dims = [a if t.dim() > 2 else 0 for t, a in zip(parts, axes, strict=True)]
            return tuple(parts), tuple(out_dims)
        return _loop_over_calls(_Sequence, info.batch_size, in_dims, args)


def _no_options() -> tuple[None, ...]:
    """Return None for each tensor of a call without a gradient: lengths, resets, masks."""
    return (None,) * (len(KernelCall._fields) - 4)


def _backward(
    cell: str,
    checkpoint: bool,
    clip: float,
    cotangents: Cotangents,
    call: KernelCall,
    saved: Saved,
    wants_dx: bool,
    trace: Trace | None,
) -> Gradients:
    """Run the backward kernels, and store the gradients of all states in the trace."""
    found = kernels.backward(
        cell,
        checkpoint,
        clip,
        cotangents,
        call,
        saved,
        wants_dx=wants_dx,
        observed=trace is not None,
    )
    if trace is not None and not trace.fixed:
        states = (found.dh,) if call.c_0 is None else (found.dh, found.dc)
        trace.gradients = tuple(map(trace.reduced, states))
    return found


class _Gradients(torch.autograd.Function):
    """The backward pass, as a function that can be differentiated again.

    Maps options, `Cotangents`, `Saved` and the tensors of a `KernelCall` to the gradients of x,
    h_0, c_0 and the weights. Its own derivative is computed by the plain equations.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        cell: str, checkpoint: bool, clip: float, wants_dx: bool, trace: Trace | None, *rest: Any
    ) -> Any:
        cotangents, saved, tensors = _split(rest)
        call = KernelCall.from_flat(tensors)
        if _needs_dispatcher(rest):
            dx, dh_0, dc_0, weights = torch.ops.throughtime.backward(
                cell, checkpoint, clip, wants_dx, *cotangents, *call, *saved
            )
        else:
            found = _backward(cell, checkpoint, clip, cotangents, call, saved, wants_dx, trace)
            dx, dh_0, dc_0, weights = found.dx, found.dh_0, found.dc_0, found.weights
        return (dx, dh_0, dc_0, *weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.cell, _, ctx.clip, ctx.wants_dx, _, *rest = inputs
        cotangents, _, tensors = _split(rest)
        ctx.save_for_backward(*cotangents, *tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> Any:  # pyright: ignore
        if ctx.clip:
            raise NotImplementedError(
                "clip_hidden_grad has no second derivative: the clipped gradient is not the "
                "gradient of any function. Set it to 0 to differentiate gradients again"
            )
        count, stored = len(Cotangents._fields), ctx.saved_tensors
        cotangents, call = stored[:count], KernelCall.from_flat(stored[count:])
        cell, two_states = _cell(ctx.cell), call.c_0 is not None
        present = [c is not None for c in cotangents]

        def gradients(inner: tuple[Tensor, ...], *leaves: Tensor) -> tuple[Tensor, ...]:
            def layer(*leaves: Tensor) -> tuple[Tensor, ...]:
                x, h_0, *rest = leaves
                c_0, weights = (rest[0], rest[1:]) if two_states else (None, rest)
                again = call._replace(x=x, h_0=h_0, c_0=c_0, weights=list(weights))
                y, state = equations.layer(_as_layer_call(cell, again))
                return tuple(r for r, p in zip((y, *state), present, strict=False) if p)

            pull: Any = torch.func.vjp(layer, *leaves)[1]
            return pull(inner)

        leaves = tuple(t for t in (call.x, call.h_0, call.c_0, *call.weights) if t is not None)
        inner = tuple(c for c in cotangents if c is not None)
        pulled: Any = torch.func.vjp(gradients, inner, *leaves)
        found, pull = pulled[:2]
        wanted = outer if two_states else (*outer[:2], *outer[3:])
        filled = tuple(
            torch.zeros_like(f) if o is None or (i == 0 and not ctx.wants_dx) else o
            for i, (o, f) in enumerate(zip(wanted, found, strict=True))
        )
        of_inner, *of_leaves = pull(filled)
        back = iter(of_inner)
        of_cotangents = tuple(next(back) if p else None for p in present)
        x, h_0, *rest = of_leaves
        c_0, weights = (rest[0], rest[1:]) if two_states else (None, rest)
        of_call = KernelCall(x, h_0, c_0, *_no_options(), weights=list(weights))
        of_saved = (None,) * len(Saved._fields)
        return (None,) * 5 + of_cotangents + of_saved + of_call.flat()

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """Loop over the calls, because each has its own weight gradients."""
        return _loop_over_calls(_Gradients, info.batch_size, in_dims, args)


for _function in (_Sequence, _Gradients):
    # torch reads the signature at every call; computing it each time would take 20 us
    _function.forward.__signature__ = inspect.signature(_function.forward)  # pyright: ignore


def _split(tensors: Any) -> tuple[Cotangents, Saved, tuple[Any, ...]]:
    """Split the tensors of `_Gradients` into cotangents, saved values and call."""
    first = len(Cotangents._fields)
    last = first + len(Saved._fields)
    return Cotangents(*tensors[:first]), Saved(*tensors[first:last]), tuple(tensors[last:])


def _cell(native: str) -> CellType:
    return next(cell for cell in CELL_TYPES.values() if cell.native == native)


def _as_layer_call(cell: CellType, call: KernelCall) -> LayerCall:
    """Convert to the call format of the equations, without clipping."""
    two_states = call.c_0 is not None
    zones = (call.zone_h, call.zone_c)[: 2 if two_states else 1]
    return LayerCall(
        cell,
        call.x,
        (call.h_0,) if call.c_0 is None else (call.h_0, call.c_0),
        tuple(call.direction(d) for d in range(call.h_0.shape[0])),
        lengths=call.lengths,
        batch_sizes=call.batch_sizes,
        reset=call.reset,
        h_mask=call.h_mask,
        zones=zones if call.zone_h is not None else (),
    )


def _loop_over_calls(function: Any, size: int, in_dims: Any, args: Any) -> Any:
    def pick(value: Any, dim: Any, i: int) -> Any:
        return value if dim is None else value.select(dim, i)

    found = [
        function.apply(*(pick(a, d, i) for a, d in zip(args, in_dims, strict=True)))
        for i in range(size)
    ]
    stacked = tuple(torch.stack(parts) for parts in zip(*found, strict=True))
    return stacked, (0,) * len(stacked)

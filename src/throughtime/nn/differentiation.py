"""The kernels as one differentiable function: `sequence`.

Two `torch.autograd.Function`s: the layer, and its gradients, which are a function too and can be
differentiated again (by the plain equations). Both know what `torch.vmap` asks of them, so that
`torch.func` works: `torch.library.register_autograd` would give it wrong or no derivatives.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime.nn import native
from throughtime.nn.calls import Given, Kept, Seen, by_equations
from throughtime.nn.native import Gradients

_OPTIONS = 9  # Given's tensors before its weights


@dataclass(frozen=True)
class How:
    """What is no tensor."""

    cell: str  # RNN_TANH, RNN_RELU, LSTM or GRU
    clip: float = 0.0  # bound on the norm of dL/dh_t, per sample; 0 for none
    checkpoint: bool = False
    seen: Seen | None = None


def sequence(how: How, given: Given) -> tuple[Tensor, Tensor, Tensor | None]:
    """One layer by the kernels: y [T',B',D*P], h_n [D,B,P], c_n [D,B,H] or None."""
    tensors = (*given[:_OPTIONS], *given.weights)
    wanted = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (given.x, given.h_0, given.c_0, *given.weights)
    )
    if wanted or (transformed() and not torch.compiler.is_compiling()):
        found: Any = _Sequence.apply(how.cell, how.clip, how.checkpoint, how.seen, *tensors)
    elif _watched(tensors):
        found = torch.ops.throughtime.forward(how.cell, False, False, *given)
    else:
        found = native.forward(how.cell, how.seen is not None, False, given)
        if how.seen is not None:
            how.seen.kept = found
    y, h_n, c_n = found[:3]
    return y, h_n, c_n if how.cell == "LSTM" else None


def transformed() -> bool:
    """Whether torch.func transforms this call."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore


def _watched(tensors: Any) -> bool:
    """Whether a compiler, a transform or a mode must see the operators."""
    return (
        torch.compiler.is_compiling()
        or transformed()
        or torch._C._len_torch_dispatch_stack() > 0  # pyright: ignore
        or any(t is not None and type(t) not in (Tensor, torch.nn.Parameter) for t in tensors)
    )


def _given(tensors: tuple[Any, ...]) -> Given:
    return Given(*tensors[:_OPTIONS], weights=list(tensors[_OPTIONS:]))


class _Sequence(torch.autograd.Function):
    """forward(cell, clip, checkpoint, seen, *tensors): the tensors of `Given`, weights last."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        cell: str, clip: float, checkpoint: bool, seen: Seen | None, *tensors: Any
    ) -> Any:
        del clip, seen
        if _watched(tensors):
            return torch.ops.throughtime.forward(
                cell, True, checkpoint, *tensors[:_OPTIONS], list(tensors[_OPTIONS:])
            )
        return tuple(native.forward(cell, True, checkpoint, _given(tensors)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.cell, ctx.clip, ctx.checkpoint, ctx.seen, *tensors = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)
        if ctx.seen is not None:
            ctx.seen.kept = Kept(*(t.detach() for t in output))

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:  # pyright: ignore
        saved = ctx.saved_tensors
        tensors, kept = saved[:-5], Kept(*saved[-5:])
        wants_dx = ctx.needs_input_grad[4]
        if torch.compiler.is_compiling():  # no derivatives of derivatives in there
            dx, dh_0, dc_0, weights = torch.ops.throughtime.backward(
                ctx.cell,
                ctx.checkpoint,
                ctx.clip,
                wants_dx,
                *cotangents[:3],
                *_given(tensors),
                *kept,
            )
        elif torch.is_grad_enabled() or _watched((*tensors, *cotangents)):
            how = (ctx.cell, ctx.clip, ctx.checkpoint, wants_dx, ctx.seen)
            found: Any = _Gradients.apply(*how, *cotangents[:3], *kept, *tensors)
            dx, dh_0, dc_0, *weights = found
            if ctx.seen is not None:  # what comes back when these are differentiated is a part
                ctx.seen.fixed = torch.is_grad_enabled()
        else:
            dx, dh_0, dc_0, weights = _backward(
                ctx.cell,
                ctx.checkpoint,
                ctx.clip,
                wants_dx,
                ctx.seen,
                cotangents[:3],
                _given(tensors),
                kept,
            )[:4]
        first = (dx if wants_dx else None, dh_0, None if tensors[2] is None else dc_0)
        return (None,) * 4 + first + (None,) * (_OPTIONS - 3) + tuple(weights)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """Inputs with one set of weights: more samples. Else one call each."""
        cell, clip, checkpoint, seen, *tensors = args
        dims = in_dims[4:]
        # x and states in the batch; nothing else may vary, and a packed batch has no such axis
        if all(d is None for d in dims[3:]) and all(t is None for t in tensors[3:_OPTIONS]):
            size = info.batch_size

            def merged(t: Any, dim: Any) -> Any:  # [., B, .] of each -> [., size * B, .]
                if t is None:
                    return None
                t = t.unsqueeze(1) if dim is None else t.movedim(dim, 1)
                return t.expand(-1, size, -1, -1).flatten(1, 2)

            first = [merged(t, d) for t, d in zip(tensors[:3], dims[:3], strict=True)]
            found = _Sequence.apply(cell, clip, checkpoint, seen, *first, *tensors[3:])
            batch = tensors[1].shape[1 if dims[1] is None or dims[1] > 1 else 2]
            axes = (1, 1, 1, 2, 2)
            parts = [
                t.unflatten(a, (size, batch)) if t.dim() > 1 else t.expand(size, -1)
                for t, a in zip(found, axes, strict=True)  # pyright: ignore
            ]
            places = [a if t.dim() > 2 else 0 for t, a in zip(parts, axes, strict=True)]
            return tuple(parts), tuple(places)
        return _one_by_one(_Sequence, info.batch_size, in_dims, args)


def _backward(
    cell: str,
    checkpoint: bool,
    clip: float,
    wants_dx: bool,
    seen: Seen | None,
    cotangents: tuple[Any, Any, Any],
    given: Given,
    kept: Kept,
) -> Gradients:
    """By the kernels, and for those who look."""
    wants = (wants_dx, seen is not None)
    found = native.backward(cell, checkpoint, clip, wants, cotangents, given, kept)
    if seen is not None and not seen.fixed:
        seen.dh = seen.reduced(found.dh_seen)
        seen.dc = None if given.c_0 is None else seen.reduced(found.dc_seen)
    return found


class _Gradients(torch.autograd.Function):
    """forward(cell, clip, checkpoint, wants_dx, seen, dy, dh_n, dc_n, *kept, *tensors): gradients.

    Of x, h_0, c_0 and the weights. Their own derivative goes through the plain equations.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        cell: str, clip: float, checkpoint: bool, wants_dx: bool, seen: Seen | None, *rest: Any
    ) -> Any:
        cotangents, kept, tensors = rest[:3], rest[3:8], rest[8:]
        given = _given(tensors)
        if _watched(rest):
            dx, dh_0, dc_0, weights = torch.ops.throughtime.backward(
                cell, checkpoint, clip, wants_dx, *cotangents, *given, *kept
            )
        else:
            dx, dh_0, dc_0, weights = _backward(
                cell, checkpoint, clip, wants_dx, seen, cotangents, given, Kept(*kept)
            )[:4]
        return (dx, dh_0, dc_0, *weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.cell, ctx.clip, _, ctx.wants_dx, _, *rest = inputs
        ctx.save_for_backward(*rest[:3], *rest[8:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> Any:  # pyright: ignore
        if ctx.clip:
            raise NotImplementedError(
                "clip_hidden_grad has no second derivative: the clipped gradient is no gradient "
                "of any function. Set it to 0 where gradients are differentiated again"
            )
        cotangents, tensors = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
        given = _given(tensors)
        lstm = ctx.cell == "LSTM"
        present = [c is not None for c in cotangents]

        def gradients(inner: tuple[Tensor, ...], *leaves: Tensor) -> tuple[Tensor, ...]:
            def layer(*leaves: Tensor) -> tuple[Tensor, ...]:
                x, h_0, *rest = leaves
                c_0, weights = (rest[0], rest[1:]) if lstm else (None, rest)
                again = given._replace(x=x, h_0=h_0, c_0=c_0, weights=list(weights))
                results = by_equations(ctx.cell, again)
                return tuple(r for r, p in zip(results, present, strict=False) if p)

            pull: Any = torch.func.vjp(layer, *leaves)[1]
            return pull(inner)

        first = (given.x, given.h_0, given.c_0)
        leaves = tuple(t for t in (*first, *given.weights) if t is not None)
        inner = tuple(c for c in cotangents if c is not None)
        pulled: Any = torch.func.vjp(gradients, inner, *leaves)
        found, pull = pulled[:2]
        wanted = outer if lstm else (*outer[:2], *outer[3:])
        filled = tuple(
            torch.zeros_like(f) if o is None or (i == 0 and not ctx.wants_dx) else o
            for i, (o, f) in enumerate(zip(wanted, found, strict=True))
        )
        of_inner, *of_leaves = pull(filled)
        back = iter(of_inner)
        of_cotangents = tuple(next(back) if p else None for p in present)
        x, h_0, *rest = of_leaves
        c_0, weights = (rest[0], rest[1:]) if lstm else (None, rest)
        middle = (None,) * 5
        return (
            *(None,) * 5,
            *of_cotangents,
            *middle,
            x,
            h_0,
            c_0,
            *(None,) * (_OPTIONS - 3),
            *weights,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """Weights' gradients for each: one call each."""
        return _one_by_one(_Gradients, info.batch_size, in_dims, args)


for _function in (_Sequence, _Gradients):
    # torch binds the arguments of every call to this, and to find it out anew takes 20 us
    _function.forward.__signature__ = inspect.signature(_function.forward)  # pyright: ignore


def _one_by_one(function: Any, size: int, in_dims: Any, args: Any) -> Any:
    def pick(value: Any, dim: Any, i: int) -> Any:
        return value if dim is None else value.select(dim, i)

    found = [
        function.apply(*(pick(a, d, i) for a, d in zip(args, in_dims, strict=True)))
        for i in range(size)
    ]
    stacked = tuple(torch.stack(parts) for parts in zip(*found, strict=True))
    return stacked, (0,) * len(stacked)

"""The only door from torch to C++, and the choice of the path a layer's numbers take.

Three paths compute the same mathematics: the project's kernels (``native``), torch's own fused
operators (``torch``), and the plain equations of ``cells.py`` (``oracle``). Which one runs, and
why, is always one call away: `throughtime.explain_path`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.nn import cells

try:
    from throughtime import _native as kernels  # pyright: ignore[reportMissingModuleSource]

    unavailable = ""
except ImportError as error:  # a source tree that was never built
    kernels = None
    unavailable = str(error)

PATHS = ("native", "torch", "oracle")


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


def choose_path(beyond_native: str, beyond_torch: str) -> Path:
    """The path of a call. The arguments name what each path lacks for it, or are empty."""
    forced = _forced.get()
    if forced:
        lacks = {"native": beyond_native, "torch": beyond_torch}.get(forced, "")
        if lacks:
            raise ValueError(f"path {forced!r} cannot compute this call: it has no {lacks}")
        return Path(forced, "forced by forced_path()")
    if not beyond_native:
        return Path("native", "the project's kernels")
    if not beyond_torch:
        return Path(
            "torch", f"torch's fused operator; the project's kernels have no {beyond_native}"
        )
    return Path("oracle", f"the plain equations; torch's operators have no {beyond_torch}")


def beyond_native(*tensors: Tensor | None) -> str:
    """What the kernels lack for a call on these tensors, or nothing."""
    if kernels is None:
        return f"build here ({unavailable})"
    if torch.compiler.is_compiling():
        return "torch.compile"
    if _transformed():
        return "torch.func transforms or forward-mode derivatives"
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            return f"tensors of type {type(tensor).__name__}"
        if tensor.device.type != "cpu":
            return f"device {tensor.device.type!r}"
        if tensor.dtype not in (torch.float32, torch.float64):
            return f"dtype {tensor.dtype}"
        if not tensor.numel():
            return "empty tensors"
    return "autocast" if torch.is_autocast_enabled("cpu") else ""


def _transformed() -> bool:
    """Whether vmap, grad, jvp or a dual number watches; they cannot look into C++."""
    from torch.autograd import forward_ad

    level: int = forward_ad._current_level  # pyright: ignore[reportPrivateUsage]
    return level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore


def sequence(
    kind: str,
    x: Tensor,
    state: cells.State,
    weights: cells.Weights,
    *,
    nonlinearity: str = "tanh",
    backwards: bool = False,
) -> tuple[Tensor, cells.State]:
    """As `cells.sequence`, computed by the kernels: x [T,B,I] to output [T,B,H] and last state."""
    c_0 = state[1] if kind == "LSTM" else None
    given = (x, state[0], c_0, weights.ih, weights.hh, weights.bias_ih, weights.bias_hh)
    how = (kind, nonlinearity, backwards)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        y, h_n, c_n = _Sequence.apply(how, *given)  # pyright: ignore
    else:
        y, h_n, c_n, _ = _forward(how, *given, keep=False)
    return y, ((h_n,) if c_n is None else (h_n, c_n))


def _forward(
    how: tuple[str, str, bool],
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor | None, ...]]:
    """Output [T,B,H], last states [B,H], and what the backward pass needs if it is kept."""
    assert kernels is not None
    kind, nonlinearity, backwards = how
    (steps, batch, _), hidden = x.shape, w_hh.shape[1]
    y = x.new_empty(steps, batch, hidden)
    gates = x.new_empty(steps, batch, cells.GATES[kind], hidden) if keep else None
    inner = x.new_empty(steps, batch, hidden) if keep and kind == "LSTM" else None
    r_new = x.new_empty(steps, batch, hidden) if keep and kind == "GRU" else None
    c_n = None if c_0 is None else x.new_empty(batch, hidden)
    kernels.forward(
        _cell(kind, nonlinearity),
        backwards,
        *(_plain(t) for t in (_rows(x), w_ih, w_hh, b_ih, b_hh, h_0, c_0)),
        y,
        gates,
        inner,
        r_new,
        c_n,
        torch.get_num_threads(),
    )
    return y, y[0 if backwards else -1].clone(), c_n, (gates, inner, r_new)


class _Sequence(torch.autograd.Function):
    """One layer in one direction; its backward is the kernels' too, and differentiable."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, how: tuple[str, str, bool], *given: Any
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        y, h_n, c_n, kept = _forward(how, *given, keep=True)
        ctx.how = how
        ctx.save_for_backward(*given, y, *kept)
        ctx.set_materialize_grads(False)
        return y, h_n, c_n

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None
    ) -> tuple[Any, ...]:
        assert kernels is not None
        kind, nonlinearity, backwards = ctx.how
        inputs = ctx.saved_tensors[:7]
        if torch.is_grad_enabled():  # create_graph: these gradients will be differentiated
            return (None, *_oracle_gradients(ctx.how, inputs, (dy, dh_n, dc_n)))
        x, h_0, c_0, w_ih, w_hh, b_ih, _, y, gates, inner, r_new = ctx.saved_tensors

        def like(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else torch.empty(tensor.shape, dtype=tensor.dtype)

        dx = like(x) if ctx.needs_input_grad[1] else None
        dw_ih, dw_hh, db_ih, db_hh = like(w_ih), like(w_hh), like(b_ih), like(b_ih)
        dh_0, dc_0 = like(h_0), like(c_0)
        kernels.backward(
            _cell(kind, nonlinearity),
            backwards,
            *(_plain(t) for t in (_rows(x), w_ih, w_hh, h_0, c_0)),
            *(y.detach(), gates, inner, r_new),
            None if dy is None else dy.contiguous().detach(),
            *(_plain(t) for t in (dh_n, dc_n)),
            *(dx, dw_ih, dw_hh, db_ih, db_hh, dh_0, dc_0),
            torch.get_num_threads(),
        )
        return None, dx, dh_0, dc_0, dw_ih, dw_hh, db_ih, db_hh


def _oracle_gradients(
    how: tuple[str, str, bool],
    inputs: tuple[Tensor | None, ...],
    cotangents: tuple[Tensor | None, ...],
) -> list[Tensor | None]:
    """The same gradients by the plain equations, as a graph that can be differentiated again."""
    kind, nonlinearity, backwards = how
    x, h_0, c_0, *weights = inputs
    assert x is not None
    assert h_0 is not None
    state = (h_0,) if c_0 is None else (h_0, c_0)
    y, last = cells.sequence(
        kind,
        x,
        state,
        cells.Weights(*weights),  # pyright: ignore[reportArgumentType]
        nonlinearity=nonlinearity,
        backwards=backwards,
    )
    pairs = [(o, g) for o, g in zip((y, *last), cotangents, strict=False) if g is not None]
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    found = iter(
        torch.autograd.grad(
            [o for o, _ in pairs],
            wanted,
            [g for _, g in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return [next(found) if t is not None and t.requires_grad else None for t in inputs]


def _cell(kind: str, nonlinearity: str) -> Any:
    assert kernels is not None
    return getattr(kernels.Cell, f"ELMAN_{nonlinearity.upper()}" if kind == "RNN" else kind)


def _plain(tensor: Tensor | None) -> Tensor | None:
    """As the kernels read it: no graph, no gaps (but for x, which `_rows` has seen to)."""
    if tensor is None:
        return None
    return tensor.detach() if tensor.dim() == 3 else tensor.detach().contiguous()


def _rows(x: Tensor) -> Tensor:
    """x [T,B,I] with its features side by side; steps and samples may lie anywhere."""
    return x if x.stride(2) == 1 or x.shape[2] == 1 else x.contiguous()


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

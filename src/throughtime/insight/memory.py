"""Measures of the memory of a recurrent layer or model.

    with throughtime.observe(model) as seen:
        model(x)
    throughtime.gradient_by_lag(seen["l0"]).norms  # gradient norms 0, 1, 2 ... steps back

Most measures take a `View`: the weights, inputs and states of a layer observed on real data.
`context_curve` takes a whole model. For the reverse direction of a layer, lags are counted in the
direction of that layer.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.insight.views import View

_CHUNK = 1 << 22  # maximum number of Jacobian elements computed at once


class LagProfile(NamedTuple):
    """Gradient norms k steps back, k = 0, 1, ..., K-1, for a gradient of norm 1 at h_t.

    Medians over samples and over the chosen steps t; NaN at lags that no sample has.
    """

    norms: Tensor  # [K]: norm of the gradient of the state: h_{t-k}, for an LSTM with c_{t-k}
    low: Tensor  # [K]: first quartile of `norms`
    high: Tensor  # [K]: third quartile
    hidden: Tensor  # [K]: norm of the gradient of h_{t-k} only
    cell: Tensor | None  # [K]: norm of the gradient of c_{t-k} only; LSTM
    inputs: Tensor  # [K]: norm of the gradient of x_{t-k}


def gradient_by_lag(
    view: View, *, lags: int | None = None, ends: int = 8, seed: int = 0
) -> LagProfile:
    """Measure how much of the gradient of h_t, in a random direction, reaches h_{t-k}.

    >>> with throughtime.observe(layer) as seen:
    ...     output, state = layer(x)
    >>> profile = throughtime.gradient_by_lag(seen["l0"])
    >>> profile.norms[50] / profile.norms[0]

    The gradient starts at a single step t: with a loss at every step, gradients from near steps
    would hide those from far steps. A linear RNN h = w h + x gives |w|^k (Pascanu et al. 2013,
    eq. 5 to 7). Lags do not cross resets.

    Args:
        view: An observed layer.
        lags: Maximum number of lags K; by default the number of steps.
        ends: Number of steps t per sample, spread over the last half of the sample.
        seed: Random seed for the directions.

    Returns:
        Norms by lag, [K]: medians and quartiles over samples and steps.

    Raises:
        ValueError: If the layer has computed no step, or if ``lags`` or ``ends`` is less than 1.
    """
    steps, batch = view.inside.shape
    if not view.inside.any():
        raise ValueError("the observed layer computed no step, so there is nothing to measure")
    if ends < 1 or (lags is not None and lags < 1):
        raise ValueError(f"lags and ends must be 1 or more; got lags={lags}, ends={ends}")
    count = steps if lags is None else min(lags, steps)
    back, size = view.pull(), view.hidden.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    lengths, samples = view.inside.sum(dim=0), torch.arange(batch)
    found: list[tuple[Tensor, ...]] = []
    apart = max(1, steps // (2 * ends))
    for offset in range(0, max(1, min(ends * apart, (steps + 1) // 2)), apart):
        end = (lengths - 1 - offset).clamp(min=0) if not view.backwards else lengths * 0 + offset
        there = (offset < lengths).nonzero().flatten()
        direction = torch.randn(batch, size, generator=generator, dtype=torch.float64)
        direction = (direction / direction.norm(dim=-1, keepdim=True)).to(view.hidden)
        dy = torch.zeros_like(view.hidden)
        dy[end[there], samples[there]] = direction[there]
        (dh, *further), dx = back(dy)
        whole = torch.cat([dh, *further], dim=-1) if further else dh
        parts = (whole, dh, dx, *further)
        times, reached = _lags(view, end, offset < lengths, count)
        found.append(
            tuple(
                p.norm(dim=-1)[times, samples].masked_fill(~reached, math.nan).double()
                for p in parts
            )
        )
    whole, hidden, inputs, *cell = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))

    def quantile(values: Tensor, q: float = 0.5) -> Tensor:
        return torch.nanquantile(values, q, dim=1)

    return LagProfile(
        norms=quantile(whole),
        low=quantile(whole, 0.25),
        high=quantile(whole, 0.75),
        hidden=quantile(hidden),
        cell=quantile(cell[0]) if cell else None,
        inputs=quantile(inputs),
    )


def _lags(view: View, end: Tensor, there: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the step of each lag [K, B], and whether it lies in the sample and after its reset."""
    steps = view.inside.shape[0]
    lag = torch.arange(count).unsqueeze(1)
    times = end + lag if view.backwards else end - lag
    reached = there & (times >= 0) & (times < steps)
    times = times.clamp(0, steps - 1)
    samples = torch.arange(times.shape[1])
    reached &= view.inside[times, samples]
    # a reset at lag k hides all lags after it
    starts = view.begins[times, samples] & reached
    crossed = torch.cat([torch.zeros(1, times.shape[1]).bool(), starts[:-1]]).cumsum(dim=0)
    return times, reached & (crossed == 0)


def _jacobians(view: View, times: Tensor, samples: Tensor) -> Tensor:
    """Return d(new state)/d(previous state) of N steps, [N, S, S]; S = H, LSTM: P + H."""
    before = tuple(s[times, samples] for s in view.state_before)
    sizes = [s.shape[-1] for s in before]

    def total(
        state: Tensor,
    ) -> Tensor:  # samples are independent, so the sum does not mix their gradients
        new = view.steps(times, samples, tuple(state.split(sizes, dim=-1)))
        return torch.cat(new, dim=-1).sum(dim=0)

    jacobian: Any = torch.func.jacrev(total)(torch.cat(before, dim=-1))  # [S, N, S]
    return jacobian.detach().movedim(0, 1)


def _chunks(view: View, times: Tensor, samples: Tensor) -> Generator[tuple[slice, Tensor]]:
    """Yield the Jacobians of many steps in chunks of limited size."""
    size = sum(s.shape[-1] for s in view.state)
    room = max(1, _CHUNK // (size * size))
    for first in range(0, len(times), room):
        part = slice(first, first + room)
        yield part, _jacobians(view, times[part], samples[part])


def jacobian_spectrum(view: View, steps: Sequence[int] | None = None) -> Tensor:
    """Compute the singular values of the Jacobian of single steps, ``[N,B,S]``, largest first.

    >>> jacobian_spectrum(seen["l0"], steps=[10, 20])[..., 0]  # the largest, [2,B]

    They tell how much one step can stretch or shrink a change of the state. S = H; for the LSTM
    S = P + H, h and c together. If all are below 1, every gradient shrinks (Pascanu et al. 2013).

    Args:
        view: An observed layer.
        steps: The steps to measure; by default all.

    Returns:
        Singular values [N,B,S]; NaN beyond a sample's length, and 0 at steps after a reset.
    """
    length, batch = view.inside.shape
    times = torch.arange(length) if steps is None else torch.tensor(list(steps), dtype=torch.long)
    size = sum(s.shape[-1] for s in view.state)
    found = view.hidden.new_full((len(times), batch, size), math.nan)
    rows, samples = view.inside[times].nonzero().T
    for part, jacobians in _chunks(view, times[rows], samples):
        found[rows[part], samples[part]] = torch.linalg.svdvals(jacobians)
    found[view.begins[times]] = 0.0
    return found


class LyapunovSpectrum(NamedTuple):
    """Growth rates of small changes of the state; the factor per step is e^(exponent)."""

    exponents: Tensor  # [S], per step, largest first; mean over samples
    by_sample: Tensor  # [B,S], each largest first; NaN for a sample without a step
    steps: int  # number of steps, summed over samples


def lyapunov_spectrum(view: View) -> LyapunovSpectrum:
    """Compute how fast small changes of the state grow or decay along the observed trajectory.

    >>> throughtime.lyapunov_spectrum(seen["l0"]).exponents[0]  # > 0: chaotic; -0.1: 10 steps

    Uses the whole state, h and the LSTM's c: with W_hh = 0 and a forget gate of 0.99 the state
    still remembers 100 steps. Computed by QR of the products of step Jacobians (Benettin et al.
    1980; for recurrent networks Engelken et al. 2023). For a linear RNN the exponents are the
    logarithms of the absolute eigenvalues: their sum is exact at any length, each one to O(1/T).
    A reset starts a new product and does not count as a step. An exponent is -inf if a direction
    is forgotten in one step.

    Args:
        view: An observed layer.

    Returns:
        Exponents [S] per step, largest first, and those of each sample.

    Raises:
        ValueError: If no step can be measured.
    """
    steps, batch = view.inside.shape
    size = sum(s.shape[-1] for s in view.state)
    measured = view.inside & ~view.begins
    if not measured.any():
        raise ValueError(
            "the observed layer computed no step, or only steps after a reset: nothing to measure"
        )
    order = range(steps - 1, -1, -1) if view.backwards else range(steps)
    pairs = [(t, b) for t in order for b in measured[t].nonzero().flatten().tolist()]
    times, samples = torch.tensor(pairs).T
    basis = torch.eye(size, dtype=torch.float64).repeat(batch, 1, 1)
    growth = torch.zeros(batch, size, dtype=torch.float64)
    for part, jacobians in _chunks(view, times, samples):
        at = 0
        for t, count in zip(*times[part].unique_consecutive(return_counts=True), strict=True):
            del t
            rows = samples[part][at : at + count]
            product = jacobians[at : at + count].double() @ basis[rows]
            basis[rows], triangle = torch.linalg.qr(product)
            growth[rows] += triangle.diagonal(dim1=1, dim2=2).abs().log()
            at += int(count)
    by_sample = (growth / measured.sum(dim=0).unsqueeze(1)).sort(dim=1, descending=True).values
    mean = by_sample[measured.any(dim=0)].mean(dim=0)
    return LyapunovSpectrum(mean, by_sample, int(measured.sum()))


class TimeScales(NamedTuple):
    """Number of steps for which a gate keeps the state."""

    gate: str  # name of the gate: "forget", "update"
    units: Tensor  # [H], steps
    median: float


def time_scales(view: View) -> TimeScales:
    """Compute after how many steps the product of a unit's gate values falls to 1/e.

    >>> throughtime.time_scales(seen["l0"]).median  # 1.44 at torch's initialization

    -1 / (mean of ln f) over steps and samples, f the LSTM's forget gate or the GRU's update gate
    (Tallec and Ollivier 2018, sec. 1), or f = 1 - z for a gate that keeps the state near 0.
    Infinite if f is always 1, 0 if f is 0. Does not include memory through the recurrent product:
    for that, see `lyapunov_spectrum`.

    Args:
        view: An observed layer.

    Returns:
        The name of the gate, the steps of each unit [H], and their median.

    Raises:
        ValueError: For an RNN, which has no gate.
    """
    gate = view.cell_type.keeps
    if not gate:
        raise ValueError(f"an {view.kind} has no gate that keeps its state; use lyapunov_spectrum")
    logs = kept_share(view).double().log().mean(dim=0)
    units = torch.where(logs == 0, math.inf, -1.0 / logs)
    return TimeScales(gate, units, float(units.median()))


def kept_share(view: View) -> Tensor:
    """Return the share of the state that the gate keeps, for all steps of all samples, [N, H]."""
    values = view.gates[view.cell_type.keeps][view.inside]
    return values if view.cell_type.keeps_when_open else 1 - values


_EXCESS = 0.05  # of the largest excess of a loss: less is no memory
_LOSS = 0.01  # of the loss with the whole context: less is no memory
_NEAR = 17  # contexts to try between two, near a memory horizon


class ContextCurve(NamedTuple):
    """Loss of a model when the steps older than the last k are those of another item."""

    steps: tuple[int, ...]  # k, ascending, from 0; the last is the whole context
    loss: Tensor  # [N]: mean over items
    error: Tensor  # [N]: standard error of that mean
    items: Tensor  # [N,B]: the loss of each item


def context_curve(
    model: Callable[[Tensor], Any],
    x: Tensor,
    loss: Callable[[Any], Tensor],
    *,
    steps: Sequence[int] | None = None,
    time_dim: int = 1,
) -> ContextCurve:
    """Compute the loss when only the last k steps are an item's own.

    >>> curve = context_curve(model, x, lambda y: (y[:, -1] - target).square().mean(-1))
    >>> throughtime.memory_horizon(curve)

    Older steps are replaced by those of another item, never removed: a network that was trained on
    whole contexts would meet an input that it never saw. So it works for every model, including
    dense ones. Without ``steps``, k = 0, 1, 2, 4, ... are tried, then every k near the memory
    horizon. A module is called in ``eval()`` mode; its previous mode is restored.

    Args:
        model: Called with inputs of the shape of x.
        x: Input of at least 2 items; the batch axis is 0, or 1 if ``time_dim`` is 0.
        loss: Maps the output of the model to one number per item, [B].
        steps: Values of k; the whole context is added.
        time_dim: The time axis.

    Returns:
        Loss by k, its standard error, and the loss of each item.

    Raises:
        ValueError: If steps exceed the context, or if the loss is not one number per item.
    """
    length, items = x.shape[time_dim], x.shape[1 if time_dim == 0 else 0]
    other = x.roll(max(1, items // 2), dims=1 if time_dim == 0 else 0)  # of another item

    def replaced(k: int) -> Tensor:
        older = other.narrow(time_dim, 0, length - k)
        return torch.cat([older, x.narrow(time_dim, length - k, k)], dim=time_dim)

    def losses(k: int) -> Tensor:
        value = loss(model(replaced(k)))
        if value.shape != (items,):
            raise ValueError(
                f"loss must return one number for each of {items} items; got {list(value.shape)}"
            )
        return value.double()

    with torch.no_grad(), _eval_mode(model):
        return curve_of(losses, length, steps)


def curve_of(
    losses: Callable[[int], Tensor], length: int, steps: Sequence[int] | None = None
) -> ContextCurve:
    """The curve of a function that gives the loss of each item [B] for the last k steps."""
    powers = (2**n for n in range(length.bit_length()))
    sizes = sorted({*(steps if steps is not None else (0, *powers)), length})
    if not 0 <= sizes[0] <= sizes[-1] <= length:
        raise ValueError(
            f"steps must be between 0 and {length}, the length of the context; got {sizes}"
        )
    found = {k: losses(k) for k in sizes}
    while steps is None and found[length].isfinite().all():
        horizon = memory_horizon(_curve(found))
        before = max((k for k in found if k < horizon), default=horizon)
        near = {*torch.linspace(before, horizon, _NEAR).round().int().tolist()} - {*found}
        if not near:
            break
        found |= {k: losses(k) for k in near}
    return _curve(found)


def _curve(found: Mapping[int, Tensor]) -> ContextCurve:
    steps = sorted(found)
    each = torch.stack([found[k] for k in steps])
    items = each.shape[1]
    error = each.std(dim=1) / math.sqrt(items) if items > 1 else torch.zeros(len(steps))
    return ContextCurve(tuple(steps), each.mean(dim=1), error.double(), each)


@contextmanager
def _eval_mode(model: object) -> Generator[None]:
    """Set a module to eval mode, and restore the mode of each submodule at the end."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    before = [(module, module.training) for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in before:
            module.training = mode


def memory_horizon(curve: ContextCurve) -> int:
    """Return how many steps back a model remembers: 0 if it does not use its context.

    >>> throughtime.memory_horizon(curve)
    24

    It is the smallest k such that for it and every larger k the loss exceeds that of the whole
    context by no more than one standard error of the paired differences, 5 % of the largest excess,
    or 1 % of the loss itself, whichever is most. If it equals the context, the model may remember
    more than it was given.

    Args:
        curve: What `context_curve` returned.

    Returns:
        Number of steps.

    Raises:
        ValueError: If the loss with the whole context is not finite.
    """
    if not (curve.loss[-1].isfinite() and curve.error[-1].isfinite()):
        raise ValueError(
            "the loss with the whole context is not finite, so no shorter context can be compared"
        )
    items = curve.items.shape[1]
    paired = curve.items - curve.items[-1]
    excess = paired.mean(dim=1)
    errors = paired.std(dim=1) / math.sqrt(items) if items > 1 else torch.zeros_like(excess)
    least = max(_EXCESS * float(excess.max()), _LOSS * abs(float(curve.loss[-1])))
    too_much = excess > torch.maximum(errors, torch.full_like(excess, least))
    worst = too_much.nonzero()
    return curve.steps[int(worst[-1]) + 1] if len(worst) else curve.steps[0]

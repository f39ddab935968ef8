"""How far back a recurrent layer remembers, measured.

    with throughtime.observe(model) as seen:
        model(x)
    throughtime.gradient_by_lag(seen["l0"]).norms  # how much of the gradient comes 0, 1, 2 ... back

The measures take a layer as it was seen on real data: its weights, its inputs, its states. Those of
a whole model, `context_curve` and `memory_horizon`, take the model. In the reverse direction, lags
count in the layer's own time.
"""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.insight.views import View

_CHUNK = 1 << 22  # numbers of step Jacobians held at once


class LagProfile(NamedTuple):
    """What reaches k steps back, k = 0, 1, ..., K-1, of a gradient of length 1 at h_t.

    Medians over samples and over the steps t that were asked; NaN at lags that no sample has.
    """

    norms: Tensor  # [K]: of the gradient of the state, h_{t-k} and for the LSTM c_{t-k}, as one
    low: Tensor  # [K]: first quartile of `norms`
    high: Tensor  # [K]: third quartile
    hidden: Tensor  # [K]: of the gradient of h_{t-k} alone
    cell: Tensor | None  # [K]: of c_{t-k} alone; LSTM
    inputs: Tensor  # [K]: of the gradient of x_{t-k}


def gradient_by_lag(
    view: View, *, lags: int | None = None, ends: int = 8, seed: int = 0
) -> LagProfile:
    """How much of the gradient of h_t, in a random direction, reaches h_{t-k}.

    >>> with throughtime.observe(layer) as seen:
    ...     output, state = layer(x)
    >>> profile = throughtime.gradient_by_lag(seen["l0"])
    >>> profile.norms[50] / profile.norms[0]

    From a loss at step t alone: of a loss at every step the near ones would hide what comes from
    far. A linear RNN h = w h + x has |w|^k (Pascanu et al. 2013, eq. 5 to 7). Lags do not cross
    resets.

    Args:
        view: A layer as it was observed on real data.
        lags: K, at most; by default as many as there are steps.
        ends: So many steps t of every sample are asked, spread over the last half of it.
        seed: Of the directions.

    Returns:
        Norms by lag, [K]: medians and quartiles over samples and steps.

    Raises:
        ValueError: Where the layer saw no step, or for numbers below 1.
    """
    steps, batch = view.inside.shape
    if not view.inside.any():
        raise ValueError("the layer saw no step, so there is nothing to measure")
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
    """Step of each lag [K, B] before `end`, and whether the sample has it and no reset between."""
    steps = view.inside.shape[0]
    lag = torch.arange(count).unsqueeze(1)
    times = end + lag if view.backwards else end - lag
    reached = there & (times >= 0) & (times < steps)
    times = times.clamp(0, steps - 1)
    samples = torch.arange(times.shape[1])
    reached &= view.inside[times, samples]
    # a border between lag k-1 and lag k hides k and all beyond
    borders = view.begins[times, samples] & reached
    crossed = torch.cat([torch.zeros(1, times.shape[1]).bool(), borders[:-1]]).cumsum(dim=0)
    return times, reached & (crossed == 0)


def _jacobians(view: View, times: Tensor, samples: Tensor) -> Tensor:
    """d(state after) / d(state before) of some steps, [N, S, S]; S = H, or P + H for the LSTM."""
    before = tuple(s[times, samples] for s in view.state_before)
    sizes = [s.shape[-1] for s in before]

    def total(state: Tensor) -> Tensor:  # samples do not mix, so the sum keeps them apart
        new = view.steps(times, samples, tuple(state.split(sizes, dim=-1)))
        return torch.cat(new, dim=-1).sum(dim=0)

    jacobian: Any = torch.func.jacrev(total)(torch.cat(before, dim=-1))  # [S, N, S]
    return jacobian.detach().movedim(0, 1)


def _chunks(view: View, times: Tensor, samples: Tensor) -> Generator[tuple[slice, Tensor]]:
    """Jacobians of many steps, as many at once as there is room for."""
    size = sum(s.shape[-1] for s in view.state)
    room = max(1, _CHUNK // (size * size))
    for first in range(0, len(times), room):
        part = slice(first, first + room)
        yield part, _jacobians(view, times[part], samples[part])


def jacobian_spectrum(view: View, steps: Sequence[int] | None = None) -> Tensor:
    """Singular values of the Jacobian of single steps, ``[N,B,S]``, largest first.

    >>> jacobian_spectrum(seen["l0"], steps=[10, 20])[..., 0]  # the largest, [2,B]

    By how much one step can stretch or shrink a change of the state: S = H numbers, for the LSTM
    P + H, h and c together. Below 1 all of them: every gradient shrinks (Pascanu et al. 2013).

    Args:
        view: A layer as it was observed.
        steps: Which steps; by default all.

    Returns:
        [N,B,S]; NaN beyond a sample's length, and 0 where a reset lies before.
    """
    length, batch = view.inside.shape
    asked = torch.arange(length) if steps is None else torch.tensor(list(steps), dtype=torch.long)
    size = sum(s.shape[-1] for s in view.state)
    found = view.hidden.new_full((len(asked), batch, size), math.nan)
    rows, samples = view.inside[asked].nonzero().T
    for part, jacobians in _chunks(view, asked[rows], samples):
        found[rows[part], samples[part]] = torch.linalg.svdvals(jacobians)
    found[view.begins[asked]] = 0.0
    return found


class LyapunovSpectrum(NamedTuple):
    """Growth rates of small changes, per step: e^(exponent) is the factor."""

    exponents: Tensor  # [S], 1 / step, largest first; mean over samples
    by_sample: Tensor  # [B,S], each largest first; NaN for a sample without a step
    steps: int  # of all samples together


def lyapunov_spectrum(view: View) -> LyapunovSpectrum:
    """How fast small changes of the state grow or die out along the way the layer went.

    >>> throughtime.lyapunov_spectrum(seen["l0"]).exponents[0]  # > 0: chaotic; -0.1: 10 steps

    Over the whole state, h and for the LSTM c: with W_hh = 0 and a forget gate of 0.99 the state
    still remembers 100 steps. By QR of the products of step Jacobians (Benettin et al. 1980; for
    recurrent networks Engelken et al. 2023). A linear RNN has the logarithms of its eigenvalues;
    their sum is exact at any length, each alone to O(1/T). A reset begins a new product and is no
    step. -inf where a direction is forgotten at once.

    Args:
        view: A layer as it was observed.

    Returns:
        Exponents [S] in 1 / step, largest first, and those of each sample.

    Raises:
        ValueError: Where no step can be measured.
    """
    steps, batch = view.inside.shape
    size = sum(s.shape[-1] for s in view.state)
    measured = view.inside & ~view.begins
    if not measured.any():
        raise ValueError("the layer saw no step but those after a reset: nothing to measure")
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
    """For how many steps the gate that keeps the state keeps it."""

    gate: str  # "forget", "update"
    units: Tensor  # [H], steps
    median: float


def time_scales(view: View) -> TimeScales:
    """Steps after which a unit's own path, the product of its gate, has fallen to 1/e.

    >>> throughtime.time_scales(seen["l0"]).median  # 1.44 at torch's initialization

    -1 / (mean of ln f) over steps and samples, f the LSTM's forget gate or the GRU's update gate
    (Tallec and Ollivier 2018, sec. 1), or 1 - z of a gate that keeps while it is shut. Infinite
    for a gate that stays at 1, 0 for one at 0. What the recurrent product carries besides is not
    in it: see `lyapunov_spectrum`.

    Args:
        view: A layer as it was observed.

    Returns:
        The gate's name, steps of each unit [H], and their median.

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
    """The share of the state that its gate keeps, at every step there is: ``[steps, H]``."""
    values = view.gates[view.cell_type.keeps][view.inside]
    return values if view.cell_type.keeps_when_open else 1 - values


class ContextCurve(NamedTuple):
    """What a model's loss is when it sees the last k steps alone."""

    steps: tuple[int, ...]  # k, rising; the last is the whole context
    loss: Tensor  # [N]: mean over items
    error: Tensor  # [N]: standard error of that mean
    items: Tensor  # [N,B]: the loss of each item


def context_curve(
    model: Callable[[Tensor], Any],
    x: Tensor,
    loss: Callable[[Any], Tensor],
    *,
    steps: Sequence[int] | None = None,
    earlier: str = "cut",
    time_dim: int = 1,
) -> ContextCurve:
    """The loss when only the last k steps are given, k = 1, 2, 4, ... and all.

    >>> curve = context_curve(model, x, lambda y: (y[:, -1] - target).square().mean(-1))
    >>> throughtime.memory_horizon(curve)

    Works for every model, a dense one too: it only sees less. A module is called in ``eval()``
    mode, and is then in the mode it was in.

    Args:
        model: Called with the last k steps of x.
        x: Input; items lie along axis 0, or 1 where ``time_dim`` is 0.
        loss: From what the model returns to one number for each item, [B].
        steps: Which k; by default powers of two and all.
        earlier: What becomes of earlier steps: "cut" leaves them out; "hold" puts the first step
            that is given in the place of each, for models whose input has a fixed length.
        time_dim: The axis of time.

    Returns:
        Loss by k, its standard error, and the loss of each item.

    Raises:
        ValueError: For steps beyond the context, and for a loss that is not one number per item.
    """
    length, items = x.shape[time_dim], x.shape[1 if time_dim == 0 else 0]
    if earlier not in ("cut", "hold"):
        raise ValueError(f"earlier is cut or hold; got {earlier!r}")
    asked = sorted({*(steps or [2**n for n in range(length.bit_length())]), length})
    if not 1 <= asked[0] <= asked[-1] <= length:
        raise ValueError(f"steps must lie in 1..{length}, the context; got {asked}")
    found: list[Tensor] = []
    with torch.no_grad(), _as_in_use(model):
        for k in asked:
            last = x.narrow(time_dim, length - k, k)
            if earlier == "hold" and k < length:
                held = last.narrow(time_dim, 0, 1)
                last = torch.cat([held] * (length - k) + [last], dim=time_dim)
            value = loss(model(last))
            if value.shape != (items,):
                raise ValueError(
                    f"loss must give one number for each of {items} items; got {list(value.shape)}"
                )
            found.append(value.double())
    each = torch.stack(found)
    error = each.std(dim=1) / math.sqrt(items) if items > 1 else torch.zeros(len(asked))
    return ContextCurve(tuple(asked), each.mean(dim=1), error.double(), each)


@contextmanager
def _as_in_use(model: object) -> Generator[None]:
    """A module in eval mode, each of its parts then as it was."""
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
    """The fewest steps that do as well as the whole context: within one standard error of it.

    >>> throughtime.memory_horizon(curve)
    24

    Args:
        curve: What `context_curve` returned.

    Returns:
        Steps.

    Raises:
        ValueError: Where the loss with the whole context is not finite.
    """
    if not (curve.loss[-1].isfinite() and curve.error[-1].isfinite()):
        raise ValueError(
            "the loss with the whole context is not finite, so nothing is as good as it"
        )
    enough = curve.loss <= curve.loss[-1] + curve.error[-1]
    return curve.steps[int(enough.nonzero()[0])]

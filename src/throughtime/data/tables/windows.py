"""Windows over a table: strided views of one tensor, split by time.

A window has `context` steps of input and the `horizon` steps after them as targets. It belongs to
the part that contains its horizon; its context may extend into an earlier part, as in real use.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from throughtime.data.split import USUAL_SPLIT, Split
from throughtime.data.tables.autocorrelation import longest_lag, seasons
from throughtime.data.tables.reading import listed
from throughtime.data.tables.tables import Table
from throughtime.errors import InputError
from throughtime.runs import Choice

# Squared differences of smaller ranges underflow in float64.
_SMALLEST_RANGE = 1e-150
_MOST_CONTEXT = 1024  # steps of a wider context
_SHARE = 0.15  # of the training part that a wider context may take
_LONG_SEASON = 200  # steps: longer ones are not seen by networks unless wider contexts are chosen


@dataclass(frozen=True)
class WindowPlan:
    """Context and horizon of a model, and the season of the naive forecasts, in steps."""

    context: int  # of a network, unless a wider one is chosen
    horizon: int
    season: int  # 1: no season
    wider: tuple[int, ...] = ()  # further contexts to try, ascending
    reach: int = 0  # steps before the forecast in a window, if more than the context
    seasons: tuple[int, ...] = ()  # that the data have, ascending

    @property
    def past(self) -> int:
        """Steps before the forecast in a window; models use the last ones of them."""
        return max(self.context, self.reach)


class Windows:
    """Windows, given by their starts in one tensor of values.

    >>> x, y = windows.batch(torch.arange(8))  # [8, past, C], [8, horizon, K]
    """

    def __init__(
        self,
        values: Tensor,
        starts: Tensor,
        plan: WindowPlan,
        targets: int,
        known: slice | None = None,
        scored: Tensor | None = None,
    ) -> None:
        self.starts = starts  # [N]
        self.scored = scored  # [R, K] bool: the target was observed; None: all were
        self.known = known  # columns whose values are known ahead
        self.plan = plan
        self.targets = targets  # K: the first K columns
        self.values = values  # [R, C]
        # [R - context - horizon + 1, C, context + horizon], a view
        self.view = values.unfold(0, plan.past + plan.horizon, 1)

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return context [B, past, C] and targets [B, horizon, K] of windows, float64.

        A target that was not observed is NaN. With known-ahead columns, the context also covers the
        horizon, where all other columns are zero.
        """
        both = self.view[self.starts[index]].transpose(1, 2)
        past, target = both[:, : self.plan.past], both[:, self.plan.past :, : self.targets]
        if self.scored is not None:
            ahead = torch.arange(self.plan.past, self.plan.past + self.plan.horizon)
            scored = self.scored[self.starts[index].unsqueeze(1) + ahead]
            target = target.masked_fill(~scored, torch.nan)
        if self.known is None:
            return past, target
        # hide all other columns of the horizon
        window = torch.zeros_like(both)
        window[:, : self.plan.past] = past
        window[:, self.plan.past :, self.known] = both[:, self.plan.past :, self.known]
        return window, target

    def some(self, index: Tensor) -> "Windows":
        """Select windows by index."""
        starts = self.starts[index]
        return Windows(self.values, starts, self.plan, self.targets, self.known, self.scored)

    def spread(self, count: int) -> tuple[Tensor, Tensor]:
        """Return at most `count` evenly spaced windows as one batch."""
        return self.batch(self.spaced(count))

    def spaced(self, count: int) -> Tensor:
        """Return the indices of at most `count` evenly spaced windows."""
        return torch.linspace(0, len(self) - 1, min(count, len(self))).round().long()

    def scale(self, index: Tensor, scale: Tensor) -> Tensor:
        """Return a scale [K] as it is, and of a scale of each row [R, K] that of windows."""
        return scale if scale.dim() == 1 else scale[self.starts[index]].unsqueeze(1)

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all windows in order, in batches."""
        for index in torch.arange(len(self)).split(size):
            yield self.batch(index)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all windows once in random order, in batches."""
        for index in torch.randperm(len(self), generator=generator).split(size):
            yield self.batch(index)


@dataclass(frozen=True)
class Parts:
    """The windows of a table, split by time."""

    training: Windows
    validation: Windows
    test: Windows
    borders: tuple[int, int]  # times at which validation and test begin
    training_rows: Tensor  # [R, C]: the rows to fit a scaler on


def plan_windows(
    table: Table,
    horizon: int | None,
    context: int | None,
    season: int | None,
    split: Split = USUAL_SPLIT,
) -> tuple[WindowPlan, tuple[Choice, ...]]:
    """Choose context, horizon and season; None derives them from the data.

    Raises InputError for invalid values.
    """
    for name, value in (("horizon", horizon), ("context", context), ("season", season)):
        if value is not None and value < 1:
            raise InputError(f"--{name}", str(value), "give a whole number of steps, 1 or more")
    choices: list[Choice] = []
    if horizon is None:
        horizon = 1
        choices.append(Choice("horizon", "1", "one step ahead", "--horizon"))
    lengths = [series.stop - series.start for series in table.series]
    longest = max(lengths)
    room = int(longest * split.training) // 2 - horizon  # steps that fit twice into training
    values = _first_target(table, split)
    found = seasons(values, table.clock.periods(), max(1, room))
    seasons_of = [(season or 1, "")]
    if season is None:
        season, choice = _season(table, found, max(1, room))
        choices.append(choice)
        seasons_of = [(season, ""), *found]
    wider: tuple[int, ...] = ()
    reach = 0
    if context is None:
        context, reason = _context(season, found, horizon, longest, room)
        lag, value = longest_lag(values)
        if context < lag + horizon <= room:
            context = lag + horizon
            reason = (
                f"the value {lag} steps before tells more (partial autocorrelation {value:.2f})"
            )
        most = min(_MOST_CONTEXT, int(_SHARE * split.training * sorted(lengths)[len(lengths) // 2]))
        wider = tuple(n for n in (2 * context, 4 * context, 8 * context) if n <= most)
        reach = wider[-1] if wider else 0
        if context <= season < most:  # for the seasonal forecasts
            reach = max(reach, season + 1)
        tried = f"; up to {wider[-1]} are tried" if wider else ""
        choices.append(Choice("context", str(context), f"{reason}, in steps{tried}", "--context"))
    if context + horizon > longest:
        raise _too_short(table, WindowPlan(context, horizon, season), split)
    if max(context, reach) < season:
        reason = f"the context of {context} steps is shorter than the season of {season}"
        choices.append(Choice("seasonal naive", "left out", reason, "--context"))
    short = [
        f"{s.name}: {s.stop - s.start} rows"
        for s in table.series
        if s.stop - s.start < max(context, reach) + horizon
    ]
    if short:
        reason = f"too short for context {max(context, reach)} plus horizon {horizon}"
        choices.append(Choice("series left out", listed(short), reason, "--context"))
    usable = tuple(sorted({steps for steps, _ in seasons_of if steps > 1}))
    return WindowPlan(context, horizon, season, wider, reach, usable), tuple(choices)


def _season(table: Table, found: Sequence[tuple[int, str]], most: int) -> tuple[int, Choice]:
    """The season of the naive forecasts: the longest that the data have, else the natural one."""
    natural, period = table.clock.season()
    if found:
        season, period = found[-1]
        others = ", ".join(f"{steps} in a {name}" for steps, name in found[:-1])
        reason = f"steps in a {period}" + (f"; also {others}" if others else "")
    else:
        season = natural
        reason = f"steps in a {period}" if period else "the time step has no natural period"
        if season > most:
            reason = f"no season: {season} steps in a {period} are too many for the rows"
            season = 1
    return season, Choice("season", str(season) if season > 1 else "none", reason, "--season")


def _context(
    season: int, found: Sequence[tuple[int, str]], horizon: int, longest: int, room: int
) -> tuple[int, str]:
    """Steps that a network sees, and why: the longest season that is not too long for it."""
    seen = max([n for n in (season, *(n for n, _ in found)) if n <= _LONG_SEASON], default=1)
    context = max(seen + 2 * horizon, 3 * horizon, 16 if longest >= 160 else 4)
    if seen > 1 and context > room >= seen:
        return max(seen, horizon), "a season: there are few rows"
    return context, "a season and two horizons" if seen > 1 else "the default without a season"


def _first_target(table: Table, split: Split) -> np.ndarray:
    """The training part of the longest series' first target, [N]; gaps hold its mean."""
    longest = max(table.series, key=lambda series: series.stop - series.start)
    stop = longest.start + int((longest.stop - longest.start) * split.training)
    values = table.values[longest.start : stop, 0]
    known = np.isfinite(values)
    return np.where(known, values, values[known].mean() if known.any() else 0.0)


def split_by_time(table: Table, plan: WindowPlan, split: Split = USUAL_SPLIT) -> Parts:
    """Split windows by time into training, validation and test.

    A window needs at least one observed target; the others are masked in its loss and its error.
    With --missing drop, its context has no missing value. No context uses a value that was
    interpolated towards a later part, or in validation and test towards its own targets.

    Raises InputError if a part is empty or a target is constant in the training part.
    """
    return folds_by_time(table, plan, split, 1)[0]


def folds_by_time(table: Table, plan: WindowPlan, split: Split, folds: int) -> tuple[Parts, ...]:
    """Split by time for each fold of a rolling origin (Tashman 2000), earliest first.

    The test part is divided into `folds` periods; each is tested after training on earlier data.
    """
    stamps = np.unique(table.times)
    # 0.7 + 0.15 is slightly less than 0.85; rounding keeps the borders exact
    last = len(stamps) - 1
    first = min(last, int(round(len(stamps) * split.training, 6)))
    second = min(last, int(round(len(stamps) * (1 - split.test), 6)))
    if not 1 <= folds <= len(stamps) - second:
        raise InputError(
            "--folds", str(folds), f"give a number from 1 to {max(1, len(stamps) - second)}"
        )
    edges = np.linspace(second, len(stamps), folds + 1).round().astype(int).tolist()
    ends = [*stamps[edges[1:-1]].tolist(), np.iinfo(np.int64).max]
    return tuple(
        _parts(table, plan, split, (int(stamps[edge - (second - first)]), int(stamps[edge]), end))
        for edge, end in zip(edges, ends, strict=False)
    )


def _parts(table: Table, plan: WindowPlan, split: Split, borders: tuple[int, int, int]) -> Parts:
    """Training before the first border, validation up to the second, test up to the third."""
    first, second, end = borders
    length = plan.past + plan.horizon

    possible = _possible(table, plan)
    if not possible.size:
        raise _too_short(table, plan, split)
    start = _complete(table, plan, possible)
    first_target = table.times[start + plan.past]
    last_target = table.times[start + length - 1]
    origin = start + plan.past - 1
    # interpolation in the row before the forecast uses a later value; forward fill does not
    clear = table.observed[origin] | (table.options.missing == "mask")
    values = torch.from_numpy(np.ascontiguousarray(table.values))

    def windows(which: np.ndarray) -> Windows:
        return _windows(table, plan, values, start[which])

    parts = Parts(
        training=windows((last_target < first) & (table.known[origin] < first)),
        validation=windows((first_target >= first) & (last_target < second) & clear),
        test=windows((first_target >= second) & (last_target < end) & clear),
        borders=(first, second),
        training_rows=values[torch.from_numpy((table.known < first) & table.usable)],
    )
    if not (len(parts.training) and len(parts.validation) and len(parts.test)):
        begins, ends = table.times[possible + plan.past], table.times[possible + length - 1]
        whole = (ends < first, (begins >= first) & (ends < second), (begins >= second))
        if all(part.any() for part in whole):
            further = "" if table.options.missing == "mask" else ", or set --missing mask"
            raise _too_many_gaps(table, plan, f"lower --context{further}")
        raise _too_short(table, plan, split)
    seen = parts.training_rows
    for column, name in enumerate(table.targets):
        low, high = float(seen[:, column].min()), float(seen[:, column].max())
        if high - low < _SMALLEST_RANGE:
            found = f"constant ({low:g})" if low == high else f"within a range of {high - low:g}"
            raise InputError(
                f"{table.source.path}, column {name!r}",
                f"the target is {found} in the training part",
                "choose another --target"
                if low == high
                else "use another unit: its squares underflow in float64",
            )
    return parts


def every_window(table: Table, plan: WindowPlan) -> Windows:
    """Return all windows that can be used, in order. Raises InputError if there is none."""
    possible = _possible(table, plan)
    if not possible.size:
        raise InputError(
            table.source.path,
            f"no series has {plan.past + plan.horizon} rows (context {plan.past} plus "
            f"horizon {plan.horizon})",
            "give more rows",
        )
    start = _complete(table, plan, possible)
    if not start.size:
        raise _too_many_gaps(table, plan, "set --missing interpolate, or give more rows")
    values = torch.from_numpy(np.ascontiguousarray(table.values))
    return _windows(table, plan, values, start)


def _windows(table: Table, plan: WindowPlan, values: Tensor, start: np.ndarray) -> Windows:
    scored = None if table.scored.all() else torch.from_numpy(table.scored)
    starts, targets = torch.from_numpy(start), len(table.targets)
    return Windows(values, starts, plan, targets, table.known_columns, scored)


def _possible(table: Table, plan: WindowPlan) -> np.ndarray:
    """The first rows of all windows that fit into a series, [N]."""
    length = plan.past + plan.horizon
    starts = [np.arange(s.start, s.stop - length + 1) for s in table.series]
    return np.concatenate(starts).astype(np.int64)


def _complete(table: Table, plan: WindowPlan, start: np.ndarray) -> np.ndarray:
    """Those whose context may be used, with at least one observed target."""
    unusable = np.concatenate([[0], np.cumsum(~table.usable)])
    scored = np.concatenate([[0], np.cumsum(table.scored.any(axis=1))])
    target = start + plan.past
    whole = unusable[target] == unusable[start]
    return start[whole & (scored[target + plan.horizon] > scored[target])]


def _too_many_gaps(table: Table, plan: WindowPlan, fix: str) -> InputError:
    gaps = f"{int((~table.observed).sum())} of {len(table.observed)} rows have missing values"
    return InputError(
        table.source.path,
        f"{gaps}: too few windows have {plan.past} successive rows "
        "that can be used, and an observed target after them",
        fix,
    )


def _too_short(table: Table, plan: WindowPlan, split: Split) -> InputError:
    longest = max(series.stop - series.start for series in table.series)
    # validation and test each need one horizon, training one window
    need = max(
        int(plan.horizon / min(split.validation, split.test)) + 2,
        int((plan.past + plan.horizon) / split.training) + 2,
    )
    return InputError(
        table.source.path,
        f"the longest series has {longest} rows, too short for context {plan.past} plus "
        f"horizon {plan.horizon} in training, validation and test (about {need} are needed)",
        "give more rows, or lower --context or --horizon"
        + (f"; {len(table.series)} series by {table.group!r}" if table.group else ""),
    )

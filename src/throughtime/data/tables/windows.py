"""Windows over a table: strided views of one tensor, split by time.

A window has `context` steps of input and the `horizon` steps after them as targets. It belongs to
the part that contains its horizon; its context may extend into an earlier part, as in real use.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from throughtime.data.tables.autocorrelation import longest_lag
from throughtime.data.tables.reading import listed
from throughtime.data.tables.tables import Table
from throughtime.errors import InputError
from throughtime.runs import Choice

# Squared differences of smaller ranges underflow in float64.
_SMALLEST_RANGE = 1e-150


@dataclass(frozen=True)
class WindowPlan:
    """Context and horizon of a model, and the season of the naive forecasts, in steps."""

    context: int
    horizon: int
    season: int  # 1: no season


@dataclass(frozen=True)
class Split:
    """The shares of the time for training, validation and test."""

    training: float
    validation: float
    test: float

    @staticmethod
    def read(text: str) -> "Split":
        """Parse percentages such as 70/15/15. Raises InputError unless they add up to 100."""
        try:
            parts = [float(part) for part in text.split("/")]
        except ValueError:
            parts = []
        if len(parts) != 3 or not all(part > 0 for part in parts) or abs(sum(parts) - 100) > 1e-6:
            raise InputError(
                "--split",
                f"{text!r} is not three percentages that add up to 100",
                "give a split such as 70/15/15",
            )
        return Split(*(part / 100 for part in parts))

    def __str__(self) -> str:
        return "/".join(f"{100 * part:g}" for part in (self.training, self.validation, self.test))


USUAL_SPLIT = Split(0.70, 0.15, 0.15)


class Windows:
    """Windows, given by their starts in one tensor of values.

    >>> x, y = windows.batch(torch.arange(8))  # [8, context, C], [8, horizon, K]
    """

    def __init__(
        self,
        values: Tensor,
        starts: Tensor,
        plan: WindowPlan,
        targets: int,
        known: slice | None = None,
    ) -> None:
        self.starts = starts  # [N]
        self.known = known  # columns whose values are known ahead
        self.plan = plan
        self.targets = targets  # K: the first K columns
        self.values = values  # [R, C]
        # [R - context - horizon + 1, C, context + horizon], a view
        self.view = values.unfold(0, plan.context + plan.horizon, 1)

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return context [B, context, C] and targets [B, horizon, K] of windows, float64.

        With known-ahead columns, the context also covers the horizon, where all other columns
        are zero.
        """
        both = self.view[self.starts[index]].transpose(1, 2)
        past, target = both[:, : self.plan.context], both[:, self.plan.context :, : self.targets]
        if self.known is None:
            return past, target
        # hide all other columns of the horizon
        window = torch.zeros_like(both)
        window[:, : self.plan.context] = past
        window[:, self.plan.context :, self.known] = both[:, self.plan.context :, self.known]
        return window, target

    def some(self, index: Tensor) -> "Windows":
        """Select windows by index."""
        return Windows(self.values, self.starts[index], self.plan, self.targets, self.known)

    def spread(self, count: int) -> tuple[Tensor, Tensor]:
        """Return at most `count` evenly spaced windows as one batch."""
        count = min(count, len(self))
        return self.batch(torch.linspace(0, len(self) - 1, count).round().long())

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
    longest = max(series.stop - series.start for series in table.series)
    room = int(longest * split.training) // 2 - horizon  # steps that fit twice into training
    if season is None:
        season, period = table.clock.season()
        reason = f"steps in a {period}" if period else "the time step has no natural period"
        if season > max(1, room):
            reason = f"no season: {season} steps in a {period} are too many for {longest} rows"
            season = 1
        choices.append(Choice("season", str(season) if season > 1 else "none", reason, "--season"))
    if context is None:
        context = max(season + 2 * horizon, 3 * horizon, 16 if longest >= 160 else 4)
        reason = "a season and two horizons" if season > 1 else "the default without a season"
        if season > 1 and context > room >= season:
            context, reason = max(season, horizon), "a season: there are few rows"
        lag, value = longest_lag(_first_target(table, split))
        if context < lag + horizon <= room:
            context = lag + horizon
            reason = (
                f"the value {lag} steps before tells more (partial autocorrelation {value:.2f})"
            )
        choices.append(Choice("context", str(context), f"{reason}, in steps", "--context"))
    if context + horizon > longest:
        raise _too_short(table, WindowPlan(context, horizon, season), split)
    if 1 < context < season:
        reason = f"the context of {context} steps is shorter than the season of {season}"
        choices.append(Choice("seasonal naive", "left out", reason, "--context"))
    short = [
        f"{s.name}: {s.stop - s.start} rows"
        for s in table.series
        if s.stop - s.start < context + horizon
    ]
    if short:
        reason = f"too short for context {context} plus horizon {horizon}"
        choices.append(Choice("series left out", listed(short), reason, "--context"))
    return WindowPlan(context, horizon, season), tuple(choices)


def _first_target(table: Table, split: Split) -> np.ndarray:
    """The training part of the longest series' first target, [N]; gaps hold its mean."""
    longest = max(table.series, key=lambda series: series.stop - series.start)
    stop = longest.start + int((longest.stop - longest.start) * split.training)
    values = table.values[longest.start : stop, 0]
    known = np.isfinite(values)
    return np.where(known, values, values[known].mean() if known.any() else 0.0)


def split_by_time(table: Table, plan: WindowPlan, split: Split = USUAL_SPLIT) -> Parts:
    """Split windows by time into training, validation and test.

    Windows with an unusable row are left out. Training windows have no value that was interpolated
    towards a later part. Errors are measured on observed values only: the targets of a validation
    or test window and the row before them are observed, so no value that was filled in from the
    future is an input or a target.

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
    length = plan.context + plan.horizon

    starts = [np.arange(s.start, s.stop - length + 1) for s in table.series]
    start = np.concatenate(starts).astype(np.int64)
    if not start.size:
        raise _too_short(table, plan, split)
    unusable = np.concatenate([[0], np.cumsum(~table.usable)])
    start = start[unusable[start + length] == unusable[start]]
    if not start.size:
        raise InputError(
            table.source.path,
            f"every window of {length} rows has a missing value",
            "set --missing interpolate, or lower --context",
        )
    first_target = table.times[start + plan.context]
    last_target = table.times[start + length - 1]
    last_known = table.known[start + length - 1]  # `known` never decreases: holds for the window
    unseen = np.concatenate([[0], np.cumsum(~table.observed)])
    # interpolation in the row before the forecast uses a later value; forward fill does not
    origin = start + plan.context - (table.options.missing != "mask")
    scored = unseen[start + length] == unseen[origin]

    values = torch.from_numpy(np.ascontiguousarray(table.values))

    def windows(which: np.ndarray) -> Windows:
        starts = torch.from_numpy(start[which])
        return Windows(values, starts, plan, len(table.targets), table.known_columns)

    parts = Parts(
        # do not train on forward filled targets
        training=windows((last_known < first) & (scored | (table.options.missing != "mask"))),
        validation=windows((first_target >= first) & (last_target < second) & scored),
        test=windows((first_target >= second) & (last_target < end) & scored),
        borders=(first, second),
        training_rows=values[torch.from_numpy((table.known < first) & table.usable)],
    )
    if not (len(parts.training) and len(parts.validation) and len(parts.test)):
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
    """Return all windows without missing values, in order. Raises InputError if there is none."""
    length = plan.context + plan.horizon
    starts = [np.arange(s.start, s.stop - length + 1) for s in table.series]
    start = np.concatenate(starts).astype(np.int64)
    unusable = np.concatenate([[0], np.cumsum(~table.usable)])
    if start.size:
        start = start[unusable[start + length] == unusable[start]]
    if not start.size:
        raise InputError(
            table.source.path,
            f"there are no {length} successive rows without missing values (context "
            f"{plan.context} plus horizon {plan.horizon})",
            "give more rows" + ("" if table.usable.all() else ", or set --missing interpolate"),
        )
    values = torch.from_numpy(np.ascontiguousarray(table.values))
    targets = len(table.targets)
    return Windows(values, torch.from_numpy(start), plan, targets, table.known_columns)


def _too_short(table: Table, plan: WindowPlan, split: Split) -> InputError:
    longest = max(series.stop - series.start for series in table.series)
    # validation and test each need one horizon, training one window
    need = max(
        int(plan.horizon / min(split.validation, split.test)) + 2,
        int((plan.context + plan.horizon) / split.training) + 2,
    )
    return InputError(
        table.source.path,
        f"the longest series has {longest} rows, too short for context {plan.context} plus "
        f"horizon {plan.horizon} in training, validation and test (about {need} are needed)",
        "give more rows, or lower --context or --horizon"
        + (f"; {len(table.series)} series by {table.group!r}" if table.group else ""),
    )

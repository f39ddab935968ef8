"""Windows over a table: strided views of one tensor, split by time.

A window is `context` steps that a model sees and the `horizon` steps after them. It belongs to the
part of time that its horizon lies in; its context may reach back into an earlier part, as it would
in use, but never forward.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from throughtime.data.reading import Choice
from throughtime.data.tables import Table
from throughtime.errors import InputError

FRACTIONS = (0.70, 0.15, 0.15)  # training, validation, test


@dataclass(frozen=True)
class WindowPlan:
    """How long a model looks back and ahead, and the season of the trivial forecasts."""

    context: int
    horizon: int
    season: int  # 1: none


class Windows:
    """Windows by their starts in one tensor of values.

    >>> x, y = windows.batch(torch.arange(8))  # [8, context, C], [8, horizon, K]
    """

    def __init__(self, values: Tensor, starts: Tensor, plan: WindowPlan, targets: int) -> None:
        self.starts = starts  # [N]
        self.plan = plan
        self.targets = targets  # K: the first K columns
        self.values = values  # [R, C]
        # [R - context - horizon + 1, C, context + horizon], a view
        self.view = values.unfold(0, plan.context + plan.horizon, 1)

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Context [B, context, C] and targets [B, horizon, K] of some windows, float64."""
        both = self.view[self.starts[index]].transpose(1, 2)
        return both[:, : self.plan.context], both[:, self.plan.context :, : self.targets]

    def some(self, index: Tensor) -> "Windows":
        """These windows alone."""
        return Windows(self.values, self.starts[index], self.plan, self.targets)

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All windows in order, in batches."""
        for index in torch.arange(len(self)).split(size):
            yield self.batch(index)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """All windows once, in random order, in batches."""
        for index in torch.randperm(len(self), generator=generator).split(size):
            yield self.batch(index)


@dataclass(frozen=True)
class Parts:
    """The windows of a table, split by time."""

    training: Windows
    validation: Windows
    test: Windows
    borders: tuple[int, int]  # times at which validation and test begin
    training_rows: Tensor  # [R, C]: all that a scaler may see


def plan_windows(
    table: Table, horizon: int | None, context: int | None, season: int | None
) -> tuple[WindowPlan, tuple[Choice, ...]]:
    """Settle context, horizon and season; None lets the data decide.

    Raises InputError for values that make no sense.
    """
    for name, value in (("horizon", horizon), ("context", context), ("season", season)):
        if value is not None and value < 1:
            raise InputError(f"--{name}", str(value), "give a whole number of steps, 1 or more")
    choices: list[Choice] = []
    if horizon is None:
        horizon = 1
        choices.append(Choice("horizon", "1", "one step ahead", "--horizon"))
    longest = max(series.stop - series.start for series in table.series)
    if season is None:
        season, period = table.clock.season()
        reason = f"steps in a {period}" if period else "the time step has no natural period"
        if season > 1 and season + 2 * horizon > longest // 5:
            season, reason = (
                1,
                f"none: {season} steps in a {period} are too many for {longest} rows",
            )
        choices.append(Choice("season", str(season) if season > 1 else "none", reason, "--season"))
    if context is None:
        context = max(season + 2 * horizon, 3 * horizon, 16 if longest >= 160 else 4)
        reason = "a season and two horizons" if season > 1 else "enough for a short memory"
        choices.append(Choice("context", str(context), f"{reason}, in steps", "--context"))
    if context + horizon > longest:
        raise _too_short(table, WindowPlan(context, horizon, season))
    if 1 < context < season:
        reason = f"the context of {context} steps is shorter than the season of {season}"
        choices.append(Choice("seasonal naive", "left out", reason, "--context"))
    return WindowPlan(context, horizon, season), tuple(choices)


def split_by_time(table: Table, plan: WindowPlan) -> Parts:
    """Windows for training, validation and test: 70, 15 and 15 % of the time.

    Windows that touch an unusable row are left out. What errors are measured on is observed: a
    validation or test window begins its forecast right after an observed row and its targets are
    observed, so no value filled in from the future is seen or scored.

    Raises InputError where a part would be empty or a target is constant in the training part.
    """
    length = plan.context + plan.horizon
    stamps = np.unique(table.times)
    first = stamps[min(int(len(stamps) * FRACTIONS[0]), len(stamps) - 1)]
    second = stamps[min(int(len(stamps) * (FRACTIONS[0] + FRACTIONS[1])), len(stamps) - 1)]

    starts = [np.arange(s.start, s.stop - length + 1) for s in table.series]
    start = np.concatenate(starts).astype(np.int64)
    if not start.size:
        raise _too_short(table, plan)
    unusable = np.concatenate([[0], np.cumsum(~table.usable)])
    start = start[unusable[start + length] == unusable[start]]
    if not start.size:
        raise InputError(
            table.source.path,
            f"every window of {length} rows touches a missing value",
            "set --missing interpolate, or lower --context",
        )
    first_target = table.times[start + plan.context]
    last_target = table.times[start + length - 1]
    unseen = np.concatenate([[0], np.cumsum(~table.observed)])
    scored = unseen[start + length] == unseen[start + plan.context - 1]

    values = torch.from_numpy(np.ascontiguousarray(table.values))

    def windows(which: np.ndarray) -> Windows:
        return Windows(values, torch.from_numpy(start[which]), plan, len(table.targets))

    parts = Parts(
        training=windows(last_target < first),
        validation=windows((first_target >= first) & (last_target < second) & scored),
        test=windows((first_target >= second) & scored),
        borders=(int(first), int(second)),
        training_rows=values[torch.from_numpy((table.times < first) & table.usable)],
    )
    if not (len(parts.training) and len(parts.validation) and len(parts.test)):
        raise _too_short(table, plan)
    seen = parts.training_rows
    for column, name in enumerate(table.columns):
        if name in table.targets and bool((seen[:, column] == seen[0, column]).all()):
            raise InputError(
                f"{table.source.path}, column {name!r}",
                f"the target is constant ({float(seen[0, column]):g}) in its training part",
                "choose another --target: there is nothing to learn",
            )
    return parts


def _too_short(table: Table, plan: WindowPlan) -> InputError:
    longest = max(series.stop - series.start for series in table.series)
    # the smallest part holds 15 % of the rows and needs a horizon, training 70 % a whole window
    need = max(
        int(plan.horizon / FRACTIONS[2]) + 2, int((plan.context + plan.horizon) / FRACTIONS[0]) + 2
    )
    return InputError(
        table.source.path,
        f"the longest series has {longest} rows, too short for context {plan.context} plus "
        f"horizon {plan.horizon} in training, validation and test (about {need} are needed)",
        "give more rows, or lower --context or --horizon"
        + (f"; {len(table.series)} series by {table.group!r}" if table.group else ""),
    )

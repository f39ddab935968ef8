"""Forecasting problems: a table, its windows, its split and its error scale."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime.data.sources import DataSource
from throughtime.data.split import Split
from throughtime.data.tables.categories import trained_codes
from throughtime.data.tables.tables import Table, read_table
from throughtime.data.tables.windows import Parts, WindowPlan, folds_by_time, plan_windows
from throughtime.data_options import DataOptions
from throughtime.runs import Choice, DataRecord

# least mean change of a series, relative to the usual one: errors of a constant are not infinite
_LEAST_SIZE = 0.01


@dataclass(frozen=True)
class Problem:
    """The data that every network of a comparison is trained and tested on."""

    table: Table
    plan: WindowPlan
    parts: Parts
    record: DataRecord
    folds: tuple[Parts, ...] = ()  # rolling origin, earliest first; the last is `parts`
    stream: Any = None  # a `BlockStream` of training data if memory holds only a sample

    @property
    def metric(self) -> str:
        """The measure that errors are judged by, unless another is asked for."""
        return "mase" if len(self.table.series) > 1 else "mae"

    def error_scale(self, metric: str = "") -> Tensor:
        """The divisor of errors, [K], or [R, K] for each row.

        1 for one target, else the standard deviation of each. For "mase", the mean absolute change
        from step to step of each series in the training part (Hyndman and Koehler 2006).
        """
        if (metric or self.metric) == "mase":
            return self._changes_by_row
        return self._spreads

    @cached_property
    def _spreads(self) -> Tensor:
        count = len(self.table.targets)
        if count == 1:
            return torch.ones(1, dtype=torch.float64)
        return self.parts.training_rows[:, :count].std(dim=0, correction=0)

    @cached_property
    def _changes_by_row(self) -> Tensor:
        return torch.from_numpy(self.table.by_row(self._changes))

    @cached_property
    def _changes(self) -> np.ndarray:
        """Mean absolute change from step to step of each series in the training part, [S, K]."""
        found = np.array(
            [np.abs(np.diff(v, axis=0)).mean(axis=0) for v in self._training_values()]
        )[:, : len(self.table.targets)]
        usual = np.median(found, axis=0)
        return np.maximum(found, _LEAST_SIZE * np.where(usual > 0, usual, 1.0))

    @cached_property
    def floors(self) -> tuple[float, ...]:
        """The spread of a quiet series, for each column; empty for a single series.

        The standard deviation within a series, in the training part, that nine of ten exceed.
        """
        if len(self.table.series) == 1:
            return ()
        spreads = np.array([values.std(axis=0) for values in self._training_values()])
        spreads = np.where(spreads > 0, spreads, np.nan)
        moving = ~np.isnan(spreads).all(axis=0)
        found = np.ones(spreads.shape[1])
        found[moving] = np.nanquantile(spreads[:, moving], 0.1, axis=0)
        return tuple(found.tolist())

    def _training_values(self) -> list[np.ndarray]:
        """The rows of each series before validation, at least two of each, [T, C]."""
        table = self.table
        ends = [
            s.start + max(2, int((table.times[s.start : s.stop] < self.parts.borders[0]).sum()))
            for s in table.series
        ]
        return [table.values[s.start : end] for s, end in zip(table.series, ends, strict=True)]

    def unit(self, metric: str = "") -> str:
        """The unit of errors, as text."""
        if (metric or self.metric) == "mase":
            names = ", ".join(self.table.targets)
            return f"{names}, in mean changes from step to step of each series"
        if len(self.table.targets) == 1:
            return f"{self.table.targets[0]}, in its own unit"
        return "training standard deviations, mean over targets"


def read_problem(path: DataSource, options: DataOptions) -> Problem:
    """Read a table and split it; see `read_table`, `plan_windows` and `folds_by_time`.

    >>> problem = read_problem(Path("co2.csv"), DataOptions(target=("co2",), horizon=4))

    Raises InputError that names the place in data that cannot be used.
    """
    split, folds = Split.read(options.split), options.folds
    table = read_table(path, options)
    plan, planned = plan_windows(table, options.horizon, options.context, options.season, split)
    each = folds_by_time(table, plan, split, folds)
    if table.categories:
        table = _trained_words(table, each[0].training_rows)
        each = folds_by_time(table, plan, split, folds)
    parts = each[-1]
    first, second = table.clock.stamp(np.array(parts.borders))
    if table.time is None:
        of = " of a series" if table.group else ""
        first, second = f"row {first}{of}", f"row {second}{of}"
    reason = f"% of the time: training, validation from {first}, test from {second}"
    planned = (*planned, Choice("split", str(split), reason, "--split"))
    if folds > 1:
        reason = "a new training for each; the borders above are those of the last fold"
        planned = (*planned, Choice("folds", str(folds), reason, "--folds"))
    record = DataRecord(
        path=table.source.path,
        fingerprint=table.source.fingerprint,
        rows=table.rows,
        targets=table.targets,
        inputs=table.columns[len(table.targets) :],
        time=table.time,
        group=table.group,
        series=len(table.series),
        step=table.clock.describe(),
        context=plan.context,
        horizon=plan.horizon,
        season=plan.season,
        windows=(
            len(parts.training),
            len(parts.validation),
            sum(len(fold.test) for fold in each),
        ),
        borders=(first, second),
        choices=(*table.choices, *planned),
    )
    problem = Problem(table, plan, parts, record, each if folds > 1 else ())
    if problem.metric != "mase":
        return problem
    reason = "each in its mean change from step to step, so that small series count as large ones"
    scaled = Choice("errors", "scaled by series", reason, "--metric")
    return replace(problem, record=replace(record, choices=(*record.choices, scaled)))


def _trained_words(table: Table, training_rows: Tensor) -> Table:
    """Encode the categories again: values not in the training part become code 0."""
    values = table.values.copy()
    found: list[tuple[str, ...]] = []
    for number, words in enumerate(table.categories):
        at = len(table.columns) - len(table.categories) + number
        new, kept = trained_codes(training_rows[:, at].numpy(), words)
        values[:, at] = new[values[:, at].astype(np.int64)]
        found.append(kept)
    return replace(table, values=values, categories=tuple(found))

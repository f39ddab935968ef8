"""Forecasting problems: a table, its windows, its split and its error scale."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime.data.sources import DataSource
from throughtime.data.tables.categories import trained_codes
from throughtime.data.tables.tables import Table, read_table
from throughtime.data.tables.windows import (
    Parts,
    Split,
    WindowPlan,
    folds_by_time,
    plan_windows,
)
from throughtime.data_options import DataOptions
from throughtime.runs import Choice, DataRecord


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
    def error_scale(self) -> Tensor:
        """The divisor of errors, [K]: 1 for one target, else the standard deviation of each."""
        count = len(self.table.targets)
        if count == 1:
            return torch.ones(1, dtype=torch.float64)
        return self.parts.training_rows[:, :count].std(dim=0, correction=0)

    @property
    def unit(self) -> str:
        """The unit of errors, as text."""
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
    return Problem(table, plan, parts, record, each if folds > 1 else ())


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

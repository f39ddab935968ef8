"""A forecasting problem: a table, how it is windowed and split, and how errors are measured."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from throughtime.data.batches import (
    USUAL_SPLIT,
    Parts,
    Split,
    WindowPlan,
    plan_windows,
    split_by_time,
)
from throughtime.data.reading import Choice
from throughtime.data.tables import Columns, Table, read_table
from throughtime.runs import ChoiceRecord, DataRecord


@dataclass(frozen=True)
class Problem:
    """What every network of a comparison is given."""

    table: Table
    plan: WindowPlan
    parts: Parts
    record: DataRecord

    @property
    def error_scale(self) -> Tensor:
        """What each target's error is divided by, [K]: 1 for one target, else its spread."""
        count = len(self.table.targets)
        if count == 1:
            return torch.ones(1, dtype=torch.float64)
        return self.parts.training_rows[:, :count].std(dim=0, correction=0)

    @property
    def unit(self) -> str:
        """The unit of errors, in words."""
        if len(self.table.targets) == 1:
            return f"{self.table.targets[0]}, in its own unit"
        return "training standard deviations, mean over targets"


def read_problem(
    path: Path,
    columns: Columns,
    *,
    missing: str = "error",
    delimiter: str | None = None,
    horizon: int | None = None,
    context: int | None = None,
    season: int | None = None,
    split: Split = USUAL_SPLIT,
) -> Problem:
    """Read a table and settle windows and split; see `read_table`, `plan_windows`, `split_by_time`.

    >>> problem = read_problem(Path("co2.csv"), Columns(targets=("co2",)), horizon=4)

    Raises InputError for input that cannot be learned from, naming the place.
    """
    table = read_table(path, columns, missing=missing, delimiter=delimiter)
    plan, planned = plan_windows(table, horizon, context, season, split)
    parts = split_by_time(table, plan, split)
    first, second = table.clock.stamp(np.array(parts.borders))
    if table.time is None:
        of = " of a series" if table.group else ""
        first, second = f"row {first}{of}", f"row {second}{of}"
    reason = f"% of the time: training, validation from {first}, test from {second}"
    planned = (*planned, Choice("split", str(split), reason, "--split"))
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
        windows=(len(parts.training), len(parts.validation), len(parts.test)),
        borders=(first, second),
        choices=tuple(
            ChoiceRecord(c.name, c.value, c.reason, c.option) for c in (*table.choices, *planned)
        ),
    )
    return Problem(table, plan, parts, record)

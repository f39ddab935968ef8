"""A saved model and a new table to forecasts that line up with the table's rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from throughtime.data.tables import Columns, Table, read_table
from throughtime.data.timeline import Clock
from throughtime.errors import InputError
from throughtime.nn.models import Forecaster
from throughtime.nn.storage import DataSpec


def predict(
    model: Forecaster,
    spec: DataSpec,
    path: Path,
    *,
    missing: str | None = None,
    delimiter: str | None = None,
) -> pl.DataFrame:
    """Forecast what follows the last row of every series.

    >>> model, spec = load(Path("model"))
    >>> predict(model, spec, Path("new.csv")).columns
    ['date', 'step', 'co2']

    One row a series and step ahead: the group (if there is one), the time, written as the file
    writes it, the step (1 is the first row to come) and a column for each target.

    Raises InputError where the table lacks a column, has another time step than the model learned,
    or a series is shorter than the model's context.
    """
    columns = Columns(spec.targets, spec.time or "none", spec.group, spec.inputs)
    table = read_table(path, columns, missing=missing or spec.missing, delimiter=delimiter)
    learned = Clock(*spec.clock)
    if len(table.values) == len(table.series):  # one row each has no step of its own
        clock = replace(learned, form=table.clock.form, day=table.clock.day)
        table = replace(table, clock=clock)
    if (table.clock.kind, table.clock.count, table.clock.unit) != spec.clock:
        raise InputError(
            table.source.path,
            f"one row every {table.clock.describe()}, but the model learned {learned.describe()}",
            "bring the rows to that step, or fit a model on these",
        )
    windows = np.stack([_window(table, index, model) for index in range(len(table.series))])
    with torch.no_grad():
        forecasts = model(torch.from_numpy(windows)).numpy()
    return pl.concat([_rows(table, index, forecast) for index, forecast in enumerate(forecasts)])


def _window(table: Table, index: int, model: Forecaster) -> np.ndarray:
    """The last context of a series, [T, C]."""
    series, need = table.series[index], model.config.context
    name = f", {table.group} {series.name!r}" if table.group else ""
    if series.stop - series.start < need:
        raise InputError(
            f"{table.source.path}{name}",
            f"{series.stop - series.start} rows, but the model looks back {need}",
            "give more rows",
        )
    rows = slice(series.stop - need, series.stop)
    if not table.usable[rows].all():
        raise InputError(
            f"{table.source.path}{name}",
            f"missing values among the last {need} rows",
            "set --missing interpolate",
        )
    return table.values[rows]


def _rows(table: Table, index: int, forecast: np.ndarray) -> pl.DataFrame:
    """Forecasts [horizon, K] of one series as rows."""
    series = table.series[index]
    last = int(table.times[series.stop - 1])
    steps = list(range(1, len(forecast) + 1))
    times = np.array([table.clock.after(last, step) for step in steps], dtype=np.int64)
    columns: dict[str, object] = {table.group: [series.name] * len(steps)} if table.group else {}
    taken = {table.group, table.time, *table.targets}
    if table.time:
        columns[table.time] = table.clock.write(times)
    else:
        columns["forecast_row" if "row" in taken else "row"] = (times + 1).tolist()  # from 1
    columns["forecast_step" if "step" in taken else "step"] = steps
    for column, target in enumerate(table.targets):
        columns[target] = forecast[:, column]
    return pl.DataFrame(columns)

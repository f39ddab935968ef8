"""Forecasts of a saved model for a new table, aligned with its rows."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from throughtime.data.sources import DataSource
from throughtime.data.tables.calendar import calendar_of
from throughtime.data.tables.grid import Series
from throughtime.data.tables.parquet_folder import tail_table
from throughtime.data.tables.reading import listed
from throughtime.data.tables.tables import Table, read_table
from throughtime.data.tables.timeline import Clock
from throughtime.errors import InputError
from throughtime.problems.forecasting.networks import Forecaster, ModelConfig
from throughtime.runs import Choice
from throughtime.specs import DataSpec


class Forecasts(NamedTuple):
    """Forecasts, with a description of the data and the choices made."""

    rows: pl.DataFrame
    found: str  # description of the data
    choices: tuple[Choice, ...]


def predict(
    model: Forecaster,
    spec: DataSpec,
    path: DataSource,
    *,
    missing: str | None = None,
    delimiter: str | None = None,
) -> Forecasts:
    """Forecast the steps after the last row of every series.

    >>> model, spec = load(Path("model"))
    >>> predict(model, spec, Path("new.csv")).rows.columns
    ['date', 'step', 'co2']

    The result has one row per series and step ahead: the group (if any), the time in the format of
    the file, the step (1 is the first after the data) and a column for each target. Forecasts start
    after the last row of a series with all values. Series that are too short are omitted and
    reported.

    Raises InputError if the table lacks a column, has another time step than the training data, or
    has no series as long as the model's context.
    """
    table = read_as_learned(
        spec, path, missing=missing, delimiter=delimiter, steps=model.config.context
    )
    found = {series: _obstacle(table, series, model.config) for series in table.series}
    ready = [series for series, obstacle in found.items() if not obstacle]
    omitted = [f"{series.name}: {why}" for series, why in found.items() if why]
    if not ready:
        name = f", {table.group} {table.series[0].name!r}" if table.group else ""
        raise InputError(
            f"{table.source.path}{name}",
            found[table.series[0]],
            "set --missing interpolate"
            if "missing" in found[table.series[0]]
            else "give more rows" + ("" if not table.options.known else ", and known values ahead"),
        )
    windows = np.stack([_window(table, series, model.config) for series in ready])
    with torch.no_grad():
        forecasts = model(torch.from_numpy(windows)).numpy()
    for series, forecast in zip(ready, forecasts, strict=True):
        if not np.isfinite(forecast).all():
            name = f", {table.group} {series.name!r}" if table.group else ""
            raise InputError(
                f"{table.source.path}{name}",
                "a forecast is not finite: the values are far outside those of the training data",
                "check the values",
            )
    rows = [_rows(table, series, f) for series, f in zip(ready, forecasts, strict=True)]
    choices = [*table.choices]
    if omitted:
        choices.append(Choice("series left out", listed(omitted, "; "), "no forecast for them"))
    first = sorted({int(_ahead(table, series, 1)[0]) for series in ready})
    begin = " to ".join(table.clock.stamp(np.array([*first[:1], *first[1:][-1:]])))
    horizon = model.config.horizon
    steps = f"{horizon} step{'s' if horizon > 1 else ''} of {table.clock.describe()}"
    of = f" for each of {len(ready)} series" if table.group else ""
    row = "" if table.time else "row "
    choices.append(Choice("forecasts", f"begin at {row}{begin}", f"{steps}{of}"))
    count = f"{table.rows} rows, {len(table.series)} series"
    return Forecasts(pl.concat(rows), count, tuple(choices))


def read_as_learned(
    spec: DataSpec, path: DataSource, *, missing: str | None, delimiter: str | None, steps: int
) -> Table:
    """Read a table with the columns and the time step of the training data.

    From a folder, only the last ``steps`` rows are read. Raises InputError if the table lacks a
    column or has another time step.
    """
    if isinstance(path, Path) and path.is_dir():
        table = tail_table(path, spec.options, steps)
        need = spec.numbers + len(spec.categories)
        if len(table.columns) != need:
            raise InputError(
                table.source.path,
                f"{len(table.columns)} numeric columns, but the model has {need} columns",
                "give a table with all inputs of the training data",
            )
        return table
    filling = "mask" if spec.masked else missing or spec.options.missing
    options = replace(spec.options, missing=filling, delimiter=delimiter)
    table = read_table(path, options, learned=spec)
    if table.spec.clock != spec.clock:
        learned = Clock(*spec.clock).describe()
        raise InputError(
            table.source.path,
            f"one row every {table.clock.describe()}, but the model learned {learned}",
            "resample the rows to that step, or fit a model on this table",
        )
    return table


def _window(table: Table, series: Series, config: ModelConfig) -> np.ndarray:
    """The last steps of a series, with the values known ahead."""
    past = table.values[series.stop - config.context : series.stop]
    which = table.known_columns
    if which is None:
        return past
    count = table.known_ahead - 2 * len(table.options.calendar)
    ahead = np.zeros((config.horizon, past.shape[1]))
    if count:
        ahead[:, which.start : which.start + count] = table.plans[series.name][1][: config.horizon]
    times = _ahead(table, series, config.horizon)
    ahead[:, which.start + count : which.stop] = calendar_of(table.options.calendar, times)
    return np.concatenate([past, ahead])


def _obstacle(table: Table, series: Series, config: ModelConfig) -> str:
    """The reason why a series cannot be forecast, or an empty string."""
    need = config.context
    count = series.stop - series.start
    if count < need:
        return f"{count} rows, but the model looks back {need}"
    if not table.usable[series.stop - need : series.stop].all():
        return f"missing values among the last {need} rows"
    if table.options.known:
        times = table.plans[series.name][0][: config.horizon]
        wanted = _ahead(table, series, config.horizon)[: len(times)]
        count_ahead = len(times)
        if table.time is not None:
            count_ahead = int((times == wanted).cumprod().sum())
        if count_ahead < config.horizon:
            return f"known values for {count_ahead} of the {config.horizon} steps ahead"
    return ""


def _ahead(table: Table, series: Series, steps: int) -> np.ndarray:
    """The times of the next ``steps`` steps after the last row of a series."""
    return table.clock.after(table.times[series.start : series.stop], np.arange(1, steps + 1))


def _rows(table: Table, series: Series, forecast: np.ndarray) -> pl.DataFrame:
    """Forecasts [horizon, K] of one series as rows."""
    steps = list(range(1, len(forecast) + 1))
    times = _ahead(table, series, len(forecast))
    columns: dict[str, object] = {table.group: [series.name] * len(steps)} if table.group else {}
    used = {table.group, table.time, *table.targets}
    if table.time:
        columns[table.time] = table.clock.write(times)
    else:
        columns["forecast_row" if "row" in used else "row"] = times.tolist()
    columns["forecast_step" if "step" in used else "step"] = steps
    for column, target in enumerate(table.targets):
        columns[target] = forecast[:, column]
    return pl.DataFrame(columns)

"""A table of one or several series, ready to be cut into windows.

Everything decided on the way is a `Choice` with its reason and the option that sets it otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.data import timeline
from throughtime.data.reading import Choice, Source, read_frame
from throughtime.data.timeline import Clock, Times
from throughtime.errors import InputError, nearest

MISSING = ("error", "interpolate", "drop")


@dataclass(frozen=True)
class Series:
    """One series of a table: its rows are start..stop of the table's values."""

    name: str  # the group's value; empty where there is one series
    start: int
    stop: int


@dataclass(frozen=True)
class Table:
    """Series on a regular grid of time. Columns: the targets first, then further inputs."""

    source: Source
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    time: str | None
    group: str | None
    clock: Clock
    series: tuple[Series, ...]
    values: np.ndarray  # [R, C] float64; filled where missing
    times: np.ndarray  # [R] int64, see timeline.py
    observed: np.ndarray  # [R] bool: no used column was filled in
    usable: np.ndarray  # [R] bool: may lie in a window at all
    missing: str  # what was asked to be done with missing values
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Columns:
    """Which columns play which part; None lets the reader choose, and say what it chose."""

    targets: tuple[str, ...] | None = None
    time: str | None = None  # "none": rows are in order of time
    group: str | None = None
    inputs: tuple[str, ...] | None = None  # further inputs; () for none


def read_table(
    path: Path,
    columns: Columns,
    *,
    missing: str = "error",
    delimiter: str | None = None,
) -> Table:
    """Read series from CSV, Parquet or Arrow.

    >>> table = read_table(Path("co2.csv"), Columns(targets=("co2",)), missing="interpolate")
    >>> table.clock.describe()
    '7 days'

    ``missing``: "error"; "interpolate" (linear in time, ends cut off); "drop" (windows that touch
    a missing value are left out). Rows absent from the grid of time count as missing.

    Raises InputError naming file, row and column.
    """
    if missing not in MISSING:
        raise InputError("--missing", repr(missing), f"take one of {', '.join(MISSING)}")
    frame, source = read_frame(path, delimiter)
    choices = list(source.choices)
    where = source.path
    for name in (*(columns.targets or ()), *(columns.inputs or ()), columns.group, columns.time):
        if name not in (None, "none") and name not in frame.columns:
            raise InputError(where, f"no column {name!r}", nearest(str(name), frame.columns))

    time, times, choice = _find_time(frame, columns, source)
    choices.append(choice)
    group = columns.group
    rest = [name for name in frame.columns if name not in (time, group)]
    targets, inputs, found = _find_columns(frame, rest, columns, source)
    choices += found

    used = (*targets, *inputs)
    if {time, group} & {*targets, *inputs}:
        twice = next(name for name in (*targets, *inputs) if name in (time, group))
        raise InputError(
            where, f"column {twice!r} cannot be both time or group and values", "choose one part"
        )
    values = np.column_stack([_numbers(frame[name], source) for name in used])
    _refuse_infinite(values, used, source)

    pieces = _pieces(frame, group, source)
    clock = timeline.ROWS
    if time is not None:
        clock = timeline.find_clock(times, [rows for _, rows in pieces], source, time)
        choices.append(Choice("time step", clock.describe(), "from the differences of the times"))
    table = Table(
        source=source,
        columns=used,
        targets=targets,
        time=time,
        group=group,
        clock=clock,
        series=(),
        values=values,
        times=times.values,
        observed=np.empty(0),
        usable=np.empty(0),
        missing=missing,
        choices=tuple(choices),
    )
    return _on_grid(table, pieces, missing)


# -------------------------------------------------------------------- which column is what


def _find_time(
    frame: pl.DataFrame, columns: Columns, source: Source
) -> tuple[str | None, Times, Choice]:
    in_order = Times("row", np.arange(len(frame), dtype=np.int64), "rows in order")
    if columns.time == "none":
        return None, in_order, Choice("time", "none", "rows are in order", "--time")
    if columns.time is not None:
        times = timeline.parse_times(frame[columns.time], source)
        return columns.time, times, Choice("time", columns.time, times.reading, "--time")
    chosen = (*(columns.targets or ()), *(columns.inputs or ()), columns.group)
    candidates: dict[str, Times] = {}
    for name in frame.columns:
        if name in chosen:
            continue
        named_so = name.lower() in ("time", "date", "datetime", "timestamp", "ds")
        is_date = isinstance(frame[name].dtype, pl.Date | pl.Datetime | pl.String)
        if not (named_so or is_date):
            continue
        try:
            timeline.parse_times(frame[name].head(8), source)
        except timeline.AmbiguousDatesError:
            pass  # further rows may tell
        except InputError:
            if not named_so:
                continue
        times = timeline.parse_times(frame[name], source)
        # a column of whole numbers is taken for time by its name alone
        if named_so or (times.kind == "date" and times.form != "%Y%m%d"):
            candidates[name] = times
    if len(candidates) > 1:
        names = " or ".join(repr(name) for name in candidates)
        raise InputError(source.path, f"{names} may be the time", "choose with --time")
    for name, times in candidates.items():
        reason = f"the one column of {times.reading}"
        return name, times, Choice("time", name, reason, "--time")
    reason = "no column of dates found: rows are taken in order, one step apart"
    return None, in_order, Choice("time", "none", reason, "--time")


def _find_columns(
    frame: pl.DataFrame, rest: list[str], columns: Columns, source: Source
) -> tuple[tuple[str, ...], tuple[str, ...], list[Choice]]:
    choices: list[Choice] = []
    share = {name: _numeric_share(frame[name]) for name in rest}
    numeric = [name for name in rest if share[name] == 1]
    targets = columns.targets
    nearly = [name for name in rest if 0.5 < share[name] < 1 and name not in (targets or ())]
    if nearly and columns.inputs is None:
        # a numeric column with a slip in it: name the slip rather than drop the column
        _numbers(frame[nearly[0]], source)
    if targets is None:
        if len(numeric) != 1:
            found = f"{len(numeric)} numeric columns ({', '.join(numeric[:8])})"
            raise InputError(source.path, found, "choose what to forecast with --target")
        targets = (numeric[0],)
        choices.append(Choice("target", numeric[0], "the one numeric column", "--target"))
    else:
        choices.append(Choice("target", ", ".join(targets), "as asked", "--target"))
    inputs = columns.inputs
    if inputs is None:
        inputs = tuple(name for name in numeric if name not in targets)
        left = [name for name in rest if name not in (*targets, *inputs)]
        reason = "the further numeric columns" if inputs else "no further numeric column"
        reason += f"; not {', '.join(left)}" if left else ""
        choices.append(Choice("inputs", ", ".join(inputs) or "none", reason, "--inputs"))
    else:
        inputs = tuple(name for name in inputs if name not in targets)
    return tuple(dict.fromkeys(targets)), tuple(dict.fromkeys(inputs)), choices


def _numeric_share(column: pl.Series) -> float:
    """Which part of the values present are numbers; 0 where none is present."""
    present = column.drop_nulls()
    if not len(present):
        return 0.0
    if column.dtype != pl.String:
        return float(column.dtype.is_numeric())
    return 1 - present.cast(pl.Float64, strict=False).null_count() / len(present)


def _numbers(column: pl.Series, source: Source) -> np.ndarray:
    """A column as float64, NaN where missing; an error for the first text in it."""
    if column.dtype != pl.String and not column.dtype.is_numeric():
        raise InputError(
            f"{source.path}, column {column.name!r}", f"{column.dtype}, not numbers", "leave it out"
        )
    numbers = column.cast(pl.Float64, strict=False)
    bad = numbers.is_null() & column.is_not_null()
    if bad.any():
        index = int(bad.arg_max() or 0)
        comma = " (decimal comma? write a point)" if "," in str(column[index]) else ""
        raise InputError(
            f"{source.path}, row {source.row(index)}, column {column.name!r}",
            f"text {str(column[index])[:40]!r} in a numeric column, {int(bad.sum())} in all{comma}",
            "write a number, leave the field empty, or choose other columns",
        )
    return numbers.fill_null(np.nan).to_numpy()


def _refuse_infinite(values: np.ndarray, names: Sequence[str], source: Source) -> None:
    rows, at = np.nonzero(np.isinf(values))
    if rows.size:
        raise InputError(
            f"{source.path}, row {source.row(int(rows[0]))}, column {names[at[0]]!r}",
            f"an infinite value, {rows.size} in all",
            "write a number, or leave the field empty and set --missing",
        )


def _pieces(frame: pl.DataFrame, group: str | None, source: Source) -> list[tuple[str, np.ndarray]]:
    """The rows of each series, in file order."""
    if group is None:
        return [("", np.arange(len(frame)))]
    if frame[group].null_count():
        index = int(frame[group].is_null().arg_max() or 0)
        raise InputError(
            f"{source.path}, row {source.row(index)}, column {group!r}",
            "a row without a group",
            "fill it in or remove the row",
        )
    names = frame[group].cast(pl.String).to_numpy()
    order = dict.fromkeys(names.tolist())
    return [(name, np.flatnonzero(names == name)) for name in order]


# -------------------------------------------------------------------- the grid, and what is missing


def _on_grid(table: Table, pieces: list[tuple[str, np.ndarray]], missing: str) -> Table:
    """Lay each series on its grid of time, then deal with what is missing."""
    values, times, observed, series = [], [], [], []
    start = 0
    for name, rows in pieces:
        at = table.clock.positions(table.times[rows]) if table.time else np.arange(len(rows))
        steps = int(at[-1]) + 1
        if missing == "error":
            _refuse_missing(table, rows, at)
        grid = np.full((steps, len(table.columns)), np.nan)
        grid[at] = table.values[rows]
        whole = np.asarray(~np.isnan(grid).any(axis=1))
        ends = np.flatnonzero(whole)
        if not ends.size:
            part = f" of group {name!r}" if name else ""
            raise InputError(
                table.source.path, f"no row{part} has all its values", "choose fewer columns"
            )
        first, last = int(ends[0]), int(ends[-1]) + 1
        start_time = int(table.times[rows[0]]) if table.time else 0
        stamps = [table.clock.after(start_time, k) for k in range(first, last)]
        values.append(_interpolate(grid[first:last]))
        times.append(np.array(stamps, dtype=np.int64))
        observed.append(whole[first:last])
        series.append(Series(name, start, start + last - first))
        start += last - first
    seen = np.concatenate(observed)
    filled = int((~seen).sum())
    choices = list(table.choices)
    if table.group:
        choices.append(Choice("group", table.group, f"{len(series)} series", "--group"))
    if filled:
        what = {"interpolate": "filled by straight lines", "drop": "windows with one are left out"}
        reason = f"{filled} of {len(seen)} rows lack a value: {what[missing]}"
        choices.append(Choice("missing", missing, reason, "--missing"))
    return replace(
        table,
        series=tuple(series),
        values=np.concatenate(values),
        times=np.concatenate(times),
        observed=seen,
        usable=seen if missing == "drop" else np.ones_like(seen),
        choices=tuple(choices),
    )


def _refuse_missing(table: Table, rows: np.ndarray, at: np.ndarray) -> None:
    fix = "set --missing interpolate or --missing drop"
    holes, column = np.nonzero(np.isnan(table.values[rows]))
    if holes.size:
        name = table.columns[int(column[0])]
        lines = [table.source.row(int(rows[r])) for r in dict.fromkeys(holes.tolist())]
        shown = ", ".join(map(str, lines[:3])) + (", ..." if len(lines) > 3 else "")
        raise InputError(
            f"{table.source.path}, row {lines[0]}, column {name!r}",
            f"{len(holes)} missing values (rows {shown})",
            fix,
        )
    jumps = np.flatnonzero(np.diff(at) > 1)
    if jumps.size:
        lost = int(at[-1]) + 1 - len(at)
        row = table.source.row(int(rows[jumps[0]]))
        raise InputError(
            f"{table.source.path}, row {row}, column {table.time!r}",
            f"{lost} row{'s' if lost > 1 else ''} missing from the grid of "
            f"{table.clock.describe()}, the first after row {row}",
            fix,
        )


def _interpolate(grid: np.ndarray) -> np.ndarray:
    """Straight lines between neighbours in time; the ends are whole."""
    steps = np.arange(len(grid))
    columns = []
    for column in grid.T:
        known = ~np.isnan(column)
        columns.append(column if known.all() else np.interp(steps, steps[known], column[known]))
    return np.column_stack(columns)

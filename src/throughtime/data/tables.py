"""A table of one or several series, ready to be cut into windows.

Everything decided on the way is a `Choice` with its reason and the option that sets it otherwise.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.data import stamps, timeline
from throughtime.data.grid import MISSING, Rows, Series, lay
from throughtime.data.reading import Choice, Source, read_frame
from throughtime.data.stamps import Times
from throughtime.data.timeline import Clock
from throughtime.errors import InputError, nearest

# Beyond, squares of differences leave float64.
_LARGEST = 1e150


@dataclass(frozen=True)
class Table:
    """Series on a regular grid of time. Columns: the targets first, then further inputs."""

    source: Source
    rows: int  # of the file
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    time: str | None
    group: str | None
    clock: Clock
    series: tuple[Series, ...]
    values: np.ndarray  # [R, C] float64; filled where missing
    times: np.ndarray  # [R] int64, see stamps.py
    observed: np.ndarray  # [R] bool: no used column was filled in
    known: np.ndarray  # [R] int64: the time from which a row's values are known, filled ones too
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
    learned: Clock | None = None,
) -> Table:
    """Read series from CSV, Parquet or Arrow.

    >>> table = read_table(Path("co2.csv"), Columns(targets=("co2",)), missing="interpolate")
    >>> table.clock.describe()
    '7 days'

    ``missing``: "error"; "interpolate" (linear in time, ends cut off); "drop" (windows that touch
    a missing value are left out). Rows absent from the grid of time count as missing.
    ``learned``: the clock of a model, for a table too short to tell its step.

    Raises InputError naming file, row and column.
    """
    if missing not in MISSING:
        raise InputError("--missing", repr(missing), f"take one of {', '.join(MISSING)}")
    frame, source = read_frame(path, delimiter, labels=(columns.group,))
    choices = list(source.choices)
    where = source.path
    for name in (*(columns.targets or ()), *(columns.inputs or ()), columns.group, columns.time):
        if name not in (None, "none") and name not in frame.columns:
            raise InputError(where, f"no column {name!r}", nearest(str(name), frame.columns))

    time, times, choice = find_time(frame, columns, source)
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
    values = np.column_stack([numbers_of(frame[name], source) for name in used])
    refuse_extreme(values, used, source)

    pieces = _pieces(frame, group, source)
    clock = timeline.ROWS
    if time is not None:
        clock = timeline.find_clock(times, [rows for _, rows in pieces], source, time, learned)
        alone = learned is not None and len(pieces) == len(frame)
        reason = "as the model learned it" if alone else "from the differences of the times"
        choices.append(Choice("time step", clock.describe(), reason))
    if group is not None:
        choices.append(Choice("group", group, f"{len(pieces)} series", "--group"))
    at = times.values if time is not None else _counted(pieces, source)
    grid = lay(Rows(source, used, values, time, at, clock, pieces), missing)
    return Table(
        source=source,
        rows=len(frame),
        columns=used,
        targets=targets,
        time=time,
        group=group,
        clock=clock,
        series=grid.series,
        values=grid.values,
        times=grid.times,
        observed=grid.observed,
        known=grid.known,
        usable=grid.observed if missing == "drop" else np.ones_like(grid.observed),
        missing=missing,
        choices=(*choices, *grid.choices),
    )


# -------------------------------------------------------------------- which column is what


def find_time(
    frame: pl.DataFrame, columns: Columns, source: Source
) -> tuple[str | None, Times, Choice]:
    in_order = Times("row", np.arange(len(frame), dtype=np.int64), "rows in order")
    if columns.time == "none":
        return None, in_order, Choice("time", "none", "rows are in order", "--time")
    if columns.time is not None:
        times = stamps.parse_times(frame[columns.time], source)
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
            first = stamps.parse_times(frame[name].head(8), source)
        except stamps.UnclearDatesError:
            first = None  # further rows may tell
        except InputError:
            if not named_so:
                continue
            first = None
        # a column of whole numbers is taken for time by its name alone
        counts = first is not None and (first.kind == "number" or first.form == "%Y%m%d")
        if named_so or not counts:
            candidates[name] = stamps.parse_times(frame[name], source)
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
    share = {name: numeric_share(frame[name]) for name in rest}
    numeric = [name for name in rest if share[name] == 1]
    targets = columns.targets
    nearly = [name for name in rest if 0.5 < share[name] < 1 and name not in (targets or ())]
    if nearly and columns.inputs is None:
        # a numeric column with a slip in it: name the slip rather than drop the column
        numbers_of(frame[nearly[0]], source)
    if targets is None:
        if not numeric:
            raise _nonumbers_of(frame, rest, source)
        if len(numeric) > 1:
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


def numeric_share(column: pl.Series) -> float:
    """Which part of the values present are numbers; 0 where none is present."""
    present = column.drop_nulls()
    if not len(present):
        return 0.0
    if column.dtype != pl.String:
        return float(column.dtype.is_numeric())
    return 1 - present.cast(pl.Float64, strict=False).null_count() / len(present)


def numbers_of(column: pl.Series, source: Source) -> np.ndarray:
    """A column as float64, NaN where missing; an error for the first text in it."""
    if column.dtype != pl.String and not column.dtype.is_numeric():
        raise InputError(
            f"{source.path}, column {column.name!r}", f"{column.dtype}, not numbers", "leave it out"
        )
    numbers = column.cast(pl.Float64, strict=False)
    bad = numbers.is_null() & column.is_not_null()
    if bad.any():
        where, text = _place(column, int(bad.arg_max() or 0), source)
        raise InputError(
            where,
            f"text {text!r} in a numeric column, {int(bad.sum())} in all",
            _decimal_point(text)
            or "write a number, leave the field empty, or choose other columns",
        )
    return numbers.fill_null(np.nan).to_numpy()


def _nonumbers_of(frame: pl.DataFrame, rest: list[str], source: Source) -> InputError:
    """No column could be forecast: the first text that stands in the way."""
    name = next((name for name in reversed(rest) if frame[name].null_count() < len(frame)), None)
    if name is None:
        return InputError(source.path, "no column of numbers", "give one to forecast")
    where, text = _place(frame[name], int(frame[name].is_not_null().arg_max() or 0), source)
    fix = _decimal_point(text) or "give a column of numbers to forecast"
    if len(frame.columns) == 1:
        fix = "if it holds several fields, name what stands between them with --delimiter"
    return InputError(where, f"{text!r} is not a number, nor is any column numeric", fix)


def _place(column: pl.Series, index: int, source: Source) -> tuple[str, str]:
    where = f"{source.path}, row {source.row(index)}, column {column.name!r}"
    return where, str(column[index])[:40]


def _decimal_point(text: str) -> str:
    """What to do where a text is a number with a decimal comma; nothing elsewhere."""
    if not re.fullmatch(r"[+-]?[\d. ]*,\d+", text):
        return ""
    return "a decimal comma? write points (where no other comma stands: sed 's/,/./g' FILE)"


def refuse_extreme(values: np.ndarray, names: Sequence[str], source: Source) -> None:
    rows, at = np.nonzero(np.abs(values) > _LARGEST)
    if rows.size:
        value = float(values[rows[0], at[0]])
        found = "an infinite value" if np.isinf(value) else f"{value:g}, beyond {_LARGEST:g}"
        raise InputError(
            f"{source.path}, row {source.row(int(rows[0]))}, column {names[at[0]]!r}",
            f"{found}, {rows.size} in all",
            "write another number, or leave the field empty and set --missing",
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


def _counted(pieces: list[tuple[str, np.ndarray]], source: Source) -> np.ndarray:
    """Rows in place of times: the file's own, or each series' from 1 where there are several."""
    counted = np.empty(sum(len(rows) for _, rows in pieces), dtype=np.int64)
    for name, rows in pieces:
        counted[rows] = np.arange(len(rows)) + (1 if name else source.first_row)
    return counted

"""A table of one or several series, ready to be cut into windows.

Everything decided on the way is a `Choice` with its reason and the option that sets it otherwise.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.data.sources import DataSource
from throughtime.data.tables import covariates, timeline, timestamps
from throughtime.data.tables.calendar import calendar_names, calendar_of, step_of
from throughtime.data.tables.categories import codes_of, in_sequences
from throughtime.data.tables.grid import MISSING, Grid, Rows, Series, lay
from throughtime.data.tables.numbers import (
    decimal_point,
    numbers_of,
    place_of,
    refuse_extreme,
    words_of,
)
from throughtime.data.tables.reading import Source, read_frame
from throughtime.data.tables.timeline import Clock
from throughtime.data.tables.timestamps import Times
from throughtime.errors import InputError, nearest
from throughtime.runs import Choice

GAP = "time gap"  # of a row to the one before, in usual steps


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
    times: np.ndarray  # [R] int64, see timestamps.py
    observed: np.ndarray  # [R] bool: no used column was filled in
    known: np.ndarray  # [R] int64: the time from which a row's values are known, filled ones too
    usable: np.ndarray  # [R] bool: may lie in a window at all
    missing: str  # what was asked to be done with missing values
    choices: tuple[Choice, ...]
    asked: "Columns"  # settled: what to ask of a table like it
    fixed: int = 0  # the last numbers that are marks or known ahead
    known_ahead: int = 0  # of these, how many are known ahead
    categories: tuple[tuple[str, ...], ...] = ()  # of the last columns, the words of their codes
    # of a series what is known after its last row: times [n], plans [n, F]
    plans: dict[str, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict[str, tuple[np.ndarray, np.ndarray]]
    )

    @property
    def known_columns(self) -> slice | None:
        """Where the columns that are known ahead stand."""
        end = len(self.columns) - len(self.categories)
        return slice(end - self.known_ahead, end) if self.known_ahead else None


@dataclass(frozen=True)
class Columns:
    """Which columns play which part; None lets the reader choose, and say what it chose."""

    targets: tuple[str, ...] | None = None
    time: str | None = None  # "none": rows are in order of time
    group: str | None = None
    inputs: tuple[str, ...] | None = None  # further inputs; () for none
    known: tuple[str, ...] = ()  # plans: numbers that are known ahead
    calendar: tuple[str, ...] = ()  # of CALENDAR: what the time itself tells, ahead too
    categorical: tuple[str, ...] = ()
    masked: tuple[str, ...] | None = None  # columns with marks; None: those that lack values
    categories: tuple[tuple[str, ...], ...] | None = None  # words of the categorical ones
    resample: str | None = None  # a step to bring the rows to
    gaps: bool = False  # rows are steps, and the time between them is an input
    gap_unit: float | None = None  # that it is measured in; None: the usual step


def read_table(
    path: DataSource,
    columns: Columns,
    *,
    missing: str = "error",
    delimiter: str | None = None,
    static: Path | None = None,
    learned: Clock | None = None,
) -> Table:
    """Read series from CSV, Parquet or Arrow.

    >>> table = read_table(Path("co2.csv"), Columns(targets=("co2",)), missing="interpolate")
    >>> table.clock.describe()
    '7 days'

    ``missing``: "error"; "interpolate" (linear in time, ends cut off); "drop" (windows that touch
    a missing value are left out); "mask" (the last value held, with marks). Rows absent from the
    grid of time count as missing. ``static``: a table with a row for each group, whose columns
    every row then has. ``learned``: the clock of a model, for a table too short to tell its step.

    Raises InputError naming file, row and column.
    """
    if missing not in MISSING:
        raise InputError("--missing", repr(missing), f"take one of {', '.join(MISSING)}")
    frame, source = read_frame(path, delimiter, labels=(columns.group, *columns.categorical))
    choices = list(source.choices)
    if static is not None:
        frame = covariates.with_static(frame, static, columns.group, source)
        choices.append(Choice("static", static.name, "a row for each group", "--static"))
    where = source.path
    asked = (*(columns.targets or ()), *(columns.inputs or ()), *columns.known)
    for name in (*asked, *columns.categorical, columns.group, columns.time):
        if name in (None, "none" if name == columns.time else None) or name in frame.columns:
            continue
        raise InputError(where, f"no column {name!r}", nearest(str(name), frame.columns))

    time, times, choice = find_time(frame, columns, source)
    choices.append(choice)
    group = columns.group
    others = (time, group, *columns.known, *columns.categorical)
    rest = [name for name in frame.columns if name not in others]
    targets, inputs, found = _find_columns(frame, rest, columns, source)
    choices += found

    _check_parts(columns, (*targets, *inputs), (time, group), where)
    values = np.column_stack([numbers_of(frame[name], source) for name in (*targets, *inputs)])
    refuse_extreme(values, (*targets, *inputs), source)
    plans = covariates.plans(frame, columns.known, source)
    words = [words_of(frame[name], source).to_list() for name in columns.categorical]
    codes, categories = codes_of(words, columns.categories) if words else (None, ())
    pieces = _pieces(frame, group, source)
    raw = Rows(
        source=source,
        columns=(*targets, *inputs),
        values=values,
        time=time,
        times=times.values if time is not None else _counted(pieces, source),
        clock=timeline.ROWS,
        pieces=pieces,
        held=plans if codes is None else np.column_stack([plans, codes]),
        targets=len(targets),
    )
    rows, columns, found = _on_a_clock(raw, times, columns, learned)
    choices += found
    if group is not None:
        choices.append(Choice("group", group, f"{len(pieces)} series", "--group"))
    masked = covariates.masked(rows, columns.masked) if missing == "mask" else ()
    rows = replace(rows, masked=[rows.columns.index(name) for name in masked])
    grid = lay(rows, missing)
    count, dates = len(columns.known), calendar_names(columns.calendar)
    marks = [f"{name} ({mark})" for name in masked for mark in ("observed", "steps since")]
    both = [
        grid.values,
        grid.marks,
        grid.held[:, :count],
        calendar_of(columns.calendar, grid.times),
        grid.held[:, count:],
    ]
    return Table(
        source=rows.source,
        rows=len(frame),
        columns=(*rows.columns, *marks, *columns.known, *dates, *columns.categorical),
        targets=targets,
        time=rows.time,
        group=group,
        clock=rows.clock,
        series=grid.series,
        values=np.concatenate(both, axis=1),
        times=grid.times,
        observed=grid.observed,
        known=grid.known,
        usable=grid.observed if missing == "drop" else np.ones_like(grid.observed),
        missing=missing,
        choices=(*choices, *grid.choices),
        asked=replace(
            columns,
            targets=targets,
            time=time,
            inputs=inputs,
            masked=tuple(masked),
            categories=categories,
        ),
        fixed=len(marks) + count + len(dates),
        known_ahead=count + len(dates),
        categories=categories,
        plans=_plans_ahead(raw, grid, columns) if columns.known else {},
    )


def _check_parts(
    columns: Columns, used: Sequence[str], others: Sequence[str | None], where: str
) -> None:
    """Raise InputError for a column that plays two parts."""
    parts = (*used, *columns.known, *columns.categorical)
    counts = Counter(parts)
    for name in parts:
        if name in others:
            raise InputError(
                where, f"column {name!r} cannot be both time or group and values", "choose one part"
            )
        if counts[name] > 1:
            raise InputError(where, f"column {name!r} plays two parts", "name it for one of them")


def _on_a_clock(
    rows: Rows, times: Times, columns: Columns, learned: Clock | None
) -> tuple[Rows, Columns, list[Choice]]:
    """Rows with the step of their times: resampled, or each a step, if that was asked."""
    choices: list[Choice] = []
    if columns.known:
        rows = covariates.without_plans(rows)
    if rows.time is None:
        if columns.calendar or columns.resample or columns.gaps:
            asked = "--calendar, --resample or --gaps"
            raise InputError(asked, "no column of times", "name one with --time")
        return rows, columns, choices
    if (columns.calendar or columns.resample) and times.kind != "date":
        asked = "--calendar" if columns.calendar else "--resample"
        raise InputError(asked, f"column {rows.time!r} holds no dates", "leave it out")
    if columns.gaps:
        if columns.calendar or columns.resample:
            raise InputError("--gaps", "rows are steps of no clock", "leave out the other")
        choices.append(Choice(GAP, "an input", "rows are steps, however far apart", "--gaps"))
        rows, unit = covariates.with_gaps(rows, GAP, columns.gap_unit)
        rows = replace(rows, time=None, times=_counted(rows.pieces, rows.source))
        return rows, replace(columns, gap_unit=unit), choices
    if columns.resample is not None:
        rows = covariates.resampled_rows(rows, step_of(columns.resample))
        choices.append(Choice("resample", columns.resample, "means of each step", "--resample"))
        times = times._replace(values=rows.times, text=None)
    series = [at for _, at in rows.pieces]
    clock = timeline.find_clock(times, series, rows.source, str(rows.time), learned)
    alone = learned is not None and all(len(at) == 1 for at in series)
    reason = "as the model learned it" if alone else "from the differences of the times"
    choices.append(Choice("time step", clock.describe(), reason))
    return replace(rows, clock=clock), columns, choices


def _plans_ahead(
    raw: Rows, grid: Grid, columns: Columns
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each series what is known after the last row of its grid: times [n], plans [n, F]."""
    if columns.gaps:
        raw = replace(raw, times=_counted(raw.pieces, raw.source))
    step = step_of(columns.resample) if columns.resample is not None else None
    every = covariates.plans_by_series(raw, len(columns.known), step)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for series in grid.series:
        times, plans = every[series.name]
        later = times > grid.times[series.stop - 1]
        found[series.name] = times[later], plans[later]
    return found


# -------------------------------------------------------------------- which column is what


def find_time(
    frame: pl.DataFrame, columns: Columns, source: Source
) -> tuple[str | None, Times, Choice]:
    in_order = Times("row", np.arange(len(frame), dtype=np.int64), "rows in order")
    if columns.time == "none":
        return None, in_order, Choice("time", "none", "rows are in order", "--time")
    if columns.time is not None:
        times = timestamps.parse_times(frame[columns.time], source)
        return columns.time, times, Choice("time", columns.time, times.reading, "--time")
    chosen = (*(columns.targets or ()), *(columns.inputs or ()), columns.group)
    chosen = (*chosen, *columns.known, *columns.categorical)
    candidates: dict[str, Times] = {}
    for name in frame.columns:
        if name in chosen:
            continue
        named_so = name.lower() in ("time", "date", "datetime", "timestamp", "ds")
        is_date = isinstance(frame[name].dtype, pl.Date | pl.Datetime | pl.String)
        if not (named_so or is_date):
            continue
        try:
            first = timestamps.parse_times(frame[name].head(8), source)
        except timestamps.UnclearDatesError:
            first = None  # further rows may tell
        except InputError:
            if not named_so:
                continue
            first = None
        # a column of whole numbers is taken for time by its name alone
        counts = first is not None and (first.kind == "number" or first.form == "%Y%m%d")
        if named_so or not counts:
            candidates[name] = timestamps.parse_times(frame[name], source)
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
            raise _no_numbers(frame, rest, source)
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
        left = sorted({*rest} - {*targets, *inputs}, key=rest.index)
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


def _no_numbers(frame: pl.DataFrame, rest: list[str], source: Source) -> InputError:
    """No column could be forecast: the first text that stands in the way."""
    name = next((name for name in reversed(rest) if frame[name].null_count() < len(frame)), None)
    if name is None:
        return InputError(source.path, "no column of numbers", "give one to forecast")
    where, text = place_of(frame[name], int(frame[name].is_not_null().arg_max() or 0), source)
    fix = decimal_point(text) or "give a column of numbers to forecast"
    if len(frame.columns) == 1:
        fix = "if it holds several fields, name what stands between them with --delimiter"
    return InputError(where, f"{text!r} is not a number, nor is any column numeric", fix)


def _pieces(frame: pl.DataFrame, group: str | None, source: Source) -> list[tuple[str, np.ndarray]]:
    """The rows of each series, in file order."""
    order, lengths, names = rows_by_group(frame, group, source)
    return list(zip(names or ("",), np.split(order, np.cumsum(lengths)[:-1]), strict=True))


def rows_by_group(
    frame: pl.DataFrame, group: str | None, source: Source
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The rows, group by group; how many each has; their names. In the file's order."""
    if group is None:
        return np.arange(len(frame)), np.array([len(frame)]), ()
    if frame[group].null_count():
        index = int(frame[group].is_null().arg_max() or 0)
        raise InputError(
            f"{source.path}, row {source.row(index)}, column {group!r}",
            "a row without a group",
            "fill it in or remove the row",
        )
    return in_sequences(words_of(frame[group], source).to_numpy())


def _counted(pieces: Sequence[tuple[str, np.ndarray]], source: Source) -> np.ndarray:
    """Rows in place of times: the file's own, or each series' from 1 where there are several."""
    counted = np.empty(1 + max(int(rows[-1]) for _, rows in pieces), dtype=np.int64)
    for name, rows in pieces:
        counted[rows] = np.arange(len(rows)) + (1 if name else source.first_row)
    return counted

"""Tables of one or several series, from which windows are taken.

Every automatic decision is recorded as a `Choice`, with its reason and the option that changes it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

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

GAP = "time gap"  # time since the row before, in median steps


@dataclass(frozen=True)
class Table:
    """Series on a regular time grid. Columns: the targets first, then further inputs."""

    source: Source
    rows: int  # in the file
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    time: str | None
    group: str | None
    clock: Clock
    series: tuple[Series, ...]
    values: np.ndarray  # [R, C] float64; filled where missing
    times: np.ndarray  # [R] int64, see timestamps.py
    observed: np.ndarray  # [R] bool: no value was filled in
    scored: np.ndarray  # [R, K] bool: the target was not filled in
    known: np.ndarray  # [R] int64: time from which all values, also filled ones, are known
    usable: np.ndarray  # [R] bool: may be part of a window
    missing: str  # the option --missing
    choices: tuple[Choice, ...]
    asked: "Columns"  # the chosen columns, for reading a table of the same form
    fixed: int = 0  # number of last numeric columns that are indicators or known ahead
    known_ahead: int = 0  # how many of these are known ahead
    categories: tuple[tuple[str, ...], ...] = ()  # vocabularies of the last columns
    # by series, the known-ahead values after its last row: times [n], values [n, F]
    plans: dict[str, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict[str, tuple[np.ndarray, np.ndarray]]
    )

    @property
    def known_columns(self) -> slice | None:
        """The positions of the known-ahead columns."""
        end = len(self.columns) - len(self.categories)
        return slice(end - self.known_ahead, end) if self.known_ahead else None

    def by_row(self, of_series: np.ndarray) -> torch.Tensor:
        """Values of each series [S, K], repeated for each of its rows, [R, K]."""
        lengths = [series.stop - series.start for series in self.series]
        return torch.from_numpy(np.repeat(of_series, lengths, axis=0))


@dataclass(frozen=True)
class Columns:
    """The roles of columns; None lets the reader choose and report its choice."""

    targets: tuple[str, ...] | None = None
    time: str | None = None  # "none": rows are in time order
    group: str | None = None
    inputs: tuple[str, ...] | None = None  # further inputs; () for none
    known: tuple[str, ...] = ()  # numeric columns known ahead
    calendar: tuple[str, ...] = ()  # features from CALENDAR, known ahead
    categorical: tuple[str, ...] = ()
    masked: tuple[str, ...] | None = None  # with indicators; None: those with missing values
    categories: tuple[tuple[str, ...], ...] | None = None  # vocabularies of `categorical`
    resample: str | None = None  # time step to resample to
    gaps: bool = False  # each row is a step; the time between rows is an input
    gap_unit: float | None = None  # its unit; None: the median step


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

    ``missing``: "error"; "interpolate" (linear in time, ends cut off); "drop" (windows with a
    missing value are left out); "mask" (forward fill, with indicators). Time steps without a row
    count as missing. ``static``: a table with one row per group, whose columns are added to every
    row. ``learned``: the clock of a trained model, for a table too short to find its step.

    Raises InputError that names file, row and column.
    """
    if missing not in MISSING:
        raise InputError("--missing", repr(missing), f"take one of {', '.join(MISSING)}")
    frame, source = read_frame(path, delimiter, labels=(columns.group, *columns.categorical))
    choices = list(source.choices)
    if static is not None:
        frame = covariates.with_static(frame, static, columns.group, source)
        choices.append(Choice("static", static.name, "one row per group", "--static"))
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
        scored=grid.scored,
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
    """Raise InputError for a column with two roles."""
    parts = (*used, *columns.known, *columns.categorical)
    counts = Counter(parts)
    for name in parts:
        if name in others:
            raise InputError(
                where,
                f"column {name!r} is used as values and as time or group",
                "use it for one role",
            )
        if counts[name] > 1:
            raise InputError(
                where, f"column {name!r} is used for two roles", "use it for one of them"
            )


def _on_a_clock(
    rows: Rows, times: Times, columns: Columns, learned: Clock | None
) -> tuple[Rows, Columns, list[Choice]]:
    """Find the time step of the rows; resample them, or use rows as steps, if requested."""
    choices: list[Choice] = []
    if columns.known:
        rows = covariates.without_plans(rows)
    if rows.time is None:
        if columns.calendar or columns.resample or columns.gaps:
            asked = "--calendar, --resample or --gaps"
            raise InputError(asked, "there is no time column", "give one with --time")
        return rows, columns, choices
    if (columns.calendar or columns.resample) and times.kind != "date":
        asked = "--calendar" if columns.calendar else "--resample"
        raise InputError(asked, f"column {rows.time!r} does not contain dates", "remove the option")
    if columns.gaps:
        if columns.calendar or columns.resample:
            raise InputError(
                "--gaps", "it excludes --calendar and --resample", "use only one of these options"
            )
        choices.append(
            Choice(GAP, "an input", "each row is a step, whatever the time between rows", "--gaps")
        )
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
    reason = "from the trained model" if alone else "from the differences of the times"
    choices.append(Choice("time step", clock.describe(), reason))
    return replace(rows, clock=clock), columns, choices


def _plans_ahead(
    raw: Rows, grid: Grid, columns: Columns
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the known-ahead values after the last row of each series: times, values [n, F]."""
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
            first = None  # further rows may be clear
        except InputError:
            if not named_so:
                continue
            first = None
        # a column of whole numbers is the time column only if its name says so
        counts = first is not None and (first.kind == "number" or first.form == "%Y%m%d")
        if named_so or not counts:
            candidates[name] = timestamps.parse_times(frame[name], source)
    if len(candidates) > 1:
        names = " or ".join(repr(name) for name in candidates)
        raise InputError(source.path, f"{names} may be the time column", "choose one with --time")
    for name, times in candidates.items():
        reason = f"the only column of {times.reading}"
        return name, times, Choice("time", name, reason, "--time")
    reason = "no column of dates: rows are in order, one step apart"
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
        # mostly numeric: report the first invalid value instead of skipping the column
        numbers_of(frame[nearly[0]], source)
    if targets is None:
        if not numeric:
            raise _no_numbers(frame, rest, source)
        if len(numeric) > 1:
            found = f"{len(numeric)} numeric columns ({', '.join(numeric[:8])})"
            raise InputError(source.path, found, "choose the column to forecast with --target")
        targets = (numeric[0],)
        choices.append(Choice("target", numeric[0], "the only numeric column", "--target"))
    else:
        choices.append(Choice("target", ", ".join(targets), "as requested", "--target"))
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
    """Return the share of present values that are numbers; 0 if there are none."""
    present = column.drop_nulls()
    if not len(present):
        return 0.0
    if column.dtype != pl.String:
        return float(column.dtype.is_numeric())
    return 1 - present.cast(pl.Float64, strict=False).null_count() / len(present)


def _no_numbers(frame: pl.DataFrame, rest: list[str], source: Source) -> InputError:
    """Build the error for a table without numeric columns, naming the first text value."""
    name = next((name for name in reversed(rest) if frame[name].null_count() < len(frame)), None)
    if name is None:
        return InputError(source.path, "no numeric column", "give a numeric column to forecast")
    where, text = place_of(frame[name], int(frame[name].is_not_null().arg_max() or 0), source)
    fix = decimal_point(text) or "give a numeric column to forecast"
    if len(frame.columns) == 1:
        fix = "if rows have several fields, give the character between them with --delimiter"
    return InputError(where, f"{text!r} is not a number, and no column is numeric", fix)


def _pieces(frame: pl.DataFrame, group: str | None, source: Source) -> list[tuple[str, np.ndarray]]:
    """Return the rows of each series, in file order."""
    order, lengths, names = rows_by_group(frame, group, source)
    return list(zip(names or ("",), np.split(order, np.cumsum(lengths)[:-1]), strict=True))


def rows_by_group(
    frame: pl.DataFrame, group: str | None, source: Source
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return row indices by group, group lengths and group names, in file order."""
    if group is None:
        return np.arange(len(frame)), np.array([len(frame)]), ()
    if frame[group].null_count():
        index = int(frame[group].is_null().arg_max() or 0)
        raise InputError(
            f"{source.path}, row {source.row(index)}, column {group!r}",
            "the group is missing",
            "fill it in or remove the row",
        )
    return in_sequences(words_of(frame[group], source).to_numpy())


def _counted(pieces: Sequence[tuple[str, np.ndarray]], source: Source) -> np.ndarray:
    """Number the rows to replace times: file rows, or from 1 in each of several series."""
    counted = np.empty(1 + max(int(rows[-1]) for _, rows in pieces), dtype=np.int64)
    for name, rows in pieces:
        counted[rows] = np.arange(len(rows)) + (1 if name else source.first_row)
    return counted

"""Tables of one or several series, from which windows are taken.

Every automatic decision is recorded as a `Choice`, with its reason and the option that changes it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from throughtime.data.sources import DataSource
from throughtime.data.split import Split
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
from throughtime.data_options import DataOptions
from throughtime.errors import InputError, nearest
from throughtime.runs import Choice
from throughtime.specs import DataSpec

GAP = "time gap"  # time since the row before, in median steps


@dataclass(frozen=True)
class Table:
    """Series on a regular time grid. Columns: the targets first, then further inputs."""

    source: Source
    rows: int  # in the file
    columns: tuple[str, ...]
    options: DataOptions  # with which it was read; the reader has chosen where they were None
    time: str | None  # None also if each row is a step
    clock: Clock
    series: tuple[Series, ...]
    values: np.ndarray  # [R, C] float64; filled where missing
    times: np.ndarray  # [R] int64, see timestamps.py
    observed: np.ndarray  # [R] bool: no value was filled in
    scored: np.ndarray  # [R, K] bool: the target was not filled in
    known: np.ndarray  # [R] int64: time from which all values, also filled ones, are known
    usable: np.ndarray  # [R] bool: may be part of a window
    choices: tuple[Choice, ...]
    fixed: int = 0  # number of last numeric columns that are indicators or known ahead
    known_ahead: int = 0  # how many of these are known ahead
    categories: tuple[tuple[str, ...], ...] = ()  # vocabularies of the last columns
    masked: tuple[str, ...] = ()  # columns with indicators
    gap_unit: float | None = None  # with `gaps`: unit of the time between rows
    plan_words: tuple[tuple[str, ...], ...] = ()  # of each categorical column known ahead
    # by series, the known-ahead values after its last row: times [n], values [n, F]
    plans: dict[str, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict[str, tuple[np.ndarray, np.ndarray]]
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to forecast."""
        return self.options.target or ()

    @property
    def group(self) -> str | None:
        """The column that identifies the series."""
        return self.options.group

    @property
    def spec(self) -> DataSpec:
        """The description that is saved with a model, to read a table of the same form."""
        clock = (self.clock.kind, self.clock.count, self.clock.unit)
        options = self.options.saved()
        found = (self.categories, self.masked, self.gap_unit, self.plan_words)
        return DataSpec(options, clock, *found)

    @property
    def known_columns(self) -> slice | None:
        """The positions of the known-ahead columns."""
        end = len(self.columns) - len(self.categories)
        return slice(end - self.known_ahead, end) if self.known_ahead else None

    def by_row(self, of_series: np.ndarray) -> np.ndarray:
        """Values of each series [S, K], repeated for each of its rows, [R, K]."""
        lengths = [series.stop - series.start for series in self.series]
        return np.repeat(of_series, lengths, axis=0)


def read_table(path: DataSource, options: DataOptions, *, learned: DataSpec | None = None) -> Table:
    """Read series from CSV, Parquet or Arrow.

    >>> options = DataOptions(target=("co2",), missing="interpolate")
    >>> table = read_table(Path("co2.csv"), options)
    >>> table.clock.describe()
    '7 days'

    The option `missing`: "error"; "interpolate" (linear in time, ends cut off); "drop" (windows
    with a missing value are left out); "mask" (forward fill, with indicators). Time steps without a
    row count as missing. ``learned``: what a trained model knows, whose clock is used for a table
    too short to find its step.

    Raises InputError that names file, row and column.
    """
    if options.missing not in MISSING:
        raise InputError("--missing", repr(options.missing), f"take one of {', '.join(MISSING)}")
    names = (options.group, *options.categorical)
    frame, source = read_frame(path, options.delimiter, labels=names)
    choices = list(source.choices)
    if options.static is not None:
        frame = covariates.with_static(frame, options.static, options.group, source)
        choices.append(Choice("static", options.static.name, "one row per group", "--static"))
    where, group = source.path, options.group
    asked = (*(options.target or ()), *(options.inputs or ()), *options.known)
    for name in (*asked, *options.categorical, group, options.time):
        if name in (None, "none" if name == options.time else None) or name in frame.columns:
            continue
        raise InputError(where, f"no column {name!r}", nearest(str(name), frame.columns))

    words = [n for n in options.known if covariates.is_worded(frame[n])]
    categorical = dict.fromkeys((*options.categorical, *words))
    options = replace(options, categorical=tuple(categorical))
    time, times, choice = find_time(frame, options, source)
    choices.append(choice)
    others = (time, group, *options.known, *options.categorical)
    rest = [name for name in frame.columns if name not in others]
    targets, inputs, found = _find_columns(frame, rest, options, source)
    choices += found
    options = replace(options, target=targets, inputs=inputs, time=time or "none")

    _check_parts(options, (time, group), where)
    values = np.column_stack([numbers_of(frame[name], source) for name in (*targets, *inputs)])
    refuse_extreme(values, (*targets, *inputs), source)
    pieces = _pieces(frame, group, source)
    share = Split.read(options.split).training
    trained = np.concatenate([rows[: max(1, int(share * len(rows)))] for _, rows in pieces])
    plans = covariates.plans(frame, options, source, trained, learned.plans if learned else None)
    for name, own in zip(options.planned_words, plans.words, strict=True):
        reason = f"{len(own)} words, each an input known ahead"
        choices.append(Choice("known", name, reason, "--known"))
    words = [words_of(frame[name], source).to_list() for name in options.coded]
    vocabularies = learned.categories if learned else None
    codes, categories = codes_of(words, vocabularies) if words else (None, ())
    raw = Rows(
        source=source,
        columns=(*targets, *inputs),
        values=values,
        time=time,
        times=times.values if time is not None else _counted(pieces, source),
        clock=timeline.ROWS,
        pieces=pieces,
        held=plans.values if codes is None else np.column_stack([plans.values, codes]),
        targets=len(targets),
    )
    table = _on_a_grid(raw, times, options, learned, categories, plans)
    return replace(table, choices=(*choices, *table.choices))


def _on_a_grid(
    raw: Rows,
    times: Times,
    options: DataOptions,
    learned: DataSpec | None,
    categories: tuple[tuple[str, ...], ...],
    plans: covariates.Plans,
) -> Table:
    """Put rows on a regular grid, and add the columns that are derived from them."""
    rows, gap_unit, choices = _on_a_clock(raw, times, options, learned)
    if options.group is not None:
        choices.append(Choice("group", options.group, f"{len(raw.pieces)} series", "--group"))
    masked: tuple[str, ...] = ()
    if options.missing == "mask":
        masked = covariates.masked(rows, learned.masked if learned else None)
    rows = replace(rows, masked=[rows.columns.index(name) for name in masked])
    grid = lay(rows, options.missing)
    count, dates = len(plans.names), calendar_names(options.calendar)
    marks = [f"{name} ({mark})" for name in masked for mark in ("observed", "steps since")]
    both = [
        grid.values,
        grid.marks,
        grid.held[:, :count],
        calendar_of(options.calendar, grid.times),
        grid.held[:, count:],
    ]
    return Table(
        source=rows.source,
        rows=len(raw.values),
        columns=(*rows.columns, *marks, *plans.names, *dates, *options.coded),
        options=options,
        time=rows.time,
        clock=rows.clock,
        series=grid.series,
        values=np.concatenate(both, axis=1),
        times=grid.times,
        observed=grid.observed,
        scored=grid.scored,
        known=grid.known,
        usable=grid.observed if options.missing == "drop" else np.ones_like(grid.observed),
        choices=(*choices, *grid.choices),
        fixed=len(marks) + count + len(dates),
        known_ahead=count + len(dates),
        categories=categories,
        masked=masked,
        gap_unit=gap_unit,
        plans=_plans_ahead(raw, grid, options, count) if count else {},
        plan_words=plans.words,
    )


def _check_parts(options: DataOptions, others: Sequence[str | None], where: str) -> None:
    """Raise InputError for a column with two roles."""
    used = (*(options.target or ()), *(options.inputs or ()))
    parts = (*used, *options.known, *options.coded)
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
    rows: Rows, times: Times, options: DataOptions, learned: DataSpec | None
) -> tuple[Rows, float | None, list[Choice]]:
    """Find the time step of the rows; resample them, or use rows as steps, if requested.

    Also returns the unit of the time between rows, if they are steps.
    """
    choices: list[Choice] = []
    if options.known:
        rows = covariates.without_plans(rows)
    if rows.time is None:
        if options.calendar or options.resample or options.gaps:
            asked = "--calendar, --resample or --gaps"
            raise InputError(asked, "there is no time column", "give one with --time")
        return rows, None, choices
    if (options.calendar or options.resample) and times.kind != "date":
        asked = "--calendar" if options.calendar else "--resample"
        raise InputError(asked, f"column {rows.time!r} does not contain dates", "remove the option")
    if options.gaps:
        if options.calendar or options.resample:
            raise InputError(
                "--gaps", "it excludes --calendar and --resample", "use only one of these options"
            )
        choices.append(
            Choice(GAP, "an input", "each row is a step, whatever the time between rows", "--gaps")
        )
        rows, unit = covariates.with_gaps(rows, GAP, learned.gap_unit if learned else None)
        rows = replace(rows, time=None, times=_counted(rows.pieces, rows.source))
        return rows, unit, choices
    if options.resample is not None:
        rows = covariates.resampled_rows(rows, step_of(options.resample))
        choices.append(Choice("resample", options.resample, "means of each step", "--resample"))
        times = times._replace(values=rows.times, text=None)
    series = [at for _, at in rows.pieces]
    known = Clock(*learned.clock) if learned else None
    clock = timeline.find_clock(times, series, rows.source, str(rows.time), known)
    alone = learned is not None and all(len(at) == 1 for at in series)
    reason = "from the trained model" if alone else "from the differences of the times"
    choices.append(Choice("time step", clock.describe(), reason))
    return replace(rows, clock=clock), None, choices


def _plans_ahead(
    raw: Rows, grid: Grid, options: DataOptions, count: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the known-ahead values after the last row of each series: times, values [n, F]."""
    if options.gaps:
        raw = replace(raw, times=_counted(raw.pieces, raw.source))
    step = step_of(options.resample) if options.resample is not None else None
    every = covariates.plans_by_series(raw, count, step)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for series in grid.series:
        times, plans = every[series.name]
        later = times > grid.times[series.stop - 1]
        found[series.name] = times[later], plans[later]
    return found


# -------------------------------------------------------------------- which column is what


def find_time(
    frame: pl.DataFrame, options: DataOptions, source: Source
) -> tuple[str | None, Times, Choice]:
    in_order = Times("row", np.arange(len(frame), dtype=np.int64), "rows in order")
    if options.time == "none":
        return None, in_order, Choice("time", "none", "rows are in order", "--time")
    if options.time is not None:
        times = timestamps.parse_times(frame[options.time], source)
        return options.time, times, Choice("time", options.time, times.reading, "--time")
    chosen = (*(options.target or ()), *(options.inputs or ()), options.group)
    chosen = (*chosen, *options.known, *options.categorical)
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
    frame: pl.DataFrame, rest: list[str], options: DataOptions, source: Source
) -> tuple[tuple[str, ...], tuple[str, ...], list[Choice]]:
    choices: list[Choice] = []
    share = {name: numeric_share(frame[name]) for name in rest}
    numeric = [name for name in rest if share[name] == 1]
    targets = options.target
    nearly = [name for name in rest if 0.5 < share[name] < 1 and name not in (targets or ())]
    if nearly and options.inputs is None:
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
    inputs = options.inputs
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

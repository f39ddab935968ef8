"""Align rows to a regular time grid and fill missing values.

A time step without a row counts as missing, like a row without values. For each filled value the
grid stores the time from which it is known, because interpolation uses a later value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from throughtime.data import filling
from throughtime.data.tables.reading import Source, listed
from throughtime.data.tables.timeline import Clock
from throughtime.errors import InputError
from throughtime.runs import Choice

MISSING = ("error", "interpolate", "drop", "mask")

# Most grid steps per row. Beyond it, a time is wrong or the rows are not regular. It also limits
# the memory of a grid.
_STEPS_A_ROW = 2


@dataclass(frozen=True)
class Series:
    """One series of a table: the rows start..stop of the table's values."""

    name: str  # the group's value; empty for a single series
    start: int
    stop: int


@dataclass(frozen=True)
class Grid:
    """Series on a regular time grid."""

    series: tuple[Series, ...]
    values: np.ndarray  # [R, C] float64; filled where missing
    times: np.ndarray  # [R] int64
    observed: np.ndarray  # [R] bool: no value was filled in
    scored: np.ndarray  # [R, K] bool: the target was not filled in
    known: np.ndarray  # [R] int64: time from which all values, also filled ones, are known
    marks: np.ndarray  # [R, 2 n] for each masked column: observed, steps since observed
    held: np.ndarray  # [R, H]
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Rows:
    """The rows of a file before alignment."""

    source: Source
    columns: Sequence[str]
    values: np.ndarray  # [N, C] float64, NaN where missing
    time: str | None
    times: np.ndarray  # [N] int64
    clock: Clock
    pieces: Sequence[tuple[str, np.ndarray]]  # the rows of each series, in file order
    held: np.ndarray  # [N, H] known-ahead values and codes; forward filled on the grid
    targets: int  # number of targets, which are the first columns
    masked: Sequence[int] = ()  # columns with missing-value indicators


def lay(rows: Rows, missing: str) -> Grid:
    """Align each series to its time grid, interpolate linearly, and cut off incomplete ends.

    With "mask", values are forward filled and indicators are added; `observed` then refers to the
    targets only.

    Raises InputError for missing values if ``missing`` is "error", and for a series with a row on
    fewer than half of its grid steps.
    """
    values: list[np.ndarray] = []
    times: list[np.ndarray] = []
    observed: list[np.ndarray] = []
    scored: list[np.ndarray] = []
    known: list[np.ndarray] = []
    marks: list[np.ndarray] = []
    held: list[np.ndarray] = []
    series: list[Series] = []
    cut: list[str] = []
    empty: list[str] = []
    start = lacking = absent = 0
    for name, piece in rows.pieces:
        at = rows.clock.positions(rows.times[piece])
        _refuse_wide(rows, piece, at)
        if missing == "error":
            _refuse_missing(rows, piece, at)
        grid = np.full((int(at[-1]) + 1, len(rows.columns)), np.nan)
        grid[at] = rows.values[piece]
        there = ~np.isnan(grid)
        whole = np.asarray(there.all(axis=1))
        lacking += int((~whole[at]).sum())
        absent += len(grid) - len(at)
        extent = _extent(there, missing)
        if extent is None:
            empty.append(name)
            continue
        first, last = extent
        if missing == "mask":
            whole = np.asarray(there[:, : rows.targets].all(axis=1))
        stamps = rows.clock.after(rows.times[piece], np.arange(len(grid)) - at[-1])[first:last]
        cut += _cut_ends(rows, name, grid, (first, last), at, stamps)
        row = np.searchsorted(at, np.arange(len(grid)), side="right") - 1
        held.append(rows.held[piece][row][first:last])
        seen = filling.last_seen(there, np.zeros(len(grid), dtype=np.int64))
        marks.append(_marks(seen, rows.masked)[first:last])
        if missing == "mask":  # forward fill uses no later value
            filled, ahead = filling.hold(grid, seen)[first:last], np.arange(last - first)
        else:
            filled, ahead = _fill(grid[first:last])
        values.append(filled)
        times.append(stamps)
        observed.append(whole[first:last])
        scored.append(there[first:last, : rows.targets])
        known.append(stamps[ahead])
        series.append(Series(name, start, start + last - first))
        start += last - first
    if not series:
        raise InputError(
            rows.source.path, "no row has a value in every column", "choose fewer columns"
        )

    choices = _choices(rows, missing, (lacking, absent), cut, empty)
    return Grid(
        tuple(series),
        np.concatenate(values),
        np.concatenate(times),
        np.concatenate(observed),
        np.concatenate(scored),
        np.concatenate(known),
        np.concatenate(marks),
        np.concatenate(held),
        choices,
    )


def _choices(
    rows: Rows, missing: str, counts: tuple[int, int], cut: Sequence[str], empty: Sequence[str]
) -> tuple[Choice, ...]:
    """Describe the missing values and how they were handled."""
    lacking, absent = counts
    choices: list[Choice] = []
    if lacking or absent:
        found = [f"{lacking} of {len(rows.values)} rows have missing values"] if lacking else []
        step = "step" if absent == 1 else "steps"
        found += [f"{absent} {step} of {rows.clock.describe()} without a row"] if absent else []
        what = {
            "interpolate": "filled by linear interpolation",
            "drop": "no input has one",
            "mask": "forward filled, with indicators",
        }
        reason = f"{', '.join(found)}: {what[missing]}, missing targets are not scored"
        choices.append(Choice("missing", missing, reason, "--missing"))
    if cut:
        choices.append(Choice("ends", "cut off", listed(cut, "; "), "--missing"))
    if empty:
        reason = "no row has a value in every column"
        choices.append(Choice("series left out", listed(empty), reason, "--inputs"))
    return tuple(choices)


def _extent(there: np.ndarray, missing: str) -> tuple[int, int] | None:
    """Return the first and last usable row of a series, or None."""
    if missing == "mask":
        begun = np.flatnonzero(np.logical_or.accumulate(there).all(axis=1))
        ends = np.flatnonzero(there.any(axis=1))
    else:
        begun = ends = np.flatnonzero(there.all(axis=1))
    return (int(begun[0]), int(ends[-1]) + 1) if begun.size else None


def _refuse_missing(rows: Rows, piece: np.ndarray, at: np.ndarray) -> None:
    fix = "set --missing interpolate, drop or mask"
    source = rows.source
    holes, column = np.nonzero(np.isnan(rows.values[piece]))
    if holes.size:
        name = rows.columns[int(column[0])]
        lines = [source.row(int(piece[r])) for r in dict.fromkeys(holes.tolist())]
        shown = ", ".join(map(str, lines[:3])) + (", ..." if len(lines) > 3 else "")
        found = (
            f"{len(holes)} missing values (rows {shown})" if len(holes) > 1 else "a missing value"
        )
        raise InputError(
            f"{source.path}, row {lines[0]}, column {name!r}",
            found,
            fix,
        )
    jumps = np.flatnonzero(np.diff(at) > 1)
    if jumps.size:
        lost = int(at[-1]) + 1 - len(at)
        row = source.row(int(piece[jumps[0]]))
        raise InputError(
            f"{source.path}, row {row}, column {rows.time!r}",
            f"{lost} row{'s' if lost > 1 else ''} missing at a time step of "
            f"{rows.clock.describe()}, the first after row {row}",
            fix,
        )


def _refuse_wide(rows: Rows, piece: np.ndarray, at: np.ndarray) -> None:
    steps = int(at[-1]) + 1
    if steps <= _STEPS_A_ROW * len(at):
        return
    jump = int(np.diff(at).argmax()) + 1
    before, here = rows.clock.write(rows.times[piece[[jump - 1, jump]]])
    raise InputError(
        f"{rows.source.path}, row {rows.source.row(int(piece[jump]))}, column {rows.time!r}",
        f"{steps - len(at)} of {steps} steps of {rows.clock.describe()} have no row, most of them "
        f"where {here} follows {before}",
        "correct the time, set --resample, or ignore the times with --time none",
    )


def _cut_ends(
    rows: Rows,
    name: str,
    grid: np.ndarray,
    whole: tuple[int, int],
    at: np.ndarray,
    stamps: np.ndarray,
) -> list[str]:
    """Describe the rows that are cut off before the first and after the last complete row."""
    of = f"series {name}: " if name else ""
    first, last = whole
    messages: list[str] = []
    for end, lost, part in (
        ("first", int((at < first).sum()), grid[:first]),
        ("last", int((at >= last).sum()), grid[last:]),
    ):
        if not lost:
            continue
        count = f"{lost} rows" if lost > 1 else "row"
        gone = np.asarray(np.isnan(part).any(axis=0))
        lacked = ", ".join(
            column for column, hole in zip(rows.columns, gone.tolist(), strict=True) if hole
        )
        then = ""
        if end == "last":
            following = rows.clock.stamp(rows.clock.after(stamps, np.array([1])))[0]
            then = f": forecasts begin at {'' if rows.time else 'row '}{following}"
        messages.append(
            f"{of}the {end} {count} of {lacked} {'have' if lost > 1 else 'has'} no value{then}"
        )
    return messages


def _marks(last: np.ndarray, masked: Sequence[int]) -> np.ndarray:
    """Return for each masked column whether it was observed, and the steps since observed."""
    first = np.zeros(len(last), dtype=np.int64)
    found = [filling.marks(last[:, column], first) for column in masked]
    return np.column_stack(found) if found else np.empty((len(last), 0))


def _fill(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate linearly between complete ends; also return for each row the later row from
    which all its values are known (the row itself if nothing was filled)."""
    steps = np.arange(len(grid))
    ahead = steps
    columns: list[np.ndarray] = []
    for column in grid.T:
        there = ~np.isnan(column)
        if there.all():
            columns.append(column)
            continue
        columns.append(filling.join(column))
        towards = np.where(there, steps, len(grid))[::-1]
        ahead = np.maximum(ahead, np.minimum.accumulate(towards)[::-1])
    return np.column_stack(columns), ahead

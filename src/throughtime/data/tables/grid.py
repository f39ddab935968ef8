"""Rows on their grid of time, and what is missing there.

A row absent from the grid counts as missing like one without its values. What is filled in knows
until when it looks ahead: a straight line is drawn towards a value that came later.
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

# A series on more than so many steps a row is no series with gaps: a time is wrong, or the rows
# do not follow a clock. Also what bounds the memory of a grid.
_STEPS_A_ROW = 2


@dataclass(frozen=True)
class Series:
    """One series of a table: its rows are start..stop of the table's values."""

    name: str  # the group's value; empty where there is one series
    start: int
    stop: int


@dataclass(frozen=True)
class Grid:
    """Series on a regular grid of time."""

    series: tuple[Series, ...]
    values: np.ndarray  # [R, C] float64; filled where missing
    times: np.ndarray  # [R] int64
    observed: np.ndarray  # [R] bool: no column was filled in
    known: np.ndarray  # [R] int64: the time from which all its values are known, filled ones too
    marks: np.ndarray  # [R, 2 n] of each masked column: observed, steps since
    held: np.ndarray  # [R, H]
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Rows:
    """The rows of a file, as read."""

    source: Source
    columns: Sequence[str]
    values: np.ndarray  # [N, C] float64, NaN where missing
    time: str | None
    times: np.ndarray  # [N] int64
    clock: Clock
    pieces: Sequence[tuple[str, np.ndarray]]  # the rows of each series, in file order
    held: np.ndarray  # [N, H] plans and codes: whole, and held where a step has no row
    targets: int  # the first so many columns
    masked: Sequence[int] = ()  # columns that get marks


def lay(rows: Rows, missing: str) -> Grid:
    """Lay each series on its grid of time and fill it by straight lines; its ends are cut off.

    With "mask" the last value is held instead, and marks say so; what is observed is then asked of
    the targets alone.

    Raises InputError for missing values where ``missing`` is "error", and for a series whose times
    leave more than half of its grid empty.
    """
    values: list[np.ndarray] = []
    times: list[np.ndarray] = []
    observed: list[np.ndarray] = []
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
        if missing == "mask":  # looks at no later value
            filled, ahead = filling.hold(grid, seen)[first:last], np.arange(last - first)
        else:
            filled, ahead = _fill(grid[first:last])
        values.append(filled)
        times.append(stamps)
        observed.append(whole[first:last])
        known.append(stamps[ahead])
        series.append(Series(name, start, start + last - first))
        start += last - first
    if not series:
        raise InputError(rows.source.path, "no row has all its values", "choose fewer columns")

    choices = _choices(rows, missing, (lacking, absent), cut, empty)
    return Grid(
        tuple(series),
        np.concatenate(values),
        np.concatenate(times),
        np.concatenate(observed),
        np.concatenate(known),
        np.concatenate(marks),
        np.concatenate(held),
        choices,
    )


def _choices(
    rows: Rows, missing: str, counts: tuple[int, int], cut: Sequence[str], empty: Sequence[str]
) -> tuple[Choice, ...]:
    """What was missing and what became of it, in words."""
    lacking, absent = counts
    choices: list[Choice] = []
    if lacking or absent:
        found = [f"{lacking} of {len(rows.values)} rows lack a value"] if lacking else []
        step = "step" if absent == 1 else "steps"
        found += [f"{absent} {step} of {rows.clock.describe()} without a row"] if absent else []
        what = {
            "interpolate": "filled by straight lines",
            "drop": "windows with one are left out",
            "mask": "the last value held, and marked",
        }
        reason = f"{', '.join(found)}: {what[missing]}"
        choices.append(Choice("missing", missing, reason, "--missing"))
    if cut:
        choices.append(Choice("ends", "cut off", listed(cut, "; "), "--missing"))
    if empty:
        reason = "no row has all its values"
        choices.append(Choice("series left out", listed(empty), reason, "--inputs"))
    return tuple(choices)


def _extent(there: np.ndarray, missing: str) -> tuple[int, int] | None:
    """From which row on, and up to which, a series is of use; None where it has no such row."""
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
        raise InputError(
            f"{source.path}, row {lines[0]}, column {name!r}",
            f"{len(holes)} missing values (rows {shown})",
            fix,
        )
    jumps = np.flatnonzero(np.diff(at) > 1)
    if jumps.size:
        lost = int(at[-1]) + 1 - len(at)
        row = source.row(int(piece[jumps[0]]))
        raise InputError(
            f"{source.path}, row {row}, column {rows.time!r}",
            f"{lost} row{'s' if lost > 1 else ''} missing from the grid of "
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
        "mend the time, set --resample, or leave the times out with --time none",
    )


def _cut_ends(
    rows: Rows,
    name: str,
    grid: np.ndarray,
    whole: tuple[int, int],
    at: np.ndarray,
    stamps: np.ndarray,
) -> list[str]:
    """What is cut off before the first and after the last row that is whole, in words."""
    of = f"series {name}: " if name else ""
    first, last = whole
    told: list[str] = []
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
        told.append(
            f"{of}the {end} {count} of {lacked} {'have' if lost > 1 else 'has'} no value{then}"
        )
    return told


def _marks(last: np.ndarray, masked: Sequence[int]) -> np.ndarray:
    """For each masked column whether it was observed, and the steps since."""
    first = np.zeros(len(last), dtype=np.int64)
    found = [filling.marks(last[:, column], first) for column in masked]
    return np.column_stack(found) if found else np.empty((len(last), 0))


def _fill(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Straight lines between neighbours in time (the ends are whole), and for each row the one
    from which all its values are known: itself, or the one that a line is drawn towards."""
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

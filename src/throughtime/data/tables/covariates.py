"""What a table may hold beside targets and inputs: plans, marks, gaps of time, too many rows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.data.tables import timeline
from throughtime.data.tables.calendar import resampled
from throughtime.data.tables.grid import Rows
from throughtime.data.tables.numbers import numbers_of, refuse_extreme, words_of
from throughtime.data.tables.reading import Source, read_frame
from throughtime.errors import InputError, nearest


def plans(frame: pl.DataFrame, names: Sequence[str], source: Source) -> np.ndarray:
    """Columns that are known ahead, [N, n]: every row has a value."""
    found: list[np.ndarray] = []
    for name in names:
        column = numbers_of(frame[name], source)
        if np.isnan(column).any():
            row = source.row(int(np.isnan(column).argmax()))
            raise InputError(
                f"{source.path}, row {row}, column {name!r}",
                "a missing value in a column that is known ahead",
                "fill it in: a plan has no gaps",
            )
        found.append(column)
    values = np.column_stack(found) if found else np.empty((len(frame), 0))
    refuse_extreme(values, names, source)
    return values


def without_plans(rows: Rows) -> Rows:
    """Each series up to its last row with a target; the rows after it hold plans alone."""
    kept: list[tuple[str, np.ndarray]] = []
    for name, at in rows.pieces:
        some = ~np.isnan(rows.values[at, : rows.targets]).all(axis=1)
        last = np.flatnonzero(some)
        if not last.size:
            of = f" in series {name!r}" if name else ""
            raise InputError(rows.source.path, f"no target{of}", "give rows that have one")
        kept.append((name, at[: last[-1] + 1]))
    return replace(rows, pieces=kept)


def resampled_rows(rows: Rows, step: int) -> Rows:
    """All series in bins of a step, in microseconds: means of their values."""
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    pieces: list[tuple[str, np.ndarray]] = []
    begin = 0
    for name, at in rows.pieces:
        timeline.check_forward(rows.times, at, rows.source, str(rows.time), again=True)
        times, values, held, first = resampled(rows.times[at], rows.values[at], rows.held[at], step)
        found.append((times, values, held, at[first]))
        pieces.append((name, np.arange(begin, begin + len(times))))
        begin += len(times)
    times, values, held, order = (np.concatenate(part) for part in zip(*found, strict=True))
    return replace(
        rows,
        source=replace(rows.source, order=order),
        times=times,
        values=values,
        held=held,
        pieces=pieces,
    )


def with_gaps(rows: Rows, name: str, unit: float | None) -> tuple[Rows, float]:
    """With a further column: the time from each row to the one before, in a unit, 0 first.

    The unit is the usual step where none is given: a model's own, for its new rows.
    """
    (_, at), *others = rows.pieces
    if others:
        raise InputError(
            "--gaps", "several series: whose rows would be known when?", "set --resample instead"
        )
    timeline.check_forward(rows.times, at, rows.source, str(rows.time))
    gap = np.zeros(len(rows.values))
    gap[at[1:]] = np.diff(rows.times[at])
    unit = unit or float(np.median(gap[at[1:]])) if len(at) > 1 else unit or 1.0
    values = np.column_stack([rows.values, gap / unit])
    return replace(rows, values=values, columns=(*rows.columns, name)), unit


def plans_by_series(
    rows: Rows, count: int, step: int | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Times and plans of all rows of each series, those to come too; in bins of a step, if any."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, at in rows.pieces:
        times, known = rows.times[at], rows.held[at][:, :count]
        if step is not None:
            times, _, known, _ = resampled(times, rows.values[at], known, step)
        found[name] = times, known
    return found


def masked(rows: Rows, learned: tuple[str, ...] | None) -> tuple[str, ...]:
    """Columns that get marks: those that lack a value; all of them where a step has no row."""
    if learned is not None:
        return learned
    absent = any(
        int(rows.clock.positions(rows.times[at])[-1]) + 1 > len(at) for _, at in rows.pieces
    )
    return tuple(
        name
        for name, column in zip(rows.columns, rows.values.T, strict=True)
        if absent or np.isnan(column).any()
    )


def with_static(frame: pl.DataFrame, path: Path, group: str | None, source: Source) -> pl.DataFrame:
    """The table with the columns of another that has a row for each group."""
    if group is None:
        raise InputError("--static", "no --group", "name the column that tells sequences apart")
    static, other = read_frame(path, labels=(group,))
    if group not in static.columns:
        raise InputError(other.path, f"no column {group!r}", nearest(group, static.columns))
    static = static.with_columns(words_of(static[group], other))
    twice = static[group].is_duplicated()
    if twice.any():
        row = other.row(int(twice.arg_max() or 0))
        raise InputError(
            f"{other.path}, row {row}, column {group!r}", "a group again", "one row for each group"
        )
    both = sorted((set(static.columns) & set(frame.columns)) - {group})
    if both:
        raise InputError(other.path, f"column {both[0]!r} is in both tables", "rename one of them")
    frame = frame.with_columns(words_of(frame[group], source))
    lacking = frame.filter(~pl.col(group).is_in(static[group].to_list()))
    if len(lacking):
        raise InputError(
            other.path,
            f"no row for {group} {lacking.item(0, group)!r} of {source.path}",
            "give a row for each group",
        )
    return frame.join(static, on=group, how="left", maintain_order="left")

"""Covariates of a table: known-ahead columns, indicators, time gaps, static columns."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from throughtime.data.tables import timeline
from throughtime.data.tables.calendar import resampled
from throughtime.data.tables.grid import Rows
from throughtime.data.tables.numbers import numbers_of, refuse_extreme, words_of
from throughtime.data.tables.reading import Source, read_frame
from throughtime.data_options import DataOptions
from throughtime.errors import InputError, nearest

_MOST_WORDS = 200  # of a categorical column known ahead


class Plans(NamedTuple):
    """The columns known ahead: numbers, and an indicator for each word of a categorical one."""

    names: tuple[str, ...]
    values: np.ndarray  # [N, n]
    words: tuple[tuple[str, ...], ...]  # of each categorical column


def is_worded(column: pl.Series) -> bool:
    """Whether a column known ahead has words: some of its values are not numbers."""
    if column.dtype != pl.String:
        return not column.dtype.is_numeric() and column.dtype != pl.Boolean
    present = column.drop_nulls()
    return present.cast(pl.Float64, strict=False).null_count() > 0


def plans(
    frame: pl.DataFrame,
    options: DataOptions,
    source: Source,
    trained: np.ndarray,
    learned: tuple[tuple[str, ...], ...] | None,
) -> Plans:
    """Return the known-ahead columns; every row must have a value.

    ``trained``: rows from which the words of categorical columns are taken, so that there is no
    indicator that training never saw. ``learned``: the words of a trained model.
    """
    names: list[str] = []
    found: list[np.ndarray] = []
    vocabularies: list[tuple[str, ...]] = []
    for name in options.known:
        if name in options.planned_words:
            words = words_of(frame[name], source)
            missing = words.is_null().to_numpy()
            if learned is not None:
                vocabulary = learned[len(vocabularies)]
            else:
                some = pl.Series(trained, dtype=pl.Int64)
                vocabulary = tuple(words.gather(some).drop_nulls().unique().sort().to_list())
            if len(vocabulary) > _MOST_WORDS:
                raise InputError(
                    f"{source.path}, column {name!r}",
                    f"{len(vocabulary)} different words, more than {_MOST_WORDS}",
                    "remove it from --known, or write numbers",
                )
            vocabularies.append(vocabulary)
            names += [f"{name} {word}" for word in vocabulary]
            found += [(words == word).fill_null(value=False).to_numpy() for word in vocabulary]
        else:
            column = numbers_of(frame[name], source)
            missing = np.isnan(column)
            names.append(name)
            found.append(column)
        if missing.any():
            row = source.row(int(missing.argmax()))
            raise InputError(
                f"{source.path}, row {row}, column {name!r}",
                "a missing value in a known-ahead column",
                "fill it in, or remove the column from --known",
            )
    values = np.column_stack(found).astype(np.float64) if found else np.empty((len(frame), 0))
    refuse_extreme(values, names, source)
    return Plans(tuple(names), values, tuple(vocabularies))


def without_plans(rows: Rows) -> Rows:
    """Cut each series after its last row with a target; later rows are known-ahead only."""
    kept: list[tuple[str, np.ndarray]] = []
    for name, at in rows.pieces:
        some = ~np.isnan(rows.values[at, : rows.targets]).all(axis=1)
        last = np.flatnonzero(some)
        if not last.size:
            of = f" of series {name!r}" if name else ""
            raise InputError(
                rows.source.path, f"no row{of} has a target value", "add rows with target values"
            )
        kept.append((name, at[: last[-1] + 1]))
    return replace(rows, pieces=kept)


def resampled_rows(rows: Rows, step: int) -> Rows:
    """Resample all series to means over a step, in microseconds."""
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
    """Add a column with the time since the row before, in a unit; 0 in the first row.

    ``unit``: the unit of a trained model; None to use the median step.
    """
    (_, at), *others = rows.pieces
    if others:
        raise InputError("--gaps", "it requires a single series", "use --resample instead")
    timeline.check_forward(rows.times, at, rows.source, str(rows.time))
    gap = np.zeros(len(rows.values))
    gap[at[1:]] = np.diff(rows.times[at])
    unit = unit or float(np.median(gap[at[1:]])) if len(at) > 1 else unit or 1.0
    values = np.column_stack([rows.values, gap / unit])
    return replace(rows, values=values, columns=(*rows.columns, name)), unit


def plans_by_series(
    rows: Rows, count: int, step: int | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return times and known-ahead values of each series, including future rows."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, at in rows.pieces:
        times, known = rows.times[at], rows.held[at][:, :count]
        if step is not None:
            times, _, known, _ = resampled(times, rows.values[at], known, step)
        found[name] = times, known
    return found


def masked(rows: Rows, learned: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the columns with missing values, or all columns if a step has no row."""
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
    """Join the columns of a static table, which has one row per group."""
    if group is None:
        raise InputError(
            "--static",
            "it requires --group",
            "give the column that identifies the series with --group",
        )
    static, other = read_frame(path, labels=(group,))
    if group not in static.columns:
        raise InputError(other.path, f"no column {group!r}", nearest(group, static.columns))
    static = static.with_columns(words_of(static[group], other))
    twice = static[group].is_duplicated()
    if twice.any():
        row = other.row(int(twice.arg_max() or 0))
        raise InputError(
            f"{other.path}, row {row}, column {group!r}",
            "the group is listed twice",
            "give one row per group",
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
            "give one row per group",
        )
    return frame.join(static, on=group, how="left", maintain_order="left")

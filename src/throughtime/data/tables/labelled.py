"""Tables of labelled sequences, with one label per sequence or one per step."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl

from throughtime.data.sequences.collection import Read
from throughtime.data.sources import DataSource
from throughtime.data.tables.categories import codes_of
from throughtime.data.tables.covariates import with_static
from throughtime.data.tables.numbers import numbers_of, refuse_extreme, words_of
from throughtime.data.tables.reading import Source, listed, read_frame
from throughtime.data.tables.tables import (
    GAP,
    find_time,
    numeric_share,
    rows_by_group,
)
from throughtime.data_options import DataOptions
from throughtime.errors import InputError, nearest
from throughtime.runs import Choice
from throughtime.specs import SequenceSpec


def read_labelled(
    path: DataSource, options: DataOptions, *, learned: SequenceSpec | None = None
) -> Read:
    """Read labelled sequences from CSV, Parquet or Arrow.

    >>> read = read_labelled(Path("steps.csv"), DataOptions(label="activity", group="person"))

    Rows of the same `group` form a sequence and must be in time order. If the label is constant
    in every group, each sequence has one label; otherwise each step has its own. An empty label is
    unknown. If the time steps differ, a column is added: the time since the row before, in median
    steps. ``learned``: what a trained model knows; the label may then be absent.

    Raises InputError that names file, row and column.
    """
    names = (options.label, options.group, *options.categorical, options.part)
    frame, source = read_frame(path, options.delimiter, labels=names)
    choices = list(source.choices)
    if options.static is not None:
        frame = with_static(frame, options.static, options.group, source)
        choices.append(Choice("static", options.static.name, "one row per group", "--static"))
    label = options.label if options.label in frame.columns or learned is None else None
    asked = (label, options.group, options.part, *options.categorical, *(options.inputs or ()))
    for name in (*asked, options.time):
        if name in (None, "none" if name == options.time else None) or name in frame.columns:
            continue
        raise InputError(source.path, f"no column {name!r}", nearest(str(name), frame.columns))
    parts = [name for name in (*asked, options.time) if name not in (None, "none")]
    twice = [name for name, count in Counter(parts).items() if count > 1]
    if twice:
        raise InputError(
            source.path, f"column {twice[0]!r} is used for two roles", "use it for one of them"
        )
    order, lengths, groups = rows_by_group(frame, options.group, source)
    time, times, choice = find_time(
        frame.select(n for n in frame.columns if n not in asked), options, source
    )
    choices.append(choice)
    taken = {label, options.label, options.group, options.part, time, *options.categorical}
    rest = [name for name in frame.columns if name not in taken]
    numeric = options.inputs
    if numeric is None:
        numeric = tuple(name for name in rest if numeric_share(frame[name]) == 1)
        left = sorted({*rest} - {*numeric}, key=rest.index)
        reason = "the numeric columns" + (f"; not {', '.join(left)}" if left else "")
        choices.append(Choice("inputs", listed(numeric) or "none", reason, "--inputs"))
    numeric = tuple(name for name in numeric if name not in options.categorical)
    if not numeric and not options.categorical:
        raise InputError(source.path, "no input columns", "choose some with --inputs")
    blocks = [numbers_of(frame[name], source) for name in numeric]
    values = np.column_stack(blocks) if blocks else np.empty((len(order), 0))
    refuse_extreme(values, numeric, source)
    values = values[order]
    codes, vocabularies = None, ()
    if options.categorical:
        words = [words_of(frame[n], source).to_numpy()[order] for n in options.categorical]
        codes, vocabularies = codes_of(
            [w.tolist() for w in words], learned.categories if learned else None
        )
    rows = order + source.first_row
    options = replace(options, inputs=numeric, time=time or "none")
    unit = learned.gap_unit if learned else None
    if time is not None:
        gap, unit = _gaps(times.values[order], lengths, rows, source, time, unit)
        irregular = len(np.unique(gap)) > 2  # the first gap of a sequence is 0
        if irregular if learned is None else GAP in learned.columns:
            values, numeric = np.column_stack([values, gap]), (*numeric, GAP)
            choices.append(Choice(GAP, "an input", "the time step is not regular", "--time none"))
    begins = np.cumsum(lengths) - lengths
    answers, every_step = _answers(frame, label, source, order, lengths, begins)
    return Read(
        values=values,
        lengths=lengths,
        columns=numeric,
        words=answers,
        numbers=None,
        every_step=every_step if learned is None else learned.every_step,
        part=_parts(frame, options.part, order, lengths, begins, source),
        where=source.path,
        fingerprint=source.fingerprint,
        rows=[(source.path, int(row)) for row in rows[begins]],
        names=groups,
        codes=codes,
        code_columns=options.categorical,
        categories=vocabularies,
        options=options,
        source="table",
        gap_unit=unit,
        choices=tuple(choices),
        step_rows=rows,
    )


def _gaps(
    times: np.ndarray,
    lengths: np.ndarray,
    rows: np.ndarray,
    source: Source,
    name: str,
    unit: float | None,
) -> tuple[np.ndarray, float]:
    """Return the time since the step before (0 at each start) and its unit, the median step."""
    gap = np.diff(times, prepend=times[:1])
    begins = np.cumsum(lengths) - lengths
    inside = np.ones(len(times), dtype=bool)
    inside[begins] = False
    back = np.flatnonzero(inside & (gap <= 0))
    if back.size:
        at = int(back[0])
        found = "the same time as" if gap[at] == 0 else "an earlier time than"
        raise InputError(
            f"{source.path}, row {rows[at]}, column {name!r}",
            f"{found} in row {rows[at - 1]} of the same sequence",
            "sort the rows by time, or give the column that identifies sequences with --group",
        )
    unit = unit or (float(np.median(gap[inside])) if inside.any() else 1.0)
    return np.where(inside, gap / unit, 0.0), unit


def _answers(
    frame: pl.DataFrame,
    label: str | None,
    source: Source,
    order: np.ndarray,
    lengths: np.ndarray,
    begins: np.ndarray,
) -> tuple[list[str | None] | None, bool]:
    """Return the labels of sequences, or of all steps."""
    if label is None:
        return None, False
    words = words_of(frame[label], source).fill_null("").to_numpy()[order]
    constant = words == np.repeat(words[begins], lengths)
    every_step = not constant.all() or len(lengths) == 1
    chosen = words if every_step else words[begins]
    return [w or None for w in chosen.tolist()], every_step


def _parts(
    frame: pl.DataFrame,
    name: str | None,
    order: np.ndarray,
    lengths: np.ndarray,
    begins: np.ndarray,
    source: Source,
) -> np.ndarray | None:
    if name is None:
        return None
    words = words_of(frame[name], source).fill_null("").to_numpy()[order].astype(str)
    strange = (words != np.repeat(words[begins], lengths)) | ~np.isin(
        words, ("train", "validation", "test")
    )
    if strange.any():
        at = int(strange.argmax())
        raise InputError(
            f"{source.path}, row {order[at] + source.first_row}, column {name!r}",
            f"part {str(words[at])!r}",
            "write train, validation or test, the same in all rows of a sequence",
        )
    return words[begins]

"""Missing values in sequences: raise an error, drop, interpolate, or mask."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from throughtime.data import filling
from throughtime.data.tables.grid import MISSING
from throughtime.errors import InputError
from throughtime.runs import Choice


class Filled(NamedTuple):
    """Filled values, and the choices made."""

    values: np.ndarray  # [R,C]; with "mask", NaN before the first value
    columns: tuple[str, ...]
    kept: np.ndarray  # [N] bool: sequences that were not dropped
    choices: tuple[Choice, ...]


def fill(
    values: np.ndarray,
    lengths: np.ndarray,
    columns: Sequence[str],
    missing: str,
    place: Callable[[int, int], str],
    masked: Sequence[str] | None = None,
) -> Filled:
    """Handle missing values (NaN) in concatenated sequences.

    "error" raises InputError with the `place` of a row and a column. "drop" leaves out sequences
    with missing values. "interpolate" is linear within a sequence, with constant ends. "mask" is
    forward fill and adds two columns for each column with missing values: 1 where it was observed,
    and the steps since observed. ``masked``: the columns for which a trained model has indicators.
    """
    if missing not in MISSING:
        raise InputError("--missing", repr(missing), f"take one of {', '.join(MISSING)}")
    holes = np.isnan(values)
    every = np.ones(len(lengths), dtype=bool)
    lacking = [name for name, hole in zip(columns, holes.T, strict=True) if hole.any()]
    wanted = [name for name in columns if name in (lacking if masked is None else masked)]
    if not lacking and not (wanted and missing == "mask"):
        return Filled(values, tuple(columns), every, ())
    count = int(holes.sum())
    if missing == "error":
        row, column = (int(k) for k in np.argwhere(holes)[0])
        raise InputError(
            place(row, column),
            f"a missing value, {count} in total",
            "set --missing mask, interpolate or drop",
        )
    found = f"{count} missing values"
    of = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    if missing == "drop":
        whole = np.bincount(of, weights=holes.any(axis=1), minlength=len(lengths)) == 0
        if not whole.any():
            raise InputError(
                place(0, 0), "every sequence has a missing value", "set --missing mask"
            )
        reason = f"{found}: {int((~whole).sum())} sequences with missing values are left out"
        choice = Choice("missing", "drop", reason, "--missing")
        return Filled(values[whole[of]], tuple(columns), whole, (choice,))
    if missing == "interpolate":
        filled = values.copy()
        for number, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            rows = slice(start, start + length)
            for column in np.flatnonzero(holes[rows].any(axis=0)):
                there = ~holes[rows, column]
                if not there.any():
                    raise InputError(
                        place(int(start), int(column)),
                        f"sequence {number + 1} has no values in this column",
                        "set --missing mask",
                    )
                filled[rows, column] = filling.join(values[rows, column])
        reason = f"{found}: filled by linear interpolation within each sequence"
        choice = Choice("missing", "interpolate", reason, "--missing")
        return Filled(filled, tuple(columns), every, (choice,))
    held = [name for name in columns if name in {*lacking, *wanted}]
    return _masked(values, tuple(columns), starts[of], held, wanted, found, every)


def _masked(
    values: np.ndarray,
    columns: tuple[str, ...],
    first: np.ndarray,
    held: Sequence[str],
    wanted: Sequence[str],
    found: str,
    every: np.ndarray,
) -> Filled:
    """Forward fill with indicators; `first` [R] is the first row of each row's sequence."""
    filled = values.copy()
    marks: list[np.ndarray] = []
    names: list[str] = []
    for name in held:
        own = [columns.index(name)]
        last = filling.last_seen(~np.isnan(values[:, own]), first)
        filled[:, own] = filling.hold(values[:, own], last)
        if name not in wanted:
            continue
        marks.append(filling.marks(last[:, 0], first))
        names += [f"{name} (observed)", f"{name} (steps since)"]
    reason = f"{found}: forward filled, with indicators for {', '.join(wanted)}"
    choice = Choice("missing", "mask", reason, "--missing")
    # codes are added later, after the indicators
    return Filled(np.column_stack([filled, *marks]), (*columns, *names), every, (choice,))

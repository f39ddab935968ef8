"""What is missing in sequences: refused, left out, or filled with a mark that says so."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from throughtime.data import filling
from throughtime.data.tables.grid import MISSING
from throughtime.errors import InputError
from throughtime.runs import Choice


class Filled(NamedTuple):
    """Rows end to end, and what was done."""

    values: np.ndarray  # [R,C]; with "mask", NaN where nothing was seen yet
    columns: tuple[str, ...]
    kept: np.ndarray  # [N] bool: sequences that are left
    choices: tuple[Choice, ...]


def fill(
    values: np.ndarray,
    lengths: np.ndarray,
    columns: Sequence[str],
    missing: str,
    place: Callable[[int, int], str],
    masked: Sequence[str] | None = None,
) -> Filled:
    """Fill what is missing (NaN) in sequences end to end.

    "error" refuses it, with the `place` of a row and a column; "drop" leaves out sequences that
    lack a value; "interpolate" draws straight lines within a sequence, its ends held; "mask" holds
    the last value and adds two columns for each that lacks some: 1 where it was observed, and the
    steps since it was. ``masked``: the columns that a model has such for.
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
            f"a missing value, {count} in all",
            "set --missing mask, interpolate or drop",
        )
    found = f"{count} missing values"
    of = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    if missing == "drop":
        whole = np.bincount(of, weights=holes.any(axis=1), minlength=len(lengths)) == 0
        if not whole.any():
            raise InputError(place(0, 0), "no sequence has all its values", "set --missing mask")
        told = f"{found}: {int((~whole).sum())} sequences with one are left out"
        choice = Choice("missing", "drop", told, "--missing")
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
                        f"sequence {number + 1} has no value at all in this column",
                        "set --missing mask",
                    )
                filled[rows, column] = filling.join(values[rows, column])
        told = f"{found}: filled by straight lines within each sequence"
        choice = Choice("missing", "interpolate", told, "--missing")
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
    """Held, with marks; `first` [R] is the row where each row's sequence begins."""
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
    told = f"{found}: held, with marks for {', '.join(wanted)}"
    choice = Choice("missing", "mask", told, "--missing")
    # the marks go before nothing else: numbers first, codes are added later
    return Filled(np.column_stack([filled, *marks]), (*columns, *names), every, (choice,))

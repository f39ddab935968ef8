"""Columns to numbers or to words, and what neither may hold."""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from throughtime.data.tables.reading import Source
from throughtime.errors import InputError

# Beyond, squares of differences leave float64.
LARGEST = 1e150


def numbers_of(column: pl.Series, source: Source) -> np.ndarray:
    """A column as float64, NaN where missing; an error for the first text in it."""
    if column.dtype != pl.String and not column.dtype.is_numeric():
        raise InputError(
            f"{source.path}, column {column.name!r}", f"{column.dtype}, not numbers", "leave it out"
        )
    numbers = column.cast(pl.Float64, strict=False)
    bad = numbers.is_null() & column.is_not_null()
    if bad.any():
        where, text = place_of(column, int(bad.arg_max() or 0), source)
        raise InputError(
            where,
            f"text {text!r} in a numeric column, {int(bad.sum())} in all",
            decimal_point(text) or "write a number, leave the field empty, or choose other columns",
        )
    return numbers.fill_null(np.nan).to_numpy()


def place_of(column: pl.Series, index: int, source: Source) -> tuple[str, str]:
    where = f"{source.path}, row {source.row(index)}, column {column.name!r}"
    return where, str(column[index])[:40]


def decimal_point(text: str) -> str:
    """What to do where a text is a number with a decimal comma; nothing elsewhere."""
    if not re.fullmatch(r"[+-]?[\d. ]*,\d+", text):
        return ""
    return "a decimal comma? write points (where no other comma stands: sed 's/,/./g' FILE)"


def words_of(column: pl.Series, source: Source) -> pl.Series:
    """A column as words. Raises InputError for one whose values are none: lists, say."""
    try:
        return column.cast(pl.String)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeError):
        raise InputError(
            f"{source.path}, column {column.name!r}",
            f"{column.dtype}, not words",
            "write it as text or as numbers",
        ) from None


def refuse_extreme(values: np.ndarray, names: Sequence[str], source: Source) -> None:
    rows, at = np.nonzero(np.abs(values) > LARGEST)
    if rows.size:
        value = float(values[rows[0], at[0]])
        found = "an infinite value" if np.isinf(value) else f"{value:g}, beyond {LARGEST:g}"
        raise InputError(
            f"{source.path}, row {source.row(int(rows[0]))}, column {names[at[0]]!r}",
            f"{found}, {rows.size} in all",
            "write another number, or leave the field empty and set --missing",
        )

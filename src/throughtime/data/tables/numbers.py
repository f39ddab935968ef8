"""Convert columns to numbers or text, and reject invalid values."""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from throughtime.data.tables.reading import Source
from throughtime.errors import InputError

# Squared differences of larger values overflow float64.
LARGEST = 1e150


def numbers_of(column: pl.Series, source: Source) -> np.ndarray:
    """Convert a column to float64, NaN where missing. Raises InputError for the first text."""
    if column.dtype != pl.String and not column.dtype.is_numeric():
        raise InputError(
            f"{source.path}, column {column.name!r}",
            f"its type {column.dtype} is not numeric",
            "do not use this column",
        )
    numbers = column.cast(pl.Float64, strict=False)
    bad = numbers.is_null() & column.is_not_null()
    if bad.any():
        where, text = place_of(column, int(bad.arg_max() or 0), source)
        raise InputError(
            where,
            f"text {text!r} in a numeric column, {int(bad.sum())} in total",
            decimal_point(text) or "write a number, leave the field empty, or choose other columns",
        )
    return numbers.fill_null(np.nan).to_numpy()


def place_of(column: pl.Series, index: int, source: Source) -> tuple[str, str]:
    where = f"{source.path}, row {source.row(index)}, column {column.name!r}"
    return where, str(column[index])[:40]


def decimal_point(text: str) -> str:
    """Return advice for a number with a decimal comma, else an empty string."""
    if not re.fullmatch(r"[+-]?[\d. ]*,\d+", text):
        return ""
    return "use decimal points, not commas (if the file has no other commas: sed 's/,/./g' FILE)"


def words_of(column: pl.Series, source: Source) -> pl.Series:
    """Convert a column to text. Raises InputError for unsupported types such as lists."""
    try:
        return column.cast(pl.String)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeError):
        raise InputError(
            f"{source.path}, column {column.name!r}",
            f"its type {column.dtype} cannot be converted to text",
            "save it as text or numbers",
        ) from None


def refuse_extreme(values: np.ndarray, names: Sequence[str], source: Source) -> None:
    rows, at = np.nonzero(np.abs(values) > LARGEST)
    if rows.size:
        value = float(values[rows[0], at[0]])
        found = "an infinite value" if np.isinf(value) else f"{value:g} is beyond {LARGEST:g}"
        raise InputError(
            f"{source.path}, row {source.row(int(rows[0]))}, column {names[at[0]]!r}",
            f"{found}, {rows.size} in total",
            "correct the number, or leave the field empty and set --missing",
        )

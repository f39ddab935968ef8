"""Convert data frames of other libraries to polars and back."""

import sys
from typing import Any

import numpy as np
import polars as pl

from throughtime.errors import InputError

_PLAIN = "give numbers, text or times"


def is_frame(value: object) -> bool:
    """Return whether a value is a data frame: polars, pandas, or any Arrow C stream."""
    if type(value).__name__ == "Series":  # a single column is not a table
        return False
    lazy = isinstance(value, pl.LazyFrame)
    return lazy or _is_pandas(value) or hasattr(value, "__arrow_c_stream__")


def to_polars(frame: Any) -> pl.DataFrame:
    """Convert a data frame to polars; a pandas index other than 0, 1, ... becomes a column.

    Raises InputError for a column with a type that table files do not support.
    """
    try:
        if isinstance(frame, pl.DataFrame):
            found = frame
        elif isinstance(frame, pl.LazyFrame):
            found = frame.collect()
        else:
            found = _from_pandas(frame) if _is_pandas(frame) else pl.DataFrame(frame)
    except (TypeError, ValueError, ImportError, pl.exceptions.PolarsError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("the table", f"cannot be read ({error})", _PLAIN) from None
    for name, dtype in found.schema.items():
        if dtype == pl.Object:
            raise InputError(
                f"the table, column {name!r}", "Python objects are not supported", _PLAIN
            )
    return found


def like(rows: pl.DataFrame, given: object) -> Any:
    """Convert rows to the library and the column types of the data frame `given`.

    Returns a pandas data frame with the same index for pandas, otherwise a polars data frame.
    """
    if not is_frame(given):
        return rows
    for name, dtype in to_polars(given).schema.items():
        if name in rows.columns and rows[name].dtype == pl.String and dtype != pl.String:
            rows = rows.with_columns(_typed(rows[name], dtype))
    if not _is_pandas(given):
        return rows
    pandas: Any = sys.modules["pandas"]
    frame = pandas.DataFrame({name: rows[name].to_list() for name in rows.columns})
    index = [name for name in _index_columns(given) if name in frame.columns]
    return frame.set_index(index) if index else frame


def _typed(words: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Convert text back to numbers or times; unchanged if any value cannot be converted."""
    found = words
    if dtype.is_numeric():
        found = words.cast(dtype, strict=False)
    elif isinstance(dtype, pl.Date):
        found = words.str.to_date(strict=False)
    elif isinstance(dtype, pl.Datetime):
        unit = dtype.time_unit
        found = words.str.to_datetime(time_unit=unit, time_zone=dtype.time_zone, strict=False)
    return words if found.null_count() > words.null_count() else found


def _is_pandas(value: object) -> bool:
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _from_pandas(frame: Any) -> pl.DataFrame:
    pandas: Any = sys.modules["pandas"]
    table = frame.reset_index() if _index_columns(frame) else frame
    names = [str(name) for name in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("the table", f"two columns are named {twice[0]!r}", "rename one of them")
    return pl.DataFrame({str(name): _column(table[name], pandas) for name in table.columns})


def _index_columns(frame: Any) -> list[str]:
    """Names of the columns of an index; none for an index that only counts rows."""
    pandas: Any = sys.modules["pandas"]
    if isinstance(frame.index, pandas.RangeIndex) and frame.index.name is None:
        return []
    if frame.index.nlevels == 1:
        return [str(frame.index.name or "index")]
    return [str(name or f"level_{n}") for n, name in enumerate(frame.index.names)]


def _column(column: Any, pandas: Any) -> pl.Series:
    types = pandas.api.types
    if types.is_datetime64_any_dtype(column.dtype):
        zone = column.dt.tz
        values = column if zone is None else column.dt.tz_convert("UTC").dt.tz_localize(None)
        found = pl.Series(values.to_numpy())
        if zone is None:
            return found
        found = found.dt.replace_time_zone("UTC")
        try:
            return found.dt.convert_time_zone(str(zone))
        except pl.exceptions.PolarsError:  # an unnamed offset
            return found
    if types.is_complex_dtype(column.dtype):
        raise InputError(
            f"the table, column {column.name!r}", "complex numbers are not supported", _PLAIN
        )
    numeric = types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype)
    if numeric and types.is_integer_dtype(column.dtype) and not column.isna().any():
        return pl.Series(column.to_numpy(dtype=str(column.dtype).lower()))
    if numeric and not types.is_integer_dtype(column.dtype):
        return pl.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), nan_to_null=True)
    words = column.astype(object)
    return pl.Series([None if pandas.isna(v) else v for v in words], strict=False)

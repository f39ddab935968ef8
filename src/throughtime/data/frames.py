"""Data frames of other libraries, to polars and back."""

import sys
from typing import Any

import numpy as np
import polars as pl

from throughtime.errors import InputError


def is_frame(value: object) -> bool:
    """Whether this is a data frame: polars, pandas, or anything with the Arrow C stream."""
    return _is_pandas(value) or hasattr(value, "__arrow_c_stream__")


def to_polars(frame: Any) -> pl.DataFrame:
    """A data frame as polars has it; of pandas, an index that is not 0, 1, ... becomes a column.

    Raises InputError for a column of a type that no table file could have.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    try:
        return _from_pandas(frame) if _is_pandas(frame) else pl.DataFrame(frame)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(
            "the table", f"a column that cannot be read ({error})", "give numbers, words or times"
        ) from None


def like(rows: pl.DataFrame, given: object) -> Any:
    """Rows as the library has them that `given` is of; polars for any that is not pandas."""
    if not _is_pandas(given):
        return rows
    pandas: Any = sys.modules["pandas"]
    return pandas.DataFrame({name: rows[name].to_list() for name in rows.columns})


def _is_pandas(value: object) -> bool:
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _from_pandas(frame: Any) -> pl.DataFrame:
    pandas: Any = sys.modules["pandas"]
    plain = isinstance(frame.index, pandas.RangeIndex) and frame.index.name is None
    table = frame if plain else frame.reset_index()
    return pl.DataFrame({str(name): _column(table[name], pandas) for name in table.columns})


def _column(column: Any, pandas: Any) -> pl.Series:
    types = pandas.api.types
    if types.is_datetime64_any_dtype(column.dtype):
        naive = column.dt.tz is None
        values = column if naive else column.dt.tz_convert("UTC").dt.tz_localize(None)
        found = pl.Series(values.to_numpy().astype("datetime64[us]"))
        return found if naive else found.dt.replace_time_zone("UTC")
    if types.is_bool_dtype(column.dtype) or not types.is_numeric_dtype(column.dtype):
        words = column.astype(object)
        return pl.Series([None if pandas.isna(v) else v for v in words], strict=False)
    if types.is_integer_dtype(column.dtype) and not column.isna().any():
        return pl.Series(column.to_numpy(dtype=np.int64))
    return pl.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), nan_to_null=True)

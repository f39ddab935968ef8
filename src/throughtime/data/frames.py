"""Data frames of other libraries, to polars and back."""

import sys
from typing import Any

import numpy as np
import polars as pl

from throughtime.errors import InputError


def is_frame(value: object) -> bool:
    """Whether this is a data frame: polars, pandas, or anything with the Arrow C stream."""
    lazy = isinstance(value, pl.LazyFrame)
    return lazy or _is_pandas(value) or hasattr(value, "__arrow_c_stream__")


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
    """Rows as the library has them that `given` is of, its columns with the types they have there.

    Of pandas a frame, with the index that the given one has; of polars for anything else.
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
    index = _index_column(given)
    return frame if index is None or index not in frame.columns else frame.set_index(index)


def _typed(words: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Words as numbers or times again; as they are where one of them is none."""
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
    table = frame if _index_column(frame) is None else frame.reset_index()
    return pl.DataFrame({str(name): _column(table[name], pandas) for name in table.columns})


def _index_column(frame: Any) -> str | None:
    """The column that an index becomes; None for one that counts rows."""
    pandas: Any = sys.modules["pandas"]
    if isinstance(frame.index, pandas.RangeIndex) and frame.index.name is None:
        return None
    return str(frame.index.name or "index")


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

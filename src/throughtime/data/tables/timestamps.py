"""Parse columns of times, and format new times in the same way.

Times are int64: microseconds since 1970 for dates (in the local time of the file if it has UTC
offsets), the number itself for whole numbers, the row number without a time column.
"""

import re
from typing import NamedTuple

import numpy as np
import polars as pl

from throughtime.data.tables.reading import Source
from throughtime.errors import InputError

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND

FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y%m%d",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
)
_QUARTER = r"^(\d{4})([ -]?)Q([1-4])$"
# a time of day, then Z or an offset from UTC
_OFFSET = r"^(.*\d:\d\d(?:\.\d+)?)( ?(?:Z|UTC|[+-]\d\d:?\d\d))$"
_YEAR_1000, _YEAR_10000 = (
    int(np.datetime64(f"{year}-01-01", "us").astype(np.int64)) for year in (1000, 10000)
)


class Times(NamedTuple):
    """A parsed time column."""

    kind: str  # "date", "number" or "row"
    values: np.ndarray  # int64
    reading: str  # how it was parsed, as text
    form: str = ""  # the date format, for writing new dates
    text: pl.Series | None = None  # the original text


class UnclearDatesError(InputError):
    """Ambiguous dates."""


def parse_times(column: pl.Series, source: Source) -> Times:
    """Parse a time column to int64.

    Raises InputError that names the first row that is empty or not a time, and for dates with
    ambiguous day and month or with a year of two digits.
    """
    where = f"{source.path}, column {column.name!r}"
    if column.null_count():
        row = source.row(int(column.is_null().arg_max() or 0))
        raise InputError(
            f"{source.path}, row {row}, column {column.name!r}",
            "the time is missing",
            "fill it in or remove the row",
        )
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return _typed(column)
    if column.dtype.is_integer():
        return _whole_numbers(column, where)
    if column.dtype != pl.String:
        raise InputError(
            where,
            f"its type {column.dtype} is not a time",
            "use whole numbers or dates, or set --time none",
        )
    parts = column.str.extract_groups(_OFFSET)
    body, offset = parts.struct.field("1"), parts.struct.field("2")
    zoned = not offset.null_count()
    read = _read_dates(body.alias(column.name) if zoned else column, source)
    if read is not None:
        form, values = read
        if zoned:
            return _with_offsets(column, values, _minutes(offset), form + str(offset[-1]))
        return Times("date", values, f"dates written as {form}", form, column)
    numbers = column.cast(pl.Int64, strict=False)
    if not numbers.null_count():
        return _whole_numbers(column, where)
    raise _no_time(column, numbers, source)


def write(times: np.ndarray, form: str) -> list[str]:
    """Format dates."""
    return _write(pl.Series(times), form).to_list()


def iso(times: np.ndarray) -> list[str]:
    """Format dates in ISO 8601, without the time of day if all are midnight."""
    unit = "D" if not (times % DAY).any() else "s" if not (times % SECOND).any() else "us"
    stamps = times.astype("datetime64[us]").astype(f"M8[{unit}]").astype(str)
    return [stamp.replace("T", " ") for stamp in stamps]


def can_write(times: np.ndarray, form: str) -> bool:
    """Return whether a format can represent these dates (fractional seconds, four-digit years)."""
    whole = not (times % SECOND).any() or "%." in form
    return bool(form) and whole and bool((times < _YEAR_10000).all())


def _write(times: pl.Series, form: str) -> pl.Series:
    stamps = times.cast(pl.Datetime("us"))
    fraction = re.search(r"%\.(\d+)f", form)
    if fraction is None:
        return stamps.dt.strftime(form)
    digits = int(fraction[1])
    after = (times % SECOND).cast(pl.String).str.zfill(6) + "0" * max(0, digits - 6)
    head, tail = form[: fraction.start()], form[fraction.end() :]
    return stamps.dt.strftime(head) + "." + after.str.slice(0, digits) + tail


def _read_dates(text: pl.Series, source: Source) -> tuple[str, np.ndarray] | None:
    """Return the format that parses every row, and the dates; None if there is none."""
    readable = (
        (form, text.str.to_datetime(form, time_unit="us", strict=False)) for form in FORMATS
    )
    whole = {form: times for form, times in readable if not times.null_count()}
    if {"%m/%d/%Y", "%d/%m/%Y"} <= set(whole) or {"%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"} <= set(whole):
        raise UnclearDatesError(
            f"{source.path}, column {text.name!r}",
            f"{text[0]!r} may have the day or the month first",
            "write dates as YYYY-MM-DD",
        )
    months, quarters = _months(text), _quarters(text)
    if not months.null_count():
        whole.setdefault("%Y-%m", months)
    if not quarters.null_count():
        between = str(text.str.extract(_QUARTER, 2)[0])
        whole.setdefault(f"%Y{between}Q%q", quarters)
    if not whole:
        return None
    form, times = next(iter(whole.items()))
    values = _microseconds(times)
    early = np.flatnonzero(values < _YEAR_1000)
    if early.size:
        raise UnclearDatesError(
            f"{source.path}, row {source.row(int(early[0]))}, column {text.name!r}",
            f"the year of {text[int(early[0])]!r} does not have four digits",
            "write dates as YYYY-MM-DD",
        )
    return _as_written(text, times.cast(pl.Int64), form), values


def _as_written(text: pl.Series, times: pl.Series, form: str) -> str:
    """Refine a format so that it reproduces the text: zero padding, and digits of a fraction."""
    fraction = re.search(r"\.(\d+)$", str(text[0])) if "%.f" in form else None
    form = form.replace("%.f", f"%.{len(fraction[1])}f" if fraction else "")
    for bare in ("", "md", "H", "mdH"):
        variant = re.sub(f"%([{bare}])", r"%-\1", form) if bare else form
        if (_write(times, variant) == text).all():
            return variant
    return form


def _with_offsets(column: pl.Series, local: np.ndarray, minutes: np.ndarray, form: str) -> Times:
    """Convert times with UTC offsets to one time scale.

    If every row has the same local time of day, local times are used and changes of the offset
    (daylight saving time) are ignored. Otherwise all times are converted to the offset of the last
    row. New times are written with that offset.
    """
    if (minutes == minutes[-1]).all():
        return Times("date", local, f"dates written as {form}", form, column)
    if not ((local - local[0]) % DAY).any():
        reading = f"dates in local time, ignoring the offset; new dates are written as {form}"
        return Times("date", local, reading, form, column)
    taken = local + (minutes[-1] - minutes) * MINUTE
    return Times(
        "date", taken, f"dates converted to the offset of the last row: {form}", form, column
    )


def _typed(column: pl.Series) -> Times:
    zone = getattr(column.dtype, "time_zone", None)
    if zone is None:
        return Times("date", _microseconds(column), "dates by column type", "", column)
    utc = _microseconds(column.dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    local = _microseconds(column.dt.replace_time_zone(None))
    minutes = (local - utc) // MINUTE
    hours, rest = divmod(abs(int(minutes[-1])), 60)
    sign = "-" if minutes[-1] < 0 else "+"
    fraction = "%.6f" if (local % SECOND).any() else ""
    form = f"%Y-%m-%d %H:%M:%S{fraction}{sign}{hours:02d}:{rest:02d}"
    return _with_offsets(column, local, minutes, form)


def _minutes(offset: pl.Series) -> np.ndarray:
    """Return the UTC offset in minutes; 0 for Z."""
    parts = offset.str.extract_groups(r"([+-])(\d\d):?(\d\d)")
    hours = parts.struct.field("2").cast(pl.Int64).fill_null(0)
    minutes = 60 * hours + parts.struct.field("3").cast(pl.Int64).fill_null(0)
    sign = np.where((parts.struct.field("1") == "-").fill_null(False).to_numpy(), -1, 1)
    return sign * minutes.to_numpy()


def _microseconds(times: pl.Series) -> np.ndarray:
    return times.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]").astype(np.int64)


def _whole_numbers(column: pl.Series, where: str) -> Times:
    numbers = column.cast(pl.Int64, strict=False)
    if numbers.null_count():
        raise InputError(where, "a number exceeds 64 bits", "give another time column")
    return Times("number", numbers.to_numpy().astype(np.int64), "whole numbers", "", column)


def _months(column: pl.Series) -> pl.Series:
    return (column + "-01").str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)


def _quarters(column: pl.Series) -> pl.Series:
    parts = column.str.extract_groups(_QUARTER)
    month = parts.struct.field("3").cast(pl.Int64) * 3 - 2
    text = parts.struct.field("1") + "-" + month.cast(pl.String) + "-01"
    return text.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)


def _no_time(column: pl.Series, numbers: pl.Series, source: Source) -> InputError:
    """Build an error for the first row that the best-fitting format cannot parse."""
    body = column.str.replace(_OFFSET, "$1")
    readings = [body.str.to_datetime(f, time_unit="us", strict=False) for f in FORMATS]
    best = min([*readings, numbers], key=lambda times: times.null_count())
    index = int(best.is_null().arg_max() or 0)
    fix = "write times as YYYY-MM-DD or YYYY-MM-DD HH:MM:SS, or as whole numbers"
    if column[index : index + 1].cast(pl.Float64, strict=False).null_count() == 0:
        fix = "use whole numbers in a smaller unit (0.1 s: 100 ms), or set --time none"
    return InputError(
        f"{source.path}, row {source.row(index)}, column {column.name!r}",
        f"{column[index]!r} is not a time",
        fix,
    )

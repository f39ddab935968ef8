"""Time columns: what they hold, the step between rows, and the stamps of rows to come.

Times are int64: microseconds since 1970 for dates, the number itself for whole numbers, the row's
index where there is no time column.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from throughtime.data.reading import Source
from throughtime.errors import InputError

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
_UTC = "%Y-%m-%d %H:%M:%S+00:00"  # how times with a zone are written
_LENGTHS = {"week": 7 * DAY, "day": DAY, "hour": HOUR, "minute": MINUTE, "second": SECOND}

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


class Times(NamedTuple):
    """A time column, read."""

    kind: str  # "date" or "number"
    values: np.ndarray  # int64
    reading: str  # how it was read, in words
    form: str = ""  # the form that dates were written in, to write further ones alike


class AmbiguousDatesError(InputError):
    """Dates that may be read in two ways."""


@dataclass(frozen=True)
class Clock:
    """How a table counts time."""

    kind: str  # "date", "number" or "row"
    count: int  # the step: so many ...
    unit: str  # ... "microsecond", "month", "number" or "row"
    form: str = ""  # how dates were written, e.g. "%Y%m%d" or "quarters"; empty: ISO 8601
    day: int = 0  # of months: the day they fall on, from 0; a shorter month has its last

    def describe(self) -> str:
        """The step in words, e.g. '7 days'."""
        if self.unit == "microsecond":
            for name, length in _LENGTHS.items():
                if self.count % length == 0 and not (name == "week" and self.count == 7 * DAY):
                    return _plural(self.count // length, name)
            return _plural(self.count, "microsecond")
        if self.unit == "month" and self.count % 12 == 0:
            return _plural(self.count // 12, "year")
        return str(self.count) if self.unit == "number" else _plural(self.count, self.unit)

    def after(self, time: int, steps: int) -> int:
        """The time so many steps later. A month later is the same day, or the month's last."""
        if self.unit != "month":
            return time + steps * self.count
        month, day, rest = _calendar(np.array([time]))
        return int(_from_calendar(month + steps * self.count, day * 0 + self.day, rest)[0])

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Steps from the first time to each; -1 where a time lies between two steps."""
        if self.unit == "month":
            month, day, rest = _calendar(times)
            expected = _from_calendar(month, np.full_like(day, self.day), rest[0])
            whole, left = np.divmod(month - month[0], self.count)
            return np.where((left == 0) & (expected == times), whole, -1)
        whole, left = np.divmod(times - times[0], self.count)
        return np.where(left == 0, whole, -1)

    def season(self) -> tuple[int, str]:
        """Steps in the natural period of this step, and its name; 1 and '' where there is none."""
        if self.unit == "month":
            return (
                (12 // self.count, "year") if 12 % self.count == 0 and self.count < 12 else (1, "")
            )
        if self.unit != "microsecond":
            return 1, ""
        if self.count == 7 * DAY:
            return 52, "year"
        for name in ("minute", "hour", "day", "week"):
            length = _LENGTHS[name]
            if length % self.count == 0 and length // self.count >= 7:
                return length // self.count, name
        return 1, ""

    def stamp(self, times: np.ndarray) -> list[str]:
        """Times as text: dates in ISO 8601, without a time of day where all are midnight."""
        if self.kind != "date":
            return [str(t) for t in times.tolist()]
        unit = "D" if not (times % DAY).any() else "s" if not (times % SECOND).any() else "us"
        return [
            t.replace("T", " ")
            for t in times.astype("datetime64[us]").astype(f"M8[{unit}]").astype(str)
        ]

    def write(self, times: np.ndarray) -> list[str]:
        """Times as text in the form the file had, so that they line up with it."""
        if self.form == "quarters":
            month, _, _ = _calendar(times)
            return [f"{1970 + m // 12} Q{m % 12 // 3 + 1}" for m in month.tolist()]
        if not self.form or (times % SECOND).any():
            return self.stamp(times)
        form = self.form.replace("%.f", "")
        stamps = times.astype("datetime64[us]").tolist()
        if any(isinstance(t, int) for t in stamps):  # beyond the year 9999
            return self.stamp(times)
        return [t.strftime(form) for t in stamps]


ROWS = Clock("row", 1, "row")


def parse_times(column: pl.Series, source: Source) -> Times:
    """A time column as int64, and how it was read.

    Raises InputError naming the first row that is empty or no time, and for dates whose day and
    month cannot be told apart.
    """
    where = f"{source.path}, column {column.name!r}"
    if column.null_count():
        row = source.row(int(column.is_null().arg_max() or 0))
        raise InputError(
            f"{source.path}, row {row}, column {column.name!r}",
            "a row without a time",
            "fill it in or remove the row",
        )
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        if getattr(column.dtype, "time_zone", None):
            return Times("date", _microseconds(column), "dates with a zone, taken to UTC", _UTC)
        return Times("date", _microseconds(column), "dates by their type")
    if column.dtype.is_integer():
        return _whole_numbers(column)
    if column.dtype != pl.String:
        raise InputError(where, f"{column.dtype} cannot be a time", "name another with --time")

    readable = {f: column.str.to_datetime(f, time_unit="us", strict=False) for f in FORMATS}
    whole = [f for f, times in readable.items() if not times.null_count()]
    if {"%m/%d/%Y", "%d/%m/%Y"} <= set(whole) or {"%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"} <= set(whole):
        raise AmbiguousDatesError(
            where, f"{column[0]!r} may be day or month first", "write dates as YYYY-MM-DD"
        )
    if whole:
        form = whole[0]
        return Times("date", _microseconds(readable[form]), f"dates written as {form}", form)
    for times, form in ((_months(column), "%Y-%m"), (_quarters(column), "quarters")):
        if not times.null_count():
            return Times("date", _microseconds(times), f"dates written as {form}", form)
    numbers = column.cast(pl.Int64, strict=False)
    if not numbers.null_count():
        return _whole_numbers(numbers)
    zoned = column.str.to_datetime("%+", time_unit="us", strict=False)
    if not zoned.null_count():
        return Times("date", _microseconds(zoned), "dates with a zone, taken to UTC", _UTC)
    best = min([*readable.values(), zoned, numbers], key=lambda times: times.null_count())
    index = int(best.is_null().arg_max() or 0)
    raise InputError(
        f"{source.path}, row {source.row(index)}, column {column.name!r}",
        f"{column[index]!r} is not a time",
        "write times as YYYY-MM-DD or YYYY-MM-DD HH:MM:SS, or as whole numbers",
    )


def find_clock(parsed: Times, pieces: list[np.ndarray], source: Source, name: str) -> Clock:
    """The step of a time column, from the rows of each series (indices, in file order).

    Raises InputError for unsorted, duplicate or irregular times, with the row.
    """
    kind, times, _, form = parsed
    for rows in pieces:
        _check_forward(times, rows, source, name)
    gaps = np.concatenate([np.diff(times[rows]) for rows in pieces])
    if not gaps.size:
        return Clock(kind, 1, "microsecond" if kind == "date" else "number", form)
    values, counts = np.unique(gaps, return_counts=True)
    usual = int(values[counts.argmax()])
    candidates = [Clock(kind, usual, "microsecond" if kind == "date" else "number", form)]
    if kind == "date" and usual >= 28 * DAY:
        month_gaps = np.concatenate([np.diff(_calendar(times[rows])[0]) for rows in pieces])
        months = int(np.bincount(month_gaps).argmax())
        # month ends: the 28th of February belongs to a series whose other days are the 31st
        month, day, _ = _calendar(times)
        last = _calendar(_from_calendar(month, np.full_like(day, 30), day * 0))[1]
        on = 30 if (day == last).all() else int(day.max())
        candidates.insert(0, Clock(kind, months, "month", form, on))
    for clock in candidates:
        if clock.count > 0 and all((clock.positions(times[rows]) >= 0).all() for rows in pieces):
            return clock
    clock = candidates[-1]
    rows = next(r for r in pieces if (clock.positions(times[r]) < 0).any())
    at = int((clock.positions(times[rows]) < 0).argmax())
    before, here = clock.stamp(times[rows[[at - 1, at]]])
    raise InputError(
        f"{source.path}, row {source.row(int(rows[at]))}, column {name!r}",
        f"irregular times: {here} follows {before}, where the usual step is {clock.describe()}",
        "bring the rows to one step, or leave the time out with --time none",
    )


def _check_forward(times: np.ndarray, rows: np.ndarray, source: Source, name: str) -> None:
    gaps = np.diff(times[rows])
    if (gaps > 0).all():
        return
    at = int((gaps <= 0).argmax()) + 1
    first, second = source.row(int(rows[at - 1])), source.row(int(rows[at]))
    if gaps[at - 1] == 0:
        found = f"the time of row {first} again"
        then = "remove one of them, or name the column that tells series apart with --group"
    else:
        found = f"time goes back after row {first}"
        then = "sort the rows by time, or name the column that tells series apart with --group"
    raise InputError(f"{source.path}, row {second}, column {name!r}", found, then)


def _plural(count: int, unit: str) -> str:
    return f"{count} {unit}" + ("" if count == 1 else "s")


def _microseconds(times: pl.Series) -> np.ndarray:
    zone = getattr(times.dtype, "time_zone", None)
    if zone is not None:
        times = times.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return times.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]").astype(np.int64)


def _whole_numbers(column: pl.Series) -> Times:
    numbers = column.cast(pl.Int64, strict=False)
    if numbers.null_count():
        raise InputError(f"column {column.name!r}", "a number beyond 64 bits", "name another time")
    return Times("number", numbers.to_numpy().astype(np.int64), "whole numbers")


def _months(column: pl.Series) -> pl.Series:
    return (column + "-01").str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)


def _quarters(column: pl.Series) -> pl.Series:
    parts = column.str.extract_groups(r"^(\d{4})[ -]?Q([1-4])$")
    month = parts.struct.field("2").cast(pl.Int64) * 3 - 2
    text = parts.struct.field("1") + "-" + month.cast(pl.String) + "-01"
    return text.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)


def _calendar(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Months since 1970, day of the month from 0, microseconds into the day."""
    stamps = times.astype("datetime64[us]")
    months = stamps.astype("datetime64[M]")
    day = stamps.astype("datetime64[D]")
    return (
        months.astype(np.int64),
        (day - months.astype("datetime64[D]")).astype(np.int64),
        (stamps - day).astype(np.int64),
    )


def _from_calendar(month: np.ndarray, day: np.ndarray, rest: np.ndarray) -> np.ndarray:
    first = month.astype("datetime64[M]")
    last = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(
        np.int64
    ) - 1
    whole = first.astype("datetime64[D]") + np.minimum(day, last)
    return whole.astype("datetime64[us]").astype(np.int64) + rest

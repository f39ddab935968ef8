"""Time steps of tables: the step between rows, its season, and future times."""

from dataclasses import dataclass, replace

import numpy as np

from throughtime.data.tables import timestamps
from throughtime.data.tables.reading import Source
from throughtime.data.tables.timestamps import DAY, HOUR, MINUTE, SECOND, Times
from throughtime.errors import InputError

_LENGTHS = {"week": 7 * DAY, "day": DAY, "hour": HOUR, "minute": MINUTE, "second": SECOND}


@dataclass(frozen=True)
class Clock:
    """The regular time step of a table."""

    kind: str  # "date", "number" or "row"
    count: int  # step length, in units
    unit: str  # "microsecond", "month", "number" or "row"
    form: str = ""  # date format, e.g. "%Y%m%d"; empty: ISO 8601

    def describe(self) -> str:
        """Return the step as text, e.g. '7 days'."""
        if self.unit == "microsecond":
            for name, length in _LENGTHS.items():
                if self.count % length == 0 and not (name == "week" and self.count == 7 * DAY):
                    return _plural(self.count // length, name)
            return _plural(self.count, "microsecond")
        if self.unit == "month" and self.count % 12 == 0:
            return _plural(self.count // 12, "year")
        return str(self.count) if self.unit == "number" else _plural(self.count, self.unit)

    def after(self, times: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the times `steps` after the last time of a series (negative: before it).

        Monthly steps keep the day of the month, or use the last day of a shorter month.
        """
        if self.unit != "month":
            return times[-1] + steps * self.count
        month, _, rest = _calendar(times)
        return _from_calendar(month[-1] + steps * self.count, _day_of_month(times), rest[-1])

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Return the step of each time, from the first; -1 for a time between two steps."""
        if self.unit == "month":
            month, _, rest = _calendar(times)
            expected = _from_calendar(month, _day_of_month(times), rest[0])
            whole, left = np.divmod(month - month[0], self.count)
            return np.where((left == 0) & (expected == times), whole, -1)
        whole, left = np.divmod(times - times[0], self.count)
        return np.where(left == 0, whole, -1)

    def periods(self) -> list[tuple[int, str]]:
        """Return every natural period of this step, in steps, and its name; shortest first."""
        if self.unit == "month":
            return [(12 // self.count, "year")] if 12 % self.count == 0 and self.count < 12 else []
        if self.unit != "microsecond":
            return []
        found = [
            (_LENGTHS[name] // self.count, name)
            for name in ("minute", "hour", "day", "week")
            if _LENGTHS[name] % self.count == 0 and _LENGTHS[name] > self.count
        ]
        year = round(365.25 * DAY / self.count)
        return [*found, (year, "year")] if self.count <= 31 * DAY else found

    def season(self) -> tuple[int, str]:
        """Return the shortest period of 7 steps or more, or a year of months; else 1 and ''."""
        found = [p for p in self.periods() if p[0] >= 7 or self.unit == "month"]
        short = self.unit == "month" or self.count <= DAY or self.count == 7 * DAY
        return found[0] if found and short else (1, "")

    def stamp(self, times: np.ndarray) -> list[str]:
        """Format times: dates in ISO 8601, without the time of day if all are midnight."""
        return timestamps.iso(times) if self.kind == "date" else [str(t) for t in times.tolist()]

    def write(self, times: np.ndarray) -> list[str]:
        """Format times in the date format of the file."""
        if self.kind == "date" and timestamps.can_write(times, self.form):
            return timestamps.write(times, self.form)
        return self.stamp(times)


ROWS = Clock("row", 1, "row")


def find_clock(
    parsed: Times,
    pieces: list[np.ndarray],
    source: Source,
    name: str,
    learned: Clock | None = None,
) -> Clock:
    """Find the step of a time column; ``pieces``: row indices of each series, in file order.

    ``learned``: the clock of a trained model, used if each series has a single row and thus no
    step.

    Raises InputError for unsorted, duplicate or irregular times, with the row.
    """
    kind, times, _, form, text = parsed
    for rows in pieces:
        check_forward(times, rows, source, name)
    gaps = np.concatenate([np.diff(times[rows]) for rows in pieces])
    if not gaps.size:
        if learned is None:
            return Clock(kind, 1, "microsecond" if kind == "date" else "number", form)
        return _learned(parsed, learned, source, name)
    values, counts = np.unique(gaps, return_counts=True)
    usual = int(values[counts.argmax()])
    candidates = [Clock(kind, usual, "microsecond" if kind == "date" else "number", form)]
    if kind == "date" and usual >= 28 * DAY:
        month_gaps = np.concatenate([np.diff(_calendar(times[rows])[0]) for rows in pieces])
        months = int(np.bincount(month_gaps).argmax())
        if months:
            candidates.insert(0, Clock(kind, months, "month", form))
    for clock in candidates:
        if all((clock.positions(times[rows]) >= 0).all() for rows in pieces):
            return clock
    clock = candidates[0]
    rows = next(r for r in pieces if (clock.positions(times[r]) < 0).any())
    at = int((clock.positions(times[rows]) < 0).argmax())
    before, here = (str(text[int(rows[i])]) if text is not None else "" for i in (at - 1, at))
    raise InputError(
        f"{source.path}, row {source.row(int(rows[at]))}, column {name!r}",
        f"irregular times: {here} follows {before}, but the usual step is {clock.describe()}",
        "set --resample to average rows to a regular step, or --gaps to use the time between rows "
        "as an input",
    )


def _learned(parsed: Times, learned: Clock, source: Source, name: str) -> Clock:
    """Return the clock of a trained model if it matches the times of the table."""
    clock = replace(learned, form=parsed.form)
    first = parsed.values[:1]
    following = clock.after(first, np.array([1]))
    if parsed.kind == clock.kind and clock.write(following) != clock.write(first):
        return clock
    found = "a number" if parsed.kind == "number" else f"a date in the form {parsed.form}"
    text = parsed.text[0] if parsed.text is not None else ""
    raise InputError(
        f"{source.path}, row {source.row(0)}, column {name!r}",
        f"{text} is {found}, but the model was trained on a {learned.kind} every "
        f"{learned.describe()}",
        "write times as in the training table, or fit a model on this table",
    )


def check_forward(
    times: np.ndarray, rows: np.ndarray, source: Source, name: str, *, again: bool = False
) -> None:
    """Raise InputError if a time is earlier than, or (unless ``again``) equal to, the last."""
    gaps = np.diff(times[rows])
    wrong = gaps < 0 if again else gaps <= 0
    if not wrong.any():
        return
    at = int(wrong.argmax()) + 1
    first, second = source.row(int(rows[at - 1])), source.row(int(rows[at]))
    if gaps[at - 1] == 0:
        found = f"the same time as in row {first}"
        then = "remove one of the rows, or give the column that identifies series with --group"
    else:
        found = f"an earlier time than in row {first}"
        then = "sort the rows by time, or give the column that identifies series with --group"
    raise InputError(f"{source.path}, row {second}, column {name!r}", found, then)


def _plural(count: int, unit: str) -> str:
    return f"{count} {unit}" + ("" if count == 1 else "s")


def _day_of_month(times: np.ndarray) -> np.ndarray:
    """Return the day of the month of a monthly series, from 0; 30 for the last day."""
    # e.g. February 28 in a series of month ends
    month, day, _ = _calendar(times)
    last = _calendar(_from_calendar(month, np.array(30), np.array(0)))[1]
    return np.array(30) if (day == last).all() else day.max()


def _calendar(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split times into months since 1970, day of the month from 0, and microseconds of the day."""
    moments = times.astype("datetime64[us]")
    months = moments.astype("datetime64[M]")
    day = moments.astype("datetime64[D]")
    return (
        months.astype(np.int64),
        (day - months.astype("datetime64[D]")).astype(np.int64),
        (moments - day).astype(np.int64),
    )


def _from_calendar(month: np.ndarray, day: np.ndarray, rest: np.ndarray) -> np.ndarray:
    first = month.astype("datetime64[M]")
    last = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(
        np.int64
    ) - 1
    whole = first.astype("datetime64[D]") + np.minimum(day, last)
    return whole.astype("datetime64[us]").astype(np.int64) + rest

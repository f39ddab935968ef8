"""Calendar features, and resampling to a regular time step."""

import re
from collections.abc import Sequence

import numpy as np

from throughtime.data.tables.timestamps import DAY, HOUR, MINUTE, SECOND
from throughtime.errors import InputError

_UNITS = {"s": SECOND, "min": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
# period and offset of each feature, in microseconds since 1970-01-01 (a Thursday)
_PERIODS = {
    "minute": (HOUR, 0),
    "hour": (DAY, 0),
    "weekday": (7 * DAY, 3 * DAY),
}
CALENDAR = (*_PERIODS, "month", "yearday")


def calendar_names(features: Sequence[str]) -> tuple[str, ...]:
    """Return the column names of features. Raises InputError for an unknown feature."""
    for feature in features:
        if feature not in CALENDAR:
            raise InputError(
                "--calendar",
                f"unknown feature {feature!r}",
                f"choose from {', '.join(CALENDAR)}",
            )
    return tuple(f"{feature} ({wave})" for feature in features for wave in ("sin", "cos"))


def calendar_of(features: Sequence[str], times: np.ndarray) -> np.ndarray:
    """Encode the position of times [R] in their period as sine and cosine, [R, 2 n].

    >>> calendar_of(["hour"], np.array([6 * 3_600_000_000])).round(3)  # six in the morning
    array([[1., 0.]])

    The coordinates lie on a circle, so the last hour of a day is close to the first of the next.
    """
    found: list[np.ndarray] = []
    for feature in features:
        if feature in _PERIODS:
            period, shift = _PERIODS[feature]
            share = (times + shift) % period / period
        else:
            days = times.astype("datetime64[us]").astype("datetime64[D]")
            years, months = days.astype("datetime64[Y]"), days.astype("datetime64[M]")
            if feature == "month":
                share = (months - years.astype("datetime64[M]")).astype(np.int64) / 12
            else:
                share = (days - years.astype("datetime64[D]")).astype(np.int64) / 365.25
        found += [np.sin(2 * np.pi * share), np.cos(2 * np.pi * share)]
    return np.column_stack(found) if found else np.empty((len(times), 0))


def step_of(text: str) -> int:
    """Convert a time step such as 15min to microseconds.

    >>> step_of("15min")
    900000000

    Raises InputError for an invalid step.
    """
    match = re.fullmatch(r"(\d{1,6})\s*(s|min|h|d|w)", text.strip().lower())
    if match is None or not int(match[1]):
        raise InputError(
            "--resample",
            f"{text!r} is not a time step",
            "give a step such as 10s, 15min, 1h, 1d or 1w",
        )
    return int(match[1]) * _UNITS[match[2]]


def resampled(
    times: np.ndarray, values: np.ndarray, held: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Resample one series to bins: times, means of values [R,C], last of `held`, first rows.

    The time of a bin is its start, a multiple of the step since 1970. NaN values are ignored.
    """
    bins, first = np.unique(times // step, return_index=True)
    ends = np.append(first[1:], len(times))
    of = np.repeat(np.arange(len(bins)), ends - first)
    there = ~np.isnan(values)
    sums, counts = np.zeros((len(bins), values.shape[1])), np.zeros((len(bins), values.shape[1]))
    np.add.at(sums, of, np.where(there, values, 0.0))
    np.add.at(counts, of, there)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return bins * step, means, held[ends - 1], first

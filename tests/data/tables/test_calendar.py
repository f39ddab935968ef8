"""What a calendar tells, against Python's own."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.tables.calendar import (
    CALENDAR,
    calendar_names,
    calendar_of,
    resampled,
    step_of,
)

MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))


def share(feature, moment):
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
    return {
        "minute": (seconds % 3600) / 3600,
        "hour": seconds / 86400,
        "weekday": (moment.weekday() + seconds / 86400) / 7,
        "month": (moment.month - 1) / 12,
        "yearday": (moment.timetuple().tm_yday - 1) / 365.25,
    }[feature]


@given(MOMENTS)
def test_every_feature_is_a_place_on_its_circle(moment):
    times = np.array([(moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)])
    found = calendar_of(CALENDAR, times)[0].reshape(-1, 2)
    for feature, (sine, cosine) in zip(CALENDAR, found, strict=True):
        angle = 2 * np.pi * share(feature, moment)
        assert sine == pytest.approx(np.sin(angle), abs=1e-9)
        assert cosine == pytest.approx(np.cos(angle), abs=1e-9)


def test_names_and_steps():
    assert calendar_names(["hour"]) == ("hour (sin)", "hour (cos)")
    assert [step_of(t) for t in ("10s", "15min", " 2H", "1d", "1w")] == [
        10_000_000,
        900_000_000,
        7_200_000_000,
        86_400_000_000,
        604_800_000_000,
    ]


def test_bins_take_means_and_the_last_of_what_is_held():
    times = np.array([0, 5, 9, 20, 29])
    values = np.array([[1.0], [np.nan], [3], [np.nan], [np.nan]])
    held = np.arange(5.0)[:, None]
    bins, means, last, first = resampled(times, values, held, 10)
    assert bins.tolist() == [0, 20] and first.tolist() == [0, 3]
    np.testing.assert_equal(means[:, 0], [2, np.nan])
    assert last[:, 0].tolist() == [2, 4]

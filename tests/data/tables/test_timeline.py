"""How a table counts time: steps, seasons, and the times that follow."""

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from throughtime.data.tables.reading import Source
from throughtime.data.tables.timeline import Clock, find_clock
from throughtime.data.tables.timestamps import DAY, HOUR, parse_times
from throughtime.errors import InputError

SOURCE = Source("data.csv", "", 2, ())


def clock_of(values):
    times = parse_times(pl.Series("t", values), SOURCE)  # a Series stays what it is
    return find_clock(times, [np.arange(len(times.values))], SOURCE, "t"), times.values


@pytest.mark.parametrize(
    ("values", "step", "season", "following"),
    [
        (["19580329", "19580405", "19580412"], "7 days", 52, "1958-04-19"),
        (["2000-01-31", "2000-02-29", "2000-03-31"], "1 month", 12, "2000-04-30"),
        (["1949-11", "1949-12", "1950-01"], "1 month", 12, "1950-02-01"),
        (["1970 Q3", "1970 Q4", "1971 Q1"], "3 months", 4, "1971-04-01"),
        (["2000-01-01", "2001-01-01", "2002-01-01"], "1 year", 1, "2003-01-01"),
        (["2000-02-28", "2000-02-29", "2000-03-01"], "1 day", 7, "2000-03-02"),
        (["2000-01-01 23:00", "2000-01-02 00:00"], "1 hour", 24, "2000-01-02 01:00:00"),
        (["2000-01-01T00:00:00", "2000-01-01T00:15:00"], "15 minutes", 96, "2000-01-01 00:30:00"),
        (["2000-01-01 00:00:00.5", "2000-01-01 00:00:01.5"], "1 second", 60, None),
        (["2000-01-01T00:00:00+02:00", "2000-01-01T01:00:00+02:00"], "1 hour", 24, None),
        (["31.01.2000", "01.02.2000"], "1 day", 7, "2000-02-02"),
        (["01/31/2000", "02/01/2000"], "1 day", 7, "2000-02-02"),
        (["1821", "1822", "1823"], "1", 1, "1824"),
        ([10, 20, 30], "10", 1, "40"),
        (["2000-02-29", "2000-03-31", "2000-04-30"], "1 month", 12, "2000-05-31"),
        (["2010-12-31", "2011-01-31", "2011-02-28"], "1 month", 12, "2011-03-31"),
        (["1992-12-31", "1993-03-31", "1993-06-30"], "3 months", 4, "1993-09-30"),
        (["2000-01-15", "2000-02-15", "2000-03-15"], "1 month", 12, "2000-04-15"),
        ([date(2000, 1, 1), date(2000, 1, 2)], "1 day", 7, "2000-01-03"),
        ([datetime(2000, 1, 1, 1), datetime(2000, 1, 1, 3)], "2 hours", 12, "2000-01-01 05:00:00"),
    ],
)
def test_formats_steps_seasons_and_the_next_time(values, step, season, following):
    clock, times = clock_of(values)
    assert clock.describe() == step
    assert clock.season()[0] == season
    assert clock.positions(times).tolist() == list(range(len(times)))
    if following:
        after = clock.after(times, np.array([1]))
        assert clock.stamp(np.array([*times, *after]))[-1] == following


def test_months_keep_their_day_through_short_months():
    clock = Clock("date", 1, "month")
    for first, days in (
        ("2000-01-31", ["2000-02-29", "2000-03-31", "2000-04-30"]),
        ("2000-02-29", ["2000-03-31", "2000-04-30", "2000-05-31"]),  # month ends
        ("2000-01-29", ["2000-02-29", "2000-03-29", "2000-04-29"]),
        ("2000-01-15", ["2000-02-15", "2000-03-15", "2000-04-15"]),
    ):
        start = np.array([np.datetime64(first, "us").astype(np.int64)])
        assert clock.stamp(clock.after(start, np.arange(1, 4))) == days
        back = clock.after(clock.after(start, np.arange(1, 4)), np.arange(-3, 0))
        assert clock.stamp(back[:1]) == [first]


def test_series_of_months_each_fall_on_their_own_day():
    values = [f"2000-{m:02d}-{d}" for d in ("01", "15", "28") for m in range(1, 7)]
    times = parse_times(pl.Series("t", values), SOURCE)
    clock = find_clock(times, list(np.arange(18).reshape(3, 6)), SOURCE, "t")
    assert clock.describe() == "1 month"
    for rows in np.arange(18).reshape(3, 6):
        following = clock.stamp(clock.after(times.values[rows], np.array([1])))[0]
        assert following == "2000-07-" + values[rows[0]][-2:]


def test_a_model_lends_its_step_to_a_row_alone():
    def clock(value, learned):
        times = parse_times(pl.Series("t", [value]), SOURCE)
        return find_clock(times, [np.array([0])], SOURCE, "t", learned)

    hourly = Clock("date", HOUR, "microsecond")
    assert clock("2000-01-01 10:00", hourly) == Clock("date", HOUR, "microsecond", "%Y-%m-%d %H:%M")
    assert clock("2000-01-31", Clock("date", 1, "month")).describe() == "1 month"
    assert clock("7", Clock("number", 3, "number")).count == 3
    for value, learned, text in (
        (
            "2000-01-01",
            hourly,
            "a date in the form %Y-%m-%d, but the model was trained on a date every 1",
        ),
        ("2000 Q1", Clock("date", 1, "month"), "but the model was trained on a date every 1 month"),
        (
            "7",
            hourly,
            "row 2, column 't': 7 is a number, but the model was trained on a date every 1 hour",
        ),
        (
            "2000-01-01",
            Clock("number", 3, "number"),
            "but the model was trained on a number every 3",
        ),
    ):
        with pytest.raises(InputError, match=text):
            clock(value, learned)


def test_a_gap_is_a_missing_row_and_no_irregularity():
    clock, times = clock_of(["2000-01-01", "2000-01-02", "2000-01-05", "2000-01-06"])
    assert clock.describe() == "1 day"
    assert clock.positions(times).tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["2000-01-02", "2000-01-01"], "row 3, column 't': an earlier time than in row 2"),
        (["2000-01-01", "2000-01-01"], "row 3, column 't': the same time as in row 2"),
        (
            ["2000-01-01", "2000-01-08", "2000-01-15", "2000-01-20"],
            "row 5, column 't': irregular times: 2000-01-20 follows 2000-01-15, "
            "but the usual step is 7 days",
        ),
        ([1, 3, 4, 8, 9, 12, 14, 16], r"row 4, column 't': irregular times: 4 follows 3"),
        (["1/8/2020", "1/15/2020", "1/22/2020", "1/24/2020"], "1/24/2020 follows 1/22/2020"),
        (
            ["2020-03-31", "2020-04-30", "2020-05-31", "2020-06-29"],
            "2020-06-29 follows 2020-05-31, but the usual step is 1 month",
        ),
    ],
)
def test_bad_times_name_the_row(values, text):
    with pytest.raises(InputError, match=text):
        clock_of(values)


def test_steps_are_told_in_the_largest_whole_unit():
    assert Clock("date", 14 * DAY, "microsecond").describe() == "2 weeks"
    assert Clock("date", 90 * 60_000_000, "microsecond").describe() == "90 minutes"
    assert Clock("date", HOUR // 3600 // 1000, "microsecond").describe() == "1000 microseconds"
    assert Clock("row", 1, "row").describe() == "1 row"

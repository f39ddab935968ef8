"""Time columns: formats, steps, seasons, and the times that follow."""

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from throughtime.data.reading import Source
from throughtime.data.timeline import DAY, HOUR, Clock, find_clock, parse_times
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
        after = clock.after(int(times[-1]), 1)
        assert clock.stamp(np.array([*times, after]))[-1] == following


def test_months_keep_their_day_through_short_months():
    clock = Clock("date", 1, "month", day=30)
    start = int(np.datetime64("2000-01-31", "us").astype(np.int64))
    stamps = clock.stamp(np.array([clock.after(start, k) for k in range(4)]))
    assert stamps == ["2000-01-31", "2000-02-29", "2000-03-31", "2000-04-30"]


@pytest.mark.parametrize(
    "values",
    [
        ["19580329", "19580405"],
        ["1949-11", "1949-12"],
        ["1970 Q3", "1970 Q4"],
        ["2000-01-01T00:00", "2000-01-01T00:15"],
        ["31.01.2000 10:00:00", "31.01.2000 11:00:00"],
        ["2000-01-01 00:00:00.500000", "2000-01-01 00:00:01.500000"],
        ["1821", "1822"],
        ["2000-01-01 10:00:00+00:00", "2000-01-01 11:00:00+00:00"],
    ],
)
def test_times_are_written_as_they_were_read(values):
    clock, times = clock_of(values)
    assert clock.write(times) == values


def test_a_gap_is_a_missing_row_and_no_irregularity():
    clock, times = clock_of(["2000-01-01", "2000-01-02", "2000-01-05", "2000-01-06"])
    assert clock.describe() == "1 day"
    assert clock.positions(times).tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["2000-01-01", None], "row 3, column 't': a row without a time"),
        (["2000-01-01", "soon"], "row 3, column 't': 'soon' is not a time"),
        (["01/02/2000", "02/03/2000"], "'01/02/2000' may be day or month first"),
        (["2000-01-02", "2000-01-01"], "row 3, column 't': time goes back after row 2"),
        (["2000-01-01", "2000-01-01"], "row 3, column 't': the time of row 2 again"),
        (
            ["2000-01-01", "2000-01-08", "2000-01-15", "2000-01-20"],
            "row 5, column 't': irregular times: 2000-01-20 follows 2000-01-15, "
            "where the usual step is 7 days",
        ),
        ([1, 3, 4, 8, 9, 12, 14, 16], r"row 4, column 't': irregular times: 4 follows 3"),
    ],
)
def test_bad_times_name_the_row(values, text):
    with pytest.raises(InputError, match=text):
        clock_of(values)


def test_times_with_a_zone_are_written_in_utc_and_say_so():
    zoned = pl.Series("t", ["2020-03-29T01:00:00+01:00", "2020-03-29T03:00:00+02:00"])
    typed = zoned.str.to_datetime("%+").dt.convert_time_zone("Europe/Berlin")
    for column in (zoned, typed):
        clock, times = clock_of(column)
        assert clock.describe() == "1 hour"
        expected = ["2020-03-29 00:00:00+00:00", "2020-03-29 01:00:00+00:00"]
        assert clock.write(times) == expected


def test_times_beyond_the_calendar_and_beyond_64_bits():
    clock, times = clock_of(["9999-12-30", "9999-12-31"])
    assert clock.write(np.array([clock.after(int(times[-1]), 1)])) == ["10000-01-01"]
    with pytest.raises(InputError, match="a number beyond 64 bits"):
        clock_of(pl.Series("t", [2**63, 2**63 + 1], dtype=pl.UInt64))


def test_a_column_that_is_no_time():
    with pytest.raises(InputError, match="Float64 cannot be a time"):
        parse_times(pl.Series("t", [1.5, 2.5]), SOURCE)


def test_steps_are_told_in_the_largest_whole_unit():
    assert Clock("date", 14 * DAY, "microsecond").describe() == "2 weeks"
    assert Clock("date", 90 * 60_000_000, "microsecond").describe() == "90 minutes"
    assert Clock("date", HOUR // 3600 // 1000, "microsecond").describe() == "1000 microseconds"
    assert Clock("row", 1, "row").describe() == "1 row"

"""Times as text: what is read, what is refused, and that further ones are written alike."""

import numpy as np
import polars as pl
import pytest

from throughtime.data.tables.reading import Source
from throughtime.data.tables.timeline import find_clock
from throughtime.data.tables.timestamps import parse_times
from throughtime.errors import InputError

SOURCE = Source("data.csv", "", 2, ())


def clock_of(values):
    times = parse_times(pl.Series("t", values), SOURCE)  # a Series stays what it is
    return find_clock(times, [np.arange(len(times.values))], SOURCE, "t"), times.values


@pytest.mark.parametrize(
    ("values", "following"),
    [
        (["19580329", "19580405"], "19580412"),
        (["1949-11", "1949-12"], "1950-01"),
        (["1970 Q3", "1970 Q4"], "1971 Q1"),
        (["2024Q3", "2024Q4"], "2025Q1"),
        (["2024-Q3", "2024-Q4"], "2025-Q1"),
        (["2000-01-01T00:00", "2000-01-01T00:15"], "2000-01-01T00:30"),
        (["31.01.2000 10:00:00", "31.01.2000 11:00:00"], "31.01.2000 12:00:00"),
        (["31.1.2000 8:00", "31.1.2000 9:00"], "31.1.2000 10:00"),
        (["7/17/2020", "7/18/2020"], "7/19/2020"),
        (["07/17/2020", "07/18/2020"], "07/19/2020"),
        (["7/18/2020 8:30", "7/18/2020 9:00"], "7/18/2020 9:30"),
        (["7/18/2020 08:30", "7/18/2020 09:00"], "7/18/2020 09:30"),
        (["07/18/2020 8:30", "07/18/2020 9:00"], "07/18/2020 9:30"),
        (["2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z"], "2020-01-01T02:00:00Z"),
        (["2020-01-01 00:00 UTC", "2020-01-01 01:00 UTC"], "2020-01-01 02:00 UTC"),
        (["2020-01-01T00:00:00.000Z", "2020-01-01T01:00:00.000Z"], "2020-01-01T02:00:00.000Z"),
        (["2020-01-01T00:00:00+05:30", "2020-01-01T01:00:00+05:30"], "2020-01-01T02:00:00+05:30"),
        (["2020-01-01 00:00:00-0800", "2020-01-01 01:00:00-0800"], "2020-01-01 02:00:00-0800"),
        (["2000-01-01 00:00:00.000", "2000-01-01 00:00:01.000"], "2000-01-01 00:00:02.000"),
        (["2000-01-01 00:00:00.5", "2000-01-01 00:00:01.0"], "2000-01-01 00:00:01.5"),
        (
            ["2000-01-01T00:00:00.500000", "2000-01-01T00:00:01.500000"],
            "2000-01-01T00:00:02.500000",
        ),
        (["2000-01-01 00:00:00.000000000", "2000-01-01 00:00:01.000000000"], None),
        (["1821", "1822"], "1823"),
    ],
)
def test_times_are_written_as_they_were_read(values, following):
    clock, times = clock_of(values)
    assert clock.write(times) == values
    if following:
        assert clock.write(clock.after(times, np.array([1]))) == [following]


def test_the_way_of_writing_is_that_of_all_rows():
    clock, times = clock_of(["12/30/2020", "12/31/2020", "1/1/2021"])
    assert clock.write(times) == ["12/30/2020", "12/31/2020", "1/1/2021"]
    clock, times = clock_of(["12/31/2020", "1/1/2021", "01/02/2021"])  # neither
    assert clock.write(times) == ["12/31/2020", "01/01/2021", "01/02/2021"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["2000-01-01", None], "row 3, column 't': the time is missing"),
        (["2000-01-01", "soon"], "row 3, column 't': 'soon' is not a time"),
        (
            ["2000-01-01T00:00Z", "2000-01-01T25:00Z"],
            "row 3, column 't': '2000-01-01T25:00Z' is no",
        ),
        (["01/02/2000", "02/03/2000"], "'01/02/2000' may have the day or the month first"),
        (["20-01-15", "20-01-16"], "row 2, column 't': the year of '20-01-15' does not have four"),
        (["1/15/20", "1/16/20"], "the year of '1/15/20' does not have four digits; write dates as"),
        (["15.01.2020", "16.01.20"], "row 3, column 't': the year of '16.01.20' does not"),
        (["20-01-15T10:00Z", "20-01-16T10:00Z"], "the year of '20-01-15T10:00' does not"),
        (
            ["0.0", "0.1"],
            r"'0.0' is not a time; use whole numbers in a smaller unit \(0.1 s: 100 ms\)",
        ),
        (
            [1.5, 2.5],
            "its type Float64 is not a time; use whole numbers or dates, or set --time none",
        ),
        (["9" * 19, "9" * 20], f"row 2, column 't': '{'9' * 19}' is not a time"),
    ],
)
def test_what_is_no_time_is_refused_with_its_row(values, text):
    with pytest.raises(InputError, match=text):
        clock_of(values)


def test_offsets_that_change_are_taken_to_the_last_rows():
    values = ["2020-03-29T01:00:00+01:00", "2020-03-29T03:00:00+02:00", "2020-03-29T04:00:00+02:00"]
    typed = pl.Series("t", values).str.to_datetime("%+").dt.convert_time_zone("Europe/Berlin")
    for column, between in ((values, "T"), (typed, " ")):
        clock, times = clock_of(column)
        assert clock.describe() == "1 hour"
        expected = [f"2020-03-29{between}0{hour}:00:00+02:00" for hour in (2, 3, 4, 5)]
        following = clock.after(times, np.array([1]))
        assert clock.write(np.array([*times, *following])) == expected


def test_local_days_stay_days_where_summer_time_begins():
    """24, 23 and 24 hours apart, but a day each by the clock on the wall."""
    values = [f"2020-03-{day}T00:00:00+0{1 + (day > 29)}:00" for day in (27, 28, 29, 30, 31)]
    typed = pl.Series("t", values).str.to_datetime("%+").dt.convert_time_zone("Europe/Berlin")
    for column, between in ((values, "T"), (typed, " ")):
        clock, times = clock_of(column)
        assert clock.describe() == "1 day"
        following = clock.write(clock.after(times, np.array([1])))
        assert following == [f"2020-04-01{between}00:00:00+02:00"]


def test_irregular_offsets_are_shown_as_the_file_has_them():
    values = [f"2020-03-29T{hour}:00:00+02:00" for hour in ("04", "05", "06", "09", "10")]
    clock_of(values)  # a gap
    values[3] = "2020-03-29T08:30:00+02:00"
    with pytest.raises(
        InputError, match=r"2020-03-29T08:30:00\+02:00 follows 2020-03-29T06:00:00\+02"
    ):
        clock_of(values)


def test_times_beyond_the_calendar_and_beyond_64_bits():
    clock, times = clock_of(["9999-12-30", "9999-12-31"])
    assert clock.write(clock.after(times, np.array([1]))) == ["10000-01-01"]
    with pytest.raises(InputError, match=r"data\.csv, column 't': a number exceeds 64 bits"):
        clock_of(pl.Series("t", [2**63, 2**63 + 1], dtype=pl.UInt64))

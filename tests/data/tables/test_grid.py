"""The grid of time: what is filled, what is cut off, and a grid too wide for its rows."""

import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from throughtime.data.tables.tables import read_table
from throughtime.data_options import DataOptions
from throughtime.errors import InputError


def table(tmp_path, rows, header="date,y", missing="interpolate", columns=None):
    path = tmp_path / "data.csv"
    path.write_text(header + "\n" + "".join(f"{row}\n" for row in rows))
    return read_table(path, replace(columns or DataOptions(target=("y",)), missing=missing))


def days(count, start="2000-01-01"):
    return [str(day) for day in np.datetime64(start) + np.arange(count)]


def told(read, name):
    return next((c.value, c.reason, c.option) for c in read.choices if c.name == name)


@pytest.mark.parametrize("missing", ["interpolate", "drop"])
def test_ends_that_are_cut_off_are_told(tmp_path, missing):
    values = ["", "", *range(20), "", "", ""]
    read = table(
        tmp_path, [f"{d},{v}" for d, v in zip(days(25), values, strict=True)], "date,y", missing
    )
    assert (read.rows, len(read.values)) == (25, 20)
    assert told(read, "missing")[1].startswith("5 of 25 rows have missing values: ")
    assert told(read, "ends") == (
        "cut off",
        "the first 2 rows of y have no value; "
        "the last 3 rows of y have no value: forecasts begin at 2000-01-23",
        "--missing",
    )


def test_ends_are_told_by_series_and_by_the_columns_that_lack(tmp_path):
    rows = [f"a,{d},{i},{i}" for i, d in enumerate(days(9))] + [f"a,{days(10)[9]},9,"]
    rows += [f"b,{d},{i},{i}" for i, d in enumerate(days(9))]
    columns = DataOptions(target=("y",), group="g")
    read = table(tmp_path, rows, "g,date,y,x", columns=columns)
    expected = "series a: the last row of x has no value: forecasts begin at 2000-01-10"
    assert told(read, "ends")[1] == expected


def test_ends_without_times_are_told_by_row(tmp_path):
    read = table(tmp_path, [*range(9), "NA"], "y")
    assert told(read, "ends")[1] == "the last row of y has no value: forecasts begin at row 11"


def test_series_without_a_whole_row_are_left_out_and_told(tmp_path):
    rows = [f"{g},{d},{i if g == 'a' else ''}" for g in "abc" for i, d in enumerate(days(9))]
    read = table(tmp_path, rows, "g,date,y", columns=DataOptions(target=("y",), group="g"))
    assert [s.name for s in read.series] == ["a"]
    assert told(read, "series left out")[0] == "b, c"
    with pytest.raises(InputError, match="no row has a value in every column"):
        table(tmp_path, rows[9:], "g,date,y", columns=DataOptions(target=("y",), group="g"))


def test_filled_values_are_known_from_the_value_they_are_drawn_towards(tmp_path):
    rows = ["1,1,1", "2,,2", "3,,", "4,4,", "5,5,5", "6,6,6"]
    read = table(tmp_path, rows, "t,y,x", columns=DataOptions(target=("y",), time="t"))
    assert read.known.tolist() == [1, 4, 5, 5, 5, 6]
    assert read.values.tolist() == [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5], [6, 6]]


@pytest.mark.parametrize("missing", ["error", "interpolate", "drop"])
@pytest.mark.parametrize("far", ["2101-01-10", "9999-12-31"])
def test_a_mistyped_date_far_away_is_named_at_once(tmp_path, missing, far):
    rows = [f"{d},{i}" for i, d in enumerate(days(9))]
    for at, text in ((9, f"row 11, column 'date': .* where {far} follows 2000-01-09"),):
        tracemalloc.start()
        began = time.perf_counter()
        with pytest.raises(InputError, match=text):
            table(tmp_path, [*rows[:at], f"{far},1", *rows[at:]], missing=missing)
        assert time.perf_counter() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 10**8
        tracemalloc.stop()


def test_a_mistyped_number_is_named_too(tmp_path):
    rows = [f"{t},{t}" for t in (1, 2, 3, 4 * 10**18)]
    with pytest.raises(InputError, match=r"row 5, column 't': \d+ of \d+ steps of 1 have no row"):
        table(tmp_path, rows, "t,y", columns=DataOptions(target=("y",), time="t"))


def test_half_of_a_grid_may_be_empty(tmp_path):
    some = [f"{d},{i}" for i, d in enumerate(days(30)) if i < 10 or i >= 20]
    read = table(tmp_path, some)
    assert len(read.values) == 30
    assert (
        told(read, "missing")[1]
        == "10 steps of 1 day without a row: filled by linear interpolation, missing targets are "
        "not scored"
    )
    with pytest.raises(
        InputError, match=r"row 12, .*most of them where 2000-01-31 follows 2000-01-1"
    ):
        table(tmp_path, [*some[:10], "2000-01-31,1"])

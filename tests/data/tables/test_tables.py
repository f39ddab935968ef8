"""Tables of series: who plays which part, the grid of time, what is missing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from throughtime.data.tables.tables import read_table
from throughtime.data_options import DataOptions
from throughtime.errors import InputError

SHARED = Path(__file__).parents[4] / "shared" / "data" / "tables"
with_shared = pytest.mark.skipif(not SHARED.exists(), reason="the real data is not here")


def table(tmp_path, text, columns=None, **options):
    path = tmp_path / "data.csv"
    path.write_text(text)
    return read_table(path, replace(columns or DataOptions(), **options))


def daily(values, start="2000-01-01", header="date,y"):
    days = np.datetime64(start) + np.arange(len(values))
    return header + "\n" + "".join(f"{d},{v}\n" for d, v in zip(days, values, strict=True))


def choices(read):
    return {choice.name: (choice.value, choice.reason) for choice in read.choices}


def test_what_was_not_said_is_worked_out_and_told(tmp_path):
    read = table(tmp_path, "when,y,name\n2000-01-01,1,a\n2000-01-02,2,b\n")
    assert (read.time, read.targets, read.columns) == ("when", ("y",), ("y",))
    told = choices(read)
    assert told["time"] == ("when", "the only column of dates written as %Y-%m-%d")
    assert told["target"] == ("y", "the only numeric column")
    assert told["inputs"] == ("none", "no further numeric column; not name")
    assert told["time step"][0] == "1 day"
    assert all(c.option for c in read.choices if c.name not in ("time step", "format"))


def test_dates_that_later_rows_make_clear_are_read(tmp_path):
    days = [f"{d:02d}/{m:02d}/2020" for m, last in ((1, 31), (2, 29)) for d in range(1, last + 1)]
    read = table(tmp_path, "day,y\n" + "".join(f"{d},{i}\n" for i, d in enumerate(days)))
    assert (read.time, read.clock.describe()) == ("day", "1 day")
    with pytest.raises(InputError, match="may have the day or the month first"):
        table(tmp_path, "day,y\n" + "".join(f"{d},{i}\n" for i, d in enumerate(days[:12])))


def test_targets_come_first_and_further_numbers_are_inputs(tmp_path):
    text = "a,b,c,d\n1,2,3,4\n5,6,7,8\n"
    read = table(tmp_path, text, DataOptions(target=("c", "a")))
    assert read.columns == ("c", "a", "b", "d")
    assert read.values.tolist() == [[3, 1, 2, 4], [7, 5, 6, 8]]
    assert table(tmp_path, text, DataOptions(target=("c",), inputs=("d",))).columns == ("c", "d")
    assert table(tmp_path, text, DataOptions(target=("c",), inputs=())).columns == ("c",)
    assert table(tmp_path, text, DataOptions(target=("c",))).time is None


def test_groups_become_series_however_their_rows_lie(tmp_path):
    text = "g,t,y\n" + "".join(f"{g},{t},{10 * t + ord(g)}\n" for t in (5, 6, 7) for g in "ab")
    read = table(tmp_path, text, DataOptions(group="g", time="t", target=("y",)))
    assert [(s.name, s.start, s.stop) for s in read.series] == [("a", 0, 3), ("b", 3, 6)]
    assert read.times.tolist() == [5, 6, 7, 5, 6, 7]
    assert read.values[:, 0].tolist() == [147, 157, 167, 148, 158, 168]
    untimed = table(tmp_path, text, DataOptions(group="g", target=("y",), inputs=(), time="none"))
    assert untimed.times.tolist() == [1, 2, 3, 1, 2, 3]


def test_missing_values_are_an_error_by_default(tmp_path):
    with pytest.raises(InputError, match=r"row 3, column 'y': 2 missing values \(rows 3, 5\)"):
        table(tmp_path, daily([1, "", 3, "", 5]))
    with pytest.raises(InputError, match=r"row 3, column 'date': 1 row missing at a time step"):
        table(tmp_path, "date,y\n2000-01-01,1\n2000-01-02,2\n2000-01-04,4\n2000-01-05,4\n")
    with pytest.raises(InputError, match="take one of error, interpolate, drop"):
        table(tmp_path, daily([1, 2]), missing="guess")


def test_missing_values_and_rows_are_filled_by_straight_lines(tmp_path):
    text = (
        "date,y\n2000-01-01,\n2000-01-02,1\n2000-01-03,\n2000-01-05,4\n2000-01-06,5\n2000-01-07,\n"
    )
    read = table(tmp_path, text, missing="interpolate")
    assert read.values[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert read.observed.tolist() == [True, False, False, True, True]
    assert read.usable.all()
    assert read.clock.stamp(read.times)[0] == "2000-01-02"
    assert read.rows == 6
    assert choices(read)["missing"][1].startswith(
        "3 of 6 rows have missing values, 1 step of 1 day without a row: "
    )
    assert table(tmp_path, text, missing="drop").usable.tolist() == read.observed.tolist()


def test_a_group_may_be_named_like_a_missing_value(tmp_path):
    text = "g,t,y\n" + "".join(f"{g},{t},{t}\n" for g in ("EU", "NA") for t in range(3))
    read = table(tmp_path, text, DataOptions(group="g", time="t", target=("y",)))
    assert [s.name for s in read.series] == ["EU", "NA"]


def test_whole_numbers_with_a_hole_are_no_times(tmp_path):
    text = "d,y\n" + "".join(f"2000-01-{d:02d},{d if d != 10 else ''}\n" for d in range(1, 15))
    read = table(tmp_path, text, missing="interpolate")
    assert (read.time, read.targets) == ("d", ("y",))


def test_rows_take_the_place_of_times(tmp_path):
    text = "\ng,y\n" + "".join(f"{g},{t}\n" for t in range(3) for g in "ab")
    assert table(tmp_path, text, DataOptions(target=("y",))).times.tolist() == [3, 4, 5, 6, 7, 8]
    grouped = table(tmp_path, text, DataOptions(target=("y",), group="g"))
    assert grouped.times.tolist() == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("value", [5e307, -5e307, 1e200])
def test_values_whose_squares_leave_float64_are_refused(tmp_path, value):
    with pytest.raises(InputError, match=r"row 3, column 'y': -?\S+ is beyond 1e\+150, 1 in total"):
        table(tmp_path, daily([1, value, 3]))


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a,b\n1,2\n", DataOptions(target=("c",)), r"no column 'c'; there are: a, b"),
        ("date,co2\n1,2\n", DataOptions(target=("co",)), r"did you mean 'co2'\?"),
        ("a,b\n1,2\n", DataOptions(target=("a",), time="tme"), "no column 'tme'"),
        ("a,b\n1,2\n", DataOptions(target=("a",), group="x"), "no column 'x'"),
        ("a,b\n1,2\n", DataOptions(target=("a",), inputs=("x",)), "no column 'x'"),
        ("a,b\n1,2\n", DataOptions(), r"2 numeric columns \(a, b\); choose the column .* --target"),
        (
            "y\n1\nx\n3\n",
            DataOptions(target=("y",)),
            r"row 3, column 'y': text 'x' in a numeric col",
        ),
        ('y\n1\n"2,5"\n3\n', DataOptions(target=("y",)), r"'2,5' .*use decimal points, not commas"),
        (
            "d;y\n2000-01-01;2,5\n",
            DataOptions(),
            r"row 2, column 'y': '2,5' is not .*use decimal points",
        ),
        (
            "d,y\n2000-01-01,\n2000-01-02,low\n",
            DataOptions(),
            r"row 3, column 'y': 'low' is not a num",
        ),
        ("d,y\n2000-01-01,\n", DataOptions(), "no numeric column"),
        (
            "date:y\n2000-01-01:1\n",
            DataOptions(),
            r"'2000-01-01:1' is not a number.*with --delimiter",
        ),
        (
            "date y\n2000-01-01 1\n",
            DataOptions(),
            r"'2000-01-01 1' is not a number.*with --delimiter",
        ),
        ("\n\ny\n1\nx\n3\n", DataOptions(target=("y",)), r"row 5, column 'y': text 'x'"),
        (
            "d,y\n20-01-01,1\n20-01-02,2\n",
            DataOptions(),
            "row 2, column 'd': the year of '20-01-01'",
        ),
        ("y,z\n1,1\n2,oops\n3,3\n", DataOptions(target=("y",)), r"row 3, column 'z': text 'oops'"),
        ("y\n1\ninf\n3\n", DataOptions(target=("y",)), r"row 3, column 'y': an infinite value"),
        (
            "y,g\n1,a\n2,\n",
            DataOptions(target=("y",), group="g"),
            "row 3, column 'g': the group is missing",
        ),
        (
            "y,z\n1,\n,2\n",
            DataOptions(target=("y",), inputs=("z",)),
            "no row has a value in every column",
        ),
        (
            "a,b,y\n2000-01-01,2000-01-01,1\n2000-01-02,2000-01-02,2\n",
            DataOptions(),
            "'a' or 'b' may be the time column; choose one with --time",
        ),
        ("y,z\n1,1\nx,2\n3,3\n", DataOptions(), "row 3, column 'y': text 'x'"),
        (
            "t,y\n1,1\n",
            DataOptions(target=("t",), time="t"),
            "'t' is used as values and as time or group",
        ),
        ("date,y\nx,1\n", DataOptions(), "row 2, column 'date': 'x' is not a time"),
        (
            "day,y\n" + "2000-01-01,1\n" * 9 + "soon,1\n",
            DataOptions(),
            "row 11, .*'soon' is not a time",
        ),
    ],
)
def test_bad_tables_get_one_line_that_names_the_place(tmp_path, text, columns, message):
    with pytest.raises(InputError, match=message) as caught:
        table(tmp_path, text, columns, missing="interpolate")
    assert "\n" not in str(caught.value)


@with_shared
@pytest.mark.parametrize(
    ("name", "columns", "step", "shape"),
    [
        ("ETTh1.csv", DataOptions(target=("OT",)), "1 hour", (17420, 7)),
        ("Airline.csv", DataOptions(), "1 month", (144, 1)),
        ("Uschange.csv", DataOptions(target=("Income",), inputs=()), "3 months", (187, 1)),
        ("Lynx.csv", DataOptions(target=("0",), time="column_1"), "1", (114, 1)),
    ],
)
def test_real_files(name, columns, step, shape):
    read = read_table(SHARED / name, columns)
    assert read.clock.describe() == step
    assert read.values.shape == shape

"""Forecasts for a new table: the right rows, times and groups, and clear refusals."""

import numpy as np
import polars as pl
import pytest
import torch

from throughtime.data.tables.tables import read_table
from throughtime.data_options import DataOptions
from throughtime.errors import InputError
from throughtime.problems.forecasting.networks import ModelConfig, build
from throughtime.problems.forecasting.prediction import predict
from throughtime.specs import DataSpec

WEEKS = ("date", 7 * 86400 * 10**6, "microsecond")


def weekly(values, group=None, form="%Y%m%d", start="2000-01-01"):
    days = (np.datetime64(start) + 7 * np.arange(len(values))).tolist()
    front = f"{group}," if group else ""
    rows = zip(days, values, strict=True)
    lines = [f"{front}{day.strftime(form)},{value}" for day, value in rows]
    return "\n".join(lines) + "\n"


def spec_of(clock=WEEKS, **options):
    usual = {"target": ("y",), "inputs": (), "time": "t"}
    return DataSpec(DataOptions(**{**usual, **options}), clock)


def model_of(kind="persistence", columns=1, **options):
    return build(ModelConfig(kind, 4, 2, columns, season=3, **options))


def run(tmp_path, text, spec=None, model=None, **options):
    path = tmp_path / "new.csv"
    path.write_text(text)
    return predict(model or model_of(), spec or spec_of(), path, **options).rows


def told(tmp_path, text, spec=None, model=None, **options):
    """What predict says it decided: value and reason by name."""
    path = tmp_path / "new.csv"
    path.write_text(text)
    found = predict(model or model_of(), spec or spec_of(), path, **options)
    return {choice.name: (choice.value, choice.reason) for choice in found.choices}


def test_one_row_a_step_with_the_time_written_as_in_the_file(tmp_path):
    found = run(tmp_path, "t,y\n" + weekly([1, 2, 3, 4, 5]), model=model_of("seasonal"))
    assert found.to_dict(as_series=False) == {
        "t": ["20000205", "20000212"],
        "step": [1, 2],
        "y": [3.0, 4.0],  # three weeks before
    }
    found = run(tmp_path, "t,y\n" + weekly([1, 2, 3, 4, 5], form="%d.%m.%Y"))
    assert found["t"].to_list() == ["05.02.2000", "12.02.2000"]


def test_groups_of_different_length_each_go_on_from_their_own_end(tmp_path):
    text = "g,t,y\n" + weekly([1, 2, 3, 4, 5], "a") + weekly([6, 7, 8, 9], "b")
    found = run(tmp_path, text, spec_of(group="g"))
    assert found.rows() == [
        ("a", "20000205", 1, 5.0),
        ("a", "20000212", 2, 5.0),
        ("b", "20000129", 1, 9.0),
        ("b", "20000205", 2, 9.0),
    ]


def test_without_a_time_rows_are_counted_on(tmp_path):
    spec = spec_of(time="none", clock=("row", 1, "row"))
    assert run(tmp_path, "y\n1\n2\n3\n4\n", spec).rows() == [(6, 1, 4.0), (7, 2, 4.0)]
    assert run(tmp_path, "\n\ny\n1\n2\n3\n4\n", spec).rows() == [(8, 1, 4.0), (9, 2, 4.0)]
    grouped = run(
        tmp_path,
        "g,y\n" + "a,1\n" * 4 + "b,2\n" * 4,
        spec_of(time="none", group="g", clock=("row", 1, "row")),
    )
    assert grouped["row"].to_list() == [5, 6, 5, 6]  # counted in each series


def test_no_column_is_lost_to_a_name(tmp_path):
    spec = spec_of(time="none", clock=("row", 1, "row"), target=("step", "row"))
    text = "step,row\n" + "".join(f"{i},{10 * i}\n" for i in range(4))
    found = run(tmp_path, text, spec, model_of(columns=2, targets=2))
    assert found.columns == ["forecast_row", "forecast_step", "step", "row"]
    assert found.rows()[0] == (6, 1, 3.0, 30.0)


def test_one_row_is_enough_for_a_context_of_one(tmp_path):
    model = build(ModelConfig("persistence", 1, 2, 1))
    found = run(tmp_path, "t,y\n20000101,7\n", model=model)
    assert found.rows() == [("20000108", 1, 7.0), ("20000115", 2, 7.0)]


def test_several_targets_and_columns_in_any_order(tmp_path):
    spec = spec_of(target=("y", "z"), inputs=("x",), time="none", clock=("row", 1, "row"))
    text = "more,z,x,y\n" + "".join(f"w,{20 + i},{i},{10 + i}\n" for i in range(4))
    found = run(tmp_path, text, spec, model_of(columns=3, targets=2))
    assert found.columns == ["row", "step", "y", "z"]
    assert found.rows()[0] == (6, 1, 13.0, 23.0)


def test_a_folder_without_the_columns_of_the_model_is_refused(tmp_path):
    pl.DataFrame({"y": [1.0] * 9, "p": [2.0] * 9}).write_parquet(tmp_path / "0.parquet")
    for more in ({"known": ("p",)}, {"calendar": ("hour",)}):
        with pytest.raises(InputError, match=r"1 numeric columns, but the model has [23]"):
            predict(model_of(columns=2), spec_of(**more), tmp_path)
    assert predict(model_of(), spec_of(time="none"), tmp_path).rows["row"].to_list() == [10, 11]


def test_a_forecast_is_what_the_model_says_of_the_last_window(
    tmp_path, problem, co2_cut, comparison
):
    from throughtime.deploy.storage import load

    model, spec = load(comparison[1] / "model")
    found = predict(model, spec, co2_cut).rows
    table = read_table(co2_cut, DataOptions(target=("co2",), time="date", missing="interpolate"))
    last = np.ascontiguousarray(table.values[None, -model.config.context :])
    assert found["co2"].to_list() == model(torch.from_numpy(last)).flatten().tolist()
    assert found["date"].to_list() == ["19910309", "19910316", "19910323", "19910330"]


def test_missing_values_are_treated_as_in_training_or_as_asked(tmp_path):
    text = "t,y\n" + weekly([1, 2, "", 4, 5])
    with pytest.raises(InputError, match="row 4, column 'y': a missing value"):
        run(tmp_path, text)
    assert run(tmp_path, text, missing="interpolate")["y"].to_list() == [5.0, 5.0]
    assert run(tmp_path, text, spec_of(missing="interpolate"))["y"].to_list() == [5.0, 5.0]
    with pytest.raises(InputError, match="missing values among the last 4 rows"):
        run(tmp_path, text, missing="drop")


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ("t,x\n20000101,1\n", spec_of(), "no column 'y'"),
        ("t,y\n" + weekly([1, 2, 3]), spec_of(), "3 rows, but the model looks back 4"),
        (
            "g,t,y\n" + weekly([1, 2, 3], "a") + weekly([1], "b"),
            spec_of(group="g"),
            "g 'a': 3 rows, but the model looks back 4; give more rows",
        ),
        (
            "t,y\n2000-01-01,1\n2000-01-02,2\n2000-01-03,3\n2000-01-04,4\n",
            spec_of(),
            "one row every 1 day, but the model learned 7 days",
        ),
    ],
)
def test_tables_that_do_not_fit_the_model_are_refused(tmp_path, text, spec, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, text, spec)


@pytest.mark.parametrize("missing", ["interpolate", "drop"])
def test_forecasts_begin_after_the_last_row_with_values_and_say_so(tmp_path, missing):
    text = "t,y\n" + weekly([*range(1, 11), *[""] * 3], form="%Y-%m-%d")
    found = run(tmp_path, text, missing=missing)
    assert found.rows()[0] == ("2000-03-11", 1, 10.0)
    choices = told(tmp_path, text, missing=missing)
    assert choices["missing"][1].startswith("3 of 13 rows have missing values")
    expected = "the last 3 rows of y have no value: forecasts begin at 2000-03-11"
    assert choices["ends"] == ("cut off", expected)
    assert choices["forecasts"] == ("begin at 2000-03-11", "2 steps of 7 days")


def test_what_was_decided_is_told(tmp_path):
    spec = spec_of(group="g")
    text = "g,t,y\n" + weekly([1, 2, 3, 4, 5], "a") + weekly([6, 7, 8, 9], "b") + weekly([1], "c")
    choices = told(tmp_path, text, spec)
    assert choices["time"][1] == "dates written as %Y%m%d"
    assert choices["time step"] == ("7 days", "from the differences of the times")
    assert choices["forecasts"] == (
        "begin at 2000-01-29 to 2000-02-05",
        "2 steps of 7 days for each of 2 series",
    )
    row = told(tmp_path, "y\n1\n2\n3\n4\n", spec_of(time="none", clock=("row", 1, "row")))
    assert row["forecasts"] == ("begin at row 6", "2 steps of 1 row")


def test_series_too_short_are_left_out_and_told(tmp_path):
    spec = spec_of(group="g", missing="drop")
    holes = weekly([1, 2, 3, 4, 5, "", 7], "b")
    text = "g,t,y\n" + weekly([1, 2, 3, 4, 5], "a") + holes + weekly([1, 2], "c")
    assert run(tmp_path, text, spec)["g"].to_list() == ["a", "a"]
    left = "b: missing values among the last 4 rows; c: 2 rows, but the model looks back 4"
    assert told(tmp_path, text, spec)["series left out"] == (left, "no forecast for them")


def test_months_of_each_series_fall_on_their_own_day(tmp_path):
    spec = spec_of(group="g", clock=("date", 1, "month"))
    text = "g,t,y\n" + "".join(
        f"{g},2000-{m:02d}-{d},1\n" for g, d in (("a", 15), ("b", 28)) for m in range(1, 6)
    )
    assert run(tmp_path, text, spec)["t"].to_list() == [
        "2000-06-15",
        "2000-07-15",
        "2000-06-28",
        "2000-07-28",
    ]


@pytest.mark.parametrize("tail", ["", "20000108,\n"])
def test_a_row_alone_must_be_on_the_models_clock(tmp_path, tail):
    """One row, from the start or after its neighbour without a value was cut off."""
    model = build(ModelConfig("persistence", 1, 2, 1))
    for clock, text in (
        (("number", 7, "number"), "but the model (learned|was trained on a number every) 7"),
        (
            ("date", 3600 * 10**6, "microsecond"),
            "but the model (learned|was trained on a date every) 1 hour",
        ),
    ):
        with pytest.raises(InputError, match=text):
            run(tmp_path, "t,y\n20000101,7\n" + tail, spec_of(clock=clock), model, missing="drop")
    month = spec_of(clock=("date", 1, "month"))
    found = run(tmp_path, "t,y\n2000-01-31,7\n", month, model)
    assert found["t"].to_list() == ["2000-02-29", "2000-03-31"]


def test_the_rows_join_with_what_comes_later(tmp_path):
    """Forecast, then read what came: a join on time must find every row."""
    found = run(tmp_path, "t,y\n" + weekly([1, 2, 3, 4, 5]))
    later = pl.read_csv(
        ("t,y\n" + weekly([6, 7, 8], start="2000-02-05")).encode(), infer_schema=False
    )
    assert len(found.join(later, on="t")) == 2

"""Plans, calendars, marks, gaps, steps and categories of a table that is forecast."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from throughtime.catalogue import FORECASTER, names
from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data.tables.tables import read_table
from throughtime.data_options import DataOptions
from throughtime.deploy.storage import load
from throughtime.errors import InputError
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.forecasting.prediction import predict
from throughtime.problems.registry import experiment_of

ONE = np.datetime64("2024-01-01", "h")


def table(path, rows=200, *, plan=True, empty=(), cut=0, step=1, name="x.csv"):
    """y is the row's number, p its plan: 1000 + the number; kind goes round; `cut` rows to come."""
    lines = ["t,y,p,kind"] if plan else ["t,y,kind"]
    for k in range(rows + cut):
        y = "" if k in empty or k >= rows else k
        when = str(ONE + step * k).replace("T", " ") + ":00"
        lines.append(f"{when},{y},{f'{1000 + k},' if plan else ''}{'abc'[k % 3]}")
    (path / name).write_text("\n".join(lines) + "\n")
    return path / name


def asked(**options):
    return DataOptions(**{"target": ("y",), "time": "t", "inputs": (), **options})


def test_plans_are_seen_ahead_and_targets_never(tmp_path):
    path = table(tmp_path)
    problem = read_problem(path, asked(known=("p",), horizon=3, context=4))
    x, y = problem.parts.training.batch(torch.arange(2))
    assert x.shape == (2, 7, 2)
    assert x[0, :, 1].tolist() == [1000 + k for k in range(7)]
    assert x[0, :, 0].tolist() == [0, 1, 2, 3, 0, 0, 0] and y[0, :, 0].tolist() == [4, 5, 6]


NETWORKS = names(FORECASTER, trained=True)


@pytest.mark.parametrize("kind", NETWORKS)
def test_an_answer_planted_in_the_future_changes_no_forecast(tmp_path, kind):
    """Two tables that differ from some time on: what is forecast before, and the scales, do not."""
    columns = asked(
        known=("p",),
        calendar=("hour",),
        categorical=("kind",),
        horizon=3,
        context=5,
        missing="mask",
    )
    found = []
    for number in (1, 50):
        path = table(tmp_path, 400)
        lines = path.read_text().splitlines()
        changed = [
            line.replace(f",{k - 1},", f",{number * (k - 1)},", 1) if k > 360 else line
            for k, line in enumerate(lines)
        ]
        path.write_text("\n".join(changed) + "\n")
        problem = read_problem(path, columns)
        experiment = experiment_of(problem)
        torch.manual_seed(0)
        model = experiment.build(experiment.config(kind, Hyperparameters(normalize="global"), 200))
        test = problem.parts.test
        early = [k for k, s in enumerate(test.starts.tolist()) if s + 5 <= 359]
        with torch.no_grad():
            forecast = model(test.batch(torch.tensor(early))[0])
        found.append((forecast, model.normalizer.center, model.normalizer.spread))
    assert len(found[0][0]) > 5
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_network_uses_its_plan_and_its_categories(tmp_path):
    columns = asked(known=("p",), categorical=("kind",), horizon=3, context=4)
    problem = read_problem(table(tmp_path), columns)
    experiment = experiment_of(problem)
    for kind in NETWORKS:
        model = experiment.build(experiment.config(kind, Hyperparameters(normalize="window"), 400))
        x, _ = problem.parts.test.batch(torch.arange(1))
        base = model(x)
        for step, column in ((5, 1), (3, 2)):  # the plan ahead, the category of the last step
            other = x.clone()
            other[0, step, column] += 1
            assert not torch.equal(model(other), base), (kind, column)
        other = x.clone()
        other[0, 5, 0] = 77  # the target ahead
        assert torch.equal(model(other), base)


def test_plans_beyond_the_table_are_forecast_with(tmp_path):
    columns = asked(known=("p",), calendar=("hour", "weekday"))
    problem = read_problem(table(tmp_path), replace(columns, horizon=3, context=4))
    experiment = experiment_of(problem)
    model = experiment.build(experiment.config("gru", Hyperparameters(normalize="window"), 300))
    experiment.save(model, tmp_path / "model", "")
    saved, spec = load(tmp_path / "model")
    new = table(tmp_path, 50, cut=3, name="new.csv")
    rows = predict(saved, spec, new).rows
    assert rows["t"].to_list() == ["2024-01-03 02:00", "2024-01-03 03:00", "2024-01-03 04:00"]
    # the same window, made by hand
    whole = read_table(table(tmp_path, 53, name="y.csv"), columns).values[46:]
    whole[4:, 0] = 0
    with torch.no_grad():
        expected = saved(torch.from_numpy(whole[None]))[0, :, 0]
    np.testing.assert_allclose(rows["y"].to_numpy(), expected.numpy())
    short = table(tmp_path, 50, cut=2, name="short.csv")
    with pytest.raises(InputError, match="known values for 2 of the 3 steps ahead"):
        predict(saved, spec, short)


def test_marks_say_what_was_held(tmp_path):
    path = table(tmp_path, 12, empty=(0, 3, 4, 11), plan=False)
    found = read_table(path, asked(missing="mask"))
    assert found.columns == ("y", "y (observed)", "y (steps since)")
    assert found.values.T.tolist() == [
        [1, 2, 2, 2, 5, 6, 7, 8, 9, 10],
        [1, 1, 0, 0, 1, 1, 1, 1, 1, 1],
        [0, 0, 1, 2, 0, 0, 0, 0, 0, 0],
    ]
    assert found.observed.tolist() == [True, True, False, False, *[True] * 6]


def test_what_was_held_is_neither_learned_nor_scored(tmp_path):
    path = table(tmp_path, 200, empty=range(50, 60), plan=False)
    problem = read_problem(path, asked(horizon=2, context=4, missing="mask"))
    _, y = problem.parts.training.batch(torch.arange(len(problem.parts.training)))
    assert not set(y.flatten().tolist()) & set(range(50, 60))
    assert 49 in y and 60 in y


def test_rows_are_brought_to_a_step(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        "t,y\n2024-01-01 00:00,1\n2024-01-01 00:10,3\n2024-01-01 01:59,7\n"
        "2024-01-01 02:00,\n2024-01-01 02:30,5\n2024-01-01 02:30,7\n"
    )
    found = read_table(path, DataOptions(target=("y",), time="t", resample="1h"))
    assert found.values[:, 0].tolist() == [2, 7, 6]
    assert found.clock.describe() == "1 hour"
    assert found.clock.stamp(found.times)[1] == "2024-01-01 01:00:00"


def test_gaps_are_an_input(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        "t,y\n2024-01-01 00:00,1\n2024-01-01 01:00,3\n2024-01-01 02:00,7\n2024-01-01 04:30,8\n"
    )
    with pytest.raises(InputError, match=r"irregular times: .*--resample .* or --gaps"):
        read_table(path, DataOptions(target=("y",), time="t"))
    found = read_table(path, DataOptions(target=("y",), time="t", gaps=True))
    assert found.columns == ("y", "time gap")
    assert found.values[:, 1].tolist() == [0, 1, 1, 2.5]
    assert found.times.tolist() == [2, 3, 4, 5]  # the file's rows


def test_words_that_training_lacks_are_one(tmp_path):
    path = table(tmp_path, 300, plan=False)
    text = path.read_text().splitlines()
    text[-1] = text[-1][:-1] + "z"
    path.write_text("\n".join(text) + "\n")
    problem = read_problem(path, asked(categorical=("kind",), horizon=2, context=4))
    assert problem.table.categories == (("(other)", "a", "b", "c"),)
    assert problem.table.values[-1, 1] == 0


def test_static_columns_are_at_every_step(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("who,y\na,1\na,2\nb,5\nb,6\n")
    (tmp_path / "static.csv").write_text("who,size\nb,20\na,10\n")
    columns = DataOptions(target=("y",), time="none", group="who", static=tmp_path / "static.csv")
    found = read_table(path, columns)
    assert found.columns == ("y", "size")
    assert found.values[:, 1].tolist() == [10, 10, 20, 20]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"known": ("q",)}, "no column 'q'"),
        ({"known": ("y",)}, "column 'y' is used for two roles"),
        ({"categorical": ("t",)}, "is used as values and as time or group"),
        ({"calendar": ("moon",)}, "--calendar: unknown feature 'moon'; choose from minute, hour"),
        ({"resample": "soon"}, "--resample: 'soon' is not a time step; give a step such as 10s"),
        ({"resample": "0h"}, "--resample: '0h'"),
        ({"calendar": ("hour",), "time": "none"}, "there is no time column; give one with --time"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, options, told):
    columns = asked(**options)
    with pytest.raises(InputError, match=told):
        read_table(table(tmp_path), columns)


def test_a_plan_has_no_gaps(tmp_path):
    path = table(tmp_path, 20)
    path.write_text(path.read_text().replace(",1007,", ",,"))
    with pytest.raises(InputError, match="row 9, column 'p': a missing value in a known-ahead"):
        read_table(path, asked(known=("p",)))


def test_folds_train_before_each_stretch_they_test(tmp_path):
    problem = read_problem(table(tmp_path, 1000, plan=False), asked(horizon=2, context=4, folds=3))
    tested = []
    for parts in problem.folds:
        y = {}
        for name in ("training", "validation", "test"):
            windows = getattr(parts, name)
            y[name] = windows.batch(torch.arange(len(windows)))[1]
        assert y["training"].max() < y["validation"].min() < y["validation"].max()
        assert y["validation"].max() < y["test"].min()
        assert parts.training_rows[:, 0].max() < y["validation"].min()
        tested.append((int(y["test"].min()), int(y["test"].max())))
    assert tested == [(850, 899), (900, 949), (950, 999)]
    assert problem.parts is problem.folds[-1]


def test_a_models_own_unit_measures_the_gaps_of_new_rows(tmp_path):
    def write(name, times):
        rows = "".join(f"{t},{k}\n" for k, t in enumerate(times))
        (tmp_path / name).write_text("t,y\n" + rows)
        return tmp_path / name

    learned = read_table(
        write("a.csv", [0, 10, 20, 35]), DataOptions(target=("y",), time="t", gaps=True)
    )
    assert learned.gap_unit == 10
    slow = read_table(write("b.csv", [0, 1000, 2000, 3500]), learned.options, learned=learned.spec)
    assert slow.values[:, 1].tolist() == [0, 100, 100, 150]


def test_gaps_of_several_series_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("who,t,y\na,1,1\na,2,2\nb,9,1\nb,11,2\n")
    with pytest.raises(InputError, match="--gaps: it requires a single series"):
        read_table(tmp_path / "x.csv", DataOptions(target=("y",), time="t", group="who", gaps=True))


def test_plans_follow_the_last_row_that_is_used(tmp_path):
    """The last row lacks an input and is cut off: its plan is the first of those ahead."""
    rows = [f"{k},{1000 + k},{k}" for k in range(20)]
    rows[-1] = "19,1019,"
    rows += [f",{1000 + k}," for k in range(20, 23)]
    (tmp_path / "x.csv").write_text("y,p,z\n" + "\n".join(rows) + "\n")
    columns = DataOptions(
        target=("y",), time="none", inputs=("z",), known=("p",), missing="interpolate"
    )
    found = read_table(tmp_path / "x.csv", columns)
    assert found.values[-1, 0] == 18
    assert found.plans[""][1][:, 0].tolist() == [1019, 1020, 1021, 1022]


def test_plans_are_resampled_too(tmp_path):
    quarter = np.datetime64("2024-01-01", "m") + 15 * np.arange(48)
    rows = [f"{str(t).replace('T', ' ')},{k if k < 32 else ''},{k}" for k, t in enumerate(quarter)]
    (tmp_path / "x.csv").write_text("t,y,p\n" + "\n".join(rows) + "\n")
    columns = DataOptions(target=("y",), time="t", inputs=(), known=("p",), resample="1h")
    found = read_table(tmp_path / "x.csv", columns)
    assert found.values[:, 1].tolist() == [3, 7, 11, 15, 19, 23, 27, 31]
    times, plans = found.plans[""]
    assert plans[:, 0].tolist() == [35, 39, 43, 47]
    assert np.array_equal(times, found.clock.after(found.times, np.arange(1, 5)))


def test_categories_are_coded_anew_in_a_table_of_their_own(tmp_path, monkeypatch):
    words = ["a", "b"] * 60 + ["late"] * 30
    rows = "\n".join(f"{n},{w}" for n, w in enumerate(words))
    (tmp_path / "t.csv").write_text(f"y,word\n{rows}\n")
    tables = []

    def remembered(*arguments, **options):
        tables.append(read_table(*arguments, **options))
        tables.append(tables[0].values.copy())
        return tables[0]

    monkeypatch.setattr("throughtime.data.tables.forecast_problem.read_table", remembered)
    columns = DataOptions(target=("y",), categorical=("word",), horizon=1, context=4)
    problem = read_problem(tmp_path / "t.csv", columns)
    assert tables[0].categories == (("(other)", "a", "b", "late"),)
    assert (tables[0].values == tables[1]).all()  # what was read is as it was read
    assert problem.table.categories == (("(other)", "a", "b"),)
    assert problem.table.values[-1].tolist() == [149.0, 0.0]
    assert problem.parts.test.values[-1].tolist() == [149.0, 0.0]


WEATHER = ["sun", "rain", "snow"]


def planned(count=900, seed=0):
    """Sales that the weather of the same day decides, and the weather of the days ahead."""
    rng = np.random.default_rng(seed)
    words = rng.choice(WEATHER, count + 7)
    effect = {"sun": 10.0, "rain": -5.0, "snow": 0.0}
    y = [effect[w] + rng.normal() for w in words[:count]] + [None] * 7
    return pl.DataFrame({"t": np.arange(count + 7), "y": y, "weather": words})


def test_a_plan_of_words_is_known_ahead(tmp_path):
    frame = planned()
    data = tt.read(frame, target="y", time="t", known=["weather"], horizon=7, context=7)
    table = data.problem.table
    assert table.columns == ("y", "weather rain", "weather snow", "weather sun")
    assert table.known_ahead == 3 and table.spec.plans == (("rain", "snow", "sun"),)
    assert "3 words, each an input known ahead" in {c.reason for c in data.choices}
    inside = table.values[:, 1:]
    np.testing.assert_array_equal(inside.sum(axis=1), 1)
    model = tt.fit(data, network="dense", steps=1500)
    assert model.test_error < 1.0  # the best possible is 0.8; without the plan 5.6
    model.save(tmp_path / "m")
    ahead = tt.load(tmp_path / "m").predict(frame)["y"].to_numpy()
    effect = {"sun": 10.0, "rain": -5.0, "snow": 0.0}
    expected = [effect[w] for w in frame["weather"][-7:]]
    assert np.abs(ahead - expected).max() < 1.5
    strange = frame.with_columns(pl.col("weather").str.replace("rain", "hail"))
    tt.load(tmp_path / "m").predict(strange)  # a word that training did not have


def test_numbers_are_words_if_they_are_called_categorical():
    frame = planned().with_columns(
        pl.col("weather").replace_strict({"sun": 1, "rain": 2, "snow": 3}).alias("code")
    )
    options = {"target": "y", "time": "t", "horizon": 7, "context": 7, "inputs": []}
    coded = tt.read(frame, known=["code"], categorical=["code"], **options).problem.table
    assert coded.columns == ("y", "code 1", "code 2", "code 3") and not coded.categories
    plain = tt.read(frame, known=["code"], **options).problem.table
    assert plain.columns == ("y", "code")


def test_words_come_from_the_training_part_and_are_not_too_many():
    frame = planned()
    late = frame.with_columns(
        pl.when(pl.col("t") > 800).then(pl.lit("hail")).otherwise("weather").alias("weather")
    )
    options = {"target": "y", "time": "t", "known": ["weather"], "horizon": 7, "context": 7}
    assert tt.read(late, **options).problem.table.spec.plans == (("rain", "snow", "sun"),)
    many = frame.with_columns(("w" + pl.col("t").cast(pl.String)).alias("weather"))
    with pytest.raises(InputError, match="different words, more than 200"):
        tt.read(many, **options)
    holes = frame.with_columns(
        pl.when(pl.col("t") == 5).then(None).otherwise("weather").alias("weather")
    )
    with pytest.raises(InputError, match=r"row 6, column 'weather': a missing value in a known"):
        tt.read(holes, **options)

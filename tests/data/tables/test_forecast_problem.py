"""A problem: the record says what was found, and errors have a unit."""

import numpy as np
import pytest
import torch

from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data_options import DataOptions
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.forecasting.comparison import ForecastingExperiment
from throughtime.problems.forecasting.training import residuals


def test_the_record_says_what_was_found(problem, co2_cut):
    record = problem.record
    assert record.path == str(co2_cut)
    assert (record.rows, record.series, record.step) == (470, 1, "7 days")
    assert (record.context, record.horizon, record.season) == (54, 4, 52)
    assert record.windows == tuple(
        len(getattr(problem.parts, part)) for part in ("training", "validation", "test")
    )
    assert record.borders == ("1988-06-25", "1989-10-28")
    assert {c.name for c in record.choices} >= {"delimiter", "time", "target", "time step"}
    split = next(c for c in record.choices if c.name == "split")
    assert (split.value, split.option) == ("70/15/15", "--split")
    assert split.reason.endswith("validation from 1988-06-25, test from 1989-10-28")


def test_rows_without_times_are_those_of_the_file(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("\ny\n" + "".join(f"{t % 7}\n" for t in range(100)))
    assert read_problem(path, DataOptions()).record.borders == ("row 73", "row 88")
    path.write_text("g,y\n" + "".join(f"{g},{t % 7}\n" for g in "ab" for t in range(100)))
    grouped = read_problem(path, DataOptions(group="g"))
    assert grouped.record.borders == ("row 71 of a series", "row 86 of a series")


def test_the_rows_of_the_record_are_those_of_the_file(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("t,y\n" + "".join(f"{t},{t % 7 if 2 < t < 95 else ''}\n" for t in range(100)))
    options = DataOptions(target=("y",), time="t", missing="interpolate")
    assert read_problem(path, options).record.rows == 100


def test_one_target_is_measured_in_its_unit_several_in_spreads(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n" + "".join(f"{t % 7},{100 * (t % 5)}\n" for t in range(100)))
    one = read_problem(path, DataOptions(target=("a",)))
    assert one.error_scale().tolist() == [1]
    assert one.unit() == "a, in its own unit"
    two = read_problem(path, DataOptions(target=("a", "b")))
    expected = two.parts.training_rows.std(dim=0, correction=0)
    assert torch.equal(two.error_scale(), expected)
    assert two.error_scale()[1] == pytest.approx(141.4, rel=0.01)
    assert two.unit().startswith("training standard deviations")


def sized(path, *sizes):
    """Series of the same kind, each of its own size, of 100 rows."""
    rows = ["g,y"]
    for number, size in enumerate(sizes):
        noise = np.random.default_rng(number).normal(size=100) / 5
        wave = np.sin(np.arange(100) * 0.6 + number) + noise
        rows += [f"s{number},{float(v)!r}" for v in size * wave + 3 * size]
    path.write_text("\n".join(rows) + "\n")
    return read_problem(path, DataOptions(target=("y",), group="g", horizon=2, context=12))


def test_errors_of_several_series_are_scaled_by_series(tmp_path):
    problem = sized(tmp_path / "data.csv", 1, 2, 1e6)
    assert problem.unit() == "y, in mean changes from step to step of each series"
    assert "scaled by series" in {choice.value for choice in problem.record.choices}
    scale = problem.error_scale()
    assert scale.shape == (300, 1)
    for number in range(3):  # the mean absolute change before validation, at row 70
        values = problem.table.values[100 * number : 100 * number + 70, 0]
        assert scale[100 * number, 0] == pytest.approx(np.abs(np.diff(values)).mean())
        assert (scale[100 * number : 100 * (number + 1)] == scale[100 * number]).all()
    experiment = ForecastingExperiment(problem)
    naive = experiment.build(experiment.config("persistence", Hyperparameters(), 1))
    found = residuals(naive, problem.parts.test, scale).abs().mean(dim=(1, 2))
    series = problem.parts.test.starts // 100
    for number in range(3):  # one change after the other, in every series
        assert 0.8 < float(found[series == number].mean()) < 2.2
    assert "mean changes from step to step" in experiment.unit
    measured = experiment.measured(naive)
    assert measured.test_error == pytest.approx(float(found.mean()))
    # in the target's own unit, beside it
    own = residuals(naive, problem.parts.test, torch.ones(1))
    assert measured.measures["mae"] == pytest.approx(float(own.abs().mean()))
    assert measured.measures["rmse"] == pytest.approx(float(own.square().mean().sqrt()))
    assert measured.error_by_series == {
        f"s{n}": pytest.approx(float(found[series == n].mean())) for n in range(3)
    }


def test_errors_of_several_series_in_their_own_unit_are_asked_for(tmp_path):
    alike = sized(tmp_path / "data.csv", 1, 2, 4)
    assert alike.error_scale("mae").tolist() == [1]
    assert ForecastingExperiment(alike, "mae").unit == "mean absolute error, y, in its own unit"


def test_times_that_were_forecast_are_the_items(tmp_path):
    """The value of a time is of all that forecast it; the mean of values is the error."""
    problem = sized(tmp_path / "data.csv", 1, 3)
    for metric in ("mae", "rmse", "mase"):
        experiment = ForecastingExperiment(problem, metric)
        naive = experiment.build(experiment.config("persistence", Hyperparameters(), 1))
        measured = experiment.measured(naive)
        starts = problem.parts.test.starts
        times = len(torch.unique(starts % 100)) + problem.plan.horizon - 1
        assert measured.error_by_item.shape == (times,)
        assert measured.error_by_item.mean() == pytest.approx(measured.test_error)
        assert measured.measures[metric] == pytest.approx(measured.test_error)


def test_a_constant_series_has_finite_errors(tmp_path):
    scale = sized(tmp_path / "data.csv", 1, 0, 1e3).error_scale()
    assert torch.isfinite(scale).all() and (scale > 0).all()
    assert scale[100, 0] == pytest.approx(0.01 * float(scale[:, 0].median()), rel=0.5)


def test_a_network_sees_every_series_in_its_own_size(tmp_path):
    """The loss of a series is the same whatever its size, in the company of a large one too."""
    losses = []
    for size in (1.0, 1e-3):
        problem = sized(tmp_path / "data.csv", size, size, size, 1e6)
        experiment = ForecastingExperiment(problem)
        torch.manual_seed(0)
        usual = experiment.usual("gru")
        model = experiment.build(experiment.config("gru", usual, 500))
        index = torch.nonzero(problem.parts.training.starts < 100).flatten()
        losses.append(model.loss(*problem.parts.training.batch(index)).item())
        assert min(problem.floors) < size  # of a quiet series, not of the largest
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)

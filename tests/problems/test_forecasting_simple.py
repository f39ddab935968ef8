"""Simple forecasts: by hand, and the linear regression against numpy and planted truth."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data_options import DataOptions
from throughtime.problems.forecasting.networks import ModelConfig, build
from throughtime.problems.forecasting.simple import fitted_linear
from throughtime.problems.registry import experiment_of


def test_rules_by_hand():
    window = torch.tensor([1.0, 2, 4, 8, 16, 33], dtype=torch.float64).reshape(1, 6, 1)
    options = {"context": 6, "horizon": 2, "columns": 1}
    expected = {"median": [4, 4], "drift": [33 + 6.4, 33 + 12.8], "zero": [0, 0]}
    for kind, values in expected.items():
        found = build(ModelConfig(kind, **options))(window).flatten()
        torch.testing.assert_close(found, torch.tensor(values, dtype=torch.float64))


def ar1(count=2000, seed=0):
    rng = np.random.default_rng(seed)
    y = np.zeros(count)
    for t in range(1, count):
        y[t] = 0.8 * y[t - 1] + rng.normal()
    return y + 50


def linear_of(data, **options):
    experiment = experiment_of(data.problem)
    config = experiment.config("ridge", experiment.usual("ridge"), 1)
    parts = data.problem.parts
    windows = (parts.training, parts.validation)
    return fitted_linear(config, parts.training_rows, *windows, torch.ones(1), **options)


def test_it_is_the_least_squares_fit_of_numpy():
    """With a negligible penalty, on inputs without collinearity."""
    data = tt.read(ar1(), horizon=2, context=3)
    model = linear_of(data, normalizations=["global"])
    x, y = data.problem.parts.training.batch(torch.arange(len(data.problem.parts.training)))
    last = x[:, -1:]
    design = np.column_stack([x[:, :, 0].numpy(), np.ones(len(x))])
    best, *_ = np.linalg.lstsq(design, (y - last)[..., 0].numpy(), rcond=None)
    expected = design @ best + last[:, 0].numpy()
    np.testing.assert_allclose(model(x)[..., 0].numpy(), expected, atol=0.01)


def test_it_finds_a_planted_rule():
    model = linear_of(tt.read(ar1(), horizon=1, context=4), normalizations=["global"])
    window = torch.tensor([50.0, 51.0, 48.0, 55.0], dtype=torch.float64).reshape(1, 4, 1)
    assert model(window).item() == pytest.approx(50 + 0.8 * 5, abs=0.4)


def test_it_uses_inputs_and_plans_and_is_saved(tmp_path):
    rng = np.random.default_rng(0)
    x, plan = rng.normal(size=(2, 1500))
    y = np.roll(x, 3) + 2 * plan + 0.01 * rng.normal(size=1500)
    frame = pl.DataFrame({"y": y, "x": x, "plan": plan})
    data = tt.read(frame, target="y", known=["plan"], horizon=2, context=6)
    experiment = experiment_of(data.problem)
    model = experiment.simple_models["ridge"]
    assert experiment.measured(model).test_error < 0.05
    count = model.parameter_count()
    assert count == (6 * 3 + 2 + 1) * 2 and model.multiply_adds() == count - 2
    experiment.save(model, tmp_path / "m", "")
    window, _ = data.problem.parts.test.batch(torch.arange(5))
    torch.testing.assert_close(tt.load(tmp_path / "m").network(window), model(window))


def test_too_many_inputs_are_left_to_the_networks():
    frame = pl.DataFrame({f"plan {k}": np.arange(700.0) % (k + 2) for k in range(40)})
    frame = frame.with_columns(y=pl.Series(ar1(700)))
    known = [name for name in frame.columns if name != "y"]
    data = tt.read(frame, target="y", known=known, horizon=90, context=10, season=1)
    assert "ridge" not in experiment_of(data.problem).trivial_kinds()


def test_series_of_any_size_are_scaled_by_their_window():
    """One series a million times as large as the other: the same rule holds for both."""
    rows = [
        {"g": g, "y": size * (3 + np.sin(t / 3) + 0.01 * np.cos(7.0 * t))}
        for g, size in (("small", 1.0), ("large", 1e6))
        for t in range(300)
    ]
    data = tt.read(pl.DataFrame(rows), target="y", group="g", horizon=2, context=12)
    experiment = experiment_of(data.problem)
    model = experiment.simple_models["ridge"]
    assert model.config.normalize == "window"
    assert experiment.measured(model).test_error < 0.1  # in mean changes of each series


def test_its_errors_are_centred_whatever_penalty_was_chosen():
    """The mean error over the windows it was fitted to is 0: so the bias is that of its weights."""
    data = tt.read(ar1() + np.arange(2000) / 20, horizon=3, context=5)
    model = linear_of(data, normalizations=["global"])  # one spread for all windows
    training = data.problem.parts.training
    x, y = training.batch(torch.arange(len(training)))
    assert (model(x) - y).mean(dim=0).abs().max() < 1e-6


def with_gaps(y, every):
    return [None if t % every == 5 else float(v) for t, v in enumerate(y)]


def test_missing_targets_cost_it_little():
    whole = linear_of(tt.read(ar1(), horizon=6, context=4))
    data = tt.read(
        pl.DataFrame({"y": with_gaps(ar1(), 11)}), horizon=6, context=4, missing="interpolate"
    )
    window, _ = tt.read(ar1(), horizon=6, context=4).problem.parts.test.batch(torch.arange(200))
    torch.testing.assert_close(linear_of(data)(window), whole(window), atol=0.5, rtol=0.0)


def test_no_value_of_a_later_part_reaches_it_through_a_gap():
    """The same series but for the values after the border, which lies in a gap."""
    y = ar1(300)
    y[205:215] = np.nan  # training ends before row 210
    models = []
    for change in (0.0, 1000.0):
        changed = np.where(np.arange(300) >= 210, y + change, y)
        frame = pl.DataFrame({"y": [None if np.isnan(v) else v for v in changed]})
        data = tt.read(frame, horizon=4, context=6, missing="interpolate")
        model = linear_of(data, normalizations=["global"])
        model.fit(data.problem.parts.training, data.problem.parts.training, torch.ones(1))
        models.append(model)
    for name, one in models[0].state_dict().items():
        assert torch.equal(one, models[1].state_dict()[name]), name


@pytest.mark.parametrize(("share", "there"), [(0.6, True), (0.1, False)])
def test_zero_is_for_counts(share, there):
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, 600) * (rng.random(600) > share)
    kinds = experiment_of(tt.read(counts.astype(float), horizon=2).problem).trivial_kinds()
    assert ("zero" in kinds) is there


def test_a_linear_rule_is_recommended_as_one():
    data = tt.read(ar1(3000), horizon=6)
    options = {"networks": ["dense", "window-dense"], "seeds": 3, "trials": 1}
    found = tt.compare(data, **options, steps=600, jobs=1)
    assert found.verdict.recommended == "ridge"
    assert found.model.kind == "ridge"
    assert "linear regression" in found.verdict.headline
    ahead = found.model.predict(ar1(3000))["x1"].to_numpy()
    last = ar1(3000)[-1] - 50
    np.testing.assert_allclose(ahead - 50, last * 0.8 ** np.arange(1, 7), atol=0.7)


def hourly(path, hours, level=0.0, day=0.0, week=0.0, noise=0.3, seed=0):
    """An hourly record with a season of a day, one of a week, and steps of its level."""
    rng = np.random.default_rng(seed)
    t = np.arange(hours)
    shape = np.sin(np.arange(24) / 24 * 2 * np.pi) * day
    weekday = np.repeat(rng.normal(size=7), 24) * week
    steps = np.repeat(rng.normal(size=hours // 168 + 1), 168)[:hours].cumsum() * level
    y = shape[t % 24] + weekday[t % 168] + steps + noise * rng.normal(size=hours)
    times = np.datetime64("2024-01-01T00", "m") + 60 * t
    lines = [f"{when},{value:.6f}" for when, value in zip(times, y, strict=True)]
    path.write_text("time,y\n" + "\n".join(lines) + "\n")
    return experiment_of(read_problem(path, DataOptions(target=("y",), time="time", horizon=12)))


def with_seasons(experiment, *seasons):
    """The experiment, as if these seasons had been found."""
    plan = replace(experiment.problem.plan, seasons=seasons, season=seasons[-1])
    return experiment_of(replace(experiment.problem, plan=plan))


def test_the_season_of_the_lowest_validation_error_is_taken(tmp_path):
    both = hourly(tmp_path / "both.csv", 3000, day=5.0, week=5.0)
    assert both.problem.plan.seasons == (24, 168)
    assert both.simple_models["seasonal"].config.season == 168
    # the level changes each week, so that yesterday tells more than last week
    moving = hourly(tmp_path / "moving.csv", 3000, day=5.0, week=0.5, level=3.0)
    assert with_seasons(moving, 24, 168).simple_models["seasonal"].config.season == 24
    day = hourly(tmp_path / "day.csv", 3000, day=5.0)
    assert day.problem.plan.seasons == (24,)


def test_a_mean_is_over_as_many_steps_as_validation_likes():
    noise = tt.read(np.random.default_rng(0).normal(size=3000), horizon=3)
    experiment = experiment_of(noise.problem)
    assert experiment.simple_models["mean"].config.context == noise.problem.plan.past
    walk = tt.read(np.random.default_rng(0).normal(size=3000).cumsum(), horizon=3)
    experiment = experiment_of(walk.problem)
    assert experiment.simple_models["mean"].config.context == walk.problem.plan.context

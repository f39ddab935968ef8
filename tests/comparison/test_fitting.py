"""One network on a problem: what its scaler sees, and what tells one training from another."""

from dataclasses import replace

import pytest

from throughtime.comparison.fitting import fit, fit_identity
from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data_options import DataOptions
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.forecasting.comparison import config_for
from throughtime.problems.registry import experiment_of
from throughtime.training.loop import TrainingSettings


def test_the_scaler_saw_the_training_part_alone(problem):
    model, _ = fit(
        experiment_of(problem),
        config_for(problem, "gru", Hyperparameters(normalize="global"), 100),
        TrainingSettings(epochs=1),
        seed=0,
    )
    before = problem.table.times < problem.parts.borders[0]
    assert float(model.normalizer.center) == pytest.approx(problem.table.values[before].mean())


def test_the_scaler_saw_nothing_through_a_gap_at_the_border(tmp_path):
    """What is filled in just before the border is drawn towards values that lie behind it."""
    frames = []
    for later in (0, 1000):
        path = tmp_path / f"{later}.csv"
        values = [f"{t % 7 + (t >= 70) * later}" if not 66 <= t < 73 else "" for t in range(100)]
        path.write_text("t,y\n" + "".join(f"{t},{v}\n" for t, v in enumerate(values)))
        gap = read_problem(
            path, DataOptions(target=("y",), time="t", missing="interpolate", context=5)
        )
        settings = TrainingSettings(epochs=1)
        model, _ = fit(
            experiment_of(gap),
            config_for(gap, "gru", Hyperparameters(normalize="global"), 100),
            settings,
            seed=0,
        )
        frames.append((float(model.normalizer.center), float(model.normalizer.spread)))
    assert frames[0] == frames[1]


def test_what_weights_depend_on_tells_trainings_apart_and_their_end_does_not(problem):
    config, how = (
        config_for(problem, "gru", Hyperparameters(normalize="global"), 100),
        TrainingSettings(),
    )
    one = fit_identity(problem.record, config, how, 0, "mae")
    for same in ({"epochs": 5}, {"patience": 1}, {"budget": 60.0}):
        assert fit_identity(problem.record, config, replace(how, **same), 0, "mae") == one
    others = [
        fit_identity(problem.record, config, replace(how, clip="none"), 0, "mae"),
        fit_identity(problem.record, replace(config, hidden_size=3), how, 0, "mae"),
        fit_identity(problem.record, config, how, 1, "mae"),
        fit_identity(problem.record, config, how, 0, "rmse"),
    ]
    assert len({one, *others}) == 5

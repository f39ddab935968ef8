"""What the demo promises, on the demo's own data, whole."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from throughtime.comparison.fitting import fit
from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data_options import DataOptions
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.forecasting.comparison import config_for
from throughtime.problems.forecasting.networks import build
from throughtime.problems.forecasting.training import errors
from throughtime.problems.registry import experiment_of
from throughtime.training.loop import TrainingSettings


@pytest.fixture(scope="module")
def demo():
    path = Path(str(files("statsmodels.datasets.co2") / "co2.csv"))
    columns = DataOptions(target=("co2",), time="date", missing="interpolate", horizon=4)
    return read_problem(path, columns)


def error_at_step_4(model, problem):
    return float(errors(model, problem.parts.test, problem.error_scale())[:, 3].mean())


def test_the_data_is_the_one_described(demo):
    assert demo.record.rows == 2284
    assert int((~demo.table.observed).sum()) == 59


@pytest.mark.parametrize(
    ("kind", "error"), [("persistence", 1.11), ("seasonal", 1.70), ("seasonal-drift", 0.59)]
)
def test_trivial_forecasts_err_as_known(demo, kind, error):
    model = build(config_for(demo, kind, Hyperparameters(normalize="window"), 1))
    assert error_at_step_4(model, demo) == pytest.approx(error, abs=0.0051)


def test_a_gru_reaches_0_45_ppm_four_weeks_ahead(demo):
    torch.manual_seed(0)
    config = config_for(demo, "gru", Hyperparameters(normalize="window"), 4000)
    model, _ = fit(
        experiment_of(demo), config, TrainingSettings(learning_rate=1e-2, epochs=20), seed=0
    )
    assert error_at_step_4(model, demo) <= 0.45

"""Whole comparisons on generated data whose best forecast is known."""

import numpy as np
import pytest

from throughtime.comparison.trials import compare
from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data_options import DataOptions
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.registry import experiment_of
from throughtime.runs import SettingsRecord

SETTINGS = SettingsRecord(
    networks=("dense", "window-dense", "gru"),
    seeds=(0, 1, 2),
    given=Hyperparameters(learning_rate=1e-2),
    parameters=300,
    normalize="window",
    epochs=None,
    steps=1500,
    batch_size=64,
    patience=800,
)


def random_walk(random):
    """The last value is the best forecast there is."""
    return np.cumsum(random.normal(size=600))


def oscillation(random):
    """A damped swing of period 12, kept up by noise (Yule 1927): two past values say all."""
    y = np.zeros(800)
    for t in range(2, len(y)):
        y[t] = 2 * 0.99 * np.cos(2 * np.pi / 12) * y[t - 1] - 0.98 * y[t - 2] + random.normal()
    return y


@pytest.fixture
def verdict_on(tmp_path):
    def of(values):
        path = tmp_path / "data.csv"
        path.write_text("y\n" + "\n".join(f"{v:.6f}" for v in values) + "\n")
        columns = DataOptions(target=("y",), time="none", horizon=1, context=8, season=1)
        problem = read_problem(path, columns)
        return compare(experiment_of(problem), SETTINGS, tmp_path / "run").verdict

    return of


def test_nothing_beats_persistence_on_a_random_walk(verdict_on):
    verdict = verdict_on(random_walk(np.random.default_rng(0)))
    assert verdict.outcome in ("trivial", "undecided") and verdict.recommended == "persistence"
    assert "use persistence" in verdict.headline


def test_what_sees_the_past_wins_on_an_oscillation(verdict_on):
    """It is linear in the past: so a linear regression suffices."""
    verdict = verdict_on(oscillation(np.random.default_rng(0)))
    assert verdict.recommended == "ridge" and "dense" not in verdict.tied
    assert any("the past matters" in reason for reason in verdict.reasons)
    by_kind = {c.kind: c for c in verdict.candidates}
    best = by_kind[verdict.recommended].error
    # the noise's own mean absolute error, sqrt(2 / pi), is the least there is
    assert np.sqrt(2 / np.pi) * 0.9 < best < 0.75 * by_kind["persistence"].error

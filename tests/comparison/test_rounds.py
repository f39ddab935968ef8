"""Which trials follow from those that are finished."""

from types import SimpleNamespace

import numpy as np
import pytest

import throughtime as tt
from throughtime.comparison.rounds import Trial, best_trial
from throughtime.hyperparameters import Hyperparameters


def curve(seed):
    """A deterministic series: its error falls for as long as a network is trained."""
    y = np.full(1500, 0.3 + seed / 100)
    for t in range(1, len(y)):
        y[t] = 3.9 * y[t - 1] * (1 - y[t - 1])
    return y


def test_a_training_that_still_improves_is_trained_longer(monkeypatch):
    monkeypatch.setattr("throughtime.training.settings._STEPS", 150)
    data = tt.read(curve(0), horizon=1, context=4)
    options = {"networks": ["dense", "window-dense"], "seeds": 2, "trials": 1, "parameters": 300}
    found = tt.compare(data, **options, jobs=1)
    trials = [t for t in found.record.trials if t.training is not None]
    assert {t.chosen.longer for t in trials} == {4}
    assert {t.training.steps for t in trials} == {600}
    short = tt.compare(data, **options, jobs=1, steps=150)
    trials = [t for t in short.record.trials if t.training is not None]
    assert {t.training.steps for t in trials} == {150}  # a given number is kept
    for one, other in zip(found.verdict.candidates, short.verdict.candidates, strict=True):
        assert one.trivial or one.error < other.error


def test_a_training_that_had_converged_is_not(monkeypatch):
    noise = np.random.default_rng(0).normal(size=1500)
    data = tt.read(noise, horizon=1, context=4)
    found = tt.compare(data, networks=["dense"], seeds=1, trials=1, parameters=300, jobs=1)
    assert {t.chosen.longer for t in found.record.trials} == {None}


@pytest.mark.parametrize(
    ("errors", "context"),
    [
        ({None: 1.0, 32: 0.995, 64: 0.994}, None),  # less than 1 % better
        ({None: 1.0, 32: 0.95, 64: 0.945}, 32),  # the wider one hardly more
        ({None: 1.0, 32: 0.95, 64: 0.90}, 64),
        ({None: 1.0, 32: None}, None),  # it diverged
        ({None: None, 32: None}, None),
    ],
)
def test_a_wider_context_must_be_worth_it(errors, context):
    trials = [
        Trial("gru", 0, number, Hyperparameters(context=width))
        for number, width in enumerate(errors)
    ]
    records = [SimpleNamespace(validation_error=e, training=None) for e in errors.values()]
    known = dict(zip(trials, records, strict=True))
    assert best_trial(trials, known).chosen.context == context

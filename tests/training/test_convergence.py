"""Whether a training had converged: curves with a known answer, and real trainings.

Real trainings are in `benchmarks/fair_chance.py`, too; here 20 that are given enough steps and 20
that are starved.
"""

import math

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.network_records import EvaluationRecord, TrainingRecord
from throughtime.training.convergence import BEHIND, SOLVED, not_converged


def curve(errors, every=25, stopped="all steps taken"):
    evaluations = tuple(
        EvaluationRecord(1.0, float(e), 1.0, 0.0, 0.1, step=every * (n + 1))
        for n, e in enumerate(errors)
    )
    best = int(np.argmin(errors)) + 1
    return TrainingRecord(evaluations, best, stopped, 0, 1.0, steps=every * len(errors))


FLAT = [1.0, *[0.2] * 60]
FALLING = np.linspace(1.0, 0.2, 60)


def test_curves_that_fall_to_their_end_had_not_converged():
    assert not_converged(curve(FALLING)) == "still improving after 1500 steps"
    assert not_converged(curve(FLAT)) == ""
    assert not_converged(curve([*FALLING, *[0.2] * 40])) == ""
    assert not_converged(curve([1.0, 0.5, 0.2, *[0.2] * 6])) == "ended after only 225 steps"


def test_noise_and_negligible_improvements_are_no_improvement():
    rng = np.random.default_rng(0)
    assert not_converged(curve(0.5 + 0.003 * rng.normal(size=100))) == ""
    solved = [math.exp(-n / 2) for n in range(60)]  # falls for ever, and is negligible soon
    assert not_converged(curve(solved)) == ""
    one_more = [0.5, *[0.10] * 49, *[0.10 - 1 / 60] * 10]  # one of 60 sequences
    assert not_converged(curve(one_more)) != ""
    assert not_converged(curve(one_more), resolution=1.5 / 60) == ""


def test_at_chance_it_depends_on_the_gradient_and_on_the_steps():
    short, long = curve([0.69] * 8), curve([0.69] * 60)
    words = "no better than a simple prediction after"
    assert not_converged(short, chance=0.69) == f"{words} only 200 steps"
    assert not_converged(long, chance=0.69) == ""
    vanished = not_converged(long, chance=0.69, vanishing=True)
    assert vanished == f"{words} 1500 steps, and its gradient vanishes"
    assert not_converged(long, chance=0.9, vanishing=True) == ""  # it has learned something


def test_a_training_that_was_ended_early_or_diverged_says_so_itself():
    assert not_converged(curve(FLAT, stopped=f"{BEHIND} at step 500")).startswith(BEHIND)
    assert not_converged(TrainingRecord((), 0, "diverged", 3, 1.0)) == ""
    assert not_converged(curve(FALLING, stopped=f"{SOLVED}: the error is small")) == ""


def recall(length, count, classes, seed):
    """Sequences whose class is the code of their first step."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, length, 1))
    edges = np.quantile(x[:, 0, 0], np.linspace(0, 1, classes + 1)[1:-1])
    return x, np.digitize(x[:, 0, 0], edges)


def swing(seed, rows=700):
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    return (
        np.sin(t / rng.uniform(2, 9))
        + np.sin(t / rng.uniform(10, 30))
        + 0.1 * rng.normal(size=rows)
    )


def problems():
    for seed in range(10):
        x, y = recall(length=4 + 2 * seed, count=300, classes=2 + seed % 3, seed=seed)
        yield tt.read(x, answers=y)
    for seed in range(10):
        yield tt.read(swing(seed), horizon=1 + seed % 3, context=30, season=1)


@pytest.fixture(scope="module")
def trained():
    """Each set trained to its end, and with 60 steps: whether the record says so."""
    torch.set_num_threads(1)
    found = {"whole": [], "starved": []}
    for number, data in enumerate(problems()):
        kind = ("gru", "lstm")[number % 2]
        for name, steps in (("whole", 2500), ("starved", 60)):
            options = {"patience": 600, "learning_rate": 0.006, "parameters": 900}
            found[name].append(tt.fit(data, network=kind, steps=steps, **options).not_converged)
    return found


def test_the_flag_is_right_on_whole_and_on_starved_trainings(trained):
    wrong = [f"whole: {flag}" for flag in trained["whole"] if flag]
    wrong += ["starved, and not reported" for flag in trained["starved"] if not flag]
    assert len(wrong) <= 2, wrong

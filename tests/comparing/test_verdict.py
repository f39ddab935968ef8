"""Verdicts: intervals against known distributions, and each outcome on made-up trials."""

import math

import numpy as np
import pytest

from throughtime.comparing.verdict import SAMPLES, Bootstrap, block_length, interval, judge
from throughtime.runs import TrainingRecord, TrialRecord

ORIGINS = 300


def trial(kind, errors, seed=0, us=100.0):
    errors = None if errors is None else np.asarray(errors, dtype=float)
    trivial = kind in ("mean", "persistence", "seasonal", "seasonal-drift")
    mean = None if errors is None else float(errors.mean())
    return TrialRecord(
        kind=kind,
        seed=seed,
        learning_rate=0.0 if trivial else 1e-3,
        hidden_size=0 if trivial else 8,
        parameters=0 if trivial else 100,
        training=None if trivial else TrainingRecord((), 1, "all done", 0, 2.0),
        validation_error=mean,
        test_error=mean,
        error_by_step=() if errors is None else (mean, 2 * mean),
        error_by_origin=() if errors is None else tuple(errors),
        forecast=(),
        prediction_us=us,
    )


def group(kind, level, seeds=5, noise=0.1, us=100.0):
    """Trials that share most of their noise, as networks on the same origins do."""
    shared = np.random.default_rng(7).normal(0, 0.3, ORIGINS)
    own = np.random.default_rng(sum(kind.encode()))
    return [
        trial(kind, level + shared + own.normal(0, noise, ORIGINS), seed, us)
        for seed in range(seeds)
    ]


def test_the_interval_of_a_mean_is_the_textbooks():
    """Independent errors, one seed: the standard error is s / sqrt(N)."""
    errors = np.random.default_rng(0).normal(5, 2, (1, 400))
    low, high = interval(Bootstrap(400, 1, seed=0)(errors))
    expected = 2 * 1.96 * errors.std() / math.sqrt(400)
    assert high - low == pytest.approx(expected, rel=0.08)
    assert low < errors.mean() < high


def test_errors_that_come_in_runs_widen_the_interval():
    """Each error repeated 10 times: blocks must see 10 times fewer independent ones."""
    errors = np.repeat(np.random.default_rng(0).normal(5, 2, (1, 60)), 10, axis=1)
    widths = []
    for block in (1, 10, 20):
        low, high = interval(Bootstrap(600, block, seed=0)(errors))
        widths.append(high - low)
    truth = 2 * 1.96 * errors.std() / math.sqrt(60)
    assert widths[0] < 0.4 * truth  # what ignoring the runs would claim
    assert 0.75 * truth < widths[1] < widths[2] * 1.2
    assert widths[2] == pytest.approx(truth, rel=0.25)


def test_seeds_that_differ_widen_the_interval():
    same = np.ones((5, 100))
    different = same * np.arange(1, 6)[:, None]
    draw = Bootstrap(100, 5, seed=0)
    assert interval(draw(same)) == (1, 1)
    low, high = interval(draw(different))
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(2) / math.sqrt(5), rel=0.1)


def test_paired_differences_use_the_same_blocks():
    errors = np.random.default_rng(0).normal(5, 2, (1, 200))
    draw = Bootstrap(200, 10, seed=0)
    difference = draw(errors + 0.01) - draw(errors)
    assert difference.shape == (SAMPLES,)
    assert np.allclose(difference, 0.01)


@pytest.mark.parametrize(
    ("origins", "horizon", "length"), [(340, 4, 11), (340, 24, 48), (10, 24, 5), (1, 1, 1)]
)
def test_blocks_are_two_horizons_or_the_cube_root(origins, horizon, length):
    assert block_length(origins, horizon) == length


def test_a_network_that_is_best_is_recommended():
    trials = [*group("persistence", 3, 1), *group("dense", 2), *group("gru", 1)]
    verdict = judge(trials, horizon=2)
    assert (verdict.outcome, verdict.recommended, verdict.tied) == ("network", "gru", ("gru",))
    assert verdict.headline.startswith("Use GRU: its error is 6")
    assert "persistence" in verdict.headline
    assert verdict.reference == "persistence"
    assert [c.kind for c in verdict.candidates] == ["gru", "dense", "persistence"]
    best = verdict.candidates[0]
    assert best.low < best.error < best.high
    assert best.relative == pytest.approx(best.error / verdict.candidates[2].error)
    assert best.error_last_step == pytest.approx(2 * best.error)
    assert "the past matters" in verdict.reasons[0]


def test_the_cheaper_of_two_that_tie_is_recommended():
    trials = [
        *group("persistence", 3, 1),
        *group("lstm", 1.0, us=50),
        *group("gru", 0.999, us=200),
    ]
    verdict = judge(trials, horizon=2)
    assert (verdict.outcome, verdict.recommended) == ("tie", "lstm")
    assert set(verdict.tied) == {"gru", "lstm"}
    assert verdict.headline.startswith("A tie: ")
    assert "Use LSTM, the cheapest" in verdict.headline
    assert "takes 50 us with LSTM (GRU 200)" in verdict.reasons[0]


@pytest.mark.parametrize("level", [2.999, 3.5])
def test_none_beats_the_trivial_forecast(level):
    trials = [*group("seasonal", 3, 1), *group("persistence", 4, 1), *group("gru", level)]
    verdict = judge(trials, horizon=2)
    assert (verdict.outcome, verdict.recommended, verdict.tied) == ("trivial", "seasonal", ())
    assert verdict.headline == "None beats the trivial forecast: use seasonal naive."
    assert verdict.reference == "seasonal"


@pytest.mark.parametrize(
    ("window_level", "words"),
    [(2, "earns its place"), (0.5, "adds nothing here"), (1.0, "no difference that can be")],
)
def test_what_recurrence_adds_is_said(window_level, words):
    trials = [*group("persistence", 4, 1), *group("window-dense", window_level), *group("rnn", 1)]
    assert any(words in reason for reason in judge(trials, horizon=2).reasons)


def test_a_handful_of_test_times_is_too_little():
    trials = [trial("persistence", [3.0] * 9), trial("gru", [1.0] * 9)]
    verdict = judge(trials, horizon=1)
    assert (verdict.outcome, verdict.recommended) == ("trivial", "persistence")
    assert verdict.headline == "Too little to judge by (9 test times): use persistence."
    assert verdict.reasons == ()


def test_no_need_of_the_past_is_said():
    trials = [*group("persistence", 4, 1), *group("dense", 1), *group("rnn", 1.0)]
    assert any("current step says all" in reason for reason in judge(trials, 2).reasons)


def test_diverged_trainings_are_counted_and_told():
    trials = [*group("persistence", 3, 1), *group("gru", 1, 3), trial("gru", None, 3)]
    trials += [trial("rnn", None, 0), trial("rnn", None, 1)]
    verdict = judge(trials, horizon=2)
    by_kind = {c.kind: c for c in verdict.candidates}
    assert (by_kind["gru"].diverged, by_kind["gru"].seeds) == (1, 4)
    assert by_kind["rnn"].error is None
    assert verdict.candidates[-1].kind == "rnn"
    assert "GRU diverged in 1 of 4 trainings." in verdict.reasons
    assert "RNN diverged in 2 of 2 trainings." in verdict.reasons


def test_the_same_trials_in_any_order_get_the_same_verdict():
    trials = [*group("persistence", 3, 1), *group("dense", 2), *group("gru", 1)]
    assert judge(trials, 2) == judge(trials[::-1], 2)

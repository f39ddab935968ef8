"""Tuning: known good choices first, then suggestions; in rounds that repeat to the bit."""

import pytest

from throughtime.comparison.rounds import Trial, behind, pace_of
from throughtime.comparison.tuning import ROUND, initializations, known_good, suggested
from throughtime.hyperparameters import NOTHING_CHOSEN, Hyperparameters
from throughtime.network_records import EvaluationRecord, TrainingRecord
from throughtime.problems.registry import experiment_of
from throughtime.training.convergence import BEHIND


@pytest.fixture(scope="module")
def experiment(problem):
    return experiment_of(problem)


def rounds(experiment, kind, given=NOTHING_CHOSEN, count=3, seed=0, error=None):
    """All choices of so many rounds; a trial's error is that of its learning rate."""
    found = []
    error = error or (lambda chosen: abs(chosen.learning_rate - 0.002))
    for _ in range(count):
        finished = [(chosen, error(chosen)) for chosen in found]
        found += suggested(experiment, kind, given, finished, len(found), ROUND, seed)
    return found


def test_known_good_choices_come_first_and_every_choice_is_another(experiment):
    for kind in ("dense", "rnn", "gru"):
        found = rounds(experiment, kind)
        assert found[0] == experiment.usual(kind)
        good = list(dict.fromkeys(known_good(experiment, kind)))
        assert found[: len(good)] == good
        assert len(found) == 3 * ROUND
        assert len(set(found)) >= 3 * ROUND - 1
    assert {c.init for c in rounds(experiment, "gru")} >= {"torch", "chrono:54"}
    assert {c.init for c in rounds(experiment, "rnn")} <= {"torch", "orthogonal"}
    assert {c.init for c in rounds(experiment, "dense")} == {None}


def test_the_same_results_give_the_same_suggestions_and_the_seed_matters(experiment):
    assert rounds(experiment, "gru") == rounds(experiment, "gru")
    assert rounds(experiment, "gru") != rounds(experiment, "gru", seed=1)


def test_suggestions_follow_what_was_good(experiment):
    low = rounds(experiment, "gru", count=8, error=lambda c: abs(c.learning_rate - 0.0007))
    high = rounds(experiment, "gru", count=8, error=lambda c: abs(c.learning_rate - 0.018))

    def late(found):
        return sorted(c.learning_rate for c in found[4 * ROUND :])[2 * ROUND]  # the median

    assert late(low) < late(high) / 2


def test_what_is_given_is_not_tuned(experiment):
    given = Hyperparameters(learning_rate=0.005, layers=2, init="forget-bias:2", hidden_size=9)
    for chosen in rounds(experiment, "lstm", given):
        assert given.over(chosen) == chosen
    for chosen in rounds(experiment, "dense", given):
        assert (chosen.learning_rate, chosen.hidden_size, chosen.init) == (0.005, 9, None)


def test_initializations_fit_the_cell(experiment):
    assert initializations(experiment, "dense") == ()
    assert initializations(experiment, "rnn") == ("torch", "orthogonal")
    assert initializations(experiment, "lstm") == ("torch", "forget-bias:1", "chrono:54")


def training(errors):
    evaluations = tuple(
        EvaluationRecord(1.0, e, 1.0, 0.0, 0.1, step=300 * (n + 1)) for n, e in enumerate(errors)
    )
    return TrainingRecord(evaluations, errors.index(min(errors)) + 1, "", 0, 1.0)


def test_a_training_far_behind_finished_ones_is_ended():
    pace = pace_of(
        [training([1.0, 0.6, 0.2]), training([0.8, 0.9, 0.1]), training([3.0, 3.0, 3.0])]
    )
    assert pace == ((300, 1.0), (600, 0.8), (900, 0.2))  # medians of what was reached by then
    check = behind(pace)
    assert check(training([9.0]).evaluations) == ""  # 300 steps: every training may take them
    assert check(training([9.0, 9.0]).evaluations) == f"{BEHIND} at step 600"
    assert check(training([9.0, 0.9]).evaluations) == ""
    assert check(training([0.2, 9.0, 9.0]).evaluations) == ""  # its best counts
    assert behind(())(training([9.0, 9.0]).evaluations) == ""
    assert pace_of([None]) == ()


def test_folders_tell_trials_apart():
    names = {Trial("gru", 0, 3).name, Trial("gru", 1, 3).name, Trial("gru", 0, 4).name}
    assert names == {"gru-3-seed0", "gru-3-seed1", "gru-4-seed0"}
    assert Trial("persistence").name == "persistence"

"""A time for a comparison becomes numbers of trials and steps, once."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import throughtime as tt
from throughtime.comparison.budget import BudgetRecord, Cost, _chosen, expected_seconds
from throughtime.errors import InputError

WAVE = np.sin(np.arange(300) / 5) + 0.2 * np.random.default_rng(0).normal(size=300)
ONE = Cost(step=0.01, evaluation=0.0, fixed=0.0, epoch_steps=10)


def test_the_time_of_rounds_by_hand():
    # 5 + 5 trials and 2 further seeds of 100 steps, one second each: 3 + 3 + 1 on two processes
    assert expected_seconds([ONE], trials=10, steps=100, seeds=3, jobs=1) == pytest.approx(12)
    assert expected_seconds([ONE], trials=10, steps=100, seeds=3, jobs=2) == pytest.approx(7)
    # two networks share the processes: 10 + 10 + 4 trainings
    assert expected_seconds([ONE, ONE], 10, 100, seeds=3, jobs=2) == pytest.approx(12)
    assert expected_seconds([ONE], trials=3, steps=100, seeds=1, jobs=1) == pytest.approx(3)
    slow = replace(ONE, evaluation=0.1, fixed=2.0)  # evaluated every 10 steps, of which it has 100
    assert slow.training(100) == pytest.approx(1 + 10 * 0.1 + 2)


@pytest.fixture(scope="module")
def settings():
    from throughtime.problems.registry import experiment_of
    from throughtime.settings_checks import comparison_settings

    data = tt.read(WAVE, horizon=2, context=12)
    return comparison_settings(experiment_of(data.problem), networks=["gru"], seeds=3, budget=60)


@pytest.mark.parametrize("left", [400.0, 800.0, 2000.0])
def test_the_time_is_used(settings, left):
    found = _chosen(settings, [ONE], 2, left, left)
    assert 0.9 * left < found.seconds <= left
    assert found.seconds == expected_seconds([ONE], found.trials, found.steps, 3, 2)


def test_fewer_trials_come_before_fewer_steps(settings):
    def chosen(left):
        found = _chosen(settings, [ONE], 1, left, left)
        return found.trials, found.steps

    assert settings.steps == 3000
    assert chosen(360.0) == (10, 3000)  # 10 trials and 2 seeds of 30 seconds
    assert chosen(180.0) == (10, 1500)
    assert chosen(150.0)[0] == 8 and chosen(150.0)[1] >= 1500
    assert chosen(50.0)[0] == 3 and chosen(50.0)[1] == 1000
    assert chosen(1260.0) == (40, 3000)
    assert chosen(2520.0) == (40, 6000)
    with pytest.raises(InputError, match=r"--budget: 2 s are too few: the least .* about 5 s"):
        chosen(2.0)


def test_the_numbers_are_kept_and_used_again(tmp_path):
    data = tt.read(WAVE, horizon=2, context=12)
    options = {"networks": ["dense"], "seeds": 2, "parameters": 200, "budget": "20s"}
    (tmp_path / "run").mkdir()
    first = tt.compare(data, **options, folder=tmp_path / "run", jobs=1)
    kept = json.loads((tmp_path / "run" / "budget.json").read_text())
    settings = first.record.settings
    assert settings.budget == 20.0 and settings.trials == kept["trials"] >= 3
    assert settings.steps == settings.patience == kept["steps"]
    assert all(t.training.steps == kept["steps"] for t in first.record.trials if t.training)
    tuned = list((tmp_path / "run" / "trials").glob("dense-*-seed0"))
    assert len(tuned) == kept["trials"]
    # a run that was killed goes on with the numbers it began with
    (tmp_path / "run" / "comparison.json").unlink()
    shutil.rmtree(tuned[0])
    again = tt.compare(data, **options, folder=tmp_path / "run", jobs=1)
    assert again.record.settings == settings
    assert [c.error for c in again.verdict.candidates] == [
        c.error for c in first.verdict.candidates
    ]
    changed = BudgetRecord(**{**kept, "trials": kept["trials"] + 1})
    (tmp_path / "run" / "comparison.json").unlink()
    (tmp_path / "run" / "budget.json").write_text(json.dumps(vars(changed)))
    more = tt.compare(data, **options, folder=tmp_path / "run", jobs=1)
    assert more.record.settings.trials == kept["trials"] + 1


def test_a_given_choice_is_left_out_where_it_does_not_apply(tmp_path):
    """chrono needs a gate: Dense and RNN are probed without it, as they are trained."""
    data = tt.read(WAVE, horizon=2, context=12)
    options = {"networks": ["dense", "rnn", "gru"], "seeds": 1, "parameters": 200, "jobs": 1}
    found = tt.compare(data, **options, init="chrono:12", budget="25s", folder=tmp_path / "run")
    assert {t.kind for t in found.record.trials} > {"dense", "rnn", "gru"}


@pytest.mark.parametrize(
    "wrong, text",
    [
        ({"budget": 0}, "^budget: 0; give a time"),
        ({"budget": "soon"}, "^budget: 'soon'; give a time"),
        ({"budget": True}, "^budget: True; give a time"),
        ({"budget": "5m", "steps": 10}, "^budget: '5m', and the length or the number"),
        ({"budget": "5m", "trials": 3}, "^budget: '5m', and the length or the number"),
        ({"budget": 0.01}, r"^budget: 0\.01 s are too few"),
    ],
)
def test_wrong_budgets_are_refused(wrong, text, tmp_path):
    data = tt.read(WAVE, horizon=2, context=12)
    with pytest.raises(InputError, match=text):
        tt.compare(data, networks=["dense"], folder=tmp_path / "run", jobs=1, **wrong)

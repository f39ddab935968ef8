"""The mean of several trainings: it predicts as one model, and stands beside single trainings."""

import json

import numpy as np
import pytest
import torch

import throughtime as tt
from helpers import throughtime
from throughtime.comparison.ensembles import ensemble_of
from throughtime.errors import InputError
from throughtime.problems.forecasting.networks import ModelConfig
from throughtime.problems.labelling.networks import SequenceConfig, build_sequence_network
from throughtime.problems.registry import experiment_of

WAVE = np.full(600, 0.3)  # no linear rule says the next value of this one
for t in range(1, 600):
    WAVE[t] = 3.9 * WAVE[t - 1] * (1 - WAVE[t - 1])
WAVE += 0.01 * np.random.default_rng(0).normal(size=600)
SMALL = {"networks": ["gru"], "seeds": 3, "trials": 1, "steps": 600, "parameters": 300}


def members_of(experiment, kind, **options):
    """Three networks with other weights, and their mean."""
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        usual = experiment.usual(kind)
        found.append(experiment.build(experiment.config(kind, usual, 300, **options)).eval())
    return found, ensemble_of(experiment, found)


def test_a_forecast_is_the_mean_of_the_forecasts():
    data = tt.read(WAVE, horizon=3, context=10)
    members, mean = members_of(experiment_of(data.problem), "gru")
    window, _ = data.problem.parts.test.batch(torch.arange(9))
    expected = sum(member(window) for member in members) / 3
    torch.testing.assert_close(mean(window), expected)
    assert mean.parameter_count() == 3 * members[0].parameter_count()
    assert mean.multiply_adds() == 3 * members[0].multiply_adds()


@pytest.mark.parametrize("answers", ["classes", "numbers", "every step"])
def test_an_answer_is_the_mean_of_the_answers(answers):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 7, 2))
    y = rng.integers(0, 3, 60) if answers == "classes" else rng.normal(size=60)
    if answers == "every step":
        y = rng.integers(0, 2, (60, 7))
    data = tt.read(x, answers=y)
    members, mean = members_of(experiment_of(data.problem), "lstm")
    inputs, lengths = data.problem.sequences.padded(torch.arange(5))
    found = mean.answer(inputs, lengths)
    each = torch.stack([member.answer(inputs, lengths) for member in members])
    if answers == "numbers":
        torch.testing.assert_close(found, each.mean(dim=0))
    else:  # probabilities are averaged, not scores
        torch.testing.assert_close(found.softmax(-1), each.softmax(-1).mean(dim=0))
        assert not torch.allclose(found.softmax(-1), each.mean(dim=0).softmax(-1), atol=1e-6)


def test_binary_answers_are_averaged_as_probabilities():
    answers = {"outputs": 3, "classes": False, "every_step": True, "binary": True}
    mean = build_sequence_network(SequenceConfig("rnn", columns=2, members=2, **answers))
    x = torch.randn(6, 4, 2)
    expected = sum(member.answer(x) for member in mean.members) / 2
    torch.testing.assert_close(mean.answer(x), expected, rtol=1e-5, atol=1e-6)


def test_a_stream_of_an_ensemble_carries_the_state_of_every_member():
    data = tt.read(["the cat sat on the mat. " * 80])
    members, mean = members_of(experiment_of(data.problem), "gru")
    x = torch.randint(0, 5, (12, 1, 1))
    whole, _ = mean(x)
    first, state = mean(x[:5])
    second, _ = mean(x[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    expected = torch.stack([member(x)[0].softmax(-1) for member in members]).mean(dim=0)
    torch.testing.assert_close(whole.softmax(-1), expected)


@pytest.mark.parametrize("members", [0, 101, -1])
def test_impossible_numbers_of_members_are_refused(members):
    with pytest.raises(ValueError, match="members must be 1 to 100"):
        ModelConfig("gru", 4, 1, columns=1, members=members)
    with pytest.raises(ValueError, match="members must be 1 to 100"):
        SequenceConfig("gru", 1, 1, classes=False, every_step=False, members=members)
    with pytest.raises(ValueError, match="1 for persistence"):
        ModelConfig("persistence", 4, 1, columns=1, members=2)


def test_a_comparison_judges_the_mean_and_saves_it_on_request(tmp_path):
    data = tt.read(WAVE, horizon=1, context=4)
    single = tt.compare(data, **SMALL, folder=tmp_path / "run")
    mean = single.verdict.ensemble
    assert mean.members == 3 and mean.kind == "gru"
    assert single.model.network.config.members == 1
    reason = single.verdict.reasons[-1]
    assert "The mean of the 3 trainings of GRU" in reason and "--save ensemble saves it" in reason
    times = {p: p.stat().st_mtime_ns for p in tmp_path.glob("run/trials/*/record.json")}
    both = tt.compare(data, **SMALL, folder=tmp_path / "run", save="ensemble")
    assert {p: p.stat().st_mtime_ns for p in times} == times  # no training was run again
    assert "it is the saved model" in both.verdict.reasons[-1]
    saved = both.model
    assert saved.network.config.members == 3
    # the mean of the forecasts of the three trainings, with the error that the table has
    each = [tt.load(p.parent / "model") for p in sorted(times) if "gru" in p.parent.name]
    expected = np.mean([m.predict(WAVE)["x1"] for m in each], axis=0)
    np.testing.assert_allclose(saved.predict(WAVE)["x1"], expected)
    experiment = experiment_of(data.problem)
    assert experiment.measured(saved.network).test_error == pytest.approx(mean.error)
    told = throughtime("report", tmp_path / "run").stdout
    assert "GRU, mean of 3" in told
    assert "GRU, mean of 3" in (tmp_path / "run" / "report.html").read_text()
    told = throughtime("inspect", tmp_path / "run" / "model", tmp_path / "w.csv", code=2).stderr
    assert "an ensemble of 3 networks" in told
    config = tmp_path / "run" / "model" / "config.json"
    config.write_text(config.read_text().replace('"members": 3', '"members": 100'))
    with pytest.raises(InputError):
        tt.load(tmp_path / "run" / "model")
    record = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert record["settings"]["save"] == "ensemble"

"""A network on shuffled steps, on less data, and by other measures, on data of known truth."""

from dataclasses import replace

import numpy as np
import pytest

import throughtime as tt
from throughtime.comparison.variants import SHARES, SHUFFLED, share_of, variant_of
from throughtime.errors import InputError
from throughtime.problems.registry import experiment_of
from throughtime.report.page import write_page
from throughtime.runs import ComparisonRecord, read_record

SMALL = {
    "networks": ["gru"],
    "seeds": 2,
    "trials": 1,
    "parameters": 500,
    "progress": False,
    "jobs": 1,
}


def ordered(count, rng):
    """Two marks in each sequence: which comes first is the label."""
    x = 0.1 * rng.normal(size=(count, 8, 1))
    y = rng.integers(0, 2, count)
    for item, label in zip(x, y, strict=True):
        first, second = sorted(rng.choice(8, 2, replace=False))
        item[first, 0], item[second, 0] = (3, -3) if label else (-3, 3)
    return x, y


def summed(count, rng):
    """The mean decides, whatever the order."""
    y = rng.integers(0, 2, count)
    return rng.normal(size=(count, 8, 1)) + 2 * (2 * y - 1).reshape(-1, 1, 1), y


@pytest.fixture(scope="module", params=[ordered, summed])
def compared(request, tmp_path_factory):
    x, y = request.param(300, np.random.default_rng(0))
    folder = tmp_path_factory.mktemp("contestants") / "run"
    options = {**SMALL, "steps": 300, "folder": folder}
    result = tt.compare(tt.read(x, answers=y), **options)
    return request.param, (x, y), options, result


def test_the_verdict_says_whether_order_matters(compared):
    make, _, _, result = compared
    shuffled = result.verdict.shuffled
    assert shuffled is not None and shuffled.kind == "gru" and shuffled.shuffled
    said = [r for r in result.verdict.reasons if "shuffled steps" in r]
    assert len(said) == 1 and f"{shuffled.error:.3g} with shuffled steps" in said[0]
    if make is ordered:
        assert said[0].endswith("the order of the steps matters.")
        assert 0.3 < shuffled.error < 0.7
    else:
        assert "does not matter" in said[0]
    assert "GRU, shuffled steps" in write_page(result.record)


def test_a_learning_curve_is_added_to_a_finished_comparison(compared):
    make, (x, y), options, before = compared
    result = tt.compare(tt.read(x, answers=y), **options, learning_curve=True)
    assert [t.error_by_item for t in result.record.trials] == [
        t.error_by_item for t in before.record.trials
    ]  # none was run again
    curve = result.verdict.curve
    assert [(p.kind, p.share) for p in curve] == [("gru", s / 100) for s in SHARES] + [("gru", 1.0)]
    assert [p.items for p in curve] == [21, 63, 210]
    if make is summed:
        assert curve[-1].error < 0.1 and all(p.low <= p.error <= p.high for p in curve)
    assert any("trained on a part of the data" in r for r in result.verdict.reasons)
    page = write_page(result.record)
    assert "Error against training data" in page
    path = result.folder / "comparison.json"
    assert read_record(path, ComparisonRecord).verdict.curve == curve
    again = tt.compare(tt.read(x, answers=y), **options, learning_curve=True)
    assert again.record == result.record


def test_steps_are_shuffled_within_their_sequence():
    x = [np.arange(n, dtype=float).reshape(-1, 1) + 100 * n for n in (5, 9, 7) * 20]
    data = tt.read(x, answers=[0, 1, 1] * 20)
    experiment = experiment_of(data.problem)
    shuffled = variant_of(experiment, SHUFFLED)
    own, other = (e.problem.sequences for e in (experiment, shuffled))
    assert (own.lengths == other.lengths).all()
    for begin, end in zip(own.starts[:-1], own.starts[1:], strict=True):
        assert sorted(own.values[begin:end, 0]) == sorted(other.values[begin:end, 0])
    assert (own.values != other.values).any()
    with pytest.raises(NotImplementedError):
        variant_of(experiment_of(tt.read(np.arange(300.0) % 7, horizon=2).problem), SHUFFLED)


@pytest.mark.parametrize("kind", ["forecast", "labels", "text"])
def test_a_share_of_the_training_data_leaves_the_test_part_alone(kind):
    rng = np.random.default_rng(0)
    if kind == "forecast":
        data = tt.read(rng.normal(size=600), horizon=3, context=10)
    elif kind == "labels":
        data = tt.read(*ordered(200, rng)[:1], answers=np.arange(200) % 10 == 0)
    else:
        data = tt.read(["the cat sat on the mat. " * 60] * 10)
    experiment = experiment_of(data.problem)
    tenth = variant_of(experiment, share_of(10))
    assert tenth.items == pytest.approx(experiment.items / 10, rel=0.15)
    assert tenth.record.windows[1:] == experiment.record.windows[1:]
    model = tenth.build(tenth.config("gru", tenth.usual("gru"), 300))
    assert tenth.measured(model).test_error == pytest.approx(
        experiment.measured(model).test_error, rel=1e-6
    )
    next(iter(tenth.task(model, 4, 0).batches()))
    if kind == "labels":  # the rare class has its share
        answers = data.problem.answers.values[tenth.problem.training]
        assert 0 < int((answers == 1).sum()) <= 2
    if kind == "forecast":  # the latest windows, scaled by their own rows
        assert tenth.problem.parts.training.starts.min() > 300
        assert len(tenth.problem.parts.training_rows) < 100


def test_a_rare_class_counts_as_much_as_the_others():
    rng = np.random.default_rng(0)
    y = (np.arange(400) % 30 == 0).astype(int)
    x = rng.normal(size=(400, 5, 1)) + 3.0 * y.reshape(-1, 1, 1)
    data = tt.read(x, answers=y)
    assert "counts alike" in next(c.value for c in data.choices if c.name == "errors")
    result = tt.compare(data, **SMALL, steps=200)
    assert result.record.settings.metric == "balanced-error"
    assert "each class with the same weight" in result.record.unit
    majority = next(c for c in result.verdict.candidates if c.kind == "majority")
    assert majority.error == 0.5 and majority.measures["error"] < 0.05
    assert majority.recall == {"0": 1.0, "1": 0.0}
    gru = next(c for c in result.verdict.candidates if c.kind == "gru")
    assert gru.error < 0.1 and gru.recall["1"] > 0.8
    page = write_page(result.record)
    assert "Right and wrong answers" in page and "recall" in page
    assert "<th>1 - F1</th>" in page and "<th>1 - AUC</th>" in page
    assert sum(map(sum, result.record.trials[0].confusion)) == result.record.data.windows[2]
    assert result.record.data.classes["1"] == pytest.approx(1 / 30, rel=0.2)


@pytest.mark.parametrize("metric", ["f1", "auc", "cross-entropy", "error"])
def test_a_measure_is_chosen(metric):
    x, y = summed(200, np.random.default_rng(0))
    result = tt.compare(tt.read(x, answers=y), **SMALL, steps=60, metric=metric)
    for candidate in result.verdict.candidates:
        assert candidate.measures[metric] == pytest.approx(candidate.error, abs=1e-9)
        assert candidate.low <= candidate.error <= candidate.high
    model = tt.fit(tt.read(x, answers=y), metric=metric, steps=30, progress=False)
    assert model.test_error == pytest.approx(model.measures[metric])
    assert model.training.evaluations[0].validation_error == pytest.approx(
        model.training.evaluations[0].measures[metric]
    )


def test_recall_is_named_by_its_class_though_others_are_absent():
    """The first class has no test item; the rows of the confusion matrix are of all classes."""
    x, y = ordered(400, np.random.default_rng(0))
    x[:40], y[40:] = 0.0, y[40:] + 1
    y[:40] = 0
    data = tt.read(x, answers=y)
    problem = data.problem
    test = problem.test[problem.answers.values[problem.test] > 0]
    data.problem = replace(problem, test=test)
    result = tt.compare(data, **SMALL, steps=400)
    for candidate in (result.verdict.ensemble, result.verdict.shuffled):
        assert candidate is not None and set(candidate.recall) == {"1", "2"}
    assert min(result.verdict.ensemble.recall.values()) > 0.9


def test_noise_with_a_rare_class_is_too_little_to_judge():
    """Few items of the rare class say nothing, however many the other has."""
    rng = np.random.default_rng(5)
    y = (np.arange(400) % 30 == 0).astype(int)
    result = tt.compare(tt.read(rng.normal(size=(400, 6, 1)), answers=y), **SMALL, steps=60)
    verdict = result.verdict
    assert verdict.outcome == "undecided" and verdict.shuffled is None
    assert verdict.headline.startswith("Too few test items of the rarest class to judge (2)")
    assert not [r for r in verdict.reasons if "against" in r and "mean of" not in r]


@pytest.mark.parametrize("metric", ["error", "balanced-error", "f1", "auc"])
def test_no_error_at_all_has_an_interval_all_the_same(metric):
    y = (np.arange(400) % 25 == 0).astype(int)
    x = 4.0 * y.reshape(-1, 1, 1) + np.random.default_rng(0).normal(size=(400, 4, 1)) * 0.1
    data = tt.read(x, answers=y)
    result = tt.compare(data, **SMALL, steps=200, metric=metric)
    best = next(c for c in result.verdict.candidates if c.kind == "bag")
    rare = int((data.problem.answers.values[data.problem.test] == 1).sum())
    of = len(data.problem.test) if metric == "error" else 2 * rare
    assert (best.error, best.low) == (0, 0)
    assert best.high == pytest.approx(1 - 0.025 ** (1 / of), abs=1e-3)


def test_a_ranking_needs_two_classes():
    x, y = summed(60, np.random.default_rng(0))
    y[:] = np.arange(60) < 30
    data = tt.read(x, answers=y)
    one = data.problem.test[data.problem.answers.values[data.problem.test] == 1]
    with pytest.raises(InputError, match="the test part has a single class"):
        experiment_of(replace(data.problem, test=one), "auc")


@pytest.mark.parametrize("metric", ["rmse", "mase"])
def test_a_measure_of_forecasts_is_chosen(metric):
    data = tt.read(np.random.default_rng(0).normal(size=400), horizon=3)
    result = tt.compare(data, **SMALL, steps=60, metric=metric)
    assert result.record.settings.metric == metric
    for candidate in result.verdict.candidates:
        assert candidate.measures[metric] == pytest.approx(candidate.error)
    with pytest.raises(InputError, match=r"metric: 'f1'; take one of mae, rmse, mase"):
        tt.compare(data, **SMALL, metric="f1")

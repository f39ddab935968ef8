"""Whole comparisons of every kind of problem: fair, told in its own words, handed over."""

from pathlib import Path

import numpy as np
import pytest

from throughtime.comparison.trials import compare
from throughtime.data.opening import open_problem
from throughtime.data_options import DataOptions
from throughtime.deploy.storage import load
from throughtime.hyperparameters import Hyperparameters
from throughtime.printing import problem_text
from throughtime.problems.registry import experiment_of
from throughtime.report.page import write_page
from throughtime.runs import ComparisonRecord, SettingsRecord, read_record


def settings(experiment, **options):
    usual = {
        "networks": ("dense", "window-dense", "gru"),
        "seeds": (0,),
        "given": Hyperparameters(learning_rate=1e-2),
        "parameters": 700,
        "normalize": experiment.normalizations[0],
        "epochs": 8,
        "batch_size": 32,
        "patience": None,
    }
    return SettingsRecord(**{**usual, **options})


def sequences(path, kind):
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, 300)
    x = rng.normal(size=(lengths.sum(), 1))
    begins = np.cumsum(lengths) - lengths
    if kind == "classes":
        y = (x[begins, 0] > 0).astype(int)
    elif kind == "numbers":
        y = 3 * x[begins, 0] + 0.001
    else:
        y = np.column_stack([x[:, 0] > 0, x[:, 0] < 1]).astype(float)
    np.savez(path / "x.npz", x=x, y=y, lengths=lengths)
    return path / "x.npz"


def text(path):
    words = np.random.default_rng(0).choice(["aba ", "abc ", "cab "], 3000)
    (path / "x.txt").write_text("".join(words))
    return path / "x.txt"


CASES = {
    "classes": (lambda p: sequences(p, "classes"), {"context": 2}, "share of wrong answers"),
    "numbers": (lambda p: sequences(p, "numbers"), {"context": 2}, "mean absolute error"),
    "keys": (
        lambda p: sequences(p, "keys"),
        {},
        "cross-entropy in nats, of all 2 numbers of a step",
    ),
    "text": (text, {"context": 16}, "bits per character"),
    "task": (lambda p: Path("task:echo"), {"length": 3, "context": 2}, "without memory"),
}


@pytest.fixture(scope="module", params=CASES)
def done(request, tmp_path_factory):
    make, asked, unit = CASES[request.param]
    folder = tmp_path_factory.mktemp("experiment")
    problem = open_problem(make(folder), DataOptions(**asked))
    experiment = experiment_of(problem)
    assert experiment.size_notes(settings(experiment)) == []
    record = compare(
        experiment_of(problem), settings(experiment), folder / "run", command="throughtime compare"
    )
    return request.param, problem, record, folder, unit


def test_every_kind_is_compared_in_its_own_unit(done):
    _, problem, record, folder, unit = done
    assert unit in record.unit
    kinds = {t.kind for t in record.trials}
    assert kinds == {*experiment_of(problem).trivial_kinds(), "dense", "window-dense", "gru"}
    assert len({len(t.error_by_item) for t in record.trials}) == 1
    for trial in record.trials:
        assert trial.test_error == pytest.approx(np.mean(trial.error_by_item), rel=0.05)
        assert (trial.diagnosis is not None) == (trial.kind == "gru")
    assert read_record(folder / "run" / "comparison.json", ComparisonRecord) == record


def test_memory_wins_where_the_answer_lies_back(done):
    name, _, record, _, _ = done
    error = {t.kind: t.test_error for t in record.trials}
    if name == "keys":  # what is asked is in the step itself
        assert record.verdict.recommended in ("dense", "window-dense", "gru")
        return
    best = min(error["gru"], error["window-dense"])
    assert error["gru"] < 1.1 * best < error["dense"]  # a window is enough for a text of such words
    assert record.verdict.recommended == "gru" or name == "text"
    assert any("the past matters" in r for r in record.verdict.reasons)


def test_what_is_handed_over_answers_as_measured(done):
    _, problem, record, folder, _ = done
    model, _ = load(folder / "run" / "model")
    assert model.config.kind == record.verdict.recommended
    best = min(
        (t for t in record.trials if t.kind == model.config.kind), key=lambda t: t.validation_error
    )
    assert experiment_of(problem).measured(model).test_error == pytest.approx(best.test_error)


def test_the_page_and_the_choices_speak_of_it(done):
    name, _, record, _, unit = done
    page = write_page(record)
    assert "forecast" not in page.split("How to repeat it")[0].split("</style>")[-1].lower()
    assert unit in page or unit[:1].upper() + unit[1:] in page
    told = problem_text(record.data, ())
    word = {"text": "steps", "task": "sequences"}.get(name, "sequences")
    assert f"\n  {word}" in told


def test_chance_is_exact_beside_a_task(done):
    name, problem, record, _, _ = done
    if name != "task":
        return
    assert problem.chance == pytest.approx(np.log(8) / 2)
    dense = next(t for t in record.trials if t.kind == "dense")
    # it sees the symbol, which says nothing, and does not know the step
    assert dense.test_error > problem.chance

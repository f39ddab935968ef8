"""Answers to sequences as a task: weights, measures by hand, resuming, learning."""

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.data.sequences.archive import read_archive
from throughtime.data.sequences.collection import sequence_problem
from throughtime.errors import InputError
from throughtime.problems.labelling.networks import SequenceConfig, build_sequence_network
from throughtime.problems.labelling.training import (
    Labelling,
    answers_of_sequences,
    errors_of_sequences,
)
from throughtime.problems.registry import experiment_of
from throughtime.training.loop import TrainingSettings, train

LENGTHS = np.random.default_rng(0).integers(2, 12, 60)


def problem_of(tmp_path, answers="whole", binary=False):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(LENGTHS.sum(), 2))
    begins = np.cumsum(LENGTHS) - LENGTHS
    if answers == "whole":
        y = (x[begins, 0] > 0).astype(int)  # what came first
    elif answers == "steps":
        y = (x[:, 0] > 0).astype(int)
    else:
        y = np.column_stack([2 * x[:, 0] + 5, x[:, 1] * 100])
    np.savez(tmp_path / "x.npz", x=x, y=y, lengths=LENGTHS)
    return sequence_problem(read_archive(tmp_path / "x.npz"))


def network(problem, kind="gru", seed=0):
    torch.manual_seed(seed)
    answers = problem.answers
    model = build_sequence_network(
        SequenceConfig(
            kind,
            columns=2,
            outputs=answers.outputs,
            classes=bool(answers.classes),
            every_step=answers.every_step,
            context=3,
            hidden_size=8,
        )
    )
    rows = problem.sequences.values[problem.sequences.steps_of(problem.training)]
    model.fit_scale(rows, None if answers.classes else problem.training_answers())
    return model


def task_of(problem, model, **options):
    settings = {"batch_size": 8, "batch_steps": 60, "seed": 0, **options}
    return Labelling(model, problem, **settings)


@pytest.mark.parametrize("answers", ["whole", "steps", "numbers"])
def test_measures_by_hand(tmp_path, answers):
    problem = problem_of(tmp_path, answers)
    model = network(problem)
    wrong, cost, counts = [], [], []
    for k in problem.validation.tolist():
        rows = slice(int(problem.sequences.starts[k]), int(problem.sequences.starts[k + 1]))
        x = problem.sequences.values[rows].unsqueeze(1)
        with torch.no_grad():
            said = model.answer(x, torch.tensor([len(x)]))
        said = said[:, 0] if problem.answers.every_step else said
        wanted = problem.answers.values[rows if problem.answers.every_step else slice(k, k + 1)]
        if problem.answers.classes:
            wrong.append((said.argmax(-1) != wanted).double().mean())
            cost.append(torch.nn.functional.cross_entropy(said.double(), wanted))
        else:
            off = (said - wanted) / model.answer_spread
            wrong.append(off.abs().mean())
            cost.append(off.square().mean())
        counts.append(len(wanted))
    first, second = errors_of_sequences(model, problem, problem.validation)
    torch.testing.assert_close(first, torch.stack(wrong))
    torch.testing.assert_close(second, torch.stack(cost))
    assert answers_of_sequences(problem, problem.validation).tolist() == counts
    measures = task_of(problem, model).measure()
    total = np.average(wrong, weights=counts), np.average(cost, weights=counts)
    if problem.answers.classes:
        expected = {"cross-entropy": total[1], "error": total[0]}
    else:
        expected = {"mae": total[0], "rmse": total[1] ** 0.5}
    assert measures == pytest.approx(expected)
    assert next(iter(measures)) == next(iter(expected))


@pytest.mark.parametrize("answers", ["whole", "steps", "numbers"])
def test_batches_weigh_by_their_answers(tmp_path, answers):
    """The gradient of all batches, each by its weight, is that of all sequences at once."""
    problem = problem_of(tmp_path, answers)
    model = network(problem)
    task = task_of(problem, model)
    total = 0
    model.zero_grad()
    for batch in task.batches():
        (task.loss(model, *batch.tensors) * batch.weight).backward()
        total += batch.weight
    pieces = [p.grad / total for p in model.parameters()]
    model.zero_grad()
    model.loss(*problem.batch(problem.training)).backward()
    for one, parameter in zip(pieces, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=1e-6, rtol=1e-4)


def test_it_goes_on_where_it_was(tmp_path):
    problem = problem_of(tmp_path)
    model = network(problem)
    whole = task_of(problem, model)
    list(whole.batches())
    expected = [b.tensors[0] for b in whole.batches()]
    for stop in (0, 1, len(expected) - 1, len(expected)):
        first = task_of(problem, model)
        list(first.batches())
        batches = first.batches()
        for _ in range(stop):
            next(batches)
        state = first.state_dict()
        batches.close()
        again = task_of(problem, model, seed=9)
        again.load_state_dict(state)
        rest = [b.tensors[0] for b in again.batches()]
        assert len(rest) == len(expected) - stop
        assert all(torch.equal(a, b) for a, b in zip(rest, expected[stop:], strict=True))


def test_a_memory_learns_what_came_first_and_a_dense_network_cannot(tmp_path):
    problem = problem_of(tmp_path)
    settings = TrainingSettings(epochs=40, patience=40, learning_rate=0.02)
    found = {}
    for kind in ("gru", "dense"):
        model = network(problem, kind)
        train(task_of(problem, model), settings)
        found[kind] = float(errors_of_sequences(model, problem, problem.training)[0].mean())
    assert found["gru"] < 0.05
    assert found["dense"] > 0.2


def test_sequences_without_an_answer_are_neither_learned_nor_measured(tmp_path):
    path = tmp_path / "x.npz"
    problem_of(tmp_path, "steps")
    arrays = dict(np.load(path))
    y = arrays["y"].astype(float)
    ends = np.cumsum(LENGTHS)
    for k in range(0, 60, 4):
        y[ends[k] - LENGTHS[k] : ends[k]] = np.nan
    np.savez(path, **arrays | {"y": y})
    problem = sequence_problem(read_archive(path))
    model = network(problem)
    task = task_of(problem, model, batch_size=1)
    assert all(batch.weight > 0 for batch in task.batches())
    assert set(task.index.tolist()) == {k for k in problem.training.tolist() if k % 4}
    assert np.isfinite(list(task.measure().values())).all()
    experiment = experiment_of(problem)
    found = experiment.measured(model)
    assert np.isfinite(found.error_by_item).all()
    assert found.error_by_item.mean() == pytest.approx(found.test_error)


def test_a_whole_sequence_without_an_answer_is_left_out(tmp_path):
    problem_of(tmp_path)
    arrays = dict(np.load(tmp_path / "x.npz"))
    y = np.where(np.arange(60) % 5 == 0, np.nan, arrays["y"])
    np.savez(tmp_path / "x.npz", **arrays | {"y": y})
    problem = sequence_problem(read_archive(tmp_path / "x.npz"))
    found = experiment_of(problem).measured(network(problem))
    assert np.isfinite([found.validation_error, found.test_error]).all()
    known = int((problem.answers.values[problem.test] >= 0).sum())
    assert len(found.error_by_item) == known < len(problem.test)


def test_answers_that_are_not_finite_are_not_hidden(tmp_path):
    problem = problem_of(tmp_path, "numbers")
    model = network(problem)
    torch.nn.init.constant_(model.head.weight, torch.nan)
    assert all(np.isnan(v) for v in task_of(problem, model).measure().values())


def rare(count=300, seed=0):
    """Sequences of which a twentieth has another label, said by their first step."""
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 20 == 0).astype(int)
    x = rng.normal(size=(count, 6, 1)) * 0.5
    x[:, 0, 0] += 3 * y
    return x, y


def test_balanced_classes_count_alike_in_loss_and_error():
    x, y = rare()
    data = tt.read(x, answers=y, class_weight="balanced")
    weights = data.problem.class_weights
    train = data.problem.training_answers()
    counts = torch.bincount(train)
    torch.testing.assert_close(weights, len(train) / (2 * counts.double()))
    assert float(weights[train].mean()) == pytest.approx(1)
    experiment = experiment_of(data.problem)
    assert "each class with the same weight" in experiment.unit
    model = experiment.simple_models["majority"]
    measured = experiment.measured(model)  # the frequent class is right, the rare one wrong
    assert measured.test_error == 0.5 and measured.measures["error"] < 0.1
    assert [row[1] for row in measured.confusion] == [0, 0]
    network = experiment.build(experiment.config("gru", experiment.usual("gru"), 300))
    inputs, lengths, wanted = data.problem.batch(data.problem.training[:40])
    scores = network.scaled_answer(inputs, lengths)
    each = torch.nn.functional.cross_entropy(scores.float(), wanted, reduction="none")
    expected = (each * weights[wanted]).sum() / weights[wanted].sum()
    torch.testing.assert_close(network.loss(inputs, lengths, wanted), expected.float())


def test_a_rare_class_is_found_with_balanced_weights():
    x, y = rare()
    model = tt.fit(tt.read(x, answers=y, class_weight="balanced"), network="gru", steps=400)
    new_x, new_y = rare(seed=1)
    found = model.predict(new_x)["label"].cast(int).to_numpy()
    assert (found[new_y == 1] == 1).mean() > 0.8 and (found[new_y == 0] == 0).mean() > 0.8


@pytest.mark.parametrize(
    "answers, weight, text",
    [
        (np.arange(60) / 7, "balanced", "class_weight: the labels are numbers; remove it"),
        (np.arange(60) % 2, "rare", "class_weight: 'rare'; "),
    ],
)
def test_wrong_class_weights_are_refused(answers, weight, text):
    with pytest.raises(InputError, match=text):
        tt.read(np.zeros((60, 4, 1)) + np.arange(4)[:, None], answers=answers, class_weight=weight)

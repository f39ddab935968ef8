"""The generated tasks: what they ask, and that chance is what a network without memory reaches."""

import math

import pytest
import torch

from throughtime.data.sequences.generated_tasks import task_by_name, task_problem
from throughtime.data_options import DataOptions


def batch(name, length, count=4000):
    task = task_by_name(name, length)
    return task, *task.batch(count, torch.Generator().manual_seed(0))


def test_adding_marks_one_number_in_each_half_and_asks_for_their_sum():
    task, x, y = batch("adding", 30)
    values, marks = x.unbind(-1)
    assert x.shape == (30, 4000, 2) and y.shape == (4000, 1)
    assert (marks[:15].sum(0) == 1).all() and (marks[15:].sum(0) == 1).all()
    torch.testing.assert_close((values * marks).sum(0), y[:, 0])
    assert values.min() >= 0 and values.max() < 1
    assert (marks.sum(1) > 0).all()  # every step may be marked
    # the mean, and the number itself where the last step is marked: the best that can be said
    best = torch.where(marks[-1] > 0, 0.5 + values[-1], 1.0).unsqueeze(-1)
    assert float(task.loss(best, y)) == pytest.approx(task.chance, rel=0.03)
    assert task_by_name("adding", 2).chance == pytest.approx(1 / 12)
    assert task.score(y, y) == 0.0 and task.solved(9e-4) and not task.solved(1.1e-3)


def test_copy_says_ten_symbols_waits_and_wants_them_back():
    task, x, y = batch("copy", 12)
    heard = x.argmax(-1)
    assert x.shape == (32, 4000, 10) and y.shape == (32, 4000)
    assert ((heard[:10] >= 1) & (heard[:10] <= 8)).all()
    assert torch.equal(y[-10:], heard[:10]) and not y[:-10].any()
    bell = heard == 9
    assert (bell.sum(0) == 1).all() and bell[21].all()  # the step before the answer begins
    assert not heard[10:21].any() and not heard[22:].any()
    guess = torch.full((32, 4000, 9), -1e9)
    guess[:-10, :, 0] = 0.0
    guess[-10:, :, 1:] = 0.0  # each of the eight alike
    assert float(task.loss(guess, y)) == pytest.approx(task.chance, rel=1e-5)
    assert task.chance == pytest.approx(10 * math.log(8) / 32)
    right = torch.nn.functional.one_hot(y, 9).float()
    assert task.score(right, y) == 1.0 and task.solved(0.99) and not task.solved(0.98)
    assert task.score(guess, y) == pytest.approx(1 / 8, rel=0.05)


def test_temporal_order_hides_two_symbols_and_asks_for_their_order():
    task, x, y = batch("temporal-order", 40)
    symbols = x.argmax(-1)
    rare = symbols < 2
    assert (rare.sum(0) == 2).all() and x.shape == (40, 4000, 6)
    places = rare.float().T.nonzero()[:, 1].view(-1, 2)
    assert {4, 7} == {int(places[:, 0].min()), int(places[:, 0].max())}
    assert {16, 19} == {int(places[:, 1].min()), int(places[:, 1].max())}
    first, second = (symbols[places[:, n], torch.arange(4000)] for n in range(2))
    assert torch.equal(2 * first + second, y)
    assert float(task.loss(torch.zeros(4000, 4), y)) == pytest.approx(task.chance)
    assert (y.bincount() / 4000 - 0.25).abs().max() < 0.03
    right = torch.nn.functional.one_hot(y, 4).float()
    assert task.score(right, y) == 1.0 and task.solved(0.99) and not task.solved(0.98)


def test_an_echo_comes_so_many_steps_later():
    task, x, y = batch("echo", 7)
    heard = x.argmax(-1)
    assert x.shape == (14, 4000, 8) and not y[:7].any()
    assert torch.equal(y[7:], heard[:7] + 1)
    guess = torch.full((14, 4000, 9), -1e9)
    guess[:7, :, 0] = 0.0  # foreseen by one who knows the step
    guess[7:, :, 1:] = 0.0
    assert float(task.loss(guess, y)) == pytest.approx(task.chance, rel=1e-5)
    assert task.chance == pytest.approx(math.log(8) / 2)
    right = torch.nn.functional.one_hot(y, 9).float()
    assert task.score(right, y) == 1.0 and task.solved(0.99) and not task.solved(0.98)


def test_parity_is_of_all_bits_so_far():
    task, x, y = batch("parity", 9)
    assert torch.equal(x[..., 0].long().cumsum(0) % 2, y)
    # the first bit is its own parity; from then on the bit says nothing of it
    guess = torch.zeros(9, 4000, 2)
    guess[0] = 1e9 * torch.nn.functional.one_hot(x[0, :, 0].long(), 2)
    assert float(task.loss(guess, y)) == pytest.approx(task.chance, rel=1e-5)
    together = (x[1:, :, 0] == y[1:]).double().mean()
    assert abs(float(together) - 0.5) < 0.02
    right = torch.nn.functional.one_hot(y, 2).float()
    assert task.score(right, y) == 1.0 and task.solved(0.99)


def test_sines_go_on_and_chance_is_the_best_that_one_value_tells():
    task, x, y = batch("sines", 50)
    assert torch.equal(x[1:], y[:-1]) and float(x.abs().max()) <= 2
    # the best of all functions of the present value: the mean of what follows in narrow bins
    present, following = x.flatten(), y.flatten()
    of = ((present + 2) * 100).long()
    counts = torch.bincount(of)
    best = torch.bincount(of, weights=following.double()) / counts
    left = (following - best[of]).square().mean()
    assert float(left) == pytest.approx(task.chance, rel=0.03)
    slope = (math.sin(1) - math.sin(0.1)) / 0.9
    assert float(task.loss(slope * x, y)) == pytest.approx(task.chance, rel=0.03)
    assert task.solved(task.chance / 101) and not task.solved(task.chance / 99)
    assert task.score(y, y) == 0.0


@pytest.mark.parametrize("name", ["adding", "copy", "temporal-order", "echo", "parity", "sines"])
def test_a_task_is_a_problem_of_three_parts(name):
    problem = task_problem(name, DataOptions(length=20, seed=3))
    assert problem.chance == task_by_name(name, 20).chance
    assert problem.record.windows == (8000, 1000, 2000)
    together = torch.cat([problem.training, problem.validation, problem.test])
    assert torch.equal(together, torch.arange(11_000))
    x, lengths, wanted = problem.batch(problem.test[:3])
    task = task_by_name(name, 20)
    assert x.shape == (int(lengths[0]), 3, task.inputs)
    assert problem.answers.every_step == task.every_step
    assert bool(problem.answers.classes) == (wanted.dtype == torch.int64)
    again, other = (task_problem(name, DataOptions(length=20, seed=k)) for k in (3, 4))
    assert torch.equal(problem.sequences.values, again.sequences.values)
    assert not torch.equal(problem.sequences.values, other.sequences.values)


def test_a_problem_lies_as_its_task_drew_it():
    problem = task_problem("parity", DataOptions(length=6, seed=1))
    x, _, wanted = problem.batch(torch.arange(50))
    assert torch.equal(x[..., 0].long().cumsum(0) % 2, wanted)


@pytest.mark.parametrize("name", ["adding", "copy", "temporal-order", "echo", "parity", "sines"])
def test_the_seed_decides(name):
    one, again, other = (
        task_by_name(name, 20).batch(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize(
    "name, length, told",
    [
        (
            "multiplying",
            10,
            "echo, parity, sines; got 'multiplying'",
        ),
        ("adding", 1, "adding needs a length of 2 or more; got 1"),
        ("temporal-order", 9, "needs a length of 10 or more"),
        ("copy", 0, "needs a length of 1 or more"),
    ],
)
def test_what_is_none_is_told(name, length, told):
    with pytest.raises(ValueError, match=told):
        task_by_name(name, length)

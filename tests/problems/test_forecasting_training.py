"""The task of forecasting windows: its batches, shares and errors."""

from itertools import chain

import pytest
import torch

from throughtime.data.tables.windows import WindowPlan, Windows
from throughtime.problems.forecasting.networks import ModelConfig, build, build_network
from throughtime.problems.forecasting.training import Forecasting, errors, forecasts
from throughtime.training.processes import Team


def task_of(team=None, count=20, batch_size=8):
    values = torch.arange(float(count + 2), dtype=torch.float64).unsqueeze(1)
    some = Windows(values, torch.arange(count), WindowPlan(1, 1, 1), 1)
    model = build_network(ModelConfig("dense", 1, 1, columns=1, hidden_size=2))
    one = torch.ones(1, dtype=torch.float64)
    return Forecasting(model, some, some, error_scale=one, batch_size=batch_size, seed=3, team=team)


def starts(batches):
    return [batch.tensors[0].flatten().tolist() for batch in batches]


def test_an_epoch_has_every_window_once_and_the_next_another_order():
    task = task_of()
    first, second = starts(task.batches()), starts(task.batches())
    assert [len(b) for b in first] == [8, 8, 4] and task.steps == 3
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(20))
    assert first != second
    assert starts(task_of().batches()) == first


def test_it_goes_on_in_the_midst_of_an_epoch():
    task, again = task_of(), task_of()
    expected = starts(task.batches()) + starts(task.batches())
    running = again.batches()
    first = [starts([next(running)])[0] for _ in range(2)]
    later = task_of()
    later.load_state_dict(again.state_dict())
    assert first + starts(later.batches()) + starts(later.batches()) == expected


def test_shares_do_not_overlap_and_together_are_the_batch():
    whole = starts(task_of(count=17).batches())
    tasks = [task_of(Team(rank, 2), count=17) for rank in range(2)]
    one, other = (list(task.batches()) for task in tasks)
    for batch, a, b in zip(whole, one, other, strict=True):
        assert a.weight + b.weight == len(batch)
        parts = [starts([share])[0][: share.weight] for share in (a, b)]
        assert sorted(parts[0] + parts[1]) == sorted(batch)
    assert (one[-1].weight, other[-1].weight) == (1, 0)  # and yet it computes: one window
    assert len(other[-1].tensors[0]) == 1


def test_errors_and_forecasts_by_hand():
    values = torch.tensor([[0.0, 1], [2, 5], [4, 4], [8, 0]], dtype=torch.float64)
    plan = WindowPlan(1, 2, 1)
    two = Windows(values, torch.arange(2), plan, 2)
    model = build(ModelConfig("persistence", 1, 2, columns=2, targets=2))
    assert forecasts(model, two).tolist() == [[[0, 1], [0, 1]], [[2, 5], [2, 5]]]
    scale = torch.tensor([2.0, 1.0], dtype=torch.float64)
    # |0-2|/2, |1-5| -> 2.5; |0-4|/2, |1-4| -> 2.5; |2-4|/2, |5-4| -> 1; |2-8|/2, |5-0| -> 4
    assert errors(model, two, scale).tolist() == [[2.5, 2.5], [1.0, 4.0]]


def with_gaps(holes):
    """Windows of 1 + 2 rows of two targets, with gaps at (row, target)."""
    values = torch.tensor([[0.0, 1], [2, 5], [4, 4], [8, 0], [1, 1]], dtype=torch.float64)
    scored = torch.ones(5, 2, dtype=torch.bool)
    for row, target in holes:
        scored[row, target] = False
        values[row, target] = 1e9  # whatever was filled in must not matter
    return Windows(values, torch.arange(3), WindowPlan(1, 2, 1), 2, scored=scored)


def test_a_missing_target_has_no_part_in_an_error():
    windows = with_gaps([(3, 0)])
    model = build(ModelConfig("persistence", 1, 2, columns=2, targets=2))
    scale = torch.tensor([2.0, 1.0], dtype=torch.float64)
    found = errors(model, windows.some(torch.tensor([0, 1])), scale)
    assert found.tolist() == [[2.5, 2.5], [1.0, 5.0]]  # without |2-8|/2: |5-0| alone
    nothing = errors(model, with_gaps([(2, 0), (2, 1)]).some(torch.tensor([0])), scale)
    assert nothing[0, 0] == 2.5 and nothing[0, 1].isnan()


def test_a_forecast_that_is_no_number_is_an_infinite_error_not_a_missing_one():
    model = build(ModelConfig("gru", 1, 2, columns=2, targets=2, hidden_size=2))
    with torch.no_grad():
        model.head.bias.fill_(torch.nan)
    windows = with_gaps([(3, 0)])
    found = errors(model, windows, torch.ones(2, dtype=torch.float64))
    assert found.isinf().all()
    task = Forecasting(model, windows, windows, error_scale=torch.ones(2), batch_size=4, seed=0)
    assert task.measure()["mae"] == torch.inf


def test_a_missing_target_has_no_part_in_a_loss():
    """The loss and its gradient are those of the observed steps alone."""
    torch.manual_seed(0)
    model = build(ModelConfig("gru", 1, 2, columns=2, targets=2, hidden_size=4))
    windows = with_gaps([(2, 0), (2, 1), (4, 1)])
    x, y = windows.batch(torch.arange(3))
    weights = list(model.parameters())
    found = torch.autograd.grad(model.loss(x, y), weights)
    output, center, spread = model.scaled_output(x)
    wanted = ((y - center) / spread).float()
    some = ~wanted.isnan().all(dim=-1)  # steps with a target
    assert wanted.isnan().sum() == 5 and some.sum() == 4
    known = ~wanted.isnan()
    error = torch.nn.functional.huber_loss(output[known], wanted[known], delta=0.1, reduction="sum")
    expected = torch.autograd.grad(error / 0.1 / (2 * some.sum()), weights)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert all(gradient.isfinite().all() for gradient in found)


def test_measures_are_over_the_observed_targets():
    values = torch.tensor([[0.0], [2], [4], [1e9], [1]], dtype=torch.float64)
    scored = torch.tensor([[True], [True], [True], [False], [True]])
    windows = Windows(values, torch.arange(4), WindowPlan(1, 1, 1), 1, scored=scored)
    model = build(ModelConfig("persistence", 1, 1, columns=1))
    whole, halves = (
        [
            Forecasting(
                model, windows, w, error_scale=torch.ones(1), batch_size=2, seed=0
            ).measure()
            for w in parts
        ]
        for parts in ([windows], [windows.some(torch.tensor([0, 1]))])
    )
    assert halves[0]["mae"] == 2.0
    assert whole[0]["mae"] == pytest.approx((2 + 2 + (1e9 - 1)) / 3)  # a filled context is used
    task = Forecasting(model, windows, windows, error_scale=torch.ones(1), batch_size=4, seed=0)
    assert [batch.weight for batch in task.batches()] == [3]

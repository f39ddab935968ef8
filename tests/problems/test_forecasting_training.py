"""The task of forecasting windows: its batches, shares and errors."""

from itertools import chain

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

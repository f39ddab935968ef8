"""The training loop: it learns, keeps the best, repeats itself, and survives bad numbers."""

import pytest
import torch

from helpers import assert_same
from throughtime.data.batches import WindowPlan, Windows
from throughtime.nn.models import ModelConfig, build, build_network
from throughtime.training.forecasting import Forecasting, errors, forecasts
from throughtime.training.loop import TrainingSettings, train

ONE = torch.ones(1, dtype=torch.float64)


def windows(values, start, stop, context=8, horizon=2):
    plan = WindowPlan(context, horizon, 1)
    return Windows(values, torch.arange(start, stop - context - horizon + 1), plan, 1)


def wave(steps=300):
    t = torch.arange(steps, dtype=torch.float64)
    return torch.sin(t / 3).unsqueeze(1)


def model_of(kind="gru", seed=0):
    torch.manual_seed(seed)
    model = build_network(ModelConfig(kind, 8, 2, columns=1, hidden_size=8))
    model.normalizer.fit(wave()[:200])
    return model


def run(model, values=None, watch=None, seed=0, **options):
    values = wave() if values is None else values
    settings = TrainingSettings(**{"epochs": 5, "learning_rate": 1e-2, **options})
    parts = windows(values, 0, 200), windows(values, 200, 300)
    task = Forecasting(model, *parts, error_scale=ONE, batch_size=settings.batch_size, seed=seed)
    return train(task, settings, watch=watch).record


@pytest.mark.parametrize("kind", ["window-dense", "rnn", "lstm", "gru"])
def test_it_learns_a_wave(kind):
    model = model_of(kind)
    before = errors(model, windows(wave(), 200, 300), ONE).mean()
    seen = []
    record = run(model, watch=seen.append, epochs=15, batch_size=16)
    after = errors(model, windows(wave(), 200, 300), ONE).mean()
    assert after < before / 4
    assert record.epochs[record.best_epoch - 1].validation_error == pytest.approx(float(after))
    assert record.best_epoch == min(
        range(1, len(seen) + 1), key=lambda e: seen[e - 1].validation_error
    )
    assert tuple(seen) == record.epochs
    assert record.skipped_steps == 0
    assert not model.training


def test_it_repeats_itself_to_the_bit_and_the_seed_matters():
    weights = []
    for seed in (0, 0, 1):
        model = model_of()
        run(model, seed=seed)
        weights.append(model.state_dict())
    assert_same(weights[0], weights[1])
    with pytest.raises(AssertionError):
        assert_same(weights[0], weights[2])


def test_it_stops_early_and_keeps_the_best_weights():
    model = model_of()
    record = run(model, epochs=50, learning_rate=0.3, patience=3)
    assert record.stopped == "no better for 3 epochs"
    assert len(record.epochs) == record.best_epoch + 3
    best = min(e.validation_error for e in record.epochs)
    found = float(errors(model, windows(wave(), 200, 300), ONE).mean())
    assert found == pytest.approx(best)
    assert run(model_of(), epochs=2).stopped == "all 2 epochs done"


def test_the_gradient_is_clipped_and_counted():
    records = [run(model_of(), epochs=1, clip=f"norm:{c}").epochs[0] for c in (1e-6, 1e6)]
    assert [r.clipped for r in records] == [1.0, 0.0]
    assert all(r.gradient_norm > 1e-6 for r in records)  # measured before clipping


def test_a_bad_window_is_skipped_and_never_reaches_the_weights():
    values = wave()
    values[100] = torch.nan
    model = model_of()
    record = run(model, values, batch_size=8)
    assert 0 < record.skipped_steps < 5 * len(range(0, 190, 8))
    assert all(p.isfinite().all() for p in model.parameters())
    assert record.best_epoch > 0


def test_a_training_without_hope_ends_with_the_weights_it_began_with():
    model = model_of()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = run(model, torch.full((300, 1), torch.nan, dtype=torch.float64), batch_size=8)
    assert record.stopped.startswith("diverged in epoch 1: input not finite since step 1: nan in ")
    assert (record.steps, record.skipped_steps, record.retreats) == (24, 24, 0)
    assert (record.best_epoch, record.epochs) == (0, ())
    assert_same(model.state_dict(), before)


def test_bad_validation_ends_training_too():
    values = wave()
    values[250] = torch.nan
    assert run(model_of(), values).stopped == "diverged in epoch 1: forecasts not finite"


def test_errors_and_forecasts_by_hand():
    values = torch.tensor([[0.0, 1], [2, 5], [4, 4], [8, 0]], dtype=torch.float64)
    plan = WindowPlan(1, 2, 1)
    two = Windows(values, torch.arange(2), plan, 2)
    model = build(ModelConfig("persistence", 1, 2, columns=2, targets=2))
    assert forecasts(model, two).tolist() == [[[0, 1], [0, 1]], [[2, 5], [2, 5]]]
    scale = torch.tensor([2.0, 1.0], dtype=torch.float64)
    # |0-2|/2, |1-5| -> 2.5; |0-4|/2, |1-4| -> 2.5; |2-4|/2, |5-4| -> 1; |2-8|/2, |5-0| -> 4
    assert errors(model, two, scale).tolist() == [[2.5, 2.5], [1.0, 4.0]]

"""Tests of the memory of whole forecasting networks."""

import pytest
import torch

from throughtime.problems.forecasting.memory import context_of, diagnosis_of, loss_of
from throughtime.problems.forecasting.networks import ModelConfig, build

ONE = torch.ones(1, dtype=torch.float64)


def data(context=8, columns=1, targets=1):
    generator = torch.Generator().manual_seed(0)
    window = torch.randn(20, context, columns, generator=generator, dtype=torch.float64)
    return window, torch.randn(20, 2, targets, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["persistence", "seasonal", "dense", "window-dense", "gru"])
def test_with_all_steps_the_error_is_the_models_own(kind):
    torch.manual_seed(0)
    model = build(ModelConfig(kind, 8, 2, 2, targets=2, season=3, hidden_size=4))
    window, target = data(columns=2, targets=2)
    scale = torch.tensor([1.0, 3.0], dtype=torch.float64)
    record = context_of(model, window, target, scale)
    assert record.steps[0] == 0 and record.steps[-1] == 8
    with torch.no_grad():
        items = ((model(window) - target).abs() / scale).mean(dim=(1, 2))
    assert record.error[-1] == pytest.approx(items.mean().item())
    assert record.standard_error[-1] == pytest.approx(items.std().item() / 20**0.5)


@pytest.mark.parametrize("kind", ["gru", "window-dense"])
def test_older_steps_are_another_windows_in_its_own_scale(kind):
    torch.manual_seed(0)
    model = build(ModelConfig(kind, 8, 2, 1, hidden_size=4))
    window, target = data()
    scaled, center, spread = model.frame(window)
    part = torch.cat([scaled.roll(10, dims=0)[:, :-2], scaled[:, -2:]], dim=1).float()
    with torch.no_grad():
        forecast = model.compute(part).unsqueeze(-1) * spread + center
    expected = (forecast - target).abs().mean().item()
    record = context_of(model, window, target, ONE)
    assert record.error[record.steps.index(2)] == pytest.approx(expected)


def test_what_looks_at_one_step_needs_one():
    model = build(ModelConfig("persistence", 8, 2, 1))
    window, _ = data()
    target = window[:, -1:].expand(-1, 2, -1)
    assert context_of(model, window, target, ONE).horizon == 1


def test_recurrent_networks_are_examined_under_their_own_loss():
    torch.manual_seed(0)
    model = build(ModelConfig("gru", 8, 2, 1, hidden_size=4))
    found = diagnosis_of(model, *data())
    assert [layer.name for layer in found.layers] == ["body.l0"]
    assert found == diagnosis_of(model, *data()) != diagnosis_of(model, *data(), seed=1)
    assert loss_of(model, *data()) == model.loss(*data())
    window, target = data()
    target[3, 1, 0] = float("inf")
    assert diagnosis_of(model, window, target).verdict == "not finite"
    assert diagnosis_of(build(ModelConfig("dense", 8, 2, 1)), *data()) is None

"""Tests of whole networks and baselines: dependencies, forecasts and errors."""

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from helpers import assert_same
from throughtime.catalogue import FORECASTER, names
from throughtime.problems.forecasting.networks import (
    ModelConfig,
    build,
    build_network,
    parameter_count,
)
from throughtime.problems.forecasting.normalizer import LEAST_SPREAD, NORMALIZATIONS, Normalizer

NETWORKS = names(FORECASTER, trained=True)
every_kind = pytest.mark.parametrize("kind", names(FORECASTER))
every_network = pytest.mark.parametrize("kind", NETWORKS)


def config(kind, **options):
    defaults = {"context": 10, "horizon": 3, "columns": 2, "season": 4, "hidden_size": 5}
    return ModelConfig(kind, **{**defaults, **options})


def windows(batch=6, steps=10, columns=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, steps, columns, generator=generator, dtype=torch.float64)


def fitted(kind, **options):
    torch.manual_seed(0)
    model = build(config(kind, **options))
    if kind in NETWORKS:
        model.normalizer.fit(3 + 2 * windows(1, 50)[0])
    return model


def test_trivial_forecasts_by_hand():
    window = torch.tensor([1.0, 2, 4, 8, 16, 32], dtype=torch.float64).reshape(1, 6, 1)
    options = {"context": 6, "horizon": 2, "columns": 1, "season": 4}
    expected = {
        "mean": [10.5, 10.5],
        "persistence": [32, 32],
        "seasonal": [4, 8],  # y[t+1-4], y[t+2-4]
        "seasonal-drift": [32 + 4 - 2, 32 + 8 - 2],  # y[t] + y[t+h-4] - y[t-4]
    }
    for kind, values in expected.items():
        assert build(config(kind, **options))(window).flatten().tolist() == values


def test_seasons_repeat_beyond_one():
    window = torch.tensor([5.0, 1, 2, 3, 11], dtype=torch.float64).reshape(1, 5, 1)
    options = {"context": 5, "horizon": 6, "columns": 1, "season": 4}
    seasonal = build(config("seasonal", **options))(window).flatten().tolist()
    assert seasonal == [1, 2, 3, 11, 1, 2]
    drift = build(config("seasonal-drift", **options))(window).flatten().tolist()
    assert drift == [1 + 6, 2 + 6, 3 + 6, 11 + 6, 1 + 12, 2 + 12]  # plus 6 per season


@every_kind
@pytest.mark.parametrize("targets", [1, 2])
def test_shapes_and_dtype(kind, targets):
    forecast = fitted(kind, targets=targets)(windows())
    assert forecast.shape == (6, 3, targets)
    assert forecast.dtype == torch.float64


@every_network
def test_networks_learn_from_every_parameter_and_trivial_ones_have_none(kind):
    model = fitted(kind)
    model.loss(windows(), windows(steps=3, columns=1)).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.parameter_count() == sum(p.numel() for p in model.parameters()) > 0
    assert build(config("mean")).parameter_count() == 0
    with pytest.raises(ValueError, match="not a trainable network"):
        build_network(config("mean"))


def dependence(model):
    """The steps of the window that a forecast depends on."""
    window = windows(1).requires_grad_()
    model(window).sum().backward()
    return (window.grad.abs().sum(dim=(0, 2)) > 0).tolist()


def test_dense_sees_the_current_step_alone():
    for how in NORMALIZATIONS:
        assert dependence(fitted("dense", normalize=how)) == [False] * 9 + [True]


@pytest.mark.parametrize("kind", ["window-dense", "rnn", "lstm", "gru"])
def test_the_others_see_the_whole_window(kind):
    assert dependence(fitted(kind, normalize="none")) == [True] * 10


@every_network
def test_a_level_that_moves_does_no_harm(kind):
    """With window normalization, the forecast shifts with the level and scales with the spread."""
    if kind == "dense":
        pytest.skip("sees no window; its level enters as the current value")
    model = fitted(kind)
    window = windows()
    moved = model(1e6 + window)
    torch.testing.assert_close(moved, 1e6 + model(window), rtol=0, atol=1e-6)
    torch.testing.assert_close(model(5 * window), 5 * model(window), rtol=1e-6, atol=1e-6)


@every_network
@pytest.mark.parametrize("how", ["global", "window"])
def test_a_network_that_says_nothing_forecasts_the_center(kind, how):
    model = fitted(kind, normalize=how)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    window = windows()
    center = model.normalizer.center[:1] if how == "global" else window[:, -1:, :1]
    assert_same(model(window), center.expand(6, 3, 1))


@every_network
@pytest.mark.parametrize("how", NORMALIZATIONS)
def test_loss_is_the_outputs_in_the_networks_scale(kind, how):
    model = fitted(kind, normalize=how)
    window, target = windows(), windows(steps=3, columns=1, seed=1)
    _, _, spread = model.scaled_output(window)
    scaled = (model(window) - target) / spread
    expected = model.output.loss(scaled, torch.zeros_like(scaled))
    loss = model.loss(window, target).double()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_global_normalization_is_mean_and_spread_of_the_rows_given():
    rows = 5 + 3 * windows(1, 1000)[0]
    normalizer = Normalizer("global", 2)
    normalizer.fit(rows)
    center, spread = normalizer.frame(windows())
    scaled = (rows - center) / spread
    assert scaled.mean().abs() < 1e-12
    assert (scaled.std(dim=0, correction=0) - 1).abs().max() < 1e-12


def test_windows_and_columns_that_stand_still_stay_finite():
    normalizer = Normalizer("window", 2)
    normalizer.fit(torch.ones(20, 2, dtype=torch.float64))
    center, spread = normalizer.frame(torch.full((1, 10, 2), 7.0, dtype=torch.float64))
    assert center.flatten().tolist() == [7, 7]
    assert (spread > 0).all()
    model = fitted("gru")
    assert model(torch.full((1, 10, 2), 7.0, dtype=torch.float64)).isfinite().all()


def test_multiply_adds_by_hand():
    """Window [10, 2], 5 hidden units, 3 steps ahead; a recurrent body computes every step."""
    expected = {
        "persistence": 0,
        "dense": 2 * 5 + 5 * 5 + 5 * 3,
        "window-dense": 10 * 2 * 5 + 5 * 5 + 5 * 3,
        "rnn": 10 * (2 * 5 + 5 * 5) + 5 * 3,
        "gru": 10 * 3 * (2 * 5 + 5 * 5) + 5 * 3,
        "lstm": 10 * 4 * (2 * 5 + 5 * 5) + 5 * 3,
    }
    for kind, count in expected.items():
        assert build(config(kind)).multiply_adds() == count


@every_kind
def test_parameters_are_counted_without_building(kind):
    assert parameter_count(config(kind)) == build(config(kind)).parameter_count()


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("cnn", {}, "kind is one of mean, .*gru; got 'cnn'"),
        (
            "gru",
            {"normalize": "batch"},
            "normalize must be one of window, global, none; got 'batch'",
        ),
        ("gru", {"context": 0}, "context must be 1 or more, got 0"),
        ("gru", {"targets": 3}, "3 targets but only 2 columns"),
        ("seasonal", {"season": 12}, "needs context >= 12; got season 12, context 10"),
        ("seasonal-drift", {"season": 10}, "needs context >= 11"),
        ("seasonal", {"season": 0}, "season must be 1 or more, got 0"),
    ],
)
def test_impossible_configurations_say_why(kind, options, text):
    with pytest.raises(ValueError, match=text):
        build(config(kind, **options))


def test_windows_that_stand_still_do_not_outweigh_the_others():
    torch.manual_seed(0)
    day = torch.sin(torch.arange(400, dtype=torch.float64) / 5).clamp(min=0)  # nights are 0
    windows = day.unfold(0, 12, 1)[::5].unsqueeze(-1)
    model = build_network(ModelConfig("gru", 10, 2, columns=1, least_spread=LEAST_SPREAD))
    model.normalizer.fit(day.unsqueeze(1))
    window, target = windows[:, :10], windows[:, 10:]
    losses = torch.stack(
        [model.loss(w[None], t[None]) for w, t in zip(window, target, strict=True)]
    )
    top = losses.sort().values[-len(losses) // 100 - 1 :]
    assert top.sum() / losses.sum() < 0.25
    older = build_network(ModelConfig("gru", 10, 2, columns=1, least_spread=1e-3))
    older.load_state_dict(model.state_dict())
    losses = torch.stack(
        [older.loss(w[None], t[None]) for w, t in zip(window, target, strict=True)]
    )
    assert losses.sort().values[-2:].sum() / losses.sum() > 0.3


@pytest.mark.parametrize("kind", ["dense", "window-dense", "gru"])
def test_a_plan_changes_the_forecast_of_its_own_step_alone(kind):
    torch.manual_seed(0)
    shape = {"context": 6, "horizon": 5, "columns": 3, "known": 1, "fixed": 1}
    model = build_network(ModelConfig(kind, **shape, normalize="global", plan_head=True))
    window = torch.randn(2, 11, 3, dtype=torch.float64)
    before = model(window)
    window[:, 6 + 3, 2] += 1.0  # the plan of the fourth step ahead
    changed = (model(window) - before).abs().amax(dim=(0, 2)) > 0
    assert changed.tolist() == [False, False, False, True, False]
    older = build_network(ModelConfig(kind, **shape, normalize="global"))
    assert older(window).shape == before.shape  # models of earlier versions have no plan head


def test_a_plan_head_does_not_grow_with_the_horizon():
    sizes = []
    for horizon in (24, 168):
        config = ModelConfig("gru", 24, horizon, columns=9, known=8, fixed=8, plan_head=True)
        head = parameter_count(config) - 33 * horizon  # H + 1 weights for each step of the body
        sizes.append(head)
    assert sizes[0] == sizes[1]


def test_a_network_learns_what_a_plan_says():
    rng = np.random.default_rng(0)
    plan = rng.integers(0, 2, 900).astype(float)
    y = 5 * plan + np.repeat(rng.normal(size=30), 30) + 0.1 * rng.normal(size=900)
    frame = pl.DataFrame({"y": y, "plan": plan})
    data = tt.read(frame, target="y", known=["plan"], horizon=24, context=24, season=1)
    model = tt.fit(data, network="gru", normalize="global", steps=1200)
    assert model.test_error < 0.25 * 2.5  # what the plan decides: half of its step of 5

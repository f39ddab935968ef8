"""Partial autocorrelation against a known library and on series whose reach is planted."""

import numpy as np
import pytest

import throughtime as tt
from throughtime.data.tables.autocorrelation import (
    longest_lag,
    partial_autocorrelation,
    seasons,
)


def lagged(lag, share, count=3000, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=count)
    for i in range(lag, count):
        y[i] += share * y[i - lag]
    return y


def test_it_is_what_statsmodels_computes():
    pacf = pytest.importorskip("statsmodels.tsa.stattools").pacf
    for values in (lagged(7, 0.6), np.cumsum(lagged(1, 0.0, 500)), np.sin(np.arange(300.0))):
        expected = pacf(values, nlags=29, method="ldb")
        np.testing.assert_allclose(partial_autocorrelation(values, 29), expected, atol=1e-6)


@pytest.mark.parametrize("lag", [1, 5, 18, 60, 200])
def test_a_planted_lag_is_found(lag):
    found, value = longest_lag(lagged(lag, 0.7))
    assert found == lag and value == pytest.approx(0.7, abs=0.1)


def test_noise_and_walks_reach_no_further_than_they_do():
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(size=2000)
        assert longest_lag(noise) == (0, 0.0)
        assert longest_lag(np.cumsum(noise))[0] == 1
    assert longest_lag(np.full(100, 3.0)) == (0, 0.0)
    assert longest_lag(np.arange(5.0)) == (0, 0.0)


def test_the_context_reaches_as_far_as_the_series_does():
    data = tt.read(lagged(60, 0.9), horizon=6)
    assert data.record.context == 60 + 6
    (choice,) = [c for c in data.choices if c.name == "context"]
    assert "the value 60 steps before" in choice.reason
    noise = tt.read(np.random.default_rng(0).normal(size=3000), horizon=6)
    assert noise.record.context == 18


DAY_AND_WEEK = [(24, "day"), (168, "week"), (8766, "year")]


def hourly(*waves, count=2400, noise=0.3, seed=0):
    """A series with waves of the given (period, size)."""
    at = np.arange(count)
    y = np.random.default_rng(seed).normal(scale=noise, size=count)
    return y + sum(size * np.sin(2 * np.pi * at / period) for period, size in waves)


def found(values, periods=DAY_AND_WEEK, most=800):
    return [steps for steps, _ in seasons(values, periods, most)]


@pytest.mark.parametrize("seed", range(10))
def test_planted_seasons_are_found_and_no_others(seed):
    trend = np.linspace(0, 30, 2400)
    assert found(hourly((24, 1.0), seed=seed)) == [24]
    assert found(hourly((24, 1.0), (168, 1.0), seed=seed)) == [24, 168]
    assert found(hourly((168, 1.0), seed=seed)) == [168]
    assert found(trend + hourly((24, 2.0), seed=seed)) == [24]
    solar = np.maximum(hourly((288, 1.0), count=6000, noise=0.1, seed=seed), 0)
    assert found(solar, [(12, "hour"), (288, "day"), (2016, "week")], 2500) == [288]


@pytest.mark.parametrize("seed", range(20))
def test_noise_trends_and_walks_have_no_season(seed):
    noise = np.random.default_rng(seed).normal(size=2400)
    assert not found(noise)
    assert not found(np.linspace(0, 30, 2400) + noise)
    assert not found(np.cumsum(noise))
    assert not found(lagged(1, 0.9, 2400, seed))
    assert not found(np.cumsum(noise), [(7, "week"), (365, "year")])
    assert not found(lagged(1, 0.9, 2400, seed), [(7, "week"), (12, "year")])


def test_a_season_needs_room():
    assert found(hourly((168, 1.0)), most=100) == []
    assert found(hourly((24, 1.0), count=30)) == []  # nothing to compare it with
    assert seasons(np.full(500, 2.0), DAY_AND_WEEK, 200) == []

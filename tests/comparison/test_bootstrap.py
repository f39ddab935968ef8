"""Intervals against known distributions."""

import math

import numpy as np
import pytest

from throughtime.comparison.bootstrap import (
    SAMPLES,
    Bootstrap,
    block_length,
    block_of_differences,
    interval,
)
from throughtime.comparison.evidence import evidence_of, paired_samples
from throughtime.runs import TrialRecord

T_4 = 2.776  # 97.5 % quantiles of Student's t, by degrees of freedom (Fisher 1925)
T_2 = 4.303


def test_the_interval_of_a_mean_is_the_textbooks():
    """Independent errors, one seed: the standard error is s / sqrt(N)."""
    errors = np.random.default_rng(0).normal(5, 2, (1, 400))
    low, high = interval(Bootstrap(400, 1, seed=0)(errors))
    expected = 2 * 1.96 * errors.std() / math.sqrt(400)
    assert high - low == pytest.approx(expected, rel=0.08)
    assert low < errors.mean() < high


def test_errors_that_come_in_runs_widen_the_interval():
    """Each error repeated 10 times: blocks must see 10 times fewer independent ones."""
    errors = np.repeat(np.random.default_rng(0).normal(5, 2, (1, 60)), 10, axis=1)
    widths = []
    for block in (1, 10, 20):
        low, high = interval(Bootstrap(600, block, seed=0)(errors))
        widths.append(high - low)
    truth = 2 * 1.96 * errors.std() / math.sqrt(60)
    assert widths[0] < 0.4 * truth  # what ignoring the runs would claim
    assert 0.75 * truth < widths[1] < widths[2] * 1.2
    assert widths[2] == pytest.approx(truth, rel=0.25)


def test_few_blocks_widen_the_interval_until_it_covers():
    """Forty errors in four blocks: 95 % of the intervals must hold the true mean, not 86 %."""
    random = np.random.default_rng(0)
    draw = Bootstrap(40, 10, seed=0)
    intervals = [interval(draw(random.normal(5, 2, (1, 40)))) for _ in range(400)]
    assert 0.93 < np.mean([low < 5 < high for low, high in intervals]) < 0.99


@pytest.mark.parametrize(("seeds", "quantile"), [(5, T_4), (3, T_2)])
def test_seeds_that_differ_widen_the_interval_to_students(seeds, quantile):
    same = np.ones((seeds, 100))
    different = same * np.arange(1, seeds + 1)[:, None]
    draw = Bootstrap(100, 5, seed=0)
    assert interval(draw(same)) == (1, 1)
    low, high = interval(draw(different))
    spread = np.arange(seeds).std(ddof=1) / math.sqrt(seeds)
    assert high - low == pytest.approx(2 * quantile * spread, rel=0.12)
    assert (low + high) / 2 == pytest.approx(different.mean(), rel=0.1)


def test_fewer_than_three_seeds_tell_nothing_of_seeds():
    different = np.ones((2, 100)) * np.array([[1.0], [2.0]])
    assert interval(Bootstrap(100, 5, seed=0)(different)) == (1.5, 1.5)


def test_paired_differences_use_the_same_blocks():
    errors = np.random.default_rng(0).normal(5, 2, (1, 200))
    draw = Bootstrap(200, 10, seed=0)
    difference = draw(errors + 0.01) - draw(errors)
    assert difference.shape == (SAMPLES,)
    assert np.allclose(difference, 0.01)


@pytest.mark.parametrize(
    ("origins", "horizon", "length"), [(340, 4, 11), (340, 24, 48), (10, 24, 5), (1, 1, 1)]
)
def test_blocks_are_two_horizons_or_the_cube_root(origins, horizon, length):
    assert block_length(origins, horizon) == length


def test_a_single_origin_is_no_error():
    assert interval(Bootstrap(1, 1, seed=0)(np.array([[3.0]]))) == (3, 3)


def in_runs(random, count, run):
    """Noise in which each value is the mean of `run` independent ones, of variance 1."""
    noise = random.normal(size=count + run - 1)
    return np.convolve(noise, np.ones(run) / math.sqrt(run), mode="valid")


def test_blocks_are_as_long_as_differences_depend_on_each_other():
    random = np.random.default_rng(0)
    short = [block_of_differences(random.normal(size=(1, 900)), horizon=28) for _ in range(50)]
    long = [block_of_differences(in_runs(random, 900, 28)[None], horizon=28) for _ in range(50)]
    assert np.median(short) == 15  # 1.5 N^(1/3), at least
    assert np.median(long) > 30
    assert max(long) <= block_length(900, 28) == 56
    assert block_of_differences(random.normal(size=(1, 90)), horizon=28) >= 14  # half a horizon
    both = np.stack([random.normal(size=900), in_runs(random, 900, 28)])
    assert block_of_differences(both, 28) == block_of_differences(both[1:], 28)


@pytest.mark.parametrize("run", [1, 6])
def test_equal_candidates_are_rarely_told_apart_by_times_that_were_forecast_together(run):
    """Sixty-three origins, 28 steps ahead: 90 times, whose errors come in runs."""
    random = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        one, other = (1 + 0.3 * in_runs(random, 90, run) for _ in range(2))
        block = block_of_differences((one - other)[None], 28)
        draw = Bootstrap(90, block, seed=0)
        low, high = interval(draw(one[None]) - draw(other[None]))
        found += not low <= 0 <= high
    assert found / 300 < 0.08


def test_many_series_widen_the_interval_by_their_own_variance():
    random = np.random.default_rng(0)
    means = random.normal(5, 2, 40)
    flat = np.full((1, 100), means.mean())
    low, high = interval(Bootstrap(100, 5, seed=0, series=40)(flat, means))
    assert high - low == pytest.approx(2 * 1.96 * means.std(ddof=1) / math.sqrt(40), rel=0.1)
    assert interval(Bootstrap(100, 5, seed=0, series=9)(flat, means[:9])) == (means.mean(),) * 2


def trials_of(kind, errors, by_series=()):
    """Trials of one kind with errors [S, N]."""
    names = {f"s{n}": float(value) for n, value in enumerate(by_series)}
    return [
        TrialRecord(
            kind=kind,
            seed=seed,
            learning_rate=0.0,
            hidden_size=0,
            parameters=1,
            multiply_adds=1,
            training=None,
            validation_error=1.0,
            test_error=float(one.mean()),
            error_by_step=(1.0,),
            error_by_item=tuple(one.tolist()),
            forecast=(),
            prediction_us=1.0,
            error_by_series=names,
        )
        for seed, one in enumerate(errors)
    ]


def test_a_verdict_counts_the_variance_between_many_series():
    means = np.random.default_rng(0).normal(5, 2, 40)
    flat = np.full((1, 100), means.mean())
    other = trials_of("gru", flat - 1, means - 1)
    found = evidence_of({"persistence": trials_of("persistence", flat, means), "gru": other}, 1)
    low, high = found.interval("persistence")
    assert high - low == pytest.approx(2 * 1.96 * means.std(ddof=1) / math.sqrt(40), rel=0.1)
    # each series is 1 better, so that their difference has no variance
    assert found.difference("gru", "persistence") == (pytest.approx(-1), pytest.approx(-1))


def test_a_difference_that_comes_in_runs_is_not_taken_for_many_items():
    one, other = (1 + in_runs(np.random.default_rng(n), 400, 20)[None] for n in (0, 1))
    _, difference = paired_samples(trials_of("gru", one), trials_of("gru", other), 24, None)
    low, high = interval(difference)
    alone = interval(Bootstrap(400, 1, 0)(one) - Bootstrap(400, 1, 0)(other))
    assert high - low > 2.5 * (alone[1] - alone[0])

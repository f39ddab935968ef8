"""Intervals against known distributions."""

import math

import numpy as np
import pytest

from throughtime.comparison.bootstrap import SAMPLES, Bootstrap, block_length, interval

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


def test_what_was_chosen_owes_to_luck_is_added_back():
    different = np.ones((5, 100)) * np.arange(1.0, 6)[:, None]
    draw = Bootstrap(100, 5, seed=0)
    alone, chosen = draw(different), draw(different, chosen_of=5)
    assert np.median(chosen) > np.quantile(alone, 0.8)
    # the largest of five stays below x where all five do: its 97.5 % are one's 99.5 %
    assert interval(chosen)[1] == pytest.approx(3 + 4.604 * math.sqrt(0.5), rel=0.15)


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

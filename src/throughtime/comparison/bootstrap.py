"""Block bootstrap of a mean error, over the time of the test part, over series and seeds."""

import math

import numpy as np

from throughtime.runs import ENOUGH_SEEDS

SAMPLES = 2000  # bootstrap samples


MANY_SERIES = 10  # from which on series are resampled, too: fewer are those that were asked about


def block_length(items: int, horizon: int) -> int:
    """Block length, in items: two horizons or 1.5 N^(1/3) (rate of Kuensch 1989), if larger."""
    return max(1, min(items // 2, max(2 * horizon, math.ceil(1.5 * items ** (1 / 3)))))


def block_of_differences(differences: np.ndarray, horizon: int) -> int:
    """Block length for differences of errors [D, N], from their own dependence.

    Errors that two candidates share cancel, so that their differences mostly depend on each other
    over fewer steps than the errors do. The longest length of the rows is taken, half a horizon at
    least and that of `block_length` at most.
    """
    count = differences.shape[1]
    least = max(1, horizon // 2, math.ceil(1.5 * count ** (1 / 3)))
    longest = max((_usual_block(row) for row in differences), default=1)
    return min(max(least, longest), block_length(count, horizon))


def _usual_block(values: np.ndarray) -> int:
    """The block length of the least variance for a mean (Patton, Politis and White 2009)."""
    count, centered = len(values), values - values.mean()
    run = max(5, round(math.sqrt(math.log10(count)))) if count > 1 else 5
    most = min(count - 1, math.ceil(math.sqrt(count)) + run)
    covariances = np.array([centered[: count - k] @ centered[k:] for k in range(most + 1)]) / count
    if covariances[0] <= 0:
        return 1
    small = np.abs(covariances) < 2 * math.sqrt(math.log10(count) / count) * covariances[0]
    starts = [k for k in range(1, most - run + 2) if small[k : k + run].all()]
    reach = min(most, 2 * max(1, starts[0] - 1 if starts else most))
    lags = np.arange(-reach, reach + 1)
    window = np.minimum(1, 2 * (1 - np.abs(lags) / reach))  # flat top, then falling to 0
    weighted = window * covariances[np.abs(lags)]
    spectrum, slope = weighted.sum(), (np.abs(lags) * weighted).sum()
    if spectrum <= 0:
        return 1
    return max(1, math.ceil((1.5 * (slope / spectrum) ** 2 * count) ** (1 / 3)))


class Bootstrap:
    """Bootstrap samples of a mean error, with the same blocks of time for every candidate.

    >>> draw = Bootstrap(items=340, block=8, seed=0)
    >>> low, high = interval(draw(gru_errors) - draw(lstm_errors))  # errors [S, N]

    Errors of neighbouring times are correlated, so times are resampled in blocks (Kuensch 1989)
    that wrap around the end (Politis and Romano 1992). Means of few blocks have too little variance
    and light tails. Their deviations are therefore scaled to Student's t, by the same factors for
    every candidate, so that differences stay paired. Many series stand for others like them: the
    deviation of the mean of as many resampled series is added. There are too few seeds to resample.
    Their variance is added as Student's t (1908), drawn independently for each candidate.
    """

    def __init__(self, items: int, block: int, seed: int, series: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        blocks = math.ceil(items / block)
        self._starts = self._random.integers(items, size=(SAMPLES, blocks))
        self._block = block
        # resampled block means underestimate the variance by block / items
        shortfall = max(1, items - block) / (blocks * block)
        degrees = max(1.0, items / block - 1)
        self._scale = np.sqrt(degrees / self._random.chisquare(degrees, SAMPLES) / shortfall)
        self._counts = np.zeros((0, 0))  # how often each series is drawn, [SAMPLES, series]
        if series >= MANY_SERIES:
            self._counts = self._random.multinomial(series, np.full(series, 1 / series), SAMPLES)

    def __call__(self, errors: np.ndarray, by_series: np.ndarray | None = None) -> np.ndarray:
        """Samples [SAMPLES] of the mean of errors [S seeds, N items].

        ``by_series``: the mean error of each series, [series].
        """
        seeds, items = errors.shape
        over_time = errors.mean(axis=0)
        around = np.concatenate([over_time, over_time[: self._block - 1]])
        total = np.concatenate([[0.0], np.cumsum(around - over_time.mean())])
        of_block = (total[self._block :] - total[: -self._block])[:items] / self._block
        samples = over_time.mean() + self._scale * of_block[self._starts].mean(axis=1)
        if by_series is not None and self._counts.size:
            count = len(by_series)
            deviations = (by_series - by_series.mean()) / math.sqrt(count * (count - 1))
            samples = samples + self._counts @ deviations
        if seeds >= ENOUGH_SEEDS:
            spread = errors.mean(axis=1).std(ddof=1) / math.sqrt(seeds)
            samples = samples + spread * self._random.standard_t(seeds - 1, size=SAMPLES)
        return samples


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The central 95 % of the samples."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)

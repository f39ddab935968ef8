"""Block bootstrap of a mean error, over the time of the test part and over seeds."""

import math

import numpy as np

from throughtime.runs import ENOUGH_SEEDS

SAMPLES = 2000  # bootstrap samples


def block_length(origins: int, horizon: int) -> int:
    """Block length, in origins: two horizons or 1.5 N^(1/3) (rate of Kuensch 1989), if larger."""
    return max(1, min(origins // 2, max(2 * horizon, math.ceil(1.5 * origins ** (1 / 3)))))


class Bootstrap:
    """Bootstrap samples of a mean error, with the same blocks of time for every candidate.

    >>> draw = Bootstrap(origins=340, block=8, seed=0)
    >>> low, high = interval(draw(gru_errors) - draw(lstm_errors))  # errors [S, N]

    Errors of neighbouring origins are correlated, so origins are resampled in blocks (Kuensch 1989)
    that wrap around the end (Politis and Romano 1992). Means of few blocks have too little variance
    and light tails. Their deviations are therefore scaled to Student's t, by the same factors for
    every candidate, so that differences stay paired. There are too few seeds to resample. Their
    variance is added as Student's t (1908), drawn independently for each candidate.
    """

    def __init__(self, origins: int, block: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        blocks = math.ceil(origins / block)
        self._starts = self._random.integers(origins, size=(SAMPLES, blocks))
        self._block = block
        # resampled block means underestimate the variance by block / origins
        shortfall = max(1, origins - block) / (blocks * block)
        degrees = max(1.0, origins / block - 1)
        self._scale = np.sqrt(degrees / self._random.chisquare(degrees, SAMPLES) / shortfall)

    def __call__(self, errors: np.ndarray, chosen_of: int = 1) -> np.ndarray:
        """Samples [SAMPLES] of the mean of errors [S seeds, N origins].

        ``chosen_of``: number of candidates from which this one was chosen on the validation part.
        The choice did not see the time of the test part, but a lucky seed lowers the error on both
        parts. To correct for it, the largest of ``chosen_of`` draws of the seed term is added.
        """
        seeds, origins = errors.shape
        over_time = errors.mean(axis=0)
        around = np.concatenate([over_time, over_time[: self._block - 1]])
        total = np.concatenate([[0.0], np.cumsum(around - over_time.mean())])
        of_block = (total[self._block :] - total[: -self._block])[:origins] / self._block
        samples = over_time.mean() + self._scale * of_block[self._starts].mean(axis=1)
        if seeds >= ENOUGH_SEEDS:
            spread = errors.mean(axis=1).std(ddof=1) / math.sqrt(seeds)
            seed_term = self._random.standard_t(seeds - 1, size=(chosen_of, SAMPLES)).max(axis=0)
            samples = samples + spread * seed_term
        return samples


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The central 95 % of the samples."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)

"""How far chance moves a mean error: over the test part's stretch of time, and over seeds."""

import math

import numpy as np

from throughtime.runs import ENOUGH_SEEDS

SAMPLES = 2000  # bootstrap samples


def block_length(origins: int, horizon: int) -> int:
    """Origins resampled together: two horizons, which overlap, or 1.5 N^(1/3), Kuensch's rate."""
    return max(1, min(origins // 2, max(2 * horizon, math.ceil(1.5 * origins ** (1 / 3)))))


class Bootstrap:
    """Samples of what a mean error may be, with the same blocks of time for every candidate.

    >>> draw = Bootstrap(origins=340, block=8, seed=0)
    >>> low, high = interval(draw(gru_errors) - draw(lstm_errors))  # errors [S, N]

    Origins near in time err alike, so they are resampled in blocks (Kuensch 1989), around the end
    (Politis and Romano 1992). Means of few blocks scatter too little and have thin tails: their
    deviations are widened to Student's t, by the same factors for every candidate, so that
    differences stay paired. Seeds are too few to resample at all: they add Student's t itself
    (1908), each candidate its own.
    """

    def __init__(self, origins: int, block: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        blocks = math.ceil(origins / block)
        self._starts = self._random.integers(origins, size=(SAMPLES, blocks))
        self._block = block
        # the variance of a mean of resampled blocks falls short by block / origins
        short = max(1, origins - block) / (blocks * block)
        freedom = max(1.0, origins / block - 1)
        self._wider = np.sqrt(freedom / self._random.chisquare(freedom, SAMPLES) / short)

    def __call__(self, errors: np.ndarray, chosen_of: int = 1) -> np.ndarray:
        """[SAMPLES] possible means of errors [S seeds, N origins].

        ``chosen_of``: so many candidates it was chosen from on the validation part. That choice
        never saw this part's time, but the luck of the seeds is in both parts: as much of it as the
        luckiest of so many would have is added back.
        """
        seeds, origins = errors.shape
        over_time = errors.mean(axis=0)
        around = np.concatenate([over_time, over_time[: self._block - 1]])
        total = np.concatenate([[0.0], np.cumsum(around - over_time.mean())])
        of_block = (total[self._block :] - total[: -self._block])[:origins] / self._block
        samples = over_time.mean() + self._wider * of_block[self._starts].mean(axis=1)
        if seeds >= ENOUGH_SEEDS:
            spread = errors.mean(axis=1).std(ddof=1) / math.sqrt(seeds)
            luck = self._random.standard_t(seeds - 1, size=(chosen_of, SAMPLES)).max(axis=0)
            samples = samples + spread * luck
        return samples


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)

"""What the test part shows: errors of every candidate, and which differences are more than chance.

Errors are paired: two candidates are measured on the same origins, and their difference is judged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from throughtime.catalogue import is_trivial, kind_of
from throughtime.comparison.bootstrap import (
    Bootstrap,
    block_length,
    block_of_differences,
    interval,
)
from throughtime.runs import TrialRecord
from throughtime.training.convergence import AT_CHANCE

_LEVEL = 0.025  # of a one-sided test
ENOUGH = 10  # minimum number of items in the test part for a verdict


def learned(group: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The finished trainings without those that stayed at chance while others of them did not."""
    finished = [t for t in group if t.test_error is not None]
    some = [t for t in finished if not t.not_converged.startswith(AT_CHANCE)]
    return some or finished


@dataclass(frozen=True)
class Evidence:
    """Errors by kind, without kinds whose every training diverged."""

    validation: Mapping[str, float]
    test: Mapping[str, float]
    samples: Mapping[str, np.ndarray]  # [SAMPLES] of the test error, for differences of them
    alone: Mapping[str, np.ndarray]  # [SAMPLES] of the test error itself
    networks: tuple[str, ...]  # that never diverged
    items: int
    rarest: int | None  # of them, in the rarest class, if all classes count alike
    share_of: int  # independent items that errors are shares of; 0: they are not

    @property
    def few(self) -> int:
        """Items that a verdict rests on, if they are too few, else 0."""
        found = self.items if self.rarest is None else min(self.items, self.rarest)
        return found if found < ENOUGH else 0

    @property
    def trivial(self) -> list[str]:
        """The simple predictions."""
        return [k for k in self.test if is_trivial(k)]

    def chosen(self, kinds: Sequence[str]) -> str:
        """The kind with the lowest validation error."""
        return min(kinds, key=lambda k: (self.validation[k], kind_of(k).cost))

    def interval(self, kind: str) -> tuple[float, float]:
        """95 % interval of an error, see `error_interval`."""
        return error_interval(self.alone[kind], self.test[kind], self.share_of)

    def difference(self, one: str, other: str) -> tuple[float, float]:
        """95 % interval of the paired difference of two test errors."""
        return interval(self.samples[one] - self.samples[other])

    def better(self) -> list[str]:
        """The networks that beat every simple prediction.

        Each must beat all of them, so their number needs no correction (Berger 1982); the number of
        networks does (Holm 1979).
        """
        chance = {k: max(self._chance(k, t) for t in self.trivial) for k in self.networks}
        found: list[str] = []
        for number, kind in enumerate(sorted(chance, key=lambda k: chance[k])):
            if chance[kind] > _LEVEL / (len(chance) - number):
                break
            found.append(kind)
        return found

    def _chance(self, one: str, other: str) -> float:
        """How often a difference in favour of `one` is none, in the bootstrap samples."""
        worse = self.samples[one] >= self.samples[other]
        return float((1 + worse.sum()) / (1 + len(worse)))

    def rivals(self) -> list[str]:
        """The networks that may be better: of the lowest validation and the lowest test error."""
        return [self.chosen(self.networks), min(self.networks, key=lambda k: self.test[k])]

    def gain(self, kind: str) -> tuple[float, float]:
        """95 % interval of a network's gain over the best simple prediction, relative to it.

        The best simple prediction is that of the lowest test error, so that a gain over it is one
        over all. No gain exceeds 1, as no error is below 0.
        """
        rival = min(self.trivial, key=lambda k: self.test[k])
        low, high = self.difference(rival, kind)
        error = self.test[rival]
        return (low / error, min(1.0, high / error)) if error else (0.0, 0.0)

    def near(self, kinds: Sequence[str], worth: float) -> list[str]:
        """Those whose validation error is not more than `worth`, or one item, above the lowest."""
        least = self.validation[self.chosen(kinds)]
        most = max((1 + worth) * least, least + self.item)
        return [k for k in kinds if self.validation[k] <= most]

    @property
    def item(self) -> float:
        """Of shares, a difference of one item and a half: one more or less is no difference."""
        return one_item(self.share_of)

    def alike(self, best: str, other: str, worth: float) -> bool:
        """Whether a difference does not matter: within `worth`, shown or not shown to be more."""
        low, high = self.difference(other, best)
        matters = worth * self.test[best]
        if -matters <= low and high <= matters:
            return True
        return low <= 0 <= high and self.test[other] - self.test[best] <= max(matters, self.item)


def evidence_of(
    by_kind: Mapping[str, list[TrialRecord]],
    horizon: int,
    *,
    block: int | None = None,
    share_of: int = 0,
    rarest: int | None = None,
) -> Evidence:
    """The evidence of trials, by kind. See `judge` for the arguments."""
    finished = {k: learned(group) for k, group in by_kind.items()}
    errors = {k: np.array([t.error_by_item for t in g]) for k, g in finished.items() if g}
    diverged = {k for k, g in by_kind.items() if any(t.test_error is None for t in g)}
    items = next(iter(errors.values())).shape[1]
    simple = [k for k in errors if is_trivial(k)]
    best = min(simple or errors, key=lambda k: errors[k].mean())
    differences = np.array([e.mean(axis=0) - errors[best].mean(axis=0) for e in errors.values()])
    series = {k: series_means(g) for k, g in finished.items() if g}
    count = max((len(means) for means in series.values() if means is not None), default=1)
    draw = Bootstrap(items, block or block_of_differences(differences, horizon), 0, count)
    draw_alone = Bootstrap(items, block or block_length(items, horizon), 0, count)
    return Evidence(
        validation={k: mean(t.validation_error or 0.0 for t in finished[k]) for k in errors},
        test={k: float(values.mean()) for k, values in errors.items()},
        samples={k: draw(values, series[k]) for k, values in errors.items()},
        alone={k: draw_alone(values, series[k]) for k, values in errors.items()},
        networks=tuple(k for k in errors if not is_trivial(k) and k not in diverged),
        items=items,
        rarest=rarest,
        share_of=share_of,
    )


def one_item(share_of: int) -> float:
    """A difference of one item and a half, if errors are shares of so many items, else 0."""
    return 1.5 / share_of if share_of else 0.0


def paired_samples(
    one: Sequence[TrialRecord], other: Sequence[TrialRecord], horizon: int, block: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap samples of the error of some trials, and of its difference to that of others.

    See `judge` for the arguments.
    """
    first, second = (np.array([t.error_by_item for t in trials]) for trials in (one, other))
    means = series_means(one), series_means(other)
    items, count = first.shape[1], 1 if means[0] is None else len(means[0])
    differences = first.mean(axis=0) - second.mean(axis=0)
    paired = block or block_of_differences(differences[None], horizon)
    draw = Bootstrap(items, paired, 0, count)
    alone = Bootstrap(items, block or block_length(items, horizon), 0, count)
    return alone(first, means[0]), draw(first, means[0]) - draw(second, means[1])


def series_means(trials: Sequence[TrialRecord]) -> np.ndarray | None:
    """The mean error of each series over trials, [series]; None for a single series."""
    each = np.array([list(t.error_by_series.values()) for t in trials])
    return each.mean(axis=0) if each.size else None


def error_interval(samples: np.ndarray, error: float, of: int = 0) -> tuple[float, float]:
    """95 % interval of an error from bootstrap samples, not below 0.

    ``of``: for a share, the number of items; it is at least as wide as the exact interval then.
    """
    low, high = interval(samples)
    low = max(0.0, low)
    if of:
        least, most = exact_interval(error * of, of)
        low, high = min(low, least), min(1.0, max(high, most))
    return low, high


def exact_interval(count: float, of: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper and Pearson 1934); `count` may be a mean.

    >>> exact_interval(0, 45)
    (0.0, 0.0787...)
    """

    def at_most(k: int, share: float) -> float:
        """The chance of k or fewer of the items."""
        if share in (0.0, 1.0):
            return 1.0 if share == 0.0 or k >= of else 0.0
        logs = [
            math.lgamma(of + 1)
            - math.lgamma(i + 1)
            - math.lgamma(of - i + 1)
            + i * math.log(share)
            + (of - i) * math.log1p(-share)
            for i in range(k + 1)
        ]
        return min(1.0, sum(map(math.exp, logs)))

    def solved(wanted: float, k: int) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(k, middle) > wanted else (low, middle)
        return (low + high) / 2

    below, above = math.floor(count), math.ceil(count)
    low = solved(1 - _LEVEL, below - 1) if below > 0 else 0.0
    high = solved(_LEVEL, above) if above < of else 1.0
    return low, high

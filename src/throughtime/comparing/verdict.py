"""From trials to a verdict: intervals, ties, and a recommendation with its reason.

Errors are compared item by item: two networks are measured on the same origins, and what is judged
is the difference. Origins near in time err alike, so they are resampled in blocks (Kuensch 1989),
and seeds are resampled with them.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median

import numpy as np

from throughtime.runs import NAMES, TRIVIAL, Candidate, TrialRecord, Verdict

SAMPLES = 2000  # bootstrap samples
ENOUGH = 10  # origins in the test part; with fewer nothing can be said
RECURRENT = ("rnn", "lstm", "gru")


def block_length(origins: int, horizon: int) -> int:
    """Origins resampled together: two horizons, which overlap, or 1.5 N^(1/3), Kuensch's rate."""
    return max(1, min(origins // 2, max(2 * horizon, math.ceil(1.5 * origins ** (1 / 3)))))


class Bootstrap:
    """Means of resampled errors, with the same blocks of time for every candidate.

    >>> draw = Bootstrap(origins=340, block=8, seed=0)
    >>> low, high = interval(draw(gru_errors) - draw(lstm_errors))  # errors [S, N]
    """

    def __init__(self, origins: int, block: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        blocks = math.ceil(origins / block)
        self._starts = self._random.integers(origins, size=(SAMPLES, blocks))
        self._block = block

    def __call__(self, errors: np.ndarray) -> np.ndarray:
        """[SAMPLES] means of errors [S seeds, N origins], resampled over both."""
        seeds, origins = errors.shape
        around = np.concatenate([errors, errors[:, : self._block - 1]], axis=1)
        total = np.concatenate([np.zeros((seeds, 1)), np.cumsum(around, axis=1)], axis=1)
        of_block = (total[:, self._block :] - total[:, : -self._block])[:, :origins] / self._block
        of_seed = of_block[:, self._starts].mean(axis=2)  # [S, SAMPLES]
        chosen = self._random.integers(seeds, size=(seeds, SAMPLES))
        return np.take_along_axis(of_seed, chosen, axis=0).mean(axis=0)


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def judge(trials: Sequence[TrialRecord], horizon: int) -> Verdict:
    """Rank the candidates and say which to use, and why.

    >>> judge(record.trials, record.data.horizon).headline
    'Use the GRU: ...'

    The best network must beat the best trivial forecast by more than chance (the 95 % interval of
    the paired difference lies below 0), or the trivial one is recommended. Networks that cannot be
    told from the best are tied with it, and the one that predicts fastest is recommended.
    """
    by_kind: dict[str, list[TrialRecord]] = {}
    # in one order, so that the same trials always draw the same samples
    for trial in sorted(trials, key=lambda t: (t.kind, t.seed)):
        by_kind.setdefault(trial.kind, []).append(trial)
    errors = {
        kind: np.array([t.error_by_origin for t in group if t.test_error is not None])
        for kind, group in by_kind.items()
        if any(t.test_error is not None for t in group)
    }
    origins = next(iter(errors.values())).shape[1]
    draw = Bootstrap(origins, block_length(origins, horizon), seed=0)
    samples = {kind: draw(values) for kind, values in errors.items()}
    means = {kind: float(values.mean()) for kind, values in errors.items()}
    trivial = sorted((k for k in means if k in TRIVIAL), key=lambda k: means[k])
    networks = sorted((k for k in means if k not in TRIVIAL), key=lambda k: means[k])
    reference = "seasonal" if "seasonal" in means else "persistence"
    candidates = tuple(
        sorted(
            (_candidate(k, g, samples.get(k), means.get(reference)) for k, g in by_kind.items()),
            key=lambda c: math.inf if c.error is None else c.error,
        )
    )
    cost = {c.kind: c.prediction_us for c in candidates}

    enough = origins >= ENOUGH
    beaten = bool(networks) and interval(samples[networks[0]] - samples[trivial[0]])[1] < 0
    if not (beaten and enough):
        outcome, recommended, tied = "trivial", trivial[0], ()
        headline = f"None beats the trivial forecast: use {NAMES[trivial[0]]}."
        if not enough:
            headline = f"Too little to judge by ({origins} test times): use {NAMES[trivial[0]]}."
    else:
        best = networks[0]
        tied = tuple(
            k for k in networks if k == best or interval(samples[best] - samples[k])[1] >= 0
        )
        recommended = min(tied, key=lambda k: cost[k])
        outcome = "tie" if len(tied) > 1 else "network"
        less = 100 * (1 - means[recommended] / means[trivial[0]])
        gain = f"its error is {less:.0f} % below {NAMES[trivial[0]]}, the best trivial forecast"
        if outcome == "tie":
            headline = f"A tie: {_list(tied)}. Use {NAMES[recommended]}, the cheapest; {gain}."
        else:
            headline = f"Use {NAMES[recommended]}: {gain}."
    return Verdict(
        outcome=outcome,
        recommended=recommended,
        headline=headline,
        reasons=tuple(_reasons(means, samples, candidates, tied, recommended) if enough else ()),
        reference=reference,
        tied=tied,
        candidates=candidates,
    )


def _candidate(
    kind: str, group: list[TrialRecord], samples: np.ndarray | None, reference: float | None
) -> Candidate:
    done = [t for t in group if t.test_error is not None]
    found = [t.test_error for t in group if t.test_error is not None]
    error = mean(found) if found else None
    low, high = interval(samples) if samples is not None else (None, None)
    trainings = [t.training.seconds for t in group if t.training is not None]
    return Candidate(
        kind=kind,
        trivial=kind in TRIVIAL,
        error=error,
        low=low,
        high=high,
        relative=None if error is None or not reference else error / reference,
        error_last_step=mean(t.error_by_step[-1] for t in done) if done else None,
        hidden_size=group[0].hidden_size,
        parameters=group[0].parameters,
        learning_rate=group[0].learning_rate,
        seeds=len(group),
        diverged=len(group) - len(done),
        training_seconds=median(trainings) if trainings else 0.0,
        prediction_us=median(t.prediction_us for t in group),
    )


def _reasons(
    means: Mapping[str, float],
    samples: Mapping[str, np.ndarray],
    candidates: Sequence[Candidate],
    tied: Sequence[str],
    recommended: str,
) -> list[str]:
    """What the numbers say about context, recurrence, cost and health; one sentence each."""
    reasons: list[str] = []
    cost = {c.kind: c.prediction_us for c in candidates}
    if len(tied) > 1:
        others = ", ".join(f"{NAMES[k]} {cost[k]:.0f}" for k in tied if k != recommended)
        reasons.append(
            f"The tied networks cannot be told apart on this data; one prediction takes "
            f"{cost[recommended]:.0f} us with {NAMES[recommended]} ({others})."
        )
    windowed = [k for k in ("window-dense", *RECURRENT) if k in means]
    if "dense" in means and windowed:
        best = min(windowed, key=lambda k: means[k])
        reasons.append(
            _compare("dense", best, means, samples)
            + (
                "the past matters: a network that sees the current step alone falls short."
                if interval(samples["dense"] - samples[best])[0] > 0
                else "the current step says all that these networks could use."
            )
        )
    recurrent = [k for k in RECURRENT if k in means]
    if "window-dense" in means and recurrent:
        best = min(recurrent, key=lambda k: means[k])
        low, high = interval(samples["window-dense"] - samples[best])
        says = "recurrence adds nothing here."
        if low > 0:
            says = "recurrence helps" + (": it earns its place." if tied else ", but not enough.")
        if low <= 0 <= high:
            says = "recurrence makes no difference that can be measured here."
        reasons.append(_compare("window-dense", best, means, samples) + says)
    for c in candidates:
        if c.diverged:
            reasons.append(f"{NAMES[c.kind]} diverged in {c.diverged} of {c.seeds} trainings.")
    return reasons


def _compare(
    one: str, other: str, means: Mapping[str, float], samples: Mapping[str, np.ndarray]
) -> str:
    low, high = interval(samples[one] - samples[other])
    return (
        f"{NAMES[one]} {means[one]:.3g} against {NAMES[other]} {means[other]:.3g} "
        f"(difference {low:+.2g} to {high:+.2g}): "
    )


def _list(kinds: Sequence[str]) -> str:
    names = [NAMES[k] for k in kinds]
    return ", ".join(names[:-1]) + " and " + names[-1]

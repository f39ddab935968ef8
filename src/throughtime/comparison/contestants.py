"""Further contestants: the mean of all trainings, a network on shuffled steps or on less data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean

import numpy as np

from throughtime.catalogue import label_of
from throughtime.comparison.bootstrap import Bootstrap, block_length, interval
from throughtime.comparison.evidence import (
    error_interval,
    learned,
    one_item,
    paired_samples,
    series_means,
)
from throughtime.comparison.experiment import Experiment
from throughtime.comparison.rounds import Trial
from throughtime.comparison.variants import SHARES, share_of
from throughtime.comparison.verdict import means_of, recall_of
from throughtime.runs import CurvePoint, TrialRecord, Verdict


def with_ensemble(
    verdict: Verdict,
    group: Sequence[TrialRecord],
    found: TrialRecord,
    *,
    experiment: Experiment,
    saved: bool,
) -> Verdict:
    """Add the mean of all trainings of the recommended network as one more contestant.

    Args:
        verdict: The verdict on single trainings.
        group: Records of these trainings.
        found: The record of the mean.
        experiment: The problem.
        saved: Whether it is the model that is saved.
    """
    name, count = label_of(verdict.recommended), len(group)
    horizon = experiment.record.horizon
    samples, difference = paired_samples([found], group, horizon, experiment.block)
    low, high = error_interval(samples, found.test_error or 0.0, experiment.share_of)
    less, more = interval(difference)
    own = next(c for c in verdict.candidates if c.kind == verdict.recommended)
    candidate = replace(
        own,
        members=count,
        validation_error=found.validation_error,
        error=found.test_error,
        low=low,
        high=high,
        relative=_relative(verdict, found.test_error or 0.0),
        error_last_step=found.error_by_step[-1],
        parameters=found.parameters,
        multiply_adds=found.multiply_adds,
        training_seconds=sum(t.training.seconds for t in group if t.training is not None),
        prediction_us=found.prediction_us,
        measures=dict(found.measures),
        recall=recall_of(found.confusion, tuple(experiment.record.classes)),
    )
    conclusion = "no difference that can be measured"
    if more < 0 or less > 0:
        conclusion = "better than one of them" if more < 0 else "worse than one of them"
    deployed = "it is the saved model" if saved else "--save ensemble saves it"
    reason = (
        f"The mean of the {count} trainings of {name} {found.test_error:.3g} against "
        f"{own.error:.3g} (difference {less:+.2g} to {more:+.2g}): {conclusion}, at {count} "
        f"times the cost; {deployed}."
    )
    return replace(verdict, ensemble=candidate, reasons=(*verdict.reasons, reason))


def _relative(verdict: Verdict, error: float) -> float | None:
    """An error relative to that of the reference; None if that is 0."""
    reference = next(c.error for c in verdict.candidates if c.kind == verdict.reference)
    return error / reference if reference else None


def to_shuffle(verdict: Verdict) -> str:
    """The network whose steps are shuffled: the recommended one, or that of the lowest validation.

    "" if no network trained without diverging.
    """
    networks = [c for c in verdict.candidates if not c.trivial and not c.diverged]
    if any(c.kind == verdict.recommended for c in networks):
        return verdict.recommended
    known = [(c.validation_error, c.kind) for c in networks if c.validation_error is not None]
    return min(known)[1] if known else ""


def with_shuffled(
    verdict: Verdict,
    ordered: Sequence[TrialRecord],
    shuffled: Sequence[TrialRecord],
    experiment: Experiment,
    worth: float,
) -> Verdict:
    """Say whether the order of steps matters, by a network trained and tested on shuffled ones.

    Args:
        verdict: The verdict so far.
        ordered: Trainings of the network on the data.
        shuffled: Its trainings on steps in random order.
        experiment: The problem.
        worth: Relative differences below it do not matter.
    """
    ordered, shuffled = learned(ordered), [t for t in shuffled if t.test_error is not None]
    if not ordered or not shuffled:
        return verdict
    own = next(c for c in verdict.candidates if c.kind == ordered[0].kind)
    samples, difference = paired_samples(shuffled, ordered, 1, experiment.block)
    classes = tuple(experiment.record.classes)
    error, before = mean(t.test_error or 0.0 for t in shuffled), own.error or 0.0
    low, high = error_interval(samples, error, experiment.share_of)
    less, more = interval(difference)
    candidate = replace(
        own,
        shuffled=True,
        seeds=len(shuffled),
        failed=0,
        validation_error=mean(t.validation_error or 0.0 for t in shuffled),
        error=error,
        low=low,
        high=high,
        relative=_relative(verdict, error),
        error_last_step=error,
        training_seconds=mean(t.training.seconds for t in shuffled if t.training is not None),
        measures=means_of([t.measures for t in shuffled]),
        recall=means_of([recall_of(t.confusion, classes) for t in shuffled]),
        not_converged="",
        steps_needed=None,
        health="",
    )
    name = label_of(own.kind)
    found = f"{error:.3g} with shuffled steps against {before:.3g} ({less:+.2g} to {more:+.2g})"
    if less > 0:
        conclusion = "the order of the steps matters."
    elif more <= max(worth * before, one_item(experiment.share_of)):
        conclusion = "their order does not matter: what a sequence contains is enough."
    elif own.not_converged:
        conclusion = "not trained enough to tell whether their order matters."
    else:
        conclusion = "no difference that can be measured; their order may matter or not."
    reason = f"{name} has {found}: {conclusion}"
    return replace(verdict, shuffled=candidate, reasons=(*verdict.reasons, reason))


def with_curve(
    verdict: Verdict, trials: Mapping[Trial, TrialRecord], experiment: Experiment
) -> Verdict:
    """Add the errors of networks that were trained on parts of the training data, and say them.

    Args:
        verdict: The verdict so far.
        trials: The trials on parts of the data, with their records.
        experiment: The problem.
    """
    points: list[CurvePoint] = []
    for percent in SHARES:
        items = experiment.with_share(percent / 100).record.windows[0]
        for candidate in verdict.candidates:
            group = [
                record
                for trial, record in trials.items()
                if (trial.kind, trial.variant) == (candidate.kind, share_of(percent))
            ]
            if group:
                points.append(_point(candidate.kind, percent / 100, items, group, experiment))
    whole = experiment.record.windows[0]
    points += [
        CurvePoint(c.kind, 1.0, whole, c.error, c.low, c.high)
        for c in verdict.candidates
        if not c.trivial
    ]
    return replace(
        verdict, curve=tuple(points), reasons=(*verdict.reasons, _curve_in_words(points))
    )


def _point(
    kind: str, share: float, items: int, group: Sequence[TrialRecord], experiment: Experiment
) -> CurvePoint:
    if any(t.test_error is None for t in group):
        return CurvePoint(kind, share, items, None, None, None)
    errors, series = np.array([t.error_by_item for t in group]), series_means(group)
    count = errors.shape[1]
    block = experiment.block or block_length(count, experiment.record.horizon)
    draw = Bootstrap(count, block, 0, 1 if series is None else len(series))
    error = float(errors.mean())
    low, high = error_interval(draw(errors, series), error, experiment.share_of)
    return CurvePoint(kind, share, items, error, low, high)


def _curve_in_words(points: Sequence[CurvePoint]) -> str:
    """The lowest error at each share of the data."""
    parts: list[str] = []
    for share in sorted({p.share for p in points}):
        known = [(p.error, p) for p in points if p.share == share and p.error is not None]
        if known:
            error, best = min(known, key=lambda pair: pair[0])
            parts.append(f"{100 * share:.0f} % ({best.items}) {label_of(best.kind)}, {error:.3g}")
    return f"Of networks trained on a part of the data, the lowest error has: {'; '.join(parts)}."

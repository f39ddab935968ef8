"""The trials of a comparison: rounds of tuning, then wider contexts, then all seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from throughtime.catalogue import MEMORIES, kind_of
from throughtime.comparison.experiment import Experiment
from throughtime.comparison.tuning import ROUND, suggested
from throughtime.hyperparameters import NOTHING_CHOSEN, Hyperparameters
from throughtime.network_records import EvaluationRecord, TrainingRecord
from throughtime.runs import SettingsRecord, TrialRecord
from throughtime.training.convergence import BEHIND

_GRACE = 500  # steps that every training may take: plateaus end late
_BEHIND = 1.2  # times the median error of finished trainings at the same step
_LONGER = 4  # times the steps of a training that had not converged
_WORTH = 0.99  # validation error of a wider context, relative to a narrower one's, that is better


@dataclass(frozen=True)
class Trial:
    """One trial to run."""

    kind: str
    seed: int = 0
    number: int = -1  # of the choices of its kind, in the order they were suggested; -1: trivial
    chosen: Hyperparameters = NOTHING_CHOSEN
    # what it must keep up with: (step, validation error) of finished rounds
    pace: tuple[tuple[int, float], ...] = ()
    variant: str = ""  # of the data, see `variants`

    @property
    def name(self) -> str:
        """The name of its folder."""
        if self.number < 0:
            return self.kind
        variant = f"-{self.variant}" if self.variant else ""
        return f"{self.kind}-{self.number}-seed{self.seed}{variant}"


def next_round(
    experiment: Experiment,
    settings: SettingsRecord,
    tuned: Mapping[str, Sequence[Trial]],
    known: Mapping[Trial, TrialRecord],
) -> list[Trial]:
    """The next tuning trials of every network; none when all have had their number."""
    found: list[Trial] = []
    for kind, before in tuned.items():
        count = min(ROUND, settings.trials - len(before))
        finished = [(t.chosen, known[t].validation_error) for t in before]
        results = [(chosen, error) for chosen, error in finished if error is not None]
        # with a budget, trainings have their full length, so that their time is known
        pace = () if settings.budget else pace_of([known[t].training for t in before])
        choices = suggested(
            experiment, kind, settings.given, results, len(before), count, settings.seeds[0]
        )
        found += [
            Trial(kind, settings.seeds[0], len(before) + n, chosen, pace)
            for n, chosen in enumerate(choices)
        ]
    return found


def widen(
    experiment: Experiment,
    settings: SettingsRecord,
    tuned: Mapping[str, list[Trial]],
    known: Mapping[Trial, TrialRecord],
    run: Callable[[list[Trial]], None],
) -> None:
    """Try wider contexts with the best network of each family.

    The first family, perceptrons over a window unless there are none, tries them all; the others
    the one that was best there, or the first. What helped is then tried with the whole family.
    """

    def add(trials: Sequence[Trial], contexts: Sequence[int]) -> None:
        batch: list[Trial] = []
        for trial in trials:
            for number, context in enumerate(contexts, start=len(tuned[trial.kind])):
                chosen = replace(trial.chosen, context=context)
                batch.append(replace(trial, number=number, chosen=chosen, pace=()))
        run(batch)
        for trial in batch:
            tuned[trial.kind].append(trial)

    def best_of(kinds: Sequence[str]) -> Trial:
        return best_trial([t for k in kinds for t in tuned[k]], known)

    by_memory = [[k for k in tuned if kind_of(k).memory == m] for m in MEMORIES if m != "none"]
    contexts = () if settings.budget else experiment.wider  # their time is not known beforehand
    for kinds in filter(None, by_memory):
        if not contexts:
            return
        add([best_of(kinds)], contexts)
        best = best_of(kinds)
        if best.chosen.context is not None:
            others = [best_of([k]) for k in kinds if k != best.kind]
            add(others, [best.chosen.context])
        contexts = (best.chosen.context or contexts[0],)


def best_trial(trials: Sequence[Trial], known: Mapping[Trial, TrialRecord]) -> Trial:
    """The lowest validation error; of contexts, the narrowest that is about as good."""
    least = min(validation_of(known[t]) for t in trials)
    good = [t for t in trials if validation_of(known[t]) * _WORTH <= least] or trials
    narrowest = min(t.chosen.context or 0 for t in good)
    alike = [t for t in good if (t.chosen.context or 0) == narrowest]
    return min(alike, key=lambda t: rank_of(known[t]))


def lengthen(
    settings: SettingsRecord,
    tuned: Mapping[str, list[Trial]],
    known: Mapping[Trial, TrialRecord],
    run: Callable[[list[Trial]], None],
) -> None:
    """Train the best of each network longer, if it had not converged."""
    if not settings.extend:
        return
    batch: list[Trial] = []
    for trials in tuned.values():
        best = best_trial(trials, known)
        reason = known[best].not_converged
        if reason and not reason.startswith(BEHIND):
            chosen = replace(best.chosen, longer=_LONGER)
            batch.append(replace(best, number=len(trials), chosen=chosen, pace=()))
    run(batch)
    for trial in batch:
        tuned[trial.kind].append(trial)


def pace_of(trainings: Sequence[TrainingRecord | None]) -> tuple[tuple[int, float], ...]:
    """At each step, the median of the lowest errors that finished trainings had until then."""
    curves = [t.evaluations for t in trainings if t is not None and t.best]
    steps = sorted({e.step for curve in curves for e in curve})
    found: list[tuple[int, float]] = []
    for step in steps:
        lowest = [
            min(e.validation_error for e in c if e.step <= step)
            for c in curves
            if c[0].step <= step
        ]
        if len(lowest) == len(curves):
            found.append((step, median(lowest)))
    return tuple(found)


def behind(pace: tuple[tuple[int, float], ...]) -> Callable[[Sequence[EvaluationRecord]], str]:
    """A check that ends a training far behind those of finished rounds (Golovin et al. 2017)."""

    def check(history: Sequence[EvaluationRecord]) -> str:
        step = history[-1].step
        known = [error for at, error in pace if at <= step]
        lowest = min(e.validation_error for e in history)
        if step >= _GRACE and known and lowest > _BEHIND * known[-1]:
            return f"{BEHIND} at step {step}"
        return ""

    return check


def rank_of(record: TrialRecord) -> tuple[float, float]:
    """Validation error, and what training was selected by, which separates equal shares."""
    training = record.training
    best = (
        training.evaluations[training.best - 1].validation_error
        if training and training.best
        else math.inf
    )
    return validation_of(record), best


def validation_of(record: TrialRecord) -> float:
    return math.inf if record.validation_error is None else record.validation_error

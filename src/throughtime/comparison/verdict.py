"""From trials to a verdict: selection, ties, and a recommendation with reasons.

Candidates are selected on the validation part and judged on the test part, so that luck on the test
part does not favour a candidate. Errors are paired: two candidates are measured on the same
origins, and their difference is judged.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median, median_low

import numpy as np

from throughtime.catalogue import MEMORIES, is_trivial, kind_of, label_of, reference_of
from throughtime.comparison.bootstrap import Bootstrap, block_length, interval
from throughtime.comparison.sizes import size_note
from throughtime.runs import ENOUGH_SEEDS, Candidate, TrialRecord, Verdict

ENOUGH = 10  # minimum number of origins in the test part for a verdict


@dataclass(frozen=True)
class _Errors:
    """Errors by network kind, without kinds whose every training diverged."""

    validation: Mapping[str, float]
    test: Mapping[str, float]
    samples: Mapping[str, np.ndarray]  # [SAMPLES] bootstrap samples of the test error
    # the same for networks that never diverged, corrected for the choice among them
    corrected: Mapping[str, np.ndarray]
    origins: int

    @property
    def trivial(self) -> list[str]:
        return [k for k in self.test if is_trivial(k)]

    def chosen(self, kinds: Sequence[str]) -> str:
        """The kind with the lowest validation error."""
        return min(kinds, key=lambda k: (self.validation[k], kind_of(k).cost))

    def difference(self, one: str, other: str) -> tuple[float, float]:
        """95 % interval of the paired difference of two test errors."""
        return interval(self.samples[one] - self.samples[other])

    def beats_the_trivial(self, kind: str) -> bool:
        return all(interval(self.corrected[kind] - self.samples[t])[1] < 0 for t in self.trivial)


def judge(
    trials: Sequence[TrialRecord],
    horizon: int,
    parameters: int,
    *,
    reference: str = "",
    block: int | None = None,
    answer: str = "forecast",
    looked: int = 0,
) -> Verdict:
    """Select on the validation part, judge on the test part, and recommend with reasons.

    >>> judge(record.trials, record.data.horizon, record.settings.parameters).headline
    'Use GRU: ...'

    The network with the lowest validation error must beat every trivial method significantly: the
    95 % interval of the paired difference lies below 0. Since all of them must be beaten, no
    correction for their number is needed (Berger 1982). Otherwise the trivial method with the
    lowest validation error is recommended. Networks that are not significantly worse than the best
    one, and also beat every trivial method, are tied with it; the one with the fewest multiply-adds
    is recommended. A network with any diverged training is excluded, because only its lucky seeds
    are left.

    Args:
        trials: Records of all trials.
        horizon: Steps forecast, for the bootstrap block length.
        parameters: Requested number of parameters of every network.
        reference: Trivial method that errors are relative to.
        block: Bootstrap block length, in items; default: from the horizon.
        answer: Noun for one prediction, used in the text.
        looked: Steps of the widest context that was tried; 0: not said.
    """
    by_kind: dict[str, list[TrialRecord]] = {}
    # sorted, so that the same trials always give the same samples
    for trial in sorted(trials, key=lambda t: (t.kind, t.seed)):
        by_kind.setdefault(trial.kind, []).append(trial)
    reference = reference or reference_of(kind for kind in by_kind if is_trivial(kind))
    measured = _measure(by_kind, horizon, block)
    candidates = {k: _candidate(k, g, measured, reference) for k, g in by_kind.items()}
    networks = list(measured.corrected)
    tied: tuple[str, ...] = ()
    if measured.origins >= ENOUGH and networks:
        best = measured.chosen(networks)
        if measured.beats_the_trivial(best):
            tied = tuple(
                k
                for k in networks
                if k == best
                or (measured.difference(best, k)[1] >= 0 and measured.beats_the_trivial(k))
            )
    recommended = min(
        tied or [measured.chosen(measured.trivial)],
        key=lambda k: (candidates[k].multiply_adds, kind_of(k).cost),
    )
    headline = _headline(measured, candidates, tied, recommended, answer)
    reasons = _reasons(measured, candidates, tied, recommended, parameters, answer)
    if looked and measured.origins >= ENOUGH:
        reasons = (
            *reasons,
            f"Contexts of up to {looked} steps were tried: of what lies further "
            "back nothing is said.",
        )
    return Verdict(
        outcome=("trivial", "network", "tie")[min(len(tied), 2)],
        recommended=recommended,
        headline=headline,
        reasons=reasons,
        reference=reference,
        tied=tied,
        candidates=tuple(
            sorted(
                candidates.values(),
                key=lambda c: (c.diverged > 0, math.inf if c.error is None else c.error),
            )
        ),
    )


def with_ensemble(
    verdict: Verdict,
    group: Sequence[TrialRecord],
    found: TrialRecord,
    *,
    horizon: int,
    block: int | None,
    saved: bool,
) -> Verdict:
    """Add the mean of all trainings of the recommended network as one more contestant.

    Args:
        verdict: The verdict on single trainings.
        group: Records of these trainings.
        found: The record of the mean.
        horizon: See `judge`.
        block: See `judge`.
        saved: Whether it is the model that is saved.
    """
    name, count = label_of(verdict.recommended), len(group)
    errors = np.array([found.error_by_origin])
    draw = Bootstrap(errors.shape[1], block or block_length(errors.shape[1], horizon), seed=0)
    samples, single = draw(errors), draw(np.array([t.error_by_origin for t in group]))
    (low, high), (less, more) = interval(samples), interval(samples - single)
    own = next(c for c in verdict.candidates if c.kind == verdict.recommended)
    candidate = replace(
        own,
        members=count,
        validation_error=found.validation_error,
        error=found.test_error,
        low=low,
        high=high,
        relative=None
        if not own.relative or not own.error or found.test_error is None
        else own.relative * found.test_error / own.error,
        error_last_step=found.error_by_step[-1],
        parameters=found.parameters,
        multiply_adds=found.multiply_adds,
        training_seconds=sum(t.training.seconds for t in group if t.training is not None),
        prediction_us=found.prediction_us,
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


def _measure(by_kind: Mapping[str, list[TrialRecord]], horizon: int, block: int | None) -> _Errors:
    finished = {k: [t for t in group if t.test_error is not None] for k, group in by_kind.items()}
    errors = {k: np.array([t.error_by_origin for t in g]) for k, g in finished.items() if g}
    networks = [k for k in errors if not is_trivial(k) and len(finished[k]) == len(by_kind[k])]
    origins = next(iter(errors.values())).shape[1]
    draw = Bootstrap(origins, block or block_length(origins, horizon), seed=0)
    return _Errors(
        validation={k: mean(t.validation_error or 0.0 for t in finished[k]) for k in errors},
        test={k: float(values.mean()) for k, values in errors.items()},
        samples={k: draw(values) for k, values in errors.items()},
        corrected={k: draw(errors[k], chosen_of=len(networks)) for k in networks},
        origins=origins,
    )


def _candidate(kind: str, group: list[TrialRecord], measured: _Errors, reference: str) -> Candidate:
    done = [t for t in group if t.test_error is not None]
    error = measured.test.get(kind)
    low, high = interval(measured.samples[kind]) if done else (None, None)
    needed = [t.context.horizon for t in group if t.context is not None]
    trainings = [t.training.seconds for t in group if t.training is not None]
    reference_error = measured.test[reference]
    return Candidate(
        kind=kind,
        trivial=is_trivial(kind),
        validation_error=measured.validation.get(kind),
        error=error,
        low=low,
        high=high,
        relative=None if error is None or not reference_error else error / reference_error,
        error_last_step=mean(t.error_by_step[-1] for t in done) if done else None,
        hidden_size=group[0].hidden_size,
        parameters=group[0].parameters,
        multiply_adds=group[0].multiply_adds,
        learning_rate=group[0].learning_rate,
        seeds=len(group),
        diverged=len(group) - len(done),
        steps_needed=int(median_low(needed)) if needed else None,
        health=_health(group),
        training_seconds=median(trainings) if trainings else 0.0,
        prediction_us=median(t.prediction_us for t in group),
        not_converged=_not_converged(group),
    )


def _not_converged(group: Sequence[TrialRecord]) -> str:
    """How many trainings had not converged, and why the first one had not."""
    reasons = [t.not_converged for t in group if t.not_converged]
    return f"{len(reasons)} of {len(group)}: {reasons[0]}" if reasons else ""


def _health(group: Sequence[TrialRecord]) -> str:
    """Verdicts on the recurrent layers, over seeds: "healthy", or "vanishing (2 of 5)"."""
    verdicts = [t.diagnosis.verdict for t in group if t.diagnosis is not None]
    unhealthy = Counter(verdict for verdict in verdicts if verdict != "healthy")
    if not verdicts or not unhealthy:
        return "healthy" if verdicts else ""
    return ", ".join(
        f"{verdict} ({n} of {len(verdicts)})" for verdict, n in unhealthy.most_common()
    )


def _headline(
    measured: _Errors,
    candidates: Mapping[str, Candidate],
    tied: Sequence[str],
    recommended: str,
    answer: str,
) -> str:
    name = label_of(recommended)
    if measured.origins < ENOUGH:
        items = "times" if answer == "forecast" else "items"
        return f"Too few test {items} to judge ({measured.origins}): use {name}."
    if not measured.corrected:
        return f"No network trains reliably here: use {name}."
    if tied:
        rival = min(measured.trivial, key=lambda k: measured.test[k])
        less = 100 * (1 - measured.test[recommended] / measured.test[rival])
        gain = f"its error is {less:.0f} % below {label_of(rival)}, the best trivial {answer}"
        headline = f"Use {name}: {gain}."
        if len(tied) > 1:
            headline = f"A tie: {_list(tied)}. Use {name}, the cheapest; {gain}."
    elif too_short := [k for k in measured.corrected if candidates[k].not_converged]:
        headline = (
            f"Not trained enough to tell whether a network beats the trivial {answer} "
            f"({_list(too_short)}): train longer (--steps and --patience, or "
            f"--epochs). Until then use {name}."
        )
    else:
        headline = f"No network beats the trivial {answer}: use {name}."
    seeds = min(candidates[k].seeds for k in measured.corrected)
    if seeds < ENOUGH_SEEDS:
        headline += (
            f" With {seeds} seed{'s' if seeds > 1 else ''} this holds for the networks as trained "
            f"here; the variation between seeds is unknown."
        )
    return headline


def _reasons(
    measured: _Errors,
    candidates: Mapping[str, Candidate],
    tied: Sequence[str],
    recommended: str,
    parameters: int,
    answer: str,
) -> tuple[str, ...]:
    """One sentence each about selection, cost, context, recurrence and health."""
    if measured.origins < ENOUGH:
        return ()
    networks = list(measured.corrected)
    reasons = _choice(measured, networks) + ([] if tied else _choice(measured, measured.trivial))
    if len(tied) > 1:
        others = ", ".join(
            f"{label_of(k)} {candidates[k].multiply_adds:,}" for k in tied if k != recommended
        )
        reasons.append(
            f"Of the tied networks {label_of(recommended)} has the fewest multiply-adds per "
            f"{answer}: {candidates[recommended].multiply_adds:,} ({others})."
        )
    notes = {
        c.kind: size_note(c.kind, c.parameters, parameters)
        for c in candidates.values()
        if not c.trivial
    }
    fair = [k for k in networks if notes[k] is None]
    by_memory = {m: [k for k in fair if kind_of(k).memory == m] for m in MEMORIES}
    memoryless, windowed, recurrent = by_memory.values()
    if memoryless and windowed + recurrent:
        one, best = measured.chosen(memoryless), measured.chosen(windowed + recurrent)
        low, _ = measured.difference(one, best)
        conclusion = "the past adds nothing that can be measured here."
        if low > 0:
            conclusion = "the past matters: a network that sees the current step alone falls short."
        reasons.append(_compare(measured, one, best) + conclusion)
    if windowed and recurrent:
        one, best = measured.chosen(windowed), measured.chosen(recurrent)
        low, high = measured.difference(one, best)
        conclusion = "recurrence adds nothing here."
        if low > 0:
            conclusion = "recurrence helps."
            if not tied:
                conclusion = f"recurrence helps, but not enough to beat the trivial {answer}."
        if low <= 0 <= high:
            conclusion = "recurrence makes no difference that can be measured here."
        reasons.append(_compare(measured, one, best) + conclusion)
    own = candidates[recommended]
    if own.steps_needed is not None:
        health = "" if own.health in ("", "healthy") else f"; its recurrent layers: {own.health}"
        reasons.append(
            f"{label_of(recommended)} needs the last {own.steps_needed} steps to do as well as "
            f"with all that it is given{health}."
        )
    for c in candidates.values():
        if c.not_converged:
            reasons.append(
                f"{label_of(c.kind)} could be better than it is here: trainings that had not "
                f"converged: {c.not_converged}."
            )
        if c.diverged:
            reasons.append(
                f"{label_of(c.kind)}: {c.diverged} of {c.seeds} trainings diverged; not "
                "recommended."
            )
    return (*reasons, *(note for note in notes.values() if note is not None))


def _choice(measured: _Errors, kinds: Sequence[str]) -> list[str]:
    """A note if another candidate than the selected one has the lowest test error."""
    if not kinds:
        return []
    chosen, better = measured.chosen(kinds), min(kinds, key=lambda k: measured.test[k])
    if better == chosen:
        return []
    low, high = measured.difference(chosen, better)
    one, other = label_of(chosen), label_of(better)
    conclusion = "which may be chance." if low <= 0 else "more than chance: the two parts disagree."
    return [
        f"Validation chose {one} ({measured.validation[chosen]:.3g} there; "
        f"{other} {measured.validation[better]:.3g}). On the test part {other} "
        f"has the lower error (difference {low:+.2g} to {high:+.2g}), {conclusion}"
    ]


def _compare(measured: _Errors, one: str, other: str) -> str:
    low, high = measured.difference(one, other)
    return (
        f"{label_of(one)} {measured.test[one]:.3g} against "
        f"{label_of(other)} {measured.test[other]:.3g} "
        f"(difference {low:+.2g} to {high:+.2g}): "
    )


def _list(kinds: Sequence[str]) -> str:
    names = [label_of(k) for k in kinds]
    return ", ".join(names[:-1]) + " and " + names[-1] if names[1:] else names[0]

"""From trials to a verdict: selection, ties, and a recommendation with reasons.

Candidates are selected on the validation part and judged on the test part, so that luck on the test
part does not favour a candidate. Errors are paired: two candidates are measured on the same
origins, and their difference is judged.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, median, median_low

from throughtime.catalogue import MEMORIES, is_trivial, kind_of, label_of, reference_of
from throughtime.comparison.evidence import Evidence, evidence_of, learned
from throughtime.comparison.sizes import size_note
from throughtime.runs import ENOUGH_SEEDS, Candidate, TrialRecord, Verdict

_OPEN = ("undecided", "untrained")  # outcomes in which a network may be recommended nevertheless


def judge(
    trials: Sequence[TrialRecord],
    horizon: int,
    parameters: int,
    *,
    reference: str = "",
    block: int | None = None,
    answer: str = "forecast",
    looked: int = 0,
    worth: float = 0.05,
    share_of: int = 0,
    rarest: int | None = None,
    classes: Sequence[str] = (),
) -> Verdict:
    """Judge on the test part, and recommend with reasons.

    >>> judge(record.trials, record.data.horizon, record.settings.parameters).headline
    'Use GRU: ...'

    A network is better if it beats every simple prediction significantly, by paired differences,
    corrected for the number of networks. Of the better ones, the lowest validation error is the
    best; those whose difference does not matter are tied with it, and the one with the fewest
    multiply-adds is recommended. If none is better, it is said why: none gains as much as matters;
    the evidence does not suffice; or the networks had not converged. Only in the first case a
    simple prediction is recommended for that reason; otherwise the lowest validation error is,
    the simpler one if the difference does not matter. A network with a diverged training is
    excluded, because only its lucky seeds are left. Trainings that stayed at chance while others
    of the network learned are reported, not averaged.

    Args:
        trials: Records of all trials.
        horizon: Steps forecast, for the bootstrap block length.
        parameters: Requested number of parameters of every network.
        reference: Trivial method that errors are relative to.
        block: Bootstrap block length, in items; default: from the horizon.
        answer: Noun for one prediction, used in the text.
        looked: Steps of the widest context that was tried; 0: not said.
        worth: Relative differences below it do not matter.
        share_of: Number of independent items that errors are shares of; 0: they are not.
        rarest: Items of the rarest class, if all classes count alike in the errors.
        classes: Names of the classes, for labels.
    """
    by_kind: dict[str, list[TrialRecord]] = {}
    # sorted, so that the same trials always give the same samples
    for trial in sorted(trials, key=lambda t: (t.kind, t.seed)):
        by_kind.setdefault(trial.kind, []).append(trial)
    reference = reference or reference_of(kind for kind in by_kind if is_trivial(kind))
    measured = evidence_of(by_kind, horizon, block=block, share_of=share_of, rarest=rarest)
    candidates = {k: candidate_of(k, g, measured, reference, classes) for k, g in by_kind.items()}
    outcome, tied = _outcome(measured, candidates, worth)
    everyone = [*measured.trivial, *(measured.networks if outcome in _OPEN else ())]
    recommended = _cheapest(measured, candidates, tied or measured.near(everyone, worth))
    headline = _headline(measured, candidates, outcome, tied, recommended, answer)
    reasons = _reasons(measured, candidates, tied, recommended, parameters, answer)
    if looked and not measured.few:
        reasons = (
            *reasons,
            f"Contexts of up to {looked} steps were tried: of what lies further "
            "back nothing is said.",
        )
    return Verdict(
        outcome=outcome,
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


def _outcome(
    measured: Evidence, candidates: Mapping[str, Candidate], worth: float
) -> tuple[str, tuple[str, ...]]:
    """One of OUTCOMES, and the networks that are tied for the first place."""
    if not measured.networks:
        return "trivial", ()
    if measured.few:
        return "undecided", ()
    if better := measured.better():
        best = measured.chosen(better)
        tied = tuple(k for k in better if k == best or measured.alike(best, k, worth))
        return ("network" if len(tied) == 1 else "tie"), tied
    solved = min(measured.test[k] for k in measured.trivial) == 0
    if not solved and any(candidates[k].not_converged for k in measured.networks):
        return "untrained", ()
    most = max(measured.gain(k)[1] for k in measured.rivals())
    return ("trivial" if most < worth else "undecided"), ()


def _cheapest(measured: Evidence, candidates: Mapping[str, Candidate], kinds: Sequence[str]) -> str:
    """The fewest multiply-adds; within 10 % of them the lowest validation error."""
    least = min(candidates[k].multiply_adds for k in kinds)
    return measured.chosen([k for k in kinds if candidates[k].multiply_adds <= 1.1 * least])


def candidate_of(
    kind: str,
    group: list[TrialRecord],
    measured: Evidence,
    reference: str,
    classes: Sequence[str],
) -> Candidate:
    finished = [t for t in group if t.test_error is not None]
    done = learned(group)
    error = measured.test.get(kind)
    low, high = measured.interval(kind) if done else (None, None)
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
        diverged=len(group) - len(finished),
        failed=len(finished) - len(done),
        steps_needed=int(median_low(needed)) if needed else None,
        steps_given=max((t.context.steps[-1] for t in group if t.context), default=None),
        health=_health(group),
        training_seconds=median(trainings) if trainings else 0.0,
        prediction_us=median(t.prediction_us for t in group),
        not_converged=_not_converged(done),
        measures=means_of([t.measures for t in done]),
        recall=means_of([recall_of(t.confusion, classes) for t in done]),
    )


def means_of(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over trainings, by name."""
    return {name: mean(one[name] for one in each) for name in (each[0] if each else ())}


def recall_of(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> dict[str, float]:
    """The share of each class that was recognized, of classes that occur in the test part."""
    rows = zip(classes, confusion, strict=False)
    return {name: row[k] / sum(row) for k, (name, row) in enumerate(rows) if sum(row)}


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
    measured: Evidence,
    candidates: Mapping[str, Candidate],
    outcome: str,
    tied: Sequence[str],
    recommended: str,
    answer: str,
) -> str:
    name = label_of(recommended)
    if not measured.networks:
        return f"No network trains reliably here: use {name}."
    if measured.few:
        items = "times" if answer == "forecast" else "items"
        items += "" if measured.few == measured.items else " of the rarest class"
        few = f"Too few test {items} to judge ({measured.few})"
        return f"{few}: use {name}, by its validation error."
    if tied:
        rival = min(measured.trivial, key=lambda k: measured.test[k])
        less = 100 * (1 - measured.test[recommended] / measured.test[rival])
        gain = f"its error is {less:.0f} % below {label_of(rival)}, the best simple {answer}"
        headline = f"Use {name}: {gain}."
        if len(tied) > 1:
            least = min(candidates[k].multiply_adds for k in tied)
            cheap = "the cheapest"
            if candidates[recommended].multiply_adds > least:
                cheap = "of the lowest validation error among the cheapest"
            headline = f"A tie: {_list(tied)}. Use {name}, {cheap}; {gain}."
    elif outcome == "untrained":
        too_short = [k for k in measured.networks if candidates[k].not_converged]
        headline = (
            f"Not trained enough to tell whether a network beats the simple {answer}s "
            f"({_list(too_short)}): train longer (--steps and --patience, or "
            f"--epochs). Until then use {name}."
        )
    else:
        best = max(measured.rivals(), key=lambda k: measured.gain(k)[1])
        low, high = (100 * value for value in measured.gain(best))
        headline = f"No network beats the simple {answer}s: use {name}."
        if outcome == "undecided":
            worse = f"worse by {-low:.0f} %" if low < -0.5 else "no better"
            headline = (
                f"Undecided: {label_of(best)} may be better than the best simple {answer} by up "
                f"to {high:.0f} %, or {worse}. Until there are more data, use {name}, by its "
                f"validation error."
            )
        elif high > 0:
            headline += f" A gain of more than {max(1, math.ceil(high))} % can be ruled out."
    seeds = min(candidates[k].seeds for k in measured.networks)
    if seeds < ENOUGH_SEEDS:
        headline += (
            f" With {seeds} seed{'s' if seeds > 1 else ''} this holds for the networks as trained "
            f"here; the variation between seeds is unknown."
        )
    return headline


def _reasons(
    measured: Evidence,
    candidates: Mapping[str, Candidate],
    tied: Sequence[str],
    recommended: str,
    parameters: int,
    answer: str,
) -> tuple[str, ...]:
    """One sentence each about selection, cost, context, recurrence and health."""
    if measured.few:
        return ()
    networks = list(measured.networks)
    reasons = _choice(measured, networks) + ([] if tied else _choice(measured, measured.trivial))
    if len(tied) > 1:
        others = ", ".join(
            f"{label_of(k)} {candidates[k].multiply_adds:,}" for k in tied if k != recommended
        )
        own, name = candidates[recommended].multiply_adds, label_of(recommended)
        least = own <= min(candidates[k].multiply_adds for k in tied)
        has = "has the fewest multiply-adds" if least else "is among those of about the fewest"
        has += "" if least else " multiply-adds"
        reasons.append(f"Of the tied networks {name} {has} per {answer}: {own:,} ({others}).")
    notes = {
        c.kind: size_note(c.kind, c.parameters, parameters)
        for c in candidates.values()
        if not c.trivial
    }
    fair = [k for k in networks if notes[k] is None]
    reasons += _on_memory(measured, candidates, fair, tied, answer)
    own = candidates[recommended]
    if tied and own.steps_needed is not None:
        health = "" if own.health in ("", "healthy") else f"; its recurrent layers: {own.health}"
        given, name = own.steps_given, label_of(recommended)
        needs = f"needs the last {own.steps_needed} steps to do as well as with all it is given"
        if own.steps_needed == 0:
            needs = "makes no use of its context"
        elif own.steps_needed == given:
            needs = f"needs all {given} steps that it is given"
            needs += ": a longer context may help" if answer == "forecast" else ""
        reasons.append(f"{name} {needs}{health}.")
    for c in candidates.values():
        if c.not_converged:
            reasons.append(
                f"{label_of(c.kind)} could be better than it is here: trainings that had not "
                f"converged: {c.not_converged}."
            )
        if c.failed:
            reasons.append(
                f"{label_of(c.kind)}: {c.failed} of {c.seeds} trainings did not learn; its error "
                "is that of the others."
            )
        if c.diverged:
            reasons.append(
                f"{label_of(c.kind)}: {c.diverged} of {c.seeds} trainings diverged; not "
                "recommended."
            )
    return (*reasons, *(note for note in notes.values() if note is not None))


def _on_memory(
    measured: Evidence,
    candidates: Mapping[str, Candidate],
    fair: Sequence[str],
    tied: Sequence[str],
    answer: str,
) -> list[str]:
    """Whether the past matters, and recurrence, by the best networks of each kind of memory."""
    reasons: list[str] = []
    by_memory = {m: [k for k in fair if kind_of(k).memory == m] for m in MEMORIES}
    memoryless, windowed, recurrent = by_memory.values()
    if memoryless and windowed + recurrent:
        one, best = measured.chosen(memoryless), measured.chosen(windowed + recurrent)
        low, _ = measured.difference(one, best)
        conclusion = "the past adds nothing that can be measured here."
        if candidates[best].not_converged:
            conclusion = "not trained enough to tell whether the past matters."
        if low > 0:
            conclusion = "the past matters: a network that sees the current step alone falls short."
        reasons.append(compared(measured, one, best) + conclusion)
    if windowed and recurrent:
        one, best = measured.chosen(windowed), measured.chosen(recurrent)
        low, high = measured.difference(one, best)
        conclusion = "recurrent networks do worse here."
        if low > 0:
            conclusion = "recurrence helps."
            if not tied:
                conclusion = f"recurrence helps, but not enough to beat the simple {answer}s."
        if low <= 0 <= high:
            conclusion = "recurrence makes no difference that can be measured here."
        if high < 0 and candidates[best].not_converged:
            conclusion = "recurrent networks were not trained enough to tell."
        if low > 0 and candidates[one].not_converged:
            conclusion = f"{label_of(one)} was not trained enough to tell whether recurrence helps."
        reasons.append(compared(measured, one, best) + conclusion)
    return reasons


def _choice(measured: Evidence, kinds: Sequence[str]) -> list[str]:
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


def compared(measured: Evidence, one: str, other: str) -> str:
    low, high = measured.difference(one, other)
    return (
        f"{label_of(one)} {measured.test[one]:.3g} against "
        f"{label_of(other)} {measured.test[other]:.3g} "
        f"(difference {low:+.2g} to {high:+.2g}): "
    )


def _list(kinds: Sequence[str]) -> str:
    names = [label_of(k) for k in kinds]
    return ", ".join(names[:-1]) + " and " + names[-1] if names[1:] else names[0]

"""From trials to a verdict: who is put to the test, ties, and a recommendation with its reason.

The validation part chooses and the test part judges, so nothing is recommended for having been
lucky on the part that judges it. Errors are compared item by item: two candidates are measured on
the same origins, and what is judged is the difference.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, median_low

import numpy as np

from throughtime.catalogue import MEMORIES, is_trivial, kind_of, label_of, reference_of
from throughtime.comparison.bootstrap import Bootstrap, block_length, interval
from throughtime.comparison.sizes import size_note
from throughtime.runs import ENOUGH_SEEDS, Candidate, TrialRecord, Verdict

ENOUGH = 10  # origins in the test part; with fewer nothing can be said


@dataclass(frozen=True)
class _Measured:
    """Errors by kind; a kind whose every training diverged is in none of them."""

    validation: Mapping[str, float]
    test: Mapping[str, float]
    samples: Mapping[str, np.ndarray]  # [SAMPLES] what the test error may be
    # the same of the networks that never diverged, less what choosing among them owes to luck
    without_luck: Mapping[str, np.ndarray]
    origins: int

    @property
    def trivial(self) -> list[str]:
        return [k for k in self.test if is_trivial(k)]

    def chosen(self, kinds: Sequence[str]) -> str:
        """Validation's choice."""
        return min(kinds, key=lambda k: (self.validation[k], kind_of(k).cost))

    def difference(self, one: str, other: str) -> tuple[float, float]:
        """95 % interval of the paired difference of two test errors."""
        return interval(self.samples[one] - self.samples[other])

    def beats_the_trivial(self, kind: str) -> bool:
        return all(interval(self.without_luck[kind] - self.samples[t])[1] < 0 for t in self.trivial)


def judge(
    trials: Sequence[TrialRecord],
    horizon: int,
    parameters: int,
    *,
    reference: str = "",
    block: int | None = None,
    answer: str = "forecast",
) -> Verdict:
    """Choose on the validation part, judge on the test part, and say which to use, and why.

    >>> judge(record.trials, record.data.horizon, record.settings.parameters).headline
    'Use GRU: ...'

    The network with the lowest validation error must beat every trivial forecast by more than
    chance (the 95 % interval of the paired difference lies below 0; as none may be left unbeaten,
    their number needs no correction: Berger 1982), or the trivial forecast with the lowest
    validation error is recommended. Networks that are not shown to be worse, and beat every trivial
    forecast too, are tied with it, and the one with the fewest multiply-adds is recommended. A
    network of which a training diverged is out: what is left of it are its lucky seeds.
    ``parameters`` is what every network was to have; ``reference`` the trivial answer that errors
    are relative to; ``block`` how many neighbouring items err alike, where the horizon does not
    tell; ``answer`` what one of their answers is called.
    """
    by_kind: dict[str, list[TrialRecord]] = {}
    # in one order, so that the same trials always draw the same samples
    for trial in sorted(trials, key=lambda t: (t.kind, t.seed)):
        by_kind.setdefault(trial.kind, []).append(trial)
    reference = reference or reference_of(kind for kind in by_kind if is_trivial(kind))
    measured = _measure(by_kind, horizon, block)
    candidates = {k: _candidate(k, g, measured, reference) for k, g in by_kind.items()}
    networks = list(measured.without_luck)
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
    return Verdict(
        outcome=("trivial", "network", "tie")[min(len(tied), 2)],
        recommended=recommended,
        headline=_headline(measured, candidates, tied, recommended, answer),
        reasons=_reasons(measured, candidates, tied, recommended, parameters, answer),
        reference=reference,
        tied=tied,
        candidates=tuple(
            sorted(
                candidates.values(),
                key=lambda c: (c.diverged > 0, math.inf if c.error is None else c.error),
            )
        ),
    )


def _measure(
    by_kind: Mapping[str, list[TrialRecord]], horizon: int, block: int | None
) -> _Measured:
    finished = {k: [t for t in group if t.test_error is not None] for k, group in by_kind.items()}
    errors = {k: np.array([t.error_by_origin for t in g]) for k, g in finished.items() if g}
    networks = [k for k in errors if not is_trivial(k) and len(finished[k]) == len(by_kind[k])]
    origins = next(iter(errors.values())).shape[1]
    draw = Bootstrap(origins, block or block_length(origins, horizon), seed=0)
    return _Measured(
        validation={k: mean(t.validation_error or 0.0 for t in finished[k]) for k in errors},
        test={k: float(values.mean()) for k, values in errors.items()},
        samples={k: draw(values) for k, values in errors.items()},
        without_luck={k: draw(errors[k], chosen_of=len(networks)) for k in networks},
        origins=origins,
    )


def _candidate(
    kind: str, group: list[TrialRecord], measured: _Measured, reference: str
) -> Candidate:
    done = [t for t in group if t.test_error is not None]
    error = measured.test.get(kind)
    low, high = interval(measured.samples[kind]) if done else (None, None)
    needed = [t.context.horizon for t in group if t.context is not None]
    trainings = [t.training.seconds for t in group if t.training is not None]
    beside = measured.test[reference]
    return Candidate(
        kind=kind,
        trivial=is_trivial(kind),
        validation_error=measured.validation.get(kind),
        error=error,
        low=low,
        high=high,
        relative=None if error is None or not beside else error / beside,
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
    )


def _health(group: Sequence[TrialRecord]) -> str:
    """Verdicts on the recurrent layers, over seeds: "healthy", or "vanishing (2 of 5)"."""
    verdicts = [t.diagnosis.verdict for t in group if t.diagnosis is not None]
    ill = Counter(verdict for verdict in verdicts if verdict != "healthy")
    if not verdicts or not ill:
        return "healthy" if verdicts else ""
    return ", ".join(f"{verdict} ({n} of {len(verdicts)})" for verdict, n in ill.most_common())


def _headline(
    measured: _Measured,
    candidates: Mapping[str, Candidate],
    tied: Sequence[str],
    recommended: str,
    answer: str,
) -> str:
    name = label_of(recommended)
    if measured.origins < ENOUGH:
        items = "times" if answer == "forecast" else "items"
        return f"Too little to judge by ({measured.origins} test {items}): use {name}."
    if not measured.without_luck:
        return f"No network trains reliably here: use {name}."
    if tied:
        rival = min(measured.trivial, key=lambda k: measured.test[k])
        less = 100 * (1 - measured.test[recommended] / measured.test[rival])
        gain = f"its error is {less:.0f} % below {label_of(rival)}, the best trivial {answer}"
        headline = f"Use {name}: {gain}."
        if len(tied) > 1:
            headline = f"A tie: {_list(tied)}. Use {name}, the cheapest; {gain}."
    else:
        headline = f"None beats the trivial {answer}: use {name}."
    seeds = min(candidates[k].seeds for k in measured.without_luck)
    if seeds < ENOUGH_SEEDS:
        headline += (
            f" With {seeds} seed{'s' if seeds > 1 else ''} this holds for the networks as trained "
            f"here; how much another seed would change is unknown."
        )
    return headline


def _reasons(
    measured: _Measured,
    candidates: Mapping[str, Candidate],
    tied: Sequence[str],
    recommended: str,
    parameters: int,
    answer: str,
) -> tuple[str, ...]:
    """What the numbers say about choice, cost, context, recurrence and health; a sentence each."""
    if measured.origins < ENOUGH:
        return ()
    networks = list(measured.without_luck)
    reasons = _choice(measured, networks) + ([] if tied else _choice(measured, measured.trivial))
    if len(tied) > 1:
        each = f"an {answer}" if answer == "answer" else f"a {answer}"
        others = ", ".join(
            f"{label_of(k)} {candidates[k].multiply_adds:,}" for k in tied if k != recommended
        )
        reasons.append(
            f"Of the tied networks {label_of(recommended)} takes the fewest multiply-adds {each}: "
            f"{candidates[recommended].multiply_adds:,} ({others})."
        )
    notes = {
        c.kind: size_note(c.kind, c.hidden_size, c.parameters, parameters)
        for c in candidates.values()
        if not c.trivial
    }
    fair = [k for k in networks if notes[k] is None]
    by_memory = {m: [k for k in fair if kind_of(k).memory == m] for m in MEMORIES}
    blind, windowed, recurrent = by_memory.values()
    if blind and windowed + recurrent:
        one, best = measured.chosen(blind), measured.chosen(windowed + recurrent)
        low, _ = measured.difference(one, best)
        says = "the past adds nothing that can be measured here."
        if low > 0:
            says = "the past matters: a network that sees the current step alone falls short."
        reasons.append(_compare(measured, one, best) + says)
    if windowed and recurrent:
        one, best = measured.chosen(windowed), measured.chosen(recurrent)
        low, high = measured.difference(one, best)
        says = "recurrence adds nothing here."
        if low > 0:
            says = "recurrence helps" + (": it earns its place." if tied else ", but not enough.")
        if low <= 0 <= high:
            says = "recurrence makes no difference that can be measured here."
        reasons.append(_compare(measured, one, best) + says)
    own = candidates[recommended]
    if own.steps_needed is not None:
        health = "" if own.health in ("", "healthy") else f"; its recurrent layers: {own.health}"
        reasons.append(
            f"{label_of(recommended)} needs the last {own.steps_needed} steps to do as well as "
            f"with all that it is given{health}."
        )
    for c in candidates.values():
        if c.diverged:
            reasons.append(
                f"{label_of(c.kind)}: {c.diverged} of {c.seeds} trainings diverged; not "
                "recommended."
            )
    return (*reasons, *(note for note in notes.values() if note is not None))


def _choice(measured: _Measured, kinds: Sequence[str]) -> list[str]:
    """Why validation's choice stands where another has the lower test error."""
    if not kinds:
        return []
    chosen, better = measured.chosen(kinds), min(kinds, key=lambda k: measured.test[k])
    if better == chosen:
        return []
    low, high = measured.difference(chosen, better)
    one, other = label_of(chosen), label_of(better)
    said = "which may be chance." if low <= 0 else "beyond chance: the two parts disagree."
    return [
        f"Validation chose {one} ({measured.validation[chosen]:.3g} there; "
        f"{other} {measured.validation[better]:.3g}). On the test part {other} "
        f"errs less (difference {low:+.2g} to {high:+.2g}), {said}"
    ]


def _compare(measured: _Measured, one: str, other: str) -> str:
    low, high = measured.difference(one, other)
    return (
        f"{label_of(one)} {measured.test[one]:.3g} against "
        f"{label_of(other)} {measured.test[other]:.3g} "
        f"(difference {low:+.2g} to {high:+.2g}): "
    )


def _list(kinds: Sequence[str]) -> str:
    names = [label_of(k) for k in kinds]
    return ", ".join(names[:-1]) + " and " + names[-1]

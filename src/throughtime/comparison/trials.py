"""Trials with the same data, budget and size for every network, saved on disk.

Every network gets the same number of parameters, the same candidate learning rates and the same
seeds. The learning rate is selected on the validation part, with the first seed. A trial runs on
one thread, so its result does not depend on how many trials run in parallel. A finished trial is
read from disk instead of being run again.
"""

import hashlib
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch

from throughtime import __version__
from throughtime.bounded_reads import read_regular
from throughtime.catalogue import MEMORIES, is_trivial, kind_of, order_of
from throughtime.comparison.experiment import Evaluation, Experiment
from throughtime.comparison.own_code import fingerprint_of_own
from throughtime.comparison.tuning import ROUND, suggested
from throughtime.comparison.verdict import judge
from throughtime.comparison.workers import side_by_side
from throughtime.deploy import storage
from throughtime.errors import InputError
from throughtime.files import alone_in, is_left_over, write_whole
from throughtime.hyperparameters import NOTHING_CHOSEN, Hyperparameters
from throughtime.problem_kinds import PROBLEMS
from throughtime.runs import (
    ComparisonRecord,
    DataRecord,
    EvaluationRecord,
    SettingsRecord,
    TrainingRecord,
    TrialRecord,
    kinds_of,
    read_record,
    write_record,
)
from throughtime.serialization import to_json
from throughtime.training.convergence import BEHIND
from throughtime.training.loop import train
from throughtime.training.random_state import seeded
from throughtime.training.settings import TrainingSettings

T = TypeVar("T")

_GRACE = 500  # steps that every training may take: plateaus end late
_BEHIND = 1.2  # times the median error of finished trainings at the same step
_WORTH = 0.99  # validation error of a wider context, relative to a narrower one's, that is better
_ORIGINS = 2000  # maximum number of saved errors per trial; neighbours in time are averaged


@dataclass(frozen=True)
class Trial:
    """One trial to run."""

    kind: str
    seed: int = 0
    number: int = -1  # of the choices of its kind, in the order they were suggested; -1: trivial
    chosen: Hyperparameters = NOTHING_CHOSEN
    # what it must keep up with: (step, validation error) of finished rounds
    pace: tuple[tuple[int, float], ...] = ()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.kind if self.number < 0 else f"{self.kind}-{self.number}-seed{self.seed}"


@dataclass(frozen=True)
class Progress:
    """Progress of a comparison, reported at every evaluation and after every trial."""

    trial: str
    evaluation: EvaluationRecord | None  # None: the trial is finished
    done: int  # finished trials
    total: int  # trials


def compare(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    *,
    jobs: int = 1,
    command: str = "",
    watch: Callable[[Progress], None] | None = None,
) -> ComparisonRecord:
    """Run the missing trials of a comparison, judge them, write `comparison.json` and `model/`.

    >>> record = compare(experiment_of(problem), settings, Path("throughtime-runs/co2"))
    >>> record.verdict.headline

    ``jobs`` processes run in parallel. ``watch`` is called at every evaluation and after every
    trial. Raises InputError if the folder holds another comparison or another process uses it.
    """
    began = time.perf_counter()
    identity = comparison_identity(experiment.record, settings)
    check_claim(folder, identity)
    with alone_in(folder):
        check_claim(folder, identity)  # another process may have claimed it meanwhile
        write_whole(folder / _MARK, identity)
        return _run(experiment, settings, folder, jobs, command, watch, began)


def _run(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    jobs: int,
    command: str,
    watch: Callable[[Progress], None] | None,
    began: float,
) -> ComparisonRecord:
    """Run a comparison in a folder that this process has locked."""
    finished = _read_if_whole(folder / "comparison.json", ComparisonRecord)
    if finished is not None and (folder / "model").is_dir():
        return finished
    trivial = [Trial(kind) for kind in experiment.trivial_kinds()]
    each = settings.trials + len(settings.seeds) - 1
    total = len(trivial) + len(settings.networks) * each
    known: dict[Trial, TrialRecord] = {}

    def report(trial: Trial, evaluation: EvaluationRecord | None) -> None:
        if watch is not None:
            watch(Progress(trial.name, evaluation, len(known), total))

    def run(batch: list[Trial]) -> None:
        for trial in batch:
            record = _read_if_whole(folder / "trials" / trial.name / "record.json", TrialRecord)
            if record is not None:
                known[trial] = record
        # slowest first, so that no process is left with a long trial at the end
        todo = sorted((s for s in batch if s not in known), key=lambda s: -kind_of(s.kind).cost)
        for trial, record in run_all(todo):
            known[trial] = record
            report(trial, None)

    tuned: dict[str, list[Trial]] = {kind: [] for kind in settings.networks}
    with side_by_side(run_trial, experiment, settings, folder, jobs, report) as run_all:
        run(trivial)
        while batch := _next_round(experiment, settings, tuned, known):
            run(batch)
            for trial in batch:
                tuned[trial.kind].append(trial)
        _widen(experiment, tuned, known, run)
        chosen = [_best(tuned[k], known) for k in settings.networks]
        run([replace(best, seed=seed, pace=()) for best in chosen for seed in settings.seeds[1:]])

    looked = max((known[t].chosen.context or 0 for t in known), default=0)
    used = {(t.kind, t.number) for t in (*trivial, *chosen)}
    trials = {t: known[t] for t in sorted(known, key=_order) if (t.kind, t.number) in used}
    verdict = judge(
        list(trials.values()),
        experiment.record.horizon,
        settings.parameters,
        reference=experiment.reference,
        block=experiment.block,
        answer=PROBLEMS[experiment.record.kind].answer,
        looked=max(looked, experiment.record.context if experiment.wider else 0),
    )
    winner = min(
        (s for s in trials if s.kind == verdict.recommended), key=lambda s: _validation(trials[s])
    )
    model, _ = storage.load(folder / "trials" / winner.name / "model")
    experiment.save(model, folder / "model", verdict.headline)
    record = ComparisonRecord(
        version=__version__,
        versions=versions(),
        threads=1,
        cpu=platform.processor() or platform.machine(),
        command=command,
        data=experiment.record,
        settings=settings,
        unit=experiment.unit,
        sample=experiment.folds()[-1].sample(settings.normalize),
        seconds=time.perf_counter() - began,
        trials=tuple(trials.values()),
        verdict=verdict,
        kinds=kinds_of(settings.networks),
    )
    write_record(folder / "comparison.json", record)
    return record


def _next_round(
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
        pace = _pace([known[t].training for t in before])
        choices = suggested(
            experiment, kind, settings.given, results, len(before), count, settings.seeds[0]
        )
        found += [
            Trial(kind, settings.seeds[0], len(before) + n, chosen, pace)
            for n, chosen in enumerate(choices)
        ]
    return found


def _widen(
    experiment: Experiment,
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
        return _best([t for k in kinds for t in tuned[k]], known)

    by_memory = [[k for k in tuned if kind_of(k).memory == m] for m in MEMORIES if m != "none"]
    contexts = experiment.wider
    for kinds in filter(None, by_memory):
        if not contexts:
            return
        add([best_of(kinds)], contexts)
        best = best_of(kinds)
        if best.chosen.context is not None:
            others = [best_of([k]) for k in kinds if k != best.kind]
            add(others, [best.chosen.context])
        contexts = (best.chosen.context or contexts[0],)


def _best(trials: Sequence[Trial], known: Mapping[Trial, TrialRecord]) -> Trial:
    """The lowest validation error; of contexts, the narrowest that is about as good."""
    least = min(_validation(known[t]) for t in trials)
    good = [t for t in trials if _validation(known[t]) * _WORTH <= least] or trials
    narrowest = min(t.chosen.context or 0 for t in good)
    alike = [t for t in good if (t.chosen.context or 0) == narrowest]
    return min(alike, key=lambda t: _rank(known[t]))


def _pace(trainings: Sequence[TrainingRecord | None]) -> tuple[tuple[int, float], ...]:
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


def _behind(pace: tuple[tuple[int, float], ...]) -> Callable[[Sequence[EvaluationRecord]], str]:
    """A check that ends a training far behind those of finished rounds (Golovin et al. 2017)."""

    def check(history: Sequence[EvaluationRecord]) -> str:
        step = history[-1].step
        known = [error for at, error in pace if at <= step]
        lowest = min(e.validation_error for e in history)
        if step >= _GRACE and known and lowest > _BEHIND * known[-1]:
            return f"{BEHIND} at step {step}"
        return ""

    return check


def comparison_identity(data: DataRecord, settings: SettingsRecord) -> str:
    """A fingerprint of everything that a comparison's numbers depend on."""
    # the path and the options as written do not change the data
    anywhere = to_json(replace(data, path="", options={}))
    own = fingerprint_of_own((*settings.networks, settings.output))
    return hashlib.sha256((__version__ + anywhere + to_json(settings) + own).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, torch and numpy."""
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def run_trial(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    trial: Trial,
    watch: Callable[[EvaluationRecord], None],
) -> TrialRecord:
    """Run one trial: build, train and measure the model; write it and its record."""
    folds = experiment.folds()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found: list[Evaluation] = []
        trainings: list[TrainingRecord | None] = []
        model: Any = None
        for fold in folds:
            with seeded(trial.seed):
                model, training = _trained(fold, settings, trial, watch)
            found.append(fold.measured(model))
            trainings.append(training)
        last = folds[-1]
        record = _recorded(last, trial, model, trainings, _combined(found))
    finally:
        torch.set_num_threads(threads)
    home = folder / "trials" / trial.name
    last.save(model, home / "model", "")
    write_record(home / "record.json", record)
    return record


def _trained(
    experiment: Experiment,
    settings: SettingsRecord,
    trial: Trial,
    watch: Callable[[EvaluationRecord], None],
) -> tuple[Any, TrainingRecord | None]:
    chosen = trial.chosen if trial.number >= 0 else experiment.usual(trial.kind)
    config = experiment.config(trial.kind, chosen, settings.parameters, settings.output)
    model = experiment.build(config)
    if is_trivial(trial.kind):
        return model, None
    options = TrainingSettings(
        learning_rate=chosen.learning_rate or 0.0,
        steps=settings.steps,
        epochs=settings.epochs,
        batch_size=chosen.batch_size,
        clip=settings.clip,
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay,
        patience=settings.patience,
    )
    options = options.resolved(experiment.items)
    task = experiment.task(model, options.batch_size or 1, trial.seed)
    return model, train(task, options, watch=watch, stop=_behind(trial.pace)).record


def _recorded(
    experiment: Experiment,
    trial: Trial,
    model: Any,
    trainings: Sequence[TrainingRecord | None],
    found: Evaluation,
) -> TrialRecord:
    """The record of a trial; it is diverged if any fold diverged."""
    training = trainings[-1]
    numbers = (found.validation_error, *found.error_by_origin.tolist(), *found.forecast)
    diverged = any(t is not None and t.best == 0 for t in trainings)
    diverged = diverged or not all(math.isfinite(number) for number in numbers)
    diagnosis = experiment.diagnosis(model)
    return TrialRecord(
        kind=trial.kind,
        seed=trial.seed,
        learning_rate=trial.chosen.learning_rate or 0.0,
        hidden_size=0 if is_trivial(trial.kind) else model.config.hidden_size,
        parameters=model.parameter_count(),
        multiply_adds=experiment.multiply_adds(model),
        training=training,
        validation_error=None if diverged else found.validation_error,
        test_error=None if diverged else found.test_error,
        error_by_step=() if diverged else tuple(found.error_by_step.tolist()),
        error_by_origin=() if diverged else averaged(found.error_by_origin),
        forecast=() if diverged else found.forecast,
        prediction_us=1e6 * experiment.seconds_of_one(model),
        context=None if diverged else experiment.context(model),
        diagnosis=diagnosis,
        not_converged="" if training is None else experiment.not_converged(training, diagnosis),
        measures={} if diverged else found.measures or {},
        chosen=trial.chosen,
    )


def _combined(folds: Sequence[Evaluation]) -> Evaluation:
    """Combine the folds of a rolling origin: errors over all folds, the rest from the last one.

    The validation error is that of the first fold. The validation parts of later folds overlap the
    test parts of earlier ones.
    """
    last = folds[-1]
    if len(folds) == 1:
        return last
    weights = [len(fold.error_by_origin) for fold in folds]
    return replace(
        last,
        validation_error=folds[0].validation_error,
        test_error=float(np.average([f.test_error for f in folds], weights=weights)),
        error_by_step=np.average([f.error_by_step for f in folds], axis=0, weights=weights),
        error_by_origin=np.concatenate([f.error_by_origin for f in folds]),
    )


def averaged(found: np.ndarray) -> tuple[float, ...]:
    """Errors reduced to at most `_ORIGINS` values, as means of neighbours."""
    together = math.ceil(len(found) / _ORIGINS)
    pieces = np.split(found, range(together, len(found), together))
    return tuple(float(part.mean()) for part in pieces)


def _rank(record: TrialRecord) -> tuple[float, float]:
    """Validation error, and what training was selected by, which separates equal shares."""
    training = record.training
    best = (
        training.evaluations[training.best - 1].validation_error
        if training and training.best
        else math.inf
    )
    return _validation(record), best


def _validation(record: TrialRecord) -> float:
    return math.inf if record.validation_error is None else record.validation_error


def _read_if_whole(path: Path, kind: type[T]) -> T | None:
    """The record, or None if it is missing or damaged and must be computed again."""
    try:
        return read_record(path, kind)
    except InputError:
        return None


def _order(trial: Trial) -> tuple[int, int]:
    return order_of(trial.kind), trial.seed


_MARK = "identity"


def check_claim(folder: Path, identity: str) -> None:
    """Raise InputError unless the folder is empty or already holds this comparison."""
    mark = folder / _MARK
    for path in folder.rglob("*") if mark.exists() else ():
        if path.is_symlink():  # writing to it would write outside the folder
            raise InputError(str(path), "is a symbolic link inside a run", "remove it")
    others = [p for p in folder.iterdir() if not is_left_over(p, mark)] if folder.is_dir() else []
    if not mark.exists():
        if [p for p in others if p.name != "lock"]:
            raise InputError(str(folder), "holds other files", "name a new folder with --out")
    elif read_regular(mark, most=1000) != identity.encode():
        raise InputError(
            str(folder),
            "holds another comparison (other data, settings or version)",
            "name another folder with --out, or remove this one",
        )

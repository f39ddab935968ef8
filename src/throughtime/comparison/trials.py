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
from typing import Any, TypeVar

import numpy as np
import torch

from throughtime import __version__
from throughtime.bounded_reads import read_regular
from throughtime.catalogue import is_trivial, kind_of, order_of
from throughtime.comparison.budget import planned
from throughtime.comparison.ensembles import averaged, model_to_save
from throughtime.comparison.experiment import Evaluation, Experiment
from throughtime.comparison.own_code import fingerprint_of_own
from throughtime.comparison.rounds import Trial, behind, best_trial, lengthen, next_round, widen
from throughtime.comparison.verdict import judge
from throughtime.comparison.workers import side_by_side
from throughtime.errors import InputError
from throughtime.files import alone_in, is_left_over, write_whole
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
from throughtime.training.loop import train
from throughtime.training.random_state import seeded
from throughtime.training.settings import TrainingSettings

T = TypeVar("T")


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
        settings = planned(experiment, settings, folder, jobs, began, run_trial)
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
        before = (finished.settings.save, finished.settings.worth)
        if before == (settings.save, settings.worth):
            return finished
    trivial = [Trial(kind) for kind in experiment.trivial_kinds()]
    each = settings.trials + len(settings.seeds) - 1
    total = len(trivial) + len(settings.networks) * each
    known: dict[Trial, TrialRecord] = {}

    def report(trial: Trial, evaluation: EvaluationRecord | None) -> None:
        if watch is not None:
            # wider contexts and longer trainings come on top, as results ask for them
            watch(Progress(trial.name, evaluation, len(known), max(total, len(known))))

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

    stages: list[tuple[str, float]] = []

    def ended(stage: str) -> None:
        stages.append((stage, time.perf_counter() - began - sum(s for _, s in stages)))

    ended("preparation")
    tuned: dict[str, list[Trial]] = {kind: [] for kind in settings.networks}
    with side_by_side(run_trial, experiment, settings, folder, jobs, report) as run_all:
        run(trivial)
        ended("simple predictions")
        while batch := next_round(experiment, settings, tuned, known):
            run(batch)
            for trial in batch:
                tuned[trial.kind].append(trial)
        ended("tuning")
        widen(experiment, settings, tuned, known, run)
        ended("wider contexts")
        lengthen(settings, tuned, known, run)
        ended("longer trainings")
        chosen = [best_trial(tuned[k], known) for k in settings.networks]
        run([replace(best, seed=seed, pace=()) for best in chosen for seed in settings.seeds[1:]])
    ended("further seeds")

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
        worth=settings.worth,
        shares=experiment.shares,
        classes=tuple(experiment.record.classes),
        looked=max(looked, experiment.record.context if experiment.wider else 0),
    )
    model, verdict = model_to_save(experiment, settings, folder, trials, verdict)
    experiment.save(model, folder / "model", verdict.headline)
    ended("verdict and model")
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
        stages=tuple(stages),
    )
    write_record(folder / "comparison.json", record)
    return record


def comparison_identity(data: DataRecord, settings: SettingsRecord) -> str:
    """A fingerprint of everything that a comparison's numbers depend on."""
    # the path and the options as written do not change the data
    anywhere = to_json(replace(data, path="", options={}))
    # what is saved, and what matters, does not change any trial
    settings = replace(settings, save="single", worth=0.0)
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
    if chosen.longer is not None and options.steps is not None:
        options = replace(options, steps=chosen.longer * options.steps)
    task = experiment.task(model, options.batch_size or 1, trial.seed)
    return model, train(task, options, watch=watch, stop=behind(trial.pace)).record


def _recorded(
    experiment: Experiment,
    trial: Trial,
    model: Any,
    trainings: Sequence[TrainingRecord | None],
    found: Evaluation,
) -> TrialRecord:
    """The record of a trial; it is diverged if any fold diverged."""
    training = trainings[-1]
    numbers = (found.validation_error, *found.error_by_item.tolist(), *found.forecast)
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
        error_by_item=() if diverged else averaged(found.error_by_item),
        forecast=() if diverged else found.forecast,
        prediction_us=1e6 * experiment.seconds_of_one(model),
        context=None if diverged else experiment.context(model),
        diagnosis=diagnosis,
        not_converged="" if training is None else experiment.not_converged(training, diagnosis),
        measures={} if diverged else found.measures,
        error_by_series={} if diverged else found.error_by_series,
        confusion=() if diverged else found.confusion,
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
    weights = [len(fold.error_by_item) for fold in folds]

    def means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {
            name: float(np.average([one[name] for one in each], weights=weights))
            for name in each[0]
            if all(name in one for one in each)
        }

    return replace(
        last,
        validation_error=folds[0].validation_error,
        test_error=float(np.average([f.test_error for f in folds], weights=weights)),
        error_by_step=np.average([f.error_by_step for f in folds], axis=0, weights=weights),
        error_by_item=np.concatenate([f.error_by_item for f in folds]),
        error_by_series=means([f.error_by_series for f in folds]),
        measures=means([f.measures for f in folds]),
    )


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

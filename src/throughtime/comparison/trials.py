"""Fair trials: the same data, budget and size for every network, each result kept on disk.

Every network gets the same number of parameters, the same learning rates to try (with the first
seed; validation decides), and the same seeds. A trial runs on one thread, so its numbers do not
depend on how many run side by side. A trial once done is read back, never done again.
"""

import hashlib
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from throughtime import __version__
from throughtime.bounded_reads import read_regular
from throughtime.catalogue import is_trivial, kind_of, order_of
from throughtime.comparison.experiment import Experiment, Measured
from throughtime.comparison.own_code import fingerprint_of_own
from throughtime.comparison.verdict import judge
from throughtime.comparison.workers import run_side_by_side
from throughtime.deploy import storage
from throughtime.errors import InputError
from throughtime.files import alone_in, is_left_over, write_whole
from throughtime.problem_kinds import PROBLEMS
from throughtime.runs import (
    ComparisonRecord,
    DataRecord,
    EpochRecord,
    SettingsRecord,
    TrainingRecord,
    TrialRecord,
    kinds_of,
    read_record,
    write_record,
)
from throughtime.serialization import to_json
from throughtime.training.loop import TrainingSettings, train
from throughtime.training.random_state import seeded

T = TypeVar("T")

_ORIGINS = 2000  # at most so many errors are kept of a trial; neighbours in time are averaged


@dataclass(frozen=True)
class Spec:
    """One trial to run."""

    kind: str
    seed: int
    learning_rate: float  # 0: nothing to learn

    @property
    def name(self) -> str:
        """Its folder."""
        return (
            f"{self.kind}-seed{self.seed}-lr{self.learning_rate:g}"
            if self.learning_rate
            else self.kind
        )


@dataclass(frozen=True)
class Progress:
    """What a watcher is told after every epoch and every trial."""

    trial: str
    epoch: EpochRecord | None  # None: the trial is done
    epoch_number: int
    done: int  # trials
    total: int


def compare(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    *,
    jobs: int = 1,
    command: str = "",
    watch: Callable[[Progress], None] | None = None,
) -> ComparisonRecord:
    """Run what is not yet done of a comparison, judge, and write `comparison.json` and `model/`.

    >>> record = compare(experiment_of(problem), settings, Path("throughtime-runs/co2"))
    >>> record.verdict.headline

    ``jobs`` processes work side by side. Raises InputError where the folder holds another
    comparison, or another process is at work in it.
    """
    began = time.perf_counter()
    identity = comparison_identity(experiment.record, settings)
    check_claim(folder, identity)
    with alone_in(folder):
        check_claim(folder, identity)  # another process may have been first
        write_whole(folder / _MARK, identity)
        return _compared(experiment, settings, folder, jobs, command, watch, began)


def _compared(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    jobs: int,
    command: str,
    watch: Callable[[Progress], None] | None,
    began: float,
) -> ComparisonRecord:
    """What is not yet done of a comparison whose folder is this process's."""
    finished = _kept(folder / "comparison.json", ComparisonRecord)
    if finished is not None and (folder / "model").is_dir():
        return finished
    trivial = [Spec(kind, 0, 0.0) for kind in experiment.trivial_kinds()]
    rates = settings.learning_rates
    tuning = [Spec(k, settings.seeds[0], rate) for k in settings.networks for rate in rates]
    total = len(trivial) + len(tuning) + len(settings.networks) * (len(settings.seeds) - 1)
    known: dict[Spec, TrialRecord] = {}

    def run(specs: list[Spec]) -> None:
        for spec in specs:
            record = _kept(folder / "trials" / spec.name / "record.json", TrialRecord)
            if record is not None:
                known[spec] = record
        # the slowest first, so that no process is left alone with one at the end
        todo = sorted((s for s in specs if s not in known), key=lambda s: -kind_of(s.kind).cost)

        def tell(spec: Spec, epoch: EpochRecord | None, number: int) -> None:
            if watch is not None:
                watch(Progress(spec.name, epoch, number, len(known), total))

        for spec, record in run_side_by_side(
            run_trial, experiment, settings, folder, todo, jobs, tell
        ):
            known[spec] = record
            tell(spec, None, 0)

    run(trivial)
    run(tuning)
    chosen = [
        min((s for s in tuning if s.kind == kind), key=lambda s: _validation(known[s]))
        for kind in settings.networks
    ]
    run([replace(best, seed=seed) for best in chosen for seed in settings.seeds[1:]])

    used = {(s.kind, s.learning_rate) for s in (*trivial, *chosen)}
    trials = {s: known[s] for s in sorted(known, key=_order) if (s.kind, s.learning_rate) in used}
    verdict = judge(
        list(trials.values()),
        experiment.record.horizon,
        settings.parameters,
        reference=experiment.reference,
        block=experiment.block,
        answer=PROBLEMS[experiment.record.kind].answer,
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


def comparison_identity(data: DataRecord, settings: SettingsRecord) -> str:
    """A fingerprint of everything that a comparison's numbers depend on."""
    # other words for the same choices make the same comparison
    anywhere = to_json(replace(data, path="", options={}))
    own = fingerprint_of_own((*settings.networks, settings.output))
    return hashlib.sha256((__version__ + anywhere + to_json(settings) + own).encode()).hexdigest()


def versions() -> dict[str, str]:
    """What ran this."""
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def run_trial(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    spec: Spec,
    watch: Callable[[EpochRecord], None],
) -> TrialRecord:
    """One trial: build, train, measure, write model and record."""
    folds = experiment.folds()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found: list[Measured] = []
        trainings: list[TrainingRecord | None] = []
        model: Any = None
        for fold in folds:
            with seeded(spec.seed):
                model, training = _trained(fold, settings, spec, watch)
            found.append(fold.measured(model))
            trainings.append(training)
        last = folds[-1]
        record = _recorded(last, spec, model, trainings, _together(found))
    finally:
        torch.set_num_threads(threads)
    home = folder / "trials" / spec.name
    last.save(model, home / "model", "")
    write_record(home / "record.json", record)
    return record


def _trained(
    experiment: Experiment,
    settings: SettingsRecord,
    spec: Spec,
    watch: Callable[[EpochRecord], None],
) -> tuple[Any, TrainingRecord | None]:
    config = experiment.config(spec.kind, settings.normalize, settings.parameters, settings.output)
    model = experiment.build(config)
    if is_trivial(spec.kind):
        return model, None
    how = TrainingSettings(
        learning_rate=spec.learning_rate,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        clip=f"norm:{settings.clip_norm}",
        patience=settings.patience,
    )
    task = experiment.task(model, how.batch_size, spec.seed)
    return model, train(task, how, watch=watch).record


def _recorded(
    experiment: Experiment,
    spec: Spec,
    model: Any,
    trainings: Sequence[TrainingRecord | None],
    found: Measured,
) -> TrialRecord:
    """The record of a trial; a fold that diverged makes it one that did."""
    training = trainings[-1]
    numbers = (found.validation_error, *found.error_by_origin.tolist(), *found.forecast)
    diverged = any(t is not None and t.best_epoch == 0 for t in trainings)
    diverged = diverged or not all(math.isfinite(number) for number in numbers)
    return TrialRecord(
        kind=spec.kind,
        seed=spec.seed,
        learning_rate=spec.learning_rate,
        hidden_size=0 if is_trivial(spec.kind) else model.config.hidden_size,
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
        diagnosis=experiment.diagnosis(model),
        measures={} if diverged else found.measures or {},
    )


def _together(folds: Sequence[Measured]) -> Measured:
    """Over all folds of a rolling origin: the errors of all, what else there is to see of the last.

    What is chosen is chosen by the first fold's validation part: those of later folds are tested on
    in earlier ones.
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
    """At most some thousand errors: means of neighbours where there are more."""
    together = math.ceil(len(found) / _ORIGINS)
    pieces = np.split(found, range(together, len(found), together))
    return tuple(float(part.mean()) for part in pieces)


def _validation(record: TrialRecord) -> float:
    return math.inf if record.validation_error is None else record.validation_error


def _kept(path: Path, kind: type[T]) -> T | None:
    """A record if it is there and whole; a damaged one is as good as none and made anew."""
    try:
        return read_record(path, kind)
    except InputError:
        return None


def _order(spec: Spec) -> tuple[int, int]:
    return order_of(spec.kind), spec.seed


_MARK = "identity"


def check_claim(folder: Path, identity: str) -> None:
    """Raise InputError unless the folder is empty, or this comparison's already."""
    mark = folder / _MARK
    for path in folder.rglob("*") if mark.exists() else ():
        if path.is_symlink():  # what is written there would be written elsewhere
            raise InputError(str(path), "is a link inside a run", "remove it")
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

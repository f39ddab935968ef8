"""Trials with the same data, budget and size for every network, saved on disk.

Every network gets the same number of parameters, the same candidate learning rates and the same
seeds. The learning rate is selected on the validation part, with the first seed. A trial runs on
one thread, so its result does not depend on how many trials run in parallel. A finished trial is
read from disk instead of being run again.
"""

import hashlib
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from throughtime import __version__
from throughtime.bounded_reads import read_regular
from throughtime.catalogue import kind_of, order_of
from throughtime.comparison.budget import planned
from throughtime.comparison.contestants import to_shuffle, with_curve, with_shuffled
from throughtime.comparison.ensembles import model_to_save
from throughtime.comparison.evidence import ENOUGH
from throughtime.comparison.experiment import Experiment
from throughtime.comparison.own_code import fingerprint_of_own
from throughtime.comparison.rounds import Trial, best_trial, lengthen, next_round, widen
from throughtime.comparison.running import run_trial
from throughtime.comparison.variants import SHARES, SHUFFLED, VARIANT_SEEDS, share_of
from throughtime.comparison.verdict import judge
from throughtime.comparison.workers import side_by_side
from throughtime.errors import InputError
from throughtime.files import alone_in, is_left_over, write_whole
from throughtime.network_records import EvaluationRecord
from throughtime.problem_kinds import PROBLEMS
from throughtime.runs import (
    ComparisonRecord,
    DataRecord,
    SettingsRecord,
    TrialRecord,
    Verdict,
    kinds_of,
    read_record,
    write_record,
)
from throughtime.serialization import to_json

T = TypeVar("T")

_WITHOUT_TRIALS = ("save", "worth", "learning_curve")  # settings that can be changed afterwards


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
        wanted = [getattr(settings, name) for name in _WITHOUT_TRIALS]
        if wanted == [getattr(finished.settings, name) for name in _WITHOUT_TRIALS]:
            return finished
    work = _Work(experiment, settings, folder, watch, began)
    work.ended("preparation")
    with side_by_side(run_trial, experiment, settings, folder, jobs, work.report) as run_all:
        trials, looked = work.trained(run_all)
        verdict = judge(
            [work.known[t] for t in trials],
            experiment.record.horizon,
            settings.parameters,
            reference=experiment.reference,
            block=experiment.block,
            answer=PROBLEMS[experiment.record.kind].answer,
            worth=settings.worth,
            share_of=experiment.share_of,
            rarest=experiment.rarest,
            classes=tuple(experiment.record.classes),
            looked=looked,
        )
        verdict = work.with_variants(trials, verdict, run_all)
    known = {t: work.known[t] for t in trials}
    model, verdict = model_to_save(experiment, settings, folder, known, verdict)
    experiment.save(model, folder / "model", verdict.headline)
    work.ended("verdict and model")
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
        trials=tuple(known.values()),
        verdict=verdict,
        kinds=kinds_of(settings.networks),
        stages=tuple(work.stages),
    )
    write_record(folder / "comparison.json", record)
    return record


RunAll = Callable[[list[Trial]], Iterable[tuple[Trial, TrialRecord]]]


class _Work:
    """The trials of a comparison: those that are known, and how the missing ones are run."""

    def __init__(
        self,
        experiment: Experiment,
        settings: SettingsRecord,
        folder: Path,
        watch: Callable[[Progress], None] | None,
        began: float,
    ) -> None:
        self.experiment = experiment
        self.settings = settings
        self.folder = folder
        self.watch = watch
        self.began = began
        self.trivial = [Trial(kind) for kind in experiment.trivial_kinds()]
        each = settings.trials + len(settings.seeds) - 1
        self.total = len(self.trivial) + len(settings.networks) * each
        self.known: dict[Trial, TrialRecord] = {}
        self.stages: list[tuple[str, float]] = []

    def report(self, trial: Trial, evaluation: EvaluationRecord | None) -> None:
        """Tell whoever watches."""
        if self.watch is not None:
            # wider contexts, longer trainings and variants come on top, as results ask for them
            done = len(self.known)
            self.watch(Progress(trial.name, evaluation, done, max(self.total, done)))

    def ended(self, stage: str) -> None:
        """Note the time that a stage took."""
        past = sum(seconds for _, seconds in self.stages)
        self.stages.append((stage, time.perf_counter() - self.began - past))

    def run(self, batch: list[Trial], run_all: RunAll) -> None:
        """Run those trials of a batch whose record is not on disk."""
        for trial in batch:
            path = self.folder / "trials" / trial.name / "record.json"
            record = _read_if_whole(path, TrialRecord)
            if record is not None:
                self.known[trial] = record
        todo = [trial for trial in batch if trial not in self.known]
        # slowest first, so that no process is left with a long trial at the end
        for trial, record in run_all(sorted(todo, key=lambda t: -kind_of(t.kind).cost)):
            self.known[trial] = record
            self.report(trial, None)

    def trained(self, run_all: RunAll) -> tuple[list[Trial], int]:
        """The trials that are judged, and the steps of the widest context that was tried."""
        settings, known = self.settings, self.known

        def run(batch: list[Trial]) -> None:
            self.run(batch, run_all)

        run(self.trivial)
        self.ended("simple predictions")
        tuned: dict[str, list[Trial]] = {kind: [] for kind in settings.networks}
        while batch := next_round(self.experiment, settings, tuned, known):
            run(batch)
            for trial in batch:
                tuned[trial.kind].append(trial)
        self.ended("tuning")
        widen(self.experiment, settings, tuned, known, run)
        self.ended("wider contexts")
        lengthen(settings, tuned, known, run)
        self.ended("longer trainings")
        chosen = [best_trial(tuned[k], known) for k in settings.networks]
        run([replace(best, seed=seed, pace=()) for best in chosen for seed in settings.seeds[1:]])
        self.ended("further seeds")
        used = {(t.kind, t.number) for t in (*self.trivial, *chosen)}
        looked = max((t.chosen.context or 0 for t in known), default=0)
        usual = self.experiment.record.context if self.experiment.wider else 0
        trials = [t for t in sorted(known, key=_order) if (t.kind, t.number) in used]
        return trials, max(looked, usual)

    def with_variants(self, trials: Sequence[Trial], verdict: Verdict, run_all: RunAll) -> Verdict:
        """The verdict with what trainings on shuffled steps, and on less data, say."""
        experiment, settings = self.experiment, self.settings
        by_kind = {k: [t for t in trials if t.kind == k] for k in settings.networks}
        items = experiment.record.windows[2] if experiment.rarest is None else experiment.rarest
        asked = experiment.whole_sequences and items >= ENOUGH  # fewer tell nothing
        if asked and (kind := to_shuffle(verdict)):
            batch = variants(by_kind[kind], SHUFFLED, settings)
            self.run(batch, run_all)
            records = [self.known[t] for t in batch]
            ordered = [self.known[t] for t in by_kind[kind]]
            verdict = with_shuffled(verdict, ordered, records, experiment, settings.worth)
            self.ended("shuffled steps")
        if settings.learning_curve:
            batch = [
                trial
                for percent in SHARES
                for group in by_kind.values()
                for trial in variants(group, share_of(percent), settings)
            ]
            self.run(batch, run_all)
            verdict = with_curve(verdict, {t: self.known[t] for t in batch}, experiment)
            self.ended("learning curve")
        return verdict


def variants(group: Sequence[Trial], name: str, settings: SettingsRecord) -> list[Trial]:
    """The trainings of a network on a variant of the data, with its first seeds."""
    first = min(group, key=lambda t: t.seed)
    seeds = settings.seeds[:VARIANT_SEEDS]
    return [replace(first, seed=seed, pace=(), variant=name) for seed in seeds]


def comparison_identity(data: DataRecord, settings: SettingsRecord) -> str:
    """A fingerprint of everything that a comparison's numbers depend on."""
    # the path and the options as written do not change the data
    anywhere = to_json(replace(data, path="", options={}))
    # none of _WITHOUT_TRIALS changes a trial
    settings = replace(settings, save="single", worth=0.0, learning_curve=False)
    own = fingerprint_of_own((*settings.networks, settings.output))
    return hashlib.sha256((__version__ + anywhere + to_json(settings) + own).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, torch and numpy."""
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


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

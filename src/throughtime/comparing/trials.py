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
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import torch

from throughtime import __version__
from throughtime.comparing.fitting import data_spec, fit, model_card
from throughtime.comparing.sizes import config_for
from throughtime.comparing.verdict import judge
from throughtime.comparing.workers import run_side_by_side
from throughtime.data.batches import Windows
from throughtime.data.problem import Problem
from throughtime.errors import InputError
from throughtime.files import alone_in, is_left_over, write_whole
from throughtime.insight.forecasters import context_of, diagnosis_of
from throughtime.nn import storage
from throughtime.nn.models import Forecaster, Network, build, build_network
from throughtime.plain import to_json
from throughtime.runs import (
    NAMES,
    TRIVIAL,
    ComparisonRecord,
    EpochRecord,
    Sample,
    SettingsRecord,
    TrainingRecord,
    TrialRecord,
    read_record,
    write_record,
)
from throughtime.training.forecasting import errors, forecasts
from throughtime.training.loop import TrainingSettings

T = TypeVar("T")

_ORIGINS = 2000  # at most so many errors are kept of a trial; neighbours in time are averaged
_DRAWN = 300  # origins of the sample that a report draws
_CURVE = 512  # windows that tell how many steps a network needs
_EXAMINED = 64  # windows that a diagnosis looks at


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
    problem: Problem,
    settings: SettingsRecord,
    folder: Path,
    *,
    jobs: int = 1,
    command: str = "",
    watch: Callable[[Progress], None] | None = None,
) -> ComparisonRecord:
    """Run what is not yet done of a comparison, judge, and write `comparison.json` and `model/`.

    >>> record = compare(problem, settings, Path("throughtime-runs/co2"))
    >>> record.verdict.headline

    ``jobs`` processes work side by side; from 2 on the caller's script needs the usual
    ``if __name__ == "__main__"``. Raises InputError where the folder holds another comparison,
    or another process is at work in it.
    """
    began = time.perf_counter()
    identity = comparison_identity(problem, settings)
    _claim(folder, identity)
    with alone_in(folder):
        return _compared(problem, settings, folder, jobs, command, watch, began)


def _compared(
    problem: Problem,
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
    trivial = [Spec(kind, 0, 0.0) for kind in trivial_kinds(problem)]
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
        todo = sorted((s for s in specs if s not in known), key=lambda s: _SLOWEST.index(s.kind))

        def tell(spec: Spec, epoch: EpochRecord | None, number: int) -> None:
            if watch is not None:
                watch(Progress(spec.name, epoch, number, len(known), total))

        for spec, record in run_side_by_side(
            run_trial, problem, settings, folder, todo, jobs, tell
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
    verdict = judge(list(trials.values()), problem.plan.horizon, settings.parameters)
    winner = min(
        (s for s in trials if s.kind == verdict.recommended), key=lambda s: _validation(trials[s])
    )
    model, data = storage.load(folder / "trials" / winner.name / "model")
    storage.save(model, folder / "model", data, model_card(problem, verdict.headline, model))
    record = ComparisonRecord(
        version=__version__,
        versions=versions(),
        threads=1,
        cpu=platform.processor() or platform.machine(),
        command=command,
        data=problem.record,
        settings=settings,
        unit=problem.unit,
        sample=_sample(problem, settings.normalize),
        seconds=time.perf_counter() - began,
        trials=tuple(trials.values()),
        verdict=verdict,
    )
    write_record(folder / "comparison.json", record)
    return record


_SLOWEST = ("gru", "lstm", "rnn", "window-dense", "dense", *TRIVIAL)


def comparison_identity(problem: Problem, settings: SettingsRecord) -> str:
    """A fingerprint of everything that a comparison's numbers depend on."""
    data = replace(problem.record, path="")
    return hashlib.sha256((__version__ + to_json(data) + to_json(settings)).encode()).hexdigest()


def trivial_kinds(problem: Problem) -> list[str]:
    """The trivial forecasts that this problem admits."""
    plan = problem.plan
    kinds = ["mean", "persistence"]
    if plan.season > 1:
        kinds += ["seasonal"] if plan.season <= plan.context else []
        kinds += ["seasonal-drift"] if plan.season + 1 <= plan.context else []
    return kinds


def versions() -> dict[str, str]:
    """What ran this."""
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def run_trial(
    problem: Problem,
    settings: SettingsRecord,
    folder: Path,
    spec: Spec,
    watch: Callable[[EpochRecord], None],
) -> TrialRecord:
    """One trial: build, train, measure, write model and record."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            model, training = _trained(problem, settings, spec, watch)
        record = _measured(problem, spec, model, training)
    finally:
        torch.set_num_threads(threads)
    home = folder / "trials" / spec.name
    storage.save(model, home / "model", data_spec(problem), model_card(problem, "", model))
    write_record(home / "record.json", record)
    return record


def _trained(
    problem: Problem,
    settings: SettingsRecord,
    spec: Spec,
    watch: Callable[[EpochRecord], None],
) -> tuple[Forecaster, TrainingRecord | None]:
    config = config_for(problem, spec.kind, settings.normalize, settings.parameters)
    if spec.kind in TRIVIAL:
        return build(config), None
    how = TrainingSettings(
        learning_rate=spec.learning_rate,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        clip=f"norm:{settings.clip_norm}",
        patience=settings.patience,
    )
    model, trained = fit(problem, config, how, spec.seed, watch)
    return model, trained.record


def _measured(
    problem: Problem, spec: Spec, model: Forecaster, training: TrainingRecord | None
) -> TrialRecord:
    test = problem.parts.test
    diverged = training is not None and training.best_epoch == 0
    found = errors(model, test, problem.error_scale)
    drawn, _ = _drawn(problem)
    sampled = forecasts(model, test.some(drawn))
    by_validation = errors(model, problem.parts.validation, problem.error_scale)
    diverged = diverged or not all(
        bool(x.isfinite().all()) for x in (found, sampled, by_validation)
    )
    return TrialRecord(
        kind=spec.kind,
        seed=spec.seed,
        learning_rate=spec.learning_rate,
        hidden_size=0 if spec.kind in TRIVIAL else model.config.hidden_size,
        parameters=model.parameter_count(),
        multiply_adds=model.multiply_adds(),
        training=training,
        validation_error=None if diverged else float(by_validation.mean()),
        test_error=None if diverged else float(found.mean()),
        error_by_step=() if diverged else tuple(found.mean(dim=0).tolist()),
        error_by_origin=() if diverged else tuple(_by_origin(problem, found.mean(dim=1).numpy())),
        forecast=() if diverged else tuple(sampled[:, -1, 0].tolist()),
        prediction_us=_prediction_time(model, test),
        context=context_of(model, *problem.parts.validation.spread(_CURVE), problem.error_scale)
        if isinstance(model, Network) and not diverged
        else None,
        diagnosis=diagnosis_of(model, *problem.parts.training.spread(_EXAMINED)),
    )


def _by_origin(problem: Problem, found: np.ndarray) -> list[float]:
    """Errors over time: mean over series at each origin, then over neighbours if there are many."""
    starts = problem.parts.test.starts.numpy()
    _, origin = np.unique(problem.table.times[starts + problem.plan.context], return_inverse=True)
    over_time = np.bincount(origin, weights=found) / np.bincount(origin)
    together = math.ceil(len(over_time) / _ORIGINS)
    return [
        float(part.mean())
        for part in np.split(over_time, range(together, len(over_time), together))
    ]


def _prediction_time(model: Forecaster, windows: Windows) -> float:
    """Microseconds for one window alone: median of repeated calls."""
    window, _ = windows.batch(torch.tensor([0]))
    taken: list[float] = []
    with torch.no_grad():
        for _ in range(60):
            began = time.perf_counter()
            model(window)
            taken.append(time.perf_counter() - began)
    return 1e6 * median(taken[10:])


def _drawn(problem: Problem) -> tuple[torch.Tensor, str]:
    """The test windows that are drawn, indices [n], and the series they belong to."""
    starts = problem.parts.test.starts.numpy()
    inside = [(starts >= s.start) & (starts < s.stop) for s in problem.table.series]
    most = max(range(len(inside)), key=lambda i: int(inside[i].sum()))
    index = np.flatnonzero(inside[most])[-_DRAWN:]
    return torch.from_numpy(index), problem.table.series[most].name


def _sample(problem: Problem, normalize: str) -> Sample:
    table, plan, test = problem.table, problem.plan, problem.parts.test
    drawn, series = _drawn(problem)
    starts = test.starts[drawn].numpy()
    forecast_rows = starts + plan.context + plan.horizon - 1
    shown = test.batch(drawn[-1:])[0]
    rows = np.arange(starts[-1], starts[-1] + plan.context)
    # the window as a network that sees all of it is given it
    model = build_network(config_for(problem, "window-dense", normalize, 1))
    model.normalizer.fit(problem.parts.training_rows)
    scaled = model.frame(shown)[0]
    return Sample(
        times=tuple(table.clock.stamp(table.times[forecast_rows])),
        truth=tuple(table.values[forecast_rows, 0].tolist()),
        target=table.targets[0],
        series=series,
        context_times=tuple(table.clock.stamp(table.times[rows])),
        context_values=tuple(shown[0, :, 0].tolist()),
        context_scaled=tuple(scaled[0, :, 0].tolist()),
    )


def _validation(record: TrialRecord) -> float:
    return math.inf if record.validation_error is None else record.validation_error


def _kept(path: Path, kind: type[T]) -> T | None:
    """A record if it is there and whole; a damaged one is as good as none and made anew."""
    try:
        return read_record(path, kind)
    except InputError:
        return None


def _order(spec: Spec) -> tuple[int, int]:
    return list(NAMES).index(spec.kind), spec.seed


def _claim(folder: Path, identity: str) -> None:
    """Make the folder this comparison's, or make sure that it already is."""
    mark = folder / "identity"
    others = [p for p in folder.iterdir() if not is_left_over(p, mark)] if folder.is_dir() else []
    if others and not mark.exists():
        raise InputError(str(folder), "holds other files", "name a new folder with --out")
    if mark.exists():
        if mark.read_bytes() != identity.encode():
            raise InputError(
                str(folder),
                "holds another comparison (other data, settings or version)",
                "name another folder with --out, or remove this one",
            )
        return
    write_whole(mark, identity)

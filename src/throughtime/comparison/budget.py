"""Numbers of trials and steps for a given time, from timed probes of every network.

They are decided once and kept in the folder of the run, so that a comparison that is continued
trains the same networks as one that was not interrupted.
"""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from throughtime.comparison.experiment import Experiment
from throughtime.comparison.rounds import Trial
from throughtime.comparison.sizes import applicable
from throughtime.comparison.tuning import ROUND
from throughtime.comparison.variants import VARIANT_SEEDS
from throughtime.comparison.workers import side_by_side
from throughtime.errors import InputError
from throughtime.files import write_whole
from throughtime.runs import SettingsRecord, read_record
from throughtime.serialization import to_json
from throughtime.training.settings import TrainingSettings

RunTrial = Callable[..., Any]

_FILE = "budget.json"
_PROBES = (20, 120)  # steps of the two timed trainings; their difference is free of other costs
_TRIALS = (10, 8, 6, 5, 4, 3)  # numbers to choose from, the usual one first
_MOST_TRIALS = 40
_LONGER = 100  # times the usual steps, at most, once there are so many trials
_ENOUGH_STEPS = 1500  # fewer trials are tried rather than fewer steps than these
_FEWEST_STEPS = 100


@dataclass(frozen=True)
class Cost:
    """What a training of one network takes, in seconds."""

    step: float
    evaluation: float
    fixed: float  # building, measuring and saving
    epoch_steps: int
    probed: float = 0.0  # that the probe took

    def training(self, steps: int) -> float:
        """Seconds of a training of so many steps, with its evaluations."""
        every = TrainingSettings(steps=steps).counts(self.epoch_steps).every
        return steps * self.step + math.ceil(steps / every) * self.evaluation + self.fixed


@dataclass(frozen=True)
class BudgetRecord:
    """The numbers that a budget was turned into."""

    trials: int
    steps: int
    seconds: float  # expected


def planned(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    jobs: int,
    began: float,
    run_trial: RunTrial,
) -> SettingsRecord:
    """The settings with the numbers of trials and steps that the budget allows.

    Args:
        experiment: The problem.
        settings: Settings with a budget.
        folder: Folder of the run, where the numbers are kept.
        jobs: Parallel processes.
        began: When the comparison began, by `time.perf_counter`.
        run_trial: Runs one trial.

    Raises:
        InputError: If the budget is too small for the least training of each network.
    """
    if settings.budget is None:
        return settings
    path = folder / _FILE
    if path.is_file():
        kept = read_record(path, BudgetRecord)
    else:
        costs = _probed(experiment, settings, folder, jobs, run_trial)
        taken = time.perf_counter() - began
        start = max(0.0, taken - _side_by_side([cost.probed for cost in costs], jobs))
        left = settings.budget - taken - start  # the processes start once more
        shuffled = len(settings.seeds[:VARIANT_SEEDS]) if experiment.whole_sequences else 0
        kept = _chosen(settings, costs, jobs, left, settings.budget, shuffled)
        write_whole(path, to_json(kept))
    return replace(settings, trials=kept.trials, steps=kept.steps, patience=kept.steps)


def _chosen(
    settings: SettingsRecord,
    costs: Sequence[Cost],
    jobs: int,
    left: float,
    budget: float,
    shuffled: int = 0,
) -> BudgetRecord:
    """As many steps as usual with the usual trials if there is time, and then more trials."""
    usual = settings.steps or 0
    seeds = len(settings.seeds)

    def expected(trials: int, steps: int) -> float:
        found = expected_seconds(costs, trials, steps, seeds, jobs)
        # one network, whichever it will be, is trained on shuffled steps
        return found + max(c.training(steps) for c in costs) * math.ceil(shuffled / jobs)

    def steps_within(trials: int, most: int = usual) -> int:
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if expected(trials, middle) <= left else (low, middle - 1)
        return low

    possible = [(trials, steps_within(trials)) for trials in _TRIALS]
    enough = [(t, steps) for t, steps in possible if steps >= min(usual, _ENOUGH_STEPS)]
    trials, steps = (enough or possible[-1:])[0]
    if steps < min(usual, _FEWEST_STEPS):
        need = budget - left + expected(_TRIALS[-1], min(usual, _FEWEST_STEPS))
        raise InputError(
            "--budget",
            f"{budget:g} s are too few: the least training takes about {need:.0f} s",
            "raise it, or compare fewer --networks or with fewer --seeds",
        )
    while steps == usual and trials < _MOST_TRIALS and expected(trials + 1, steps) <= left:
        trials += 1
    if trials == _MOST_TRIALS:
        steps = steps_within(trials, _LONGER * usual)
    return BudgetRecord(trials, steps, expected(trials, steps))


def expected_seconds(
    costs: Sequence[Cost], trials: int, steps: int, seeds: int, jobs: int
) -> float:
    """Seconds of all rounds of tuning and of the further seeds, each round side by side."""
    each = sorted((cost.training(steps) for cost in costs), reverse=True)
    rounds = [ROUND] * (trials // ROUND) + [trials % ROUND, seeds - 1]
    return sum(_side_by_side([s for s in each for _ in range(count)], jobs) for count in rounds)


def _side_by_side(seconds: Sequence[float], jobs: int) -> float:
    """Seconds of work in parallel, if the next process that is free takes the next of it."""
    busy = [0.0] * max(1, jobs)
    for one in seconds:
        busy[busy.index(min(busy))] += one
    return max(busy)


def _probed(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    jobs: int,
    run_trial: RunTrial,
) -> list[Cost]:
    """The cost of every network, with as many processes at work as later."""
    probes = [Trial(kind, number=0) for kind in settings.networks]
    with side_by_side(
        partial(probe, run_trial), experiment, settings, folder, jobs, _ignore
    ) as run:
        return [cost for _, cost in run(probes)]


def probe(
    run_trial: RunTrial,
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    trial: Trial,
    watch: Callable[[Any], None],
) -> Cost:
    """Time two short trainings of a network with its usual choices."""
    entered = time.perf_counter()
    fold = experiment.folds()[-1]
    chosen = applicable(settings.given, trial.kind).over(experiment.usual(trial.kind))
    trial = replace(trial, chosen=chosen)

    def timed(steps: int) -> float:
        short = replace(settings, steps=steps, patience=steps)
        with tempfile.TemporaryDirectory(prefix="throughtime-") as home:
            began = time.perf_counter()
            run_trial(experiment, short, Path(home), trial, watch)
            return time.perf_counter() - began

    timed(2)  # what is slow only once
    few, many = (timed(steps) for steps in _PROBES)
    config = experiment.config(trial.kind, chosen, settings.parameters, settings.output)
    task = fold.task(fold.build(config), chosen.batch_size or 1, trial.seed)
    began = time.perf_counter()
    task.measure()
    evaluation = (time.perf_counter() - began) * len(experiment.folds())
    step = max(0.0, (many - few) / (_PROBES[1] - _PROBES[0]))
    evaluations = math.ceil(
        _PROBES[0] / TrainingSettings(steps=_PROBES[0]).counts(task.steps).every
    )
    fixed = max(0.0, few - _PROBES[0] * step - evaluations * evaluation)
    return Cost(step, evaluation, fixed, task.steps, time.perf_counter() - entered)


def _ignore(*_: object) -> None:
    pass

"""One trial of a comparison: a network, or a simple prediction, is built, trained and measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from throughtime.catalogue import is_trivial
from throughtime.comparison.ensembles import averaged
from throughtime.comparison.experiment import Evaluation, Experiment
from throughtime.comparison.rounds import Trial, behind
from throughtime.comparison.variants import variant_of
from throughtime.network_records import EvaluationRecord, TrainingRecord
from throughtime.runs import SettingsRecord, TrialRecord, write_record
from throughtime.training.loop import train
from throughtime.training.random_state import seeded
from throughtime.training.settings import TrainingSettings


def run_trial(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    trial: Trial,
    watch: Callable[[EvaluationRecord], None],
) -> TrialRecord:
    """Run one trial: build, train and measure the model; write it and its record."""
    folds = [variant_of(fold, trial.variant) for fold in experiment.folds()]
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

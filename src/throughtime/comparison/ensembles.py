"""The model of a comparison: the best training of the recommended network, or their mean."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from throughtime.catalogue import is_trivial
from throughtime.comparison.contestants import with_ensemble
from throughtime.comparison.evidence import learned
from throughtime.comparison.experiment import Experiment
from throughtime.deploy import storage
from throughtime.runs import SettingsRecord, TrialRecord, Verdict

_ORIGINS = 2000  # maximum number of saved errors per trial; neighbours in time are averaged


class Named(Protocol):
    """A trial, whose folder has its name."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        ...


def model_to_save(
    experiment: Experiment,
    settings: SettingsRecord,
    folder: Path,
    trials: Mapping[Any, TrialRecord],
    verdict: Verdict,
) -> tuple[Any, Verdict]:
    """The model of a comparison, and the verdict with the mean of all trainings as a contestant.

    Args:
        experiment: The problem.
        settings: The settings; `save` names the model.
        folder: The folder of the run, with the models of its trials.
        trials: The records of the trials that are judged.
        verdict: The verdict on single trainings.
    """

    def validation(trial: Named) -> float:
        error = trials[trial].validation_error
        return math.inf if error is None else error

    group = sorted((t for t in trials if t.kind == verdict.recommended), key=validation)
    use = learned([trials[t] for t in group])
    group = [t for t in group if trials[t] in use] or group
    models = [storage.load(folder / "trials" / t.name / "model")[0] for t in group]
    diverged = any(trials[t].validation_error is None for t in group)
    if len(models) == 1 or diverged or is_trivial(verdict.recommended):
        return models[0], verdict
    mean, saved = ensemble_of(experiment, models), settings.save == "ensemble"
    if len(experiment.folds()) == 1:  # the models of earlier folds are not kept
        verdict = with_ensemble(
            verdict,
            [trials[t] for t in group],
            measured_ensemble(experiment, trials[group[0]], mean),
            experiment=experiment,
            saved=saved,
        )
    return mean if saved else models[0], verdict


def ensemble_of(experiment: Experiment, models: Sequence[Any]) -> Any:
    """One model that averages the predictions of models of the same configuration."""
    mean = experiment.build(replace(models[0].config, members=len(models)))
    for member, model in zip(mean.members, models, strict=True):
        member.load_state_dict(model.state_dict())
    return mean.eval()


def measured_ensemble(experiment: Experiment, trial: TrialRecord, mean: Any) -> TrialRecord:
    """The record of the mean of several trainings; a trial is one of them."""
    found = experiment.measured(mean)
    return TrialRecord(
        kind=trial.kind,
        seed=trial.seed,
        learning_rate=trial.learning_rate,
        hidden_size=mean.config.hidden_size,
        parameters=mean.parameter_count(),
        multiply_adds=experiment.multiply_adds(mean),
        training=None,
        validation_error=found.validation_error,
        test_error=found.test_error,
        error_by_step=tuple(found.error_by_step.tolist()),
        error_by_item=averaged(found.error_by_item),
        forecast=found.forecast,
        prediction_us=1e6 * experiment.seconds_of_one(mean),
        measures=found.measures,
        error_by_series=found.error_by_series,
        confusion=found.confusion,
        chosen=trial.chosen,
    )


def averaged(found: np.ndarray) -> tuple[float, ...]:
    """Errors reduced to at most `_ORIGINS` values, as means of neighbours."""
    together = math.ceil(len(found) / _ORIGINS)
    pieces = np.split(found, range(together, len(found), together))
    return tuple(float(part.mean()) for part in pieces)

"""Training of a single network on a problem."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from throughtime import __version__
from throughtime.comparison.experiment import Experiment
from throughtime.insight.callbacks import Writer
from throughtime.network_records import EvaluationRecord
from throughtime.runs import DataRecord
from throughtime.serialization import to_json
from throughtime.training.checkpoints import Checkpoints
from throughtime.training.loop import Trained, train
from throughtime.training.processes import Team
from throughtime.training.settings import TrainingSettings
from throughtime.training.task import Watch


def fit(
    experiment: Experiment,
    config: Any,
    settings: TrainingSettings,
    seed: int,
    watch: Watch | Callable[[EvaluationRecord], None] | None = None,
    *,
    team: Team | None = None,
    kept: Checkpoints | None = None,
    writer: Writer | None = None,
    decided_by: str = "",
    device: str = "cpu",
) -> tuple[Any, Trained]:
    """Build and train one network; scaling is fitted to the training part only."""
    model = experiment.build(config)
    model.to(device)
    settings = settings.resolved(experiment.items)
    task = experiment.task(model, settings.batch_size or 1, seed, decided_by, team)
    return model, train(task, settings, team=team, kept=kept, watch=watch, writer=writer)


def fit_identity(
    data: DataRecord, config: Any, settings: TrainingSettings, seed: int, *further: object
) -> str:
    """A fingerprint of everything that weights depend on, except when training ends."""
    anytime = replace(settings, steps=None, epochs=None, patience=None, budget=None)
    data = replace(data, path="", options={})
    parts = [__version__, seed, to_json(data), to_json(config), to_json(anytime), *further]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()

"""One network trained on a problem, and what its folder says of it."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from throughtime import __version__
from throughtime.data.problem import Problem
from throughtime.insight.callbacks import Writer
from throughtime.nn import storage
from throughtime.nn.models import Forecaster, ModelConfig, Network, build_network
from throughtime.plain import to_json
from throughtime.runs import EpochRecord
from throughtime.training.checkpoints import Checkpoints
from throughtime.training.forecasting import MEASURES, Forecasting
from throughtime.training.loop import Trained, TrainingSettings, train
from throughtime.training.processes import Team
from throughtime.training.task import Watch


def fit(
    problem: Problem,
    config: ModelConfig,
    settings: TrainingSettings,
    seed: int,
    watch: Watch | Callable[[EpochRecord], None] | None = None,
    *,
    team: Team | None = None,
    kept: Checkpoints | None = None,
    writer: Writer | None = None,
    decided_by: str = MEASURES[0],
    device: str = "cpu",
) -> tuple[Network, Trained]:
    """Build and train one network on a problem; the scaler sees the training part alone."""
    model = build_network(config)
    model.normalizer.fit(problem.parts.training_rows)
    model.to(device)
    task = Forecasting(
        model,
        problem.parts.training,
        problem.parts.validation,
        error_scale=problem.error_scale,
        batch_size=settings.batch_size,
        seed=seed,
        decided_by=decided_by,
        team=team,
    )
    return model, train(task, settings, team=team, kept=kept, watch=watch, writer=writer)


def fit_identity(
    problem: Problem, config: ModelConfig, settings: TrainingSettings, seed: int, *further: object
) -> str:
    """A fingerprint of everything that weights depend on, but for when training ends."""
    anytime = replace(settings, epochs=0, patience=0, budget=None)
    data = replace(problem.record, path="")
    parts = [__version__, seed, to_json(data), to_json(config), to_json(anytime), *further]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def data_spec(problem: Problem) -> storage.DataSpec:
    """What a model must know of its table."""
    table = problem.table
    return storage.DataSpec(
        targets=table.targets,
        inputs=table.columns[len(table.targets) :],
        time=table.time,
        group=table.group,
        clock=(table.clock.kind, table.clock.count, table.clock.unit),
        missing=table.missing,
    )


def model_card(problem: Problem, headline: str, model: Forecaster) -> str:
    """A few lines for people who find the folder."""
    record, config = problem.record, model.config
    return f"""# {config.kind}: {", ".join(record.targets)}, {config.horizon} steps ahead

Forecasts {", ".join(record.targets)} {config.horizon} steps of {record.step} ahead from the last
{config.context}; further inputs: {", ".join(record.inputs) or "none"}.

- Trained by throughtime {__version__} on {record.windows[0]} windows of `{Path(record.path).name}`
  (SHA-256 {record.fingerprint[:16]}...), before {record.borders[0]}.
- {model.parameter_count()} parameters, normalization: {config.normalize}.
- {headline or "One trial of a comparison."}

`throughtime predict FOLDER new.csv -o out.csv` uses it. It knows nothing of what is not in its
columns, and its error was measured on one stretch of time alone.
"""

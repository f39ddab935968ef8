"""Training: one loop, to be read from top to bottom."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from throughtime.data.batches import Windows
from throughtime.nn.models import Forecaster, Network
from throughtime.runs import EpochRecord, TrainingRecord
from throughtime.training.clipping import ByNorm

# Windows per step where nothing is learned; bounds the memory of an evaluation.
_EVALUATION_BATCH = 512
# So many bad steps in a row end the training: it will not recover by itself.
_BAD_STEPS = 10


@dataclass(frozen=True)
class TrainingSettings:
    """How to train."""

    learning_rate: float = 3e-3
    epochs: int = 30  # at most
    batch_size: int = 64  # windows
    clip_norm: float = 1.0  # bound on the global norm of the gradient
    patience: int = 6  # epochs without a better validation error before it stops


Watch = Callable[[EpochRecord], None]


def train(
    model: Network,
    training: Windows,
    validation: Windows,
    settings: TrainingSettings,
    *,
    seed: int,
    error_scale: Tensor,
    watch: Watch | None = None,
) -> TrainingRecord:
    """Train in place with Adam (Kingma and Ba 2015) and leave the best weights in the model.

    >>> record = train(model, parts.training, parts.validation, TrainingSettings(), seed=0,
    ...                error_scale=torch.ones(1))

    Best is the epoch with the lowest validation error (see `errors`). The gradient is clipped by
    its global norm. A step whose loss or gradient is not finite never reaches the weights.
    ``seed`` sets the order of the windows; ``watch`` is called after every epoch.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    clip = ByNorm(settings.clip_norm)
    generator = torch.Generator().manual_seed(seed)
    best_weights = {name: value.clone() for name, value in model.state_dict().items()}
    best_error, best_epoch = math.inf, 0
    history: list[EpochRecord] = []
    stopped = f"all {settings.epochs} epochs done"
    skipped = bad_in_a_row = 0
    began = time.perf_counter()

    for epoch in range(1, settings.epochs + 1):
        epoch_began = time.perf_counter()
        losses: list[float] = []
        norms: list[float] = []
        clipped_steps = 0
        model.train()
        for window, target in training.shuffled(settings.batch_size, generator):
            optimizer.zero_grad()
            loss = model.loss(window, target)
            loss.backward()
            told = clip(model.parameters())
            if not (math.isfinite(told.norm) and math.isfinite(loss.item())):
                skipped, bad_in_a_row = skipped + 1, bad_in_a_row + 1
                if bad_in_a_row == _BAD_STEPS:
                    break
                continue
            optimizer.step()
            bad_in_a_row = 0
            losses.append(loss.item())
            norms.append(told.norm)
            clipped_steps += told.clipped
        if bad_in_a_row == _BAD_STEPS or not losses:
            stopped = f"diverged in epoch {epoch}: loss or gradient not finite"
            break

        error = float(errors(model, validation, error_scale).mean())
        if not math.isfinite(error):
            stopped = f"diverged in epoch {epoch}: forecasts not finite"
            break
        record = EpochRecord(
            training_loss=sum(losses) / len(losses),
            validation_error=error,
            gradient_norm=median(norms),
            clipped=clipped_steps / len(losses),
            seconds=time.perf_counter() - epoch_began,
        )
        history.append(record)
        if watch is not None:
            watch(record)
        if error < best_error:
            best_error, best_epoch = error, epoch
            best_weights = {name: value.clone() for name, value in model.state_dict().items()}
        elif epoch - best_epoch >= settings.patience:
            stopped = f"no better for {settings.patience} epochs"
            break

    model.load_state_dict(best_weights)
    model.eval()
    seconds = time.perf_counter() - began
    return TrainingRecord(tuple(history), best_epoch, stopped, skipped, seconds)


@torch.no_grad()
def errors(model: Forecaster, windows: Windows, scale: Tensor) -> Tensor:
    """Absolute errors [N, horizon], averaged over targets that are each divided by `scale` [K]."""
    model.eval()
    parts = [
        ((model(window) - target).abs() / scale).mean(dim=-1)
        for window, target in windows.in_order(_EVALUATION_BATCH)
    ]
    return torch.cat(parts)


@torch.no_grad()
def forecasts(model: Forecaster, windows: Windows) -> Tensor:
    """Forecasts of all windows in order, [N, horizon, K], raw values."""
    model.eval()
    return torch.cat([model(window) for window, _ in windows.in_order(_EVALUATION_BATCH)])

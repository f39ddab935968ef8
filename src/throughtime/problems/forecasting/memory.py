"""Context curve and diagnosis of a forecasting network."""

import torch
from torch import Tensor

from throughtime.insight.diagnosis import diagnose
from throughtime.insight.memory import context_curve, memory_horizon
from throughtime.network_records import ContextRecord, Diagnosis
from throughtime.problems.forecasting.networks import Forecaster, Network, Recurrent, WindowDense


def context_of(model: Forecaster, window: Tensor, target: Tensor, scale: Tensor) -> ContextRecord:
    """The error when only the last k steps are an item's own, see `context_curve`.

    >>> context_of(model, window, target, torch.ones(1)).horizon  # window [B,T,C], target [B,h,K]
    24

    It is the mean over horizon and targets, each over `scale`, [K] or [B, 1, K]. A network with
    window normalization is scaled by its own window; another window's steps come in their own
    scale. So the curve shows memory and not scaling.
    """
    ahead = model.config.horizon if model.config.known else 0
    window = window[:, -(model.config.context + ahead) :]

    def error(forecast: Tensor) -> Tensor:
        return ((forecast.double() - target).abs() / scale).nanmean(dim=(1, 2))

    if isinstance(model, Recurrent | WindowDense):
        with torch.no_grad():
            seen, plan, center, spread = model.see(window)

        def forecast(part: Tensor) -> Tensor:
            return model.forecast(part, plan, center, spread)

        curve = context_curve(forecast, seen, error)
    else:

        def whole(part: Tensor) -> Tensor:
            return model(torch.cat([part, window[:, part.shape[1] :]], dim=1))

        curve = context_curve(whole, model.past(window), error)
    return ContextRecord(
        curve.steps,
        tuple(curve.loss.tolist()),
        tuple(curve.error.tolist()),
        memory_horizon(curve),
    )


def loss_of(model: Network, window: Tensor, target: Tensor) -> Tensor:
    """The training loss of the network."""
    return model.loss(window, target)


def diagnosis_of(
    model: Forecaster, window: Tensor, target: Tensor, seed: int = 0
) -> Diagnosis | None:
    """Diagnosis of a recurrent network with its own loss; None for other networks."""
    if not isinstance(model, Recurrent):
        return None
    return diagnose(model, window, target, loss=loss_of, seed=seed)

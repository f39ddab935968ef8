"""What a whole forecasting network remembers, and whether it is healthy."""

import torch
from torch import Tensor

from throughtime.insight.diagnosis import diagnose
from throughtime.insight.memory import context_curve, memory_horizon
from throughtime.problems.forecasting.networks import Forecaster, Network, Recurrent, WindowDense
from throughtime.runs import ContextRecord, Diagnosis


def context_of(model: Forecaster, window: Tensor, target: Tensor, scale: Tensor) -> ContextRecord:
    """The error with the last k steps alone, mean over horizon and targets, each over its `scale`.

    >>> context_of(model, window, target, torch.ones(1)).horizon  # window [B,T,C], target [B,h,K]
    24

    A network that scales by the window does so by the whole window as always, and is then given the
    last of it: that shows its memory, and not its scaling.
    """

    def error(forecast: Tensor) -> Tensor:
        return ((forecast.double() - target).abs() / scale).mean(dim=(1, 2))

    if isinstance(model, Recurrent | WindowDense):
        with torch.no_grad():
            seen, ahead, center, spread = model.see(window)

        def forecast(part: Tensor) -> Tensor:
            return model.forecast(part, ahead, center, spread)

        earlier = "cut" if isinstance(model, Recurrent) else "hold"
        curve = context_curve(forecast, seen, error, earlier=earlier)
    else:

        def whole(part: Tensor) -> Tensor:
            return model(torch.cat([part, window[:, part.shape[1] :]], dim=1))

        curve = context_curve(whole, model.past(window), error, earlier="hold")
    return ContextRecord(
        curve.steps,
        tuple(curve.loss.tolist()),
        tuple(curve.error.tolist()),
        memory_horizon(curve),
    )


def loss_of(model: Network, window: Tensor, target: Tensor) -> Tensor:
    """What the network is trained to lower."""
    return model.loss(window, target)


def diagnosis_of(
    model: Forecaster, window: Tensor, target: Tensor, seed: int = 0
) -> Diagnosis | None:
    """The diagnosis of a recurrent network under its own loss; None for the others."""
    if not isinstance(model, Recurrent):
        return None
    return diagnose(model, window, target, loss=loss_of, seed=seed)

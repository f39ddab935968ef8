"""Training task for forecasting windows of a table, and errors of a forecaster."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.data.sequences.length_batches import prefetched
from throughtime.data.tables.parquet_folder import BlockStream
from throughtime.data.tables.windows import Windows
from throughtime.problems.forecasting.networks import Forecaster, Network
from throughtime.training.processes import Team
from throughtime.training.task import Batch, Task

# Windows per step outside training; bounds the memory of an evaluation.
_EVALUATION_BATCH = 512
MEASURES = ("mae", "rmse", "mase")  # the last with errors scaled by series


class Forecasting(Task):
    """Trains a network to forecast windows, in a new random order in every epoch.

    >>> task = Forecasting(model, parts.training, parts.validation, error_scale=torch.ones(1),
    ...                    batch_size=64, seed=0)

    ``error_scale`` [K] or [R, K]: divisor of each target's error, or one for each row. ``seed``
    sets the order of the windows. Measures: mean absolute error and root mean squared error over
    the validation windows; ``decided_by`` names the one that selects the best evaluation, "mase" if
    ``error_scale`` makes it that.
    """

    def __init__(
        self,
        model: Network,
        training: Windows,
        validation: Windows,
        *,
        error_scale: Tensor,
        batch_size: int,
        seed: int,
        decided_by: str = "mae",
        team: Team | None = None,
    ) -> None:
        self.model = model
        self.training = training
        self.validation = validation
        self.error_scale = error_scale
        self.batch_size = batch_size
        self.decided_by = decided_by
        self.team = team or Team()
        self.steps = -(-len(training) // batch_size)
        self._generator = torch.Generator().manual_seed(seed).get_state()  # state before this epoch
        self._done = 0  # batches of this epoch already used

    def batches(self) -> Iterator[Batch]:
        generator = torch.Generator()
        generator.set_state(self._generator)
        order = torch.randperm(len(self.training), generator=generator)
        for index in order.split(self.batch_size)[self._done :]:
            self._done += 1
            own = self.team.share(index)
            yield _batch(self.training, own, index)
        self._done = 0
        self._generator = generator.get_state()

    def loss(self, model: nn.Module, *tensors: Tensor) -> Tensor:
        assert isinstance(model, Network)
        return model.loss(*tensors)

    def measure(self) -> dict[str, float]:
        own = self.validation.some(self.team.share(torch.arange(len(self.validation))))
        sums = [0.0, 0.0, 0.0]
        if len(own):
            found = residuals(self.model, own, self.error_scale)
            sums = [float(found.abs().nansum()), float(found.square().nansum())]
            sums.append(float((~found.isnan()).sum()))
        absolute, squared, count = self.team.summed(sums)
        name = "mase" if self.decided_by == "mase" else "mae"
        measures = {name: absolute / count, "rmse": (squared / count) ** 0.5}
        return {self.decided_by: measures[self.decided_by], **measures}

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self._generator, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._generator, self._done = state["generator"], state["done"]


class StreamedForecasting(Forecasting):
    """Forecasting from a stream of blocks; shuffles the blocks, and the windows in each.

    >>> task = StreamedForecasting(model, stream, parts.validation, error_scale=torch.ones(1),
    ...                            batch_size=64, seed=0)

    Another thread reads two blocks ahead, so memory does not grow with the files.
    """

    def __init__(self, model: Network, stream: BlockStream, *arguments: Any, **named: Any) -> None:
        super().__init__(model, next(iter(stream)), *arguments, **named)
        self.stream = stream
        self._sizes = [end - begin for begin, end in stream.starts]
        self.steps = sum(-(-size // self.batch_size) for size in self._sizes)

    def batches(self) -> Iterator[Batch]:
        generator = torch.Generator()
        generator.set_state(self._generator)
        order = torch.randperm(len(self._sizes), generator=generator).tolist()
        seeds = torch.randint(2**62, (len(order),), generator=generator).tolist()
        skip = self._done
        todo: list[tuple[int, int, int]] = []  # block, seed, batches of it already used
        for number, seed in zip(order, seeds, strict=True):
            count = -(-self._sizes[number] // self.batch_size)
            if skip < count:
                todo.append((number, seed, skip))
            skip = max(0, skip - count)
        for (number, seed, done), windows in prefetched(
            lambda item: self.stream.windows(item[0]), todo
        ):
            own_order = torch.Generator().manual_seed(seed)
            within = torch.randperm(self._sizes[number], generator=own_order)
            for index in within.split(self.batch_size)[done:]:
                self._done += 1
                own = self.team.share(index)
                yield _batch(windows, own, index)
        self._done = 0
        self._generator = generator.get_state()


def _batch(windows: Windows, own: Tensor, index: Tensor) -> Batch:
    """This process's share of a batch, weighted by its number of windows or observed targets."""
    # a process without a share computes one window, with weight 0
    tensors = windows.batch(own if len(own) else index[:1])
    count = len(own) if windows.scored is None else int(tensors[1].isfinite().sum())
    return Batch(tensors, count if len(own) else 0)


@torch.no_grad()
def residuals(model: nn.Module, windows: Windows, scale: Tensor) -> Tensor:
    """Forecast minus truth [N, horizon, K], each target divided by its `scale` [K] or [R, K].

    NaN where the target was not observed; infinite where the forecast is NaN.
    """
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    found: list[Tensor] = []
    for index in torch.arange(len(windows)).split(_EVALUATION_BATCH):
        window, target = windows.batch(index)
        forecast = model(window.to(device)).cpu()
        forecast = torch.where(forecast.isnan(), torch.inf, forecast)
        found.append((forecast - target) / windows.scale(index, scale))
    return torch.cat(found)


def errors(model: Forecaster, windows: Windows, scale: Tensor) -> Tensor:
    """Absolute errors [N, horizon], averaged over targets, each divided by its `scale` [K].

    NaN where no target was observed.
    """
    return residuals(model, windows, scale).abs().nanmean(dim=-1)


@torch.no_grad()
def forecasts(model: Forecaster, windows: Windows) -> Tensor:
    """Forecasts of all windows in order, [N, horizon, K], in original units."""
    model.eval()
    return torch.cat([model(window) for window, _ in windows.in_order(_EVALUATION_BATCH)])

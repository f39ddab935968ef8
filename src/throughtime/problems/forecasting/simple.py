"""Simple forecasts: rules, and a linear regression in closed form."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from throughtime.data.tables.windows import Windows
from throughtime.problems.forecasting.networks import Forecaster, ModelConfig
from throughtime.problems.forecasting.normalizer import Normalizer
from throughtime.problems.forecasting.training import errors

_MOST_INPUTS = 768  # of a linear regression: it sees as many of the last steps as fit
_TOO_MANY = 3_000  # inputs, for a closed form
_MOST_WINDOWS = 20_000  # that it is fitted to, evenly spaced
_PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # relative to the variance of an input
_BATCH = 2_000
_ZEROS = 0.25  # share of zeros from which zero is a forecast worth comparing


class _Level(Forecaster):
    """A summary of the window, as long as validation likes it."""

    def alternatives(self, contexts: Sequence[int], seasons: Sequence[int]) -> list[ModelConfig]:
        return [replace(self.config, context=steps) for steps in contexts]


class Mean(_Level):
    """The mean of the window."""

    def forward(self, window: Tensor) -> Tensor:
        level = self.past(window)[..., : self.config.targets].mean(dim=1, keepdim=True)
        return level.expand(-1, self.config.horizon, -1)


class Persistence(Forecaster):
    """The last value: y[t+h] = y[t]."""

    def forward(self, window: Tensor) -> Tensor:
        last = self.past(window)[:, -1:, : self.config.targets]
        return last.expand(-1, self.config.horizon, -1)


class _OfSeason(Forecaster):
    """A forecast from the values one season earlier, of the season that validation likes."""

    def alternatives(self, contexts: Sequence[int], seasons: Sequence[int]) -> list[ModelConfig]:
        fitting = [n for n in seasons if n < max(contexts)]
        found = [replace(self.config, season=n, context=max(contexts)) for n in fitting]
        return found or [self.config]


class Seasonal(_OfSeason):
    """The value one season earlier: y[t+h] = y[t+h-s]; the last season is repeated."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        _check_season(config, config.season)

    def forward(self, window: Tensor) -> Tensor:
        ahead = torch.arange(self.config.horizon) % self.config.season
        window = self.past(window)
        return window[:, window.shape[1] - self.config.season + ahead, : self.config.targets]


class SeasonalDrift(_OfSeason):
    """The change one season earlier, repeated: y[t+h] = y[t] + y[t+h-s] - y[t-s]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        _check_season(config, config.season + 1)

    def forward(self, window: Tensor) -> Tensor:
        window = self.past(window)
        targets = window[..., : self.config.targets]
        season = self.config.season
        first = window.shape[1] - season
        steps = torch.arange(self.config.horizon)
        growth = targets[:, -1:] - targets[:, first - 1 : first]
        return targets[:, first + steps % season] + (steps // season + 1).unsqueeze(1) * growth


def _check_season(config: ModelConfig, need: int) -> None:
    if config.season < 2:
        raise ValueError(f"{config.kind} needs a season of 2 steps or more; got {config.season}")
    if config.context < need:
        raise ValueError(
            f"{config.kind} needs context >= {need}; "
            f"got season {config.season}, context {config.context}"
        )


class Median(_Level):
    """The median of the window."""

    def forward(self, window: Tensor) -> Tensor:
        level = self.past(window)[..., : self.config.targets].median(dim=1, keepdim=True).values
        return level.expand(-1, self.config.horizon, -1)


class Drift(_Level):
    """The last value, and the mean change from step to step of the window for each step ahead."""

    def forward(self, window: Tensor) -> Tensor:
        targets = self.past(window)[..., : self.config.targets]
        change = (targets[:, -1:] - targets[:, :1]) / max(1, targets.shape[1] - 1)
        ahead = torch.arange(1, self.config.horizon + 1, dtype=window.dtype).reshape(1, -1, 1)
        return targets[:, -1:] + ahead * change


class Zero(Forecaster):
    """Zero, for counts that are mostly zero."""

    def forward(self, window: Tensor) -> Tensor:
        return window.new_zeros(len(window), self.config.horizon, self.config.targets)

    def suits(self, targets: Tensor) -> bool:
        return bool((targets >= 0).all()) and float((targets == 0).double().mean()) > _ZEROS


class Linear(Forecaster):
    """A linear function of the window, all inputs and all plans, for each step ahead.

    It is a ridge regression of the change from the last value (Hoerl and Kennard 1970). Where a
    target is missing, its window counts for the inputs alone: their covariance is taken to be the
    same with and without it.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        numbers = config.numbers
        self.steps = max(1, min(config.context, _MOST_INPUTS // numbers))
        self.normalizer = Normalizer(
            config.normalize, numbers, config.fixed, config.least_spread, config.floors
        )
        outputs = config.horizon * config.targets
        inputs = self.steps * numbers + config.horizon * config.known
        if inputs > _TOO_MANY:
            raise ValueError(f"{inputs} inputs are too many for {config.kind}")
        self.register_buffer("weight", torch.zeros(inputs, outputs, dtype=torch.float64))
        self.register_buffer("bias", torch.zeros(outputs, dtype=torch.float64))

    def seen(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs [B, F], and the last values and the spread of the targets, [B, 1, K]."""
        config = self.config
        past = self.past(window)[..., : config.numbers]
        center, spread = self.normalizer.frame(past)
        inputs = ((past - center) / spread)[:, -self.steps :].flatten(1)
        if config.known:
            which = slice(config.numbers - config.known, config.numbers)
            plan = window[:, -config.horizon :, which] - self.normalizer.center[which]
            inputs = torch.cat([inputs, (plan / self.normalizer.spread[which]).flatten(1)], dim=1)
        spread = spread.expand(len(window), 1, -1)[..., : config.targets]
        return inputs, past[:, -1:, : config.targets], spread

    def forward(self, window: Tensor) -> Tensor:
        inputs, last, spread = self.seen(window)
        change = inputs @ self.weight + self.bias
        shape = (-1, self.config.horizon, self.config.targets)
        return last + spread * change.reshape(shape)

    def parameter_count(self) -> int:
        return self.weight.numel() + self.bias.numel()

    def multiply_adds(self) -> int:
        return self.weight.numel()

    def fit(self, training: Windows, validation: Windows, scale: Tensor) -> float:
        """Fit it to training windows; the penalty has the lowest validation error, returned."""
        # sums over windows; those with y over the windows in which each output was observed
        inputs, outputs = self.weight.shape
        x_sum, xx = self.weight.new_zeros(inputs), self.weight.new_zeros(inputs, inputs)
        seen, y_sum = self.weight.new_zeros(outputs), self.weight.new_zeros(outputs)
        xs, xy = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        index = training.spaced(_MOST_WINDOWS)
        for part in index.split(_BATCH):
            window, target = training.batch(part)
            x, last, spread = self.seen(window)
            y = ((target - last) / spread).flatten(1)
            there = (~y.isnan()).double()
            x_sum += x.sum(dim=0)
            xx.addmm_(x.T, x)
            seen += there.sum(dim=0)
            y_sum += y.nansum(dim=0)
            xs.addmm_(x.T, there)
            xy.addmm_(x.T, y.nan_to_num(0.0))
        seen = seen.clamp(min=1.0)
        x_mean, x_means, y_mean = x_sum / len(index), xs / seen, y_sum / seen
        variance = xx / len(index) - torch.outer(x_mean, x_mean)
        values, vectors = torch.linalg.eigh(variance)
        moved = vectors.T @ (xy / seen - x_means * y_mean)
        found: list[tuple[float, Tensor]] = []
        for penalty in _PENALTIES:
            usual = penalty * values.mean().clamp(min=1e-12)
            weight = vectors @ (moved / (values.clamp(min=0.0) + usual).unsqueeze(1))
            self.weight.copy_(weight)
            self.bias.copy_(y_mean - (x_means * weight).sum(dim=0))
            error = float(errors(self, validation, scale).nanmean(dim=1).mean())
            found.append((error, weight))
        error, weight = min(found, key=lambda pair: pair[0])
        self.weight.copy_(weight)
        self.bias.copy_(y_mean - (x_means * weight).sum(dim=0))
        return error


def fitted_linear(
    config: ModelConfig,
    rows: Tensor,
    training: Windows,
    validation: Windows,
    scale: Tensor,
    normalizations: Sequence[str] = ("global", "window"),
) -> Linear:
    """The linear regression, with the normalization of the lowest validation error.

    Args:
        config: Its configuration; ``normalize`` is chosen.
        rows: Rows of the training part, to fit the scaling, [R, C].
        training: Windows to fit it to.
        validation: Windows to choose penalty and normalization by.
        scale: Divisor of errors, see `errors`.
        normalizations: To choose from.
    """
    found: list[tuple[float, Linear]] = []
    for how in normalizations:
        model = Linear(replace(config, normalize=how))
        model.normalizer.fit(rows)
        found.append((model.fit(training, validation, scale), model))
    return min(found, key=lambda pair: pair[0])[1]

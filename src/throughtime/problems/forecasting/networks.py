"""Forecasting networks and trivial forecasts.

All models have one interface. Input and output are in original units.

    model(window [B, T, C]) -> [B, horizon, K]      T = context, K targets: the first K columns

If columns are known ahead (a calendar, a plan), the window also covers the horizon, where only
these columns are used. The last columns may be category codes.

Scaling is part of the model, so a saved model accepts original units. Windows are float64: changes
of 1e-3 on a level of 1e9 are preserved until the level is subtracted.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from throughtime import catalogue
from throughtime.nn.outputs import output_of
from throughtime.problems.forecasting.normalizer import NORMALIZATIONS, Normalizer
from throughtime.problems.network_parts import (
    check_members,
    check_network_options,
    elements_of_matrices,
    embedding_width,
    perceptron,
    recurrent_body,
)
from throughtime.serialization import added_later
from throughtime.specs import MOST_STEPS

_PLAN_UNITS = 16  # of a plan head
_MOST_NUMBERS = 100_000_000  # maximum size of a forecast with the values known ahead


@dataclass(frozen=True)
class ModelConfig:
    """The configuration that a model is built from."""

    kind: str  # name in the catalogue
    context: int  # T: steps seen
    horizon: int  # steps forecast
    columns: int  # C: targets first, then other inputs
    targets: int = 1  # K
    hidden_size: int = 32  # H; networks only
    num_layers: int = 1
    normalize: str = "window"
    season: int = 1  # steps; seasonal forecasts only
    fixed: int = 0  # number of last numeric columns scaled by the training part: marks, plans
    known: int = 0  # number of last fixed columns that are also known ahead
    categories: tuple[int, ...] = ()  # number of codes of each of the last columns
    output: str = added_later("point")  # name in `outputs`; networks only
    dropout: float = added_later(0.0)  # between layers, and before the head
    recurrent_dropout: float = added_later(0.0)
    init: str = added_later("torch")  # of recurrent layers
    embedding: int = added_later(0)  # numbers per category code; 0: from the number of codes
    least_spread: float = added_later(1e-3)  # see `Normalizer`; new models have LEAST_SPREAD
    floors: tuple[float, ...] = added_later(())  # of several series: spreads of a quiet one
    plan_head: bool = added_later(False)  # see `PlanHead`; new models have one
    members: int = added_later(1)  # networks whose forecasts are averaged

    @property
    def numbers(self) -> int:
        """Number of numeric columns; the others are category codes."""
        return self.columns - len(self.categories)

    def __post_init__(self) -> None:
        catalogue.check_kind(self.kind, catalogue.FORECASTER)
        if self.normalize not in NORMALIZATIONS:
            known = ", ".join(NORMALIZATIONS)
            raise ValueError(f"normalize must be one of {known}; got {self.normalize!r}")
        output_of(self.output)
        for name in ("context", "horizon", "columns", "targets", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("context", "horizon", "season"):
            if getattr(self, name) > MOST_STEPS:
                raise ValueError(f"{name} is {getattr(self, name)}, more than {MOST_STEPS:,}")
        if self.horizon * self.columns > _MOST_NUMBERS:
            raise ValueError(f"{self.horizon} steps of {self.columns} columns are too many")
        if self.targets > self.columns:
            raise ValueError(f"got {self.targets} targets but only {self.columns} columns")
        room = self.numbers - self.targets
        if not 0 <= self.known <= self.fixed <= room or any(n < 1 for n in self.categories):
            raise ValueError(
                f"{self.known} known of {self.fixed} fixed columns and categories "
                f"{self.categories} do not fit {self.columns} columns"
            )
        if not 0 < self.least_spread <= 1:
            raise ValueError(f"least_spread must be above 0, at most 1; got {self.least_spread}")
        if self.floors and (len(self.floors) != self.numbers or not min(self.floors) > 0):
            raise ValueError(f"floors must be {self.numbers} numbers above 0; got {self.floors}")
        check_network_options(self.dropout, self.recurrent_dropout, self.init, self.embedding)
        check_members(self.kind, self.members)
        if self.season < 1:
            raise ValueError(f"season must be 1 or more, got {self.season}")


class Forecaster(nn.Module, ABC):
    """Base class of forecasters; see the module docstring."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, window: Tensor) -> Tensor:
        """Forecasts [B, horizon, K] from windows [B, T, C], in original units, float64."""

    def past(self, window: Tensor) -> Tensor:
        """The context: the last T steps of the window before the forecast, [B, T, C]."""
        past = window[:, : -self.config.horizon] if self.config.known else window
        return past[:, -self.config.context :]

    def alternatives(self, contexts: Sequence[int], seasons: Sequence[int]) -> list[ModelConfig]:
        """Configurations that validation chooses from, for a simple forecast.

        Args:
            contexts: Numbers of steps that may be looked at, ascending.
            seasons: Seasons that the data have, in steps, ascending.
        """
        return [self.config]

    def suits(self, targets: Tensor) -> bool:
        """Whether it is worth comparing on targets like these of the training part, [R, K]."""
        return True

    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def multiply_adds(self) -> int:
        """Multiply-adds in the matrix products of one forecast; independent of the machine."""
        return elements_of_matrices(self)


class Network(Forecaster):
    """Base class of trained forecasters: normalize, compute, denormalize."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.normalizer = Normalizer(
            config.normalize, config.numbers, config.fixed, config.least_spread, config.floors
        )
        widths = [config.embedding or embedding_width(count) for count in config.categories]
        self.embeddings = nn.ModuleList(
            nn.Embedding(n, width) for n, width in zip(config.categories, widths, strict=True)
        )
        self.width = config.numbers + sum(widths)  # features of a step
        # values known ahead that the body takes; with a plan head it takes none
        self.ahead = 0 if config.plan_head else config.known * config.horizon
        self.output = output_of(config.output)
        width = self.output.width(config.targets)
        self.outputs = config.horizon * width  # output values, over all steps
        found = list(self.output.prediction(torch.zeros(1, config.horizon, width)).shape)
        if found != [1, config.horizon, config.targets]:
            raise ValueError(
                f"output {config.output!r} predicts {found} from [1, {config.horizon}, {width}]; "
                f"expected [1, {config.horizon}, {config.targets}]"
            )

    @abstractmethod
    def compute(self, seen: Tensor, ahead: Tensor | None = None) -> Tensor:
        """Inputs [B, T, width] and values known ahead to outputs [B, outputs].

        ``ahead`` is [B, horizon, known] with a plan head, else [B, horizon * known].
        """

    def frame(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled numeric inputs [B, T, numbers], and center and spread of the targets."""
        window = self.past(window)[..., : self.config.numbers]
        center, spread = self.normalizer.frame(window)
        scaled = (window - center) / spread
        return scaled, center[..., : self.config.targets], spread[..., : self.config.targets]

    def see(self, window: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Arguments of `compute`, in the network's dtype, and center and spread of the targets."""
        scaled, center, spread = self.frame(window)
        config, dtype = self.config, next(self.parameters()).dtype
        seen, ahead = scaled.to(dtype), None
        if config.categories:
            codes = self.past(window)[:, -scaled.shape[1] :, config.numbers :].long()
            parts = [e(codes[..., k]) for k, e in enumerate(self.embeddings)]
            seen = torch.cat([seen, *parts], dim=-1)
        if config.known:
            which = slice(config.numbers - config.known, config.numbers)
            plan = window[:, -config.horizon :, which]
            plan = (plan - self.normalizer.center[which]) / self.normalizer.spread[which]
            ahead = (plan if config.plan_head else plan.flatten(1)).to(dtype)
        return seen, ahead, center, spread

    def add_plan_head(self, features: int) -> None:
        """Add the plan head, if the configuration has one, for so many features of the past."""
        config, width = self.config, self.output.width(self.config.targets)
        if config.plan_head and config.known:
            self.plan = PlanHead(features, config.known, width)

    def with_plan(self, output: Tensor, past: Tensor, ahead: Tensor | None) -> Tensor:
        """The output plus what the plan head makes of the plans, given features of the past."""
        if ahead is None or not self.config.plan_head:
            return output
        return output + self.plan(past, ahead).flatten(1)

    def multiply_adds(self) -> int:
        # the plan head is evaluated at every step of the horizon
        again = self.config.horizon - 1
        repeated = sum(elements_of_matrices(m) for m in self.modules() if isinstance(m, PlanHead))
        return elements_of_matrices(self) + again * repeated

    def scaled_output(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized outputs [B, horizon, width], and center and spread of the targets."""
        seen, ahead, center, spread = self.see(window)
        return self._shaped(self.compute(seen, ahead)), center, spread

    def _shaped(self, output: Tensor) -> Tensor:
        width = self.output.width(self.config.targets)
        return output.reshape(-1, self.config.horizon, width)

    def forecast(
        self, seen: Tensor, ahead: Tensor | None, center: Tensor, spread: Tensor
    ) -> Tensor:
        """Forecasts [B, horizon, K] in original units, from the result of `see`."""
        output = self._shaped(self.compute(seen, ahead))
        return self.output.prediction(output).double() * spread + center

    def forward(self, window: Tensor) -> Tensor:
        return self.forecast(*self.see(window))

    def loss(self, window: Tensor, target: Tensor) -> Tensor:
        """The loss of normalized outputs; targets that are NaN have no part in it."""
        output, center, spread = self.scaled_output(window)
        wanted = ((target - center) / spread).to(output.dtype)
        missing = wanted.isnan()
        if missing.any():
            some = ~missing.all(dim=-1)  # steps with a target, as windows with a horizon of 1
            output, wanted = output[some].unsqueeze(1), wanted[some].unsqueeze(1)
            wanted = torch.where(wanted.isnan(), self.output.prediction(output).detach(), wanted)
        return self.output.loss(output, wanted)


class PlanHead(nn.Module):
    """What the plan of each future step adds to its forecast; the same weights for all steps.

    >>> PlanHead(features=8, known=2, width=1)(torch.randn(4, 8), torch.randn(4, 24, 2)).shape
    torch.Size([4, 24, 1])
    """

    def __init__(self, features: int, known: int, width: int) -> None:
        super().__init__()
        self.past = nn.Linear(features, _PLAN_UNITS)
        self.step = nn.Linear(known, _PLAN_UNITS, bias=False)
        self.out = nn.Linear(_PLAN_UNITS, width)

    def forward(self, past: Tensor, ahead: Tensor) -> Tensor:
        """Features of the past [B, F] and plans [B, horizon, known] to [B, horizon, width]."""
        return self.out(torch.relu(self.past(past).unsqueeze(1) + self.step(ahead)))


class Dense(Network):
    """A perceptron on the current step only: a baseline without memory.

    With a window of one step, ``window`` normalization forecasts the change from the current value,
    in units of the training part's spread. The input is the current value itself.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.body = perceptron(
            self.width + self.ahead, config.hidden_size, self.outputs, config.dropout
        )
        self.add_plan_head(self.width)

    def frame(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        now = self.past(window)[:, -1:, : self.config.numbers]
        center, spread = self.normalizer.frame(now)
        if self.config.normalize == "window":
            spread = self.normalizer.spread.expand_as(center)
            scaled = (now - self.normalizer.center) / spread
        else:
            scaled = (now - center) / spread
        return scaled, center[..., : self.config.targets], spread[..., : self.config.targets]

    def compute(self, seen: Tensor, ahead: Tensor | None = None) -> Tensor:
        now = seen[:, -1]
        inputs = now if self.config.plan_head else _with_known_ahead(now, ahead)
        return self.with_plan(self.body(inputs), now, ahead)


class WindowDense(Network):
    """A perceptron over the whole window: context without recurrence."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        inputs = config.context * self.width + self.ahead
        self.body = perceptron(inputs, config.hidden_size, self.outputs, config.dropout)
        self.add_plan_head(self.width)

    def compute(self, seen: Tensor, ahead: Tensor | None = None) -> Tensor:
        past = seen.flatten(1)
        inputs = past if self.config.plan_head else _with_known_ahead(past, ahead)
        return self.with_plan(self.body(inputs), seen[:, -1], ahead)


class Recurrent(Network):
    """An RNN, LSTM or GRU over the window, with a linear head on its last hidden state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.body = recurrent_body(config, self.width, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        inputs = config.hidden_size + self.ahead
        self.head = nn.Linear(inputs, self.outputs)
        self.add_plan_head(config.hidden_size)

    def compute(self, seen: Tensor, ahead: Tensor | None = None) -> Tensor:
        output, _ = self.body(seen)
        past = self.dropout(output[:, -1])
        inputs = past if self.config.plan_head else _with_known_ahead(past, ahead)
        return self.with_plan(self.head(inputs), past, ahead)

    def multiply_adds(self) -> int:
        # the body is evaluated at every step of the window, the head once
        repeats = self.config.context - 1
        return super().multiply_adds() + repeats * elements_of_matrices(self.body)


def _with_known_ahead(seen: Tensor, ahead: Tensor | None) -> Tensor:
    return seen if ahead is None else torch.cat([seen, ahead], dim=-1)


class Ensemble(Forecaster):
    """The mean of the forecasts of networks that were trained with different seeds."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        one = replace(config, members=1)
        self.members = nn.ModuleList(build(one) for _ in range(config.members))

    def forward(self, window: Tensor) -> Tensor:
        return torch.stack([member(window) for member in self.members]).mean(dim=0)

    def multiply_adds(self) -> int:
        return sum(member.multiply_adds() for member in self.members)  # pyright: ignore


def build(config: ModelConfig) -> Forecaster:
    """Build the model of a configuration.

    >>> model = build(ModelConfig("gru", context=60, horizon=4, columns=1))
    >>> model(torch.randn(8, 60, 1, dtype=torch.float64)).shape
    torch.Size([8, 4, 1])
    """
    if config.members > 1:
        return Ensemble(config)
    return catalogue.kind_of(config.kind).build(catalogue.FORECASTER, config)


def build_network(config: ModelConfig) -> Network:
    """Build a trainable model. Raises ValueError for a trivial forecast."""
    model = build(config)
    if not isinstance(model, Network):
        trained = ", ".join(catalogue.names(catalogue.FORECASTER, trained=True))
        raise ValueError(f"{config.kind} is not a trainable network; expected one of {trained}")
    return model


def parameter_count(config: ModelConfig) -> int:
    """Number of parameters of a configuration, computed without allocating them."""
    with torch.device("meta"):
        return build(config).parameter_count()

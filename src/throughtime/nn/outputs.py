"""What networks put out: how many numbers, by which loss they learn, what is predicted, what errs.

A forecaster has an `Output`, by default `Point`; one of one's own is registered:

    throughtime.register_output(Quantiles())
    model = throughtime.fit(data, network="gru", output="quantiles")

What a network over sequences puts out follows from its answers: `Classes`, `Binary` or `Numbers`.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional


class Output(ABC):
    """What a forecaster puts out for each step ahead.

    >>> class Absolute(Point):
    ...     name = "absolute"
    ...     def loss(self, output, wanted):
    ...         return (output - wanted).abs().mean()
    """

    name: ClassVar[str]

    def width(self, targets: int) -> int:
        """Numbers for each step ahead, of so many targets K."""
        return targets

    @abstractmethod
    def loss(self, output: Tensor, wanted: Tensor) -> Tensor:
        """The loss of outputs [B, horizon, width], given targets [B, horizon, K], both scaled."""

    def prediction(self, output: Tensor) -> Tensor:
        """Point forecasts [B, horizon, K] from outputs [B, horizon, width]."""
        return output


class Point(Output):
    """One number for each target: by the mean squared error, its mean."""

    name = "point"

    def loss(self, output: Tensor, wanted: Tensor) -> Tensor:
        """Mean squared error."""
        return (output - wanted).square().mean()


_OWN = Point()
_outputs: dict[str, Output] = {_OWN.name: _OWN}


def register_output(output: Output) -> Output:
    """Add an output, for `fit` and `compare`; returns it.

    >>> register_output(Quantiles((0.1, 0.5, 0.9)))

    Raises:
        ValueError: For the name of the project's own.
    """
    if not isinstance(output, Output):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"an output is an object of a subclass of Output; got {output!r}")
    if not getattr(output, "name", "") or output.width(1) < 1:
        raise ValueError(f"an output has a name and a width of 1 or more; got {output!r}")
    if output.name == _OWN.name:
        raise ValueError(f"{output.name!r} is throughtime's own output; choose another name")
    _outputs[output.name] = output
    return output


def forget_output(name: str) -> None:
    """Remove an output that was added. Raises ValueError for any other name."""
    if name not in {output.name for output in registered_outputs()}:
        raise ValueError(f"{name!r} is none of the outputs that were registered")
    del _outputs[name]


def registered_outputs() -> tuple[Output, ...]:
    """The outputs that were added."""
    return tuple(output for output in _outputs.values() if output is not _OWN)


def output_of(name: str) -> Output:
    """An output by its name. Raises ValueError for an unknown one."""
    if name not in _outputs:
        raise ValueError(
            f"output is one of {', '.join(_outputs)}; got {name!r} (for an output of your own: in "
            "Python, import what registers it first)"
        )
    return _outputs[name]


# ------------------------------------------------------------------ of networks over sequences


class AnswerOutput(ABC):
    """What a network over sequences puts out for an answer, and its two kinds of error.

    Answers are known or not; ``center`` and ``spread`` [O] are those of the training answers.
    """

    measures: ClassVar[tuple[str, str]]  # names of options; the first is usual
    labels: ClassVar[tuple[str, str]]  # of the first and the second error

    def known(self, wanted: Tensor) -> Tensor:
        """Which answers are known: all their numbers are there."""
        return ~wanted.isnan().any(dim=-1)

    @abstractmethod
    def loss(self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """The mean loss of the known answers."""

    @abstractmethod
    def prediction(self, output: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Answers in their own unit: numbers, probabilities of each, or scores of classes."""

    @abstractmethod
    def errors(
        self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The two errors of each answer, from outputs and answers [n, O], or classes [n]."""

    @abstractmethod
    def error_of_prediction(self, found: Tensor, wanted: Tensor, *, by_loss: bool) -> Tensor:
        """The error of each prediction; ``by_loss``: what is trained, else what people read."""

    def measured(self, first: float, second: float) -> dict[str, float]:
        """The same by the names of options."""
        return dict(zip(self.measures, self.totals(first, second), strict=True))

    @abstractmethod
    def totals(self, first: float, second: float) -> tuple[float, float]:
        """Means of the two errors as they are reported, in the order of `labels`."""


class _Wrong(AnswerOutput):
    measures = ("cross-entropy", "error")  # nats; share of wrong answers
    labels = ("share of wrong answers", "cross-entropy")

    def measured(self, first: float, second: float) -> dict[str, float]:
        """The second decides unless another is asked for."""
        return dict(zip(self.measures, (second, first), strict=True))

    def totals(self, first: float, second: float) -> tuple[float, float]:
        """As they are."""
        return first, second


class Classes(_Wrong):
    """Scores of classes, of which one is right."""

    def known(self, wanted: Tensor) -> Tensor:
        """Which answers are known: classes are not negative."""
        return wanted >= 0

    def loss(self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Mean cross-entropy, in nats."""
        scores = output.flatten(0, -2).float()
        return functional.cross_entropy(scores, wanted.flatten(), ignore_index=-1)

    def prediction(self, output: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """The scores themselves."""
        return output

    def errors(
        self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Whether it is wrong, and its cross-entropy."""
        wrong = (output.argmax(dim=-1) != wanted).double()
        target = wanted.clamp(min=0)
        return wrong, functional.cross_entropy(output.double(), target, reduction="none")

    def error_of_prediction(self, found: Tensor, wanted: Tensor, *, by_loss: bool) -> Tensor:
        """Cross-entropy, or whether it is wrong."""
        if by_loss:
            return functional.cross_entropy(found.double(), wanted, reduction="none")
        return (found.argmax(dim=-1) != wanted).double()


class Binary(_Wrong):
    """Logits of numbers that are 0 or 1: the keys of a piano, say."""

    def loss(self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Mean negative log-likelihood of all numbers of an answer together."""
        each = functional.binary_cross_entropy_with_logits(
            output, wanted.nan_to_num(0.0).to(output.dtype), reduction="none"
        ).sum(dim=-1)
        return each[self.known(wanted)].mean()

    def prediction(self, output: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Probabilities."""
        return output.double().sigmoid()

    def errors(
        self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The share of wrong numbers, and the negative log-likelihood of all together."""
        target = wanted.nan_to_num(0.0)
        wrong = ((output > 0) != (target > 0)).double().mean(dim=-1)
        nats = functional.binary_cross_entropy_with_logits(
            output.double(), target, reduction="none"
        )
        return wrong, nats.sum(dim=-1)

    def error_of_prediction(self, found: Tensor, wanted: Tensor, *, by_loss: bool) -> Tensor:
        """The negative log-likelihood of all numbers together."""
        return functional.binary_cross_entropy(found, wanted, reduction="none").sum(dim=-1)


class Numbers(AnswerOutput):
    """Numbers, on the scale of the training answers."""

    measures = ("mae", "rmse")
    labels = ("mean absolute error", "root mean squared error")

    def loss(self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Mean squared error."""
        scaled = ((wanted - center) / spread).to(output.dtype)
        there = self.known(scaled)
        return (output[there] - scaled[there]).square().mean()

    def prediction(self, output: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Numbers in their own unit, float64."""
        return output.double() * spread + center

    def errors(
        self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Absolute and squared error, of several numbers each by its spread in training."""
        scale = spread if output.shape[-1] > 1 else torch.ones(1)
        off = (self.prediction(output, center, spread) - wanted) / scale
        return off.abs().mean(dim=-1), off.square().mean(dim=-1)

    def error_of_prediction(self, found: Tensor, wanted: Tensor, *, by_loss: bool) -> Tensor:
        """Squared or absolute error, in its own unit."""
        off = found - wanted
        return (off.square() if by_loss else off.abs()).mean(dim=-1).double()

    def totals(self, first: float, second: float) -> tuple[float, float]:
        """The second is the square of what is reported."""
        return first, second**0.5


def answer_output(*, classes: bool, binary: bool) -> AnswerOutput:
    """The output for answers of a kind."""
    return Classes() if classes else Binary() if binary else Numbers()

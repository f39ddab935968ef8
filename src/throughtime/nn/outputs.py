"""Network outputs: their width, loss, predictions and errors.

A forecaster has an `Output`, by default `Point`. To add your own, register it:

    throughtime.register_output(Quantiles())
    model = throughtime.fit(data, network="gru", output="quantiles")

A sequence model has an `AnswerOutput` that depends on its answers: `Classes`, `Binary` or
`Numbers`.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional


class Output(ABC):
    """Output of a forecaster for each step ahead.

    >>> class Absolute(Point):
    ...     name = "absolute"
    ...     def loss(self, output, wanted):
    ...         return (output - wanted).abs().mean()
    """

    name: ClassVar[str]

    def width(self, targets: int) -> int:
        """Return the number of output values per step ahead for K targets."""
        return targets

    @abstractmethod
    def loss(self, output: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of scaled outputs [B, horizon, width], given targets [B, horizon, K]."""

    def prediction(self, output: Tensor) -> Tensor:
        """Return point forecasts [B, horizon, K] from outputs [B, horizon, width]."""
        return output


_HUBER = 0.1  # of the target's spread: below it the loss is quadratic, above it absolute


class Point(Output):
    """One value per target, the median, trained with the absolute error that it is judged by.

    Near 0 the loss is quadratic (Huber 1964), so that small errors get small gradients.
    """

    name = "point"

    def loss(self, output: Tensor, wanted: Tensor) -> Tensor:
        """Mean Huber loss, in units of the scaled target."""
        return functional.huber_loss(output, wanted, delta=_HUBER) / _HUBER


_BUILT_IN = Point()
_outputs: dict[str, Output] = {_BUILT_IN.name: _BUILT_IN}


def register_output(output: Output) -> Output:
    """Register an output for `fit` and `compare`, and return it.

    >>> register_output(Quantiles((0.1, 0.5, 0.9)))

    Raises:
        ValueError: If the name is a built-in name.
    """
    if not isinstance(output, Output):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"an output must be an instance of a subclass of Output; got {output!r}")
    if not getattr(output, "name", "") or output.width(1) < 1:
        raise ValueError(f"an output must have a name and a width of 1 or more; got {output!r}")
    if output.name == _BUILT_IN.name:
        raise ValueError(f"{output.name!r} is the name of a built-in output; choose another name")
    _outputs[output.name] = output
    return output


def forget_output(name: str) -> None:
    """Remove a registered output. Raises ValueError for any other name."""
    if name not in {output.name for output in registered_outputs()}:
        raise ValueError(f"{name!r} is not a registered output")
    del _outputs[name]


def registered_outputs() -> tuple[Output, ...]:
    """Return the registered outputs, without the built-in ones."""
    return tuple(output for output in _outputs.values() if output is not _BUILT_IN)


def output_of(name: str) -> Output:
    """Return an output by name. Raises ValueError for an unknown name."""
    if name not in _outputs:
        raise ValueError(
            f"output must be one of {', '.join(_outputs)}; got {name!r} (for an output of your "
            "own: in Python, import what registers it first)"
        )
    return _outputs[name]


# ------------------------------------------------------------------ of sequence models


class AnswerOutput(ABC):
    """Output of a sequence model for an answer, and its two error measures.

    Answers may be unknown. ``center`` and ``spread`` [O] are computed from the training answers.
    """

    measures: ClassVar[tuple[str, str]]  # option names; the first is the default
    labels: ClassVar[tuple[str, str]]  # labels of the first and the second error

    def known(self, wanted: Tensor) -> Tensor:
        """Return which answers are known, which is when none of their values is NaN."""
        return ~wanted.isnan().any(dim=-1)

    @abstractmethod
    def loss(self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Return the mean loss over the known answers."""

    def averaged(self, outputs: Tensor) -> Tensor:
        """Return the output whose prediction is the mean of those of outputs [M, ...]."""
        return outputs.mean(dim=0)

    @abstractmethod
    def prediction(self, output: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Return predictions: numbers in their original unit, probabilities, or class scores."""

    @abstractmethod
    def errors(
        self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the two errors of each answer, from outputs and answers [n, O] or classes [n]."""

    @abstractmethod
    def error_of_prediction(self, found: Tensor, wanted: Tensor, *, by_loss: bool) -> Tensor:
        """Return each prediction's error: the training loss if ``by_loss``, else the metric."""

    def measured(self, first: float, second: float) -> dict[str, float]:
        """Return the reported mean errors by option name, as in `measures`."""
        return dict(zip(self.measures, self.totals(first, second), strict=True))

    @abstractmethod
    def totals(self, first: float, second: float) -> tuple[float, float]:
        """Convert the means of the two errors to the reported values, in the order of `labels`."""


class _ErrorRate(AnswerOutput):
    measures = ("cross-entropy", "error")  # nats; share of wrong answers
    labels = ("share of wrong answers", "cross-entropy")

    def measured(self, first: float, second: float) -> dict[str, float]:
        """Return the reported mean errors by option name; the default is the second error."""
        return dict(zip(self.measures, (second, first), strict=True))

    def totals(self, first: float, second: float) -> tuple[float, float]:
        """Return both unchanged."""
        return first, second


class Classes(_ErrorRate):
    """Class scores, for answers with exactly one correct class.

    ``weight`` [O]: weight of each class in the loss; None: all count alike.
    """

    def __init__(self) -> None:
        self.weight: Tensor | None = None

    def known(self, wanted: Tensor) -> Tensor:
        """Return which answers are known; an unknown class is negative."""
        return wanted >= 0

    def loss(self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Mean cross-entropy, in nats."""
        scores = output.flatten(0, -2).float()
        weight = None if self.weight is None else self.weight.to(scores)
        return functional.cross_entropy(scores, wanted.flatten(), weight=weight, ignore_index=-1)

    def averaged(self, outputs: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities."""
        return outputs.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(outputs))

    def prediction(self, output: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Return the scores unchanged."""
        return output

    def errors(
        self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return whether each prediction is wrong, and its cross-entropy."""
        wrong = (output.argmax(dim=-1) != wanted).double()
        target = wanted.clamp(min=0)
        nats = functional.cross_entropy(output.double(), target, reduction="none")
        return wrong, nats if self.weight is None else nats * self.weight[target]

    def error_of_prediction(self, found: Tensor, wanted: Tensor, *, by_loss: bool) -> Tensor:
        """Return the cross-entropy, or whether each prediction is wrong."""
        if by_loss:
            return functional.cross_entropy(found.double(), wanted, reduction="none")
        return (found.argmax(dim=-1) != wanted).double()


class Binary(_ErrorRate):
    """Logits of binary values, such as the keys of a piano."""

    def loss(self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Mean negative log-likelihood, summed over the values of an answer."""
        each = functional.binary_cross_entropy_with_logits(
            output, wanted.nan_to_num(0.0).to(output.dtype), reduction="none"
        ).sum(dim=-1)
        return each[self.known(wanted)].mean()

    def averaged(self, outputs: Tensor) -> Tensor:
        """Return the logit of the mean probabilities."""
        return outputs.double().sigmoid().mean(dim=0).logit(eps=1e-12).to(outputs.dtype)

    def prediction(self, output: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Return probabilities, float64."""
        return output.double().sigmoid()

    def errors(
        self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the fraction of wrong values, and the summed negative log-likelihood."""
        target = wanted.nan_to_num(0.0)
        wrong = ((output > 0) != (target > 0)).double().mean(dim=-1)
        nats = functional.binary_cross_entropy_with_logits(
            output.double(), target, reduction="none"
        )
        return wrong, nats.sum(dim=-1)

    def error_of_prediction(self, found: Tensor, wanted: Tensor, *, by_loss: bool) -> Tensor:
        """Return the negative log-likelihood, summed over the values of an answer."""
        return functional.binary_cross_entropy(found, wanted, reduction="none").sum(dim=-1)


class Numbers(AnswerOutput):
    """Real numbers, standardized by the training answers."""

    measures = ("mae", "rmse")
    labels = ("mean absolute error", "root mean squared error")

    def loss(self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Mean squared error."""
        scaled = ((wanted - center) / spread).to(output.dtype)
        known = self.known(scaled)
        return (output[known] - scaled[known]).square().mean()

    def prediction(self, output: Tensor, center: Tensor, spread: Tensor) -> Tensor:
        """Return numbers in their original unit, float64."""
        return output.double() * spread + center

    def errors(
        self, output: Tensor, wanted: Tensor, center: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return absolute and squared errors; if O > 1, in units of the training spread."""
        scale = spread if output.shape[-1] > 1 else torch.ones(1)
        error = (self.prediction(output, center, spread) - wanted) / scale
        return error.abs().mean(dim=-1), error.square().mean(dim=-1)

    def error_of_prediction(self, found: Tensor, wanted: Tensor, *, by_loss: bool) -> Tensor:
        """Return the squared or absolute error, in the original unit."""
        error = found - wanted
        return (error.square() if by_loss else error.abs()).mean(dim=-1).double()

    def totals(self, first: float, second: float) -> tuple[float, float]:
        """Return the mean absolute error and the root of the mean squared error."""
        return first, second**0.5


def answer_output(*, classes: bool, binary: bool) -> AnswerOutput:
    """Return the output for class, binary or numeric answers."""
    return Classes() if classes else Binary() if binary else Numbers()

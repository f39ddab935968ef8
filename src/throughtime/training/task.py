"""Interfaces of training: tasks and progress callbacks."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from throughtime.network_records import EvaluationRecord


class Batch(NamedTuple):
    """The arguments of one call of the loss."""

    tensors: tuple[Tensor, ...]
    weight: int  # samples that the loss averages; 0: all are in other processes


class Task(ABC):
    """A model with its batches, loss and validation measures."""

    model: nn.Module
    steps: int  # batches per epoch

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """The remaining batches of this epoch; after the last one, a call starts a new epoch."""

    @abstractmethod
    def loss(self, model: nn.Module, *tensors: Tensor) -> Tensor:
        """The mean loss of a batch; a pure function, so that a bad batch can be evaluated again."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Validation measures, lower is better; the first one selects the best weights."""

    def mend(self) -> None:  # noqa: B027 - most tasks carry no state
        """Clear non-finite carried state after a skipped step."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The position in the batches, and carried state."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore state saved by `state_dict`."""


class Watch(Protocol):
    """Progress callback."""

    def __call__(self, evaluation: EvaluationRecord) -> None:
        """Called at every evaluation."""
        ...

    def tick(self, done: float, loss: float, norm: float) -> None:
        """Called between evaluations.

        Args:
            done: Fraction of the steps that training takes at most.
            loss: Loss of the latest step.
            norm: Gradient norm of the latest step.
        """
        ...

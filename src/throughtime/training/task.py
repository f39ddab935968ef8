"""What a training is given: a task to learn, and who listens."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from throughtime.runs import EpochRecord


class Batch(NamedTuple):
    """What one call of the loss takes."""

    tensors: tuple[Tensor, ...]
    weight: int  # how many samples the loss is the mean of; 0: another process has them all


class Task(ABC):
    """What is learned."""

    model: nn.Module
    steps: int  # batches of an epoch

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """What is left of this epoch; after its last, the next call begins the next."""

    @abstractmethod
    def loss(self, model: nn.Module, *tensors: Tensor) -> Tensor:
        """The mean loss of a batch: a pure function, so that a bad one can be looked into."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """How good the model is, lower is better; the first decides."""

    def mend(self) -> None:  # noqa: B027 - most tasks carry nothing
        """A step was not taken: drop what it may have left in a state that is carried over."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where the batches are."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


class Watch(Protocol):
    """Is told how it goes."""

    def __call__(self, epoch: EpochRecord) -> None:
        """An epoch is done."""
        ...

    def tick(self, done: float, loss: float, norm: float) -> None:
        """So many epochs are done, a fraction too; the latest step's loss and gradient norm."""
        ...

"""What networks are compared at: a problem, and how each is built, trained and measured at it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from throughtime.comparison.sizes import size_note
from throughtime.deploy import storage
from throughtime.errors import InputError
from throughtime.runs import ContextRecord, DataRecord, Diagnosis, Sample, SettingsRecord
from throughtime.training.processes import Team
from throughtime.training.task import Task


@dataclass(frozen=True)
class Measured:
    """A model on the validation and the test part."""

    validation_error: float
    test_error: float
    error_by_step: np.ndarray
    error_by_origin: np.ndarray  # of every item; their mean is the test error
    forecast: tuple[float, ...] = ()
    measures: dict[str, float] | None = None  # further ones of the test part, by name


class Experiment(ABC):
    """A problem, and how networks are built, trained and measured at it."""

    record: DataRecord
    unit: str  # of errors, in words
    measures: tuple[str, ...]  # of a training; the first decides unless another is asked for
    reference: str  # the trivial answer that errors are relative to
    normalizations: tuple[str, ...]  # of what a network is given; the first is usual

    @abstractmethod
    def trivial_kinds(self) -> list[str]:
        """The trivial answers that this problem admits."""

    @abstractmethod
    def config(self, kind: str, normalize: str, parameters: int, output: str = "") -> Any:
        """A model's configuration, of about so many parameters.

        ``output``: of forecasts alone, what is put out, see `nn.outputs`; empty: as usual.
        """

    @abstractmethod
    def parameters(self, config: Any) -> int:
        """How many parameters such a model has."""

    @abstractmethod
    def build(self, config: Any) -> Any:
        """The model, which has seen the training part's scale; a trivial one is ready."""

    @abstractmethod
    def task(
        self, model: Any, batch_size: int, seed: int, decided_by: str = "", team: Team | None = None
    ) -> Task:
        """What the model is to learn."""

    def multiply_adds(self, model: Any) -> int:
        """Multiply-adds of one answer."""
        return model.multiply_adds()

    @abstractmethod
    def measured(self, model: Any) -> Measured:
        """Its errors."""

    @abstractmethod
    def context(self, model: Any) -> ContextRecord | None:
        """How many steps it needs."""

    @abstractmethod
    def diagnosis(self, model: Any) -> Diagnosis | None:
        """Whether its recurrent layers are healthy; None where it has none."""

    @abstractmethod
    def one_answer(self, model: Any) -> Callable[[], object]:
        """What computes one answer, alone."""

    @abstractmethod
    def spec(self) -> storage.Spec:
        """What a model must know of its data."""

    @abstractmethod
    def card(self, model: Any, headline: str) -> str:
        """A few lines for people who find a model's folder."""

    def save(self, model: Any, folder: Path, headline: str, *, replace: bool = True) -> None:
        """Write a model's folder; with ``replace`` an older model there goes."""
        storage.save(model, folder, self.spec(), self.card(model, headline), replace=replace)

    @abstractmethod
    def sample(self, normalize: str) -> Sample:
        """A stretch of the test part to draw."""

    def size_notes(self, settings: SettingsRecord) -> list[str]:
        """What to know of the networks' sizes before time is spent on training them."""
        asked = settings.parameters
        how = (settings.normalize, asked, settings.output)
        configs = [self.config(kind, *how) for kind in settings.networks]
        notes = [size_note(c.kind, c.hidden_size, self.parameters(c), asked) for c in configs]
        return [note for note in notes if note is not None]

    def folds(self) -> list["Experiment"]:
        """The same at each fold of a rolling origin, earliest first; itself where there is one."""
        return [self]

    def seconds_of_one(self, model: Any) -> float:
        """Seconds for one answer alone: median of repeated calls."""
        answer = self.one_answer(model)
        taken: list[float] = []
        for _ in range(60):
            began = time.perf_counter()
            answer()
            taken.append(time.perf_counter() - began)
        return median(taken[10:])

    @property
    def block(self) -> int | None:
        """Items that err alike are as near as this; None: by the horizon and their number."""
        return None


def no_output(output: str) -> None:
    """Raise InputError for an output where the answers decide what is put out."""
    if output:
        raise InputError("--output", repr(output), "leave it out; it is for forecasts")


NO_SAMPLE = Sample((), (), "", "", (), (), ())

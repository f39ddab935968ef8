"""Interface of a problem for comparison: building, training and measuring networks on it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from throughtime.catalogue import kind_of
from throughtime.comparison.sizes import applicable, size_note
from throughtime.deploy import storage
from throughtime.errors import InputError
from throughtime.hyperparameters import Hyperparameters
from throughtime.network_records import ContextRecord, Diagnosis, TrainingRecord
from throughtime.runs import DataRecord, Sample, SettingsRecord
from throughtime.training.convergence import not_converged
from throughtime.training.processes import Team
from throughtime.training.settings import TrainingSettings
from throughtime.training.task import Task

LEAST_SPAN = 4  # steps: below, chrono's time scales hardly differ from torch's default


@dataclass(frozen=True)
class Evaluation:
    """Errors of a model on the validation and the test part."""

    validation_error: float
    test_error: float
    error_by_step: np.ndarray
    error_by_item: np.ndarray  # one value for each test item; their mean is the test error
    error_by_series: dict[str, float] = field(default_factory=dict[str, float])
    confusion: tuple[tuple[int, ...], ...] = ()  # of classes: rows true, columns predicted
    forecast: tuple[float, ...] = ()
    measures: dict[str, float] = field(default_factory=dict[str, float])  # of the test part


class Experiment(ABC):
    """A problem, and how networks are built, trained and measured on it."""

    record: DataRecord
    metric: str  # the measure of errors, one of `metrics`
    metrics: tuple[str, ...]  # of errors, see `comparison.measures`
    unit: str  # of errors, as text
    measures: tuple[str, ...]  # of a training, that may select the best weights
    reference: str  # trivial method that errors are relative to
    share_of = 0  # independent test items that errors are shares of; 0: they are not
    rarest: int | None = None  # test items of the rarest class, if all classes count alike
    normalizations: tuple[str, ...]  # of network inputs; the first is the default

    @abstractmethod
    def trivial_kinds(self) -> list[str]:
        """The trivial methods that apply to this problem."""

    @abstractmethod
    def config(self, kind: str, chosen: Hyperparameters, parameters: int, output: str = "") -> Any:
        """A model configuration with at most so many parameters, if 8 units have so few.

        ``output``: for forecasts, the name of an output in `nn.outputs`; "" for the default.
        """

    def usual(self, kind: str) -> Hyperparameters:
        """The usual choices for a kind, where nothing is given and nothing was tuned."""
        found = Hyperparameters(
            learning_rate=3e-3,
            batch_size=TrainingSettings().resolved(self.items).batch_size,
            size=1.0,
            dropout=0.0,
            normalize=self.normalizations[0],
        )
        if not kind_of(kind).recurrent:
            return found
        found = replace(found, layers=1, recurrent_dropout=0.0, init=self.usual_init(kind))
        return replace(found, pooling="last") if self.whole_sequences else found

    def usual_init(self, kind: str) -> str:
        """The usual initialization of a recurrent kind."""
        return "torch"

    @property
    @abstractmethod
    def memory_span(self) -> int:
        """Steps: how far back a network may have to remember."""

    @property
    def wider(self) -> tuple[int, ...]:
        """Contexts to try beyond the usual one, ascending, in steps."""
        return ()

    @property
    def whole_sequences(self) -> bool:
        """Whether a network gives one answer for a whole sequence."""
        return False

    @abstractmethod
    def parameters(self, config: Any) -> int:
        """Number of parameters of the model."""

    @abstractmethod
    def build(self, config: Any) -> Any:
        """The model, with scaling from the training part; trivial methods need no training."""

    @abstractmethod
    def task(
        self, model: Any, batch_size: int, seed: int, decided_by: str = "", team: Team | None = None
    ) -> Task:
        """The training task of the model."""

    def multiply_adds(self, model: Any) -> int:
        """Multiply-adds of one prediction."""
        return model.multiply_adds()

    @abstractmethod
    def measured(self, model: Any) -> Evaluation:
        """Errors of the model on the validation and test parts."""

    @abstractmethod
    def context(self, model: Any) -> ContextRecord | None:
        """How many context steps the model needs; None if this does not apply."""

    @abstractmethod
    def diagnosis(self, model: Any) -> Diagnosis | None:
        """Diagnosis of the recurrent layers, or None if the model has none."""

    @abstractmethod
    def one_answer(self, model: Any) -> Callable[[], object]:
        """A function that computes a single prediction."""

    @abstractmethod
    def spec(self) -> storage.Spec:
        """The description of the data that is saved with a model."""

    @abstractmethod
    def card(self, model: Any, headline: str) -> str:
        """The README of a model's folder."""

    def save(self, model: Any, folder: Path, headline: str, *, replace: bool = True) -> None:
        """Save a model to a folder; ``replace`` overwrites a model already there."""
        storage.save(model, folder, self.spec(), self.card(model, headline), replace=replace)

    @abstractmethod
    def sample(self, normalize: str) -> Sample:
        """A section of the test part for figures."""

    def size_notes(self, settings: SettingsRecord) -> list[str]:
        """Warnings about networks whose size differs too much, before any training."""
        target = settings.parameters
        configs = [
            self.config(
                k, applicable(settings.given, k).over(self.usual(k)), target, settings.output
            )
            for k in settings.networks
        ]
        notes = [size_note(c.kind, self.parameters(c), target) for c in configs]
        return [note for note in notes if note is not None]

    def shuffled(self) -> "Experiment":
        """The experiment with the steps of each sequence in random order.

        Only of whole sequences, which have steps without an order of their own.
        """
        raise NotImplementedError

    @abstractmethod
    def with_share(self, share: float) -> "Experiment":
        """The experiment with a share of the training data, the same for every network."""

    def folds(self) -> list["Experiment"]:
        """The experiments of a rolling origin, one per fold, earliest first; default: this one."""
        return [self]

    def seconds_of_one(self, model: Any) -> float:
        """Seconds of a single prediction: median of repeated calls."""
        predict = self.one_answer(model)
        durations: list[float] = []
        for _ in range(60):
            began = time.perf_counter()
            predict()
            durations.append(time.perf_counter() - began)
        return median(durations[10:])

    @cached_property
    def simple_models(self) -> dict[str, Any]:
        """The simple predictions that this problem supports, by their kind."""
        return {
            kind: self.build(self.config(kind, self.usual(kind), 1))
            for kind in self.trivial_kinds()
        }

    def chance(self, measure: str) -> float:
        """The validation measure of a network that has learned nothing."""
        if measure not in self._chance:
            self._chance[measure] = min(
                self.task(simple, 1, 0, measure).measure()[measure]
                for kind, simple in self.simple_models.items()
                if kind_of(kind).chance
            )
        return self._chance[measure]

    @cached_property
    def _chance(self) -> dict[str, float]:
        return {}

    def not_converged(self, training: TrainingRecord, found: Diagnosis | None) -> str:
        """Why a training cannot be judged, in words; "" if it had converged.

        Args:
            training: The record of its training.
            found: The diagnosis of the model, if it has one.
        """
        if not training.best:
            return ""
        decided_by = next(iter(training.evaluations[0].measures))
        chance = self.chance(decided_by)
        vanishing = found is not None and any(one.verdict == "vanishing" for one in found.layers)
        return not_converged(
            training, chance=chance, vanishing=vanishing, resolution=self.resolution(decided_by)
        )

    def resolution(self, measure: str) -> float:
        """Differences of a validation measure up to this are noise."""
        return 0.0

    @property
    def items(self) -> int:
        """Number of training items, as batches count them."""
        return self.record.windows[0]

    @property
    def block(self) -> int | None:
        """Bootstrap block length, in items; None: from the horizon and the number of items."""
        return None


def no_output(output: str) -> None:
    """Raise InputError if an output is given for a problem other than forecasting."""
    if output:
        raise InputError(
            "--output", repr(output), "remove this option; it applies only to forecasting"
        )


NO_SAMPLE = Sample((), (), "", "", (), (), ())

"""A trained network together with what it knows of its data."""

from pathlib import Path
from typing import Any

import polars as pl

from throughtime.argument_names import named_arguments
from throughtime.catalogue import label_of
from throughtime.data import frames
from throughtime.data.inputs import source_of
from throughtime.data.sources import MemoryTable, MemoryTexts
from throughtime.deploy import storage
from throughtime.deploy.prediction import use
from throughtime.problems.forecasting.prediction import Forecasts
from throughtime.runs import TrainingRecord


class Model:
    """A trained network and what it knows of its data: what `fit` and `load` return.

    >>> model = load("model")
    >>> model.predict(new_frame)
    """

    def __init__(
        self,
        network: storage.Model,
        spec: storage.Spec,
        card: str,
        *,
        training: TrainingRecord | None = None,
        test_error: float | None = None,
        measures: dict[str, float] | None = None,
        unit: str = "",
    ) -> None:
        self.network = network  # an nn.Module
        self.spec = spec
        self.card = card
        self.training = training
        self.test_error = test_error  # on the test part, in `unit`; None for one that was loaded
        self.measures = measures or {}
        self.unit = unit

    @property
    def kind(self) -> str:
        """The name of its network."""
        return self.network.config.kind

    def predictions(
        self, source: Any, *, missing: str | None = None, delimiter: str | None = None
    ) -> Forecasts:
        """The same as `predict`: rows of polars, and what was found and decided on the way."""
        path, _ = source_of(source, sequences=getattr(self.spec, "source", "") == "archive")
        how = getattr(self.spec, "how", {})
        if isinstance(path, MemoryTexts) and "text" in how:
            frame = pl.DataFrame({how["text"] or "text": path.texts})
            path = MemoryTable(frame, "the texts")
        return use(self.network, self.spec, path, missing=missing, delimiter=delimiter)

    @named_arguments
    def predict(
        self, source: Any, *, missing: str | None = None, delimiter: str | None = None
    ) -> Any:
        """Forecasts, answers, or what each token costs, for new data.

        >>> model.predict(frame)
        >>> model.predict("new.csv", missing="interpolate")

        Args:
            source: New data, as `read` takes them; answers are not looked at.
            missing: Missing values; by default as in training.
            delimiter: Of a CSV: one character, or "tab".

        Returns:
            A data frame of the library that was given; of polars for anything else.

        Raises:
            InputError: Where a column is absent, or the data are too short or of another step.
        """
        found = self.predictions(source, missing=missing, delimiter=delimiter)
        return frames.like(found.rows, source)

    @named_arguments
    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write the model's folder, whole; returns its path.

        >>> model.save("model", force=True)

        Args:
            folder: A new folder, or with ``force`` an older model.
            force: Replace an older model there.

        Raises:
            InputError: Where something else is there.
        """
        place = Path(folder)
        storage.save(self.network, place, self.spec, self.card, replace=force)
        return place

    def __repr__(self) -> str:
        error = (
            "" if self.test_error is None else f", test error {self.test_error:.4g} ({self.unit})"
        )
        count = self.network.parameter_count()
        return f"Model({label_of(self.kind)}, {count:,} parameters{error})"


def load_model(folder: Path) -> Model:
    """Read a model's folder; see `throughtime.load`."""
    network, spec = storage.load(folder)
    return Model(network, spec, storage.read_card(folder))

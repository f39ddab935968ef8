"""A trained network with the description of its data."""

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
from throughtime.network_records import TrainingRecord
from throughtime.problems.forecasting.prediction import Forecasts


class Model:
    """A trained network with the description of its data; returned by `fit` and `load`.

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
        simple: tuple[str, float] | None = None,
        not_converged: str = "",
    ) -> None:
        self.network = network  # an nn.Module
        self.spec = spec
        self.card = card
        self.training = training
        self.test_error = test_error  # on the test part, in `unit`; None for a loaded model
        self.measures = measures or {}
        self.unit = unit
        self.simple = simple  # the best simple prediction, and its test error
        self.not_converged = not_converged  # why its training ended too early; "" if it did not
        self.folder: Path | None = None  # where it was saved last

    @property
    def kind(self) -> str:
        """The name of the network."""
        return self.network.config.kind

    def predictions(
        self, source: Any, *, missing: str | None = None, delimiter: str | None = None
    ) -> Forecasts:
        """Like `predict`, but returns a polars frame with a summary and the decisions made."""
        path, _ = source_of(source, sequences=getattr(self.spec, "source", "") == "archive")
        text = self.spec.options.text
        if isinstance(path, MemoryTexts) and text is not None:
            path = MemoryTable(pl.DataFrame({text: path.texts}), "the texts")
        return use(self.network, self.spec, path, missing=missing, delimiter=delimiter)

    @named_arguments
    def predict(
        self, source: Any, *, missing: str | None = None, delimiter: str | None = None
    ) -> Any:
        """Predict for new data: forecasts, labels, or the cost of each token.

        >>> model.predict(frame)
        >>> model.predict("new.csv", missing="interpolate")

        Args:
            source: New data in any form accepted by `read`; labels in it are ignored.
            missing: How to handle missing values; default: as in training.
            delimiter: Delimiter of a CSV: one character, or "tab".

        Returns:
            A data frame of the same library as ``source``; a polars frame for other sources.

        Raises:
            InputError: If a column is missing, or the data are too short or have another time step.
        """
        predictions = self.predictions(source, missing=missing, delimiter=delimiter)
        return frames.like(predictions.rows, source)

    @named_arguments
    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Save the model to a folder, atomically; return its path.

        >>> model.save("model", force=True)

        Args:
            folder: A new folder, or with ``force`` the folder of an older model.
            force: Whether to replace an older model.

        Raises:
            InputError: If the folder holds anything else.
        """
        path = Path(folder)
        storage.save(self.network, path, self.spec, self.card, replace=force)
        self.folder = path
        return path

    def __repr__(self) -> str:
        error = (
            "" if self.test_error is None else f", test error {self.test_error:.4g} ({self.unit})"
        )
        count = self.network.parameter_count()
        return f"Model({label_of(self.kind)}, {count:,} parameters{error})"


def load_model(folder: Path) -> Model:
    """Load a saved model; see `throughtime.load`."""
    network, spec = storage.load(folder)
    return Model(network, spec, storage.read_card(folder))

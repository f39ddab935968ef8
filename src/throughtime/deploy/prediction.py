"""Prediction for new data with a saved model of any kind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from throughtime.data.opening import files_of
from throughtime.data.sources import DataSource
from throughtime.deploy.storage import Model, Spec
from throughtime.output_guard import MODEL_FILES
from throughtime.problems.forecasting.prediction import Forecasts, predict
from throughtime.problems.labelling.prediction import answer
from throughtime.problems.language.prediction import costs
from throughtime.specs import DataSpec, SequenceSpec, TokenSpec


def files_read(spec: Spec, folder: Path, data: Path, delimiter: str | None = None) -> list[Path]:
    """Every file read to predict for new data with a model's folder."""
    options = replace(spec.options, delimiter=delimiter)
    if isinstance(spec, SequenceSpec) and spec.source == "audio":
        options = replace(options, file=options.file or "file")
    return [*(folder / name for name in MODEL_FILES), *files_of(data, options)]


_USES: dict[type[Any], Callable[..., Forecasts]] = {
    DataSpec: predict,
    SequenceSpec: answer,
    TokenSpec: costs,
}


def use(
    model: Model,
    spec: Spec,
    path: DataSource,
    *,
    missing: str | None = None,
    delimiter: str | None = None,
) -> Forecasts:
    """Predict for new data; see `predict`, `answer` and `costs`."""
    return _USES[type(spec)](model, spec, path, missing=missing, delimiter=delimiter)

"""A saved model of any kind, and new data of its kind."""

from pathlib import Path

from throughtime.deploy.answering import answer
from throughtime.deploy.predicting import Forecasts, predict
from throughtime.deploy.sampling import costs
from throughtime.nn.models import Forecaster
from throughtime.nn.sequence_models import SequenceNetwork
from throughtime.nn.storage import Model, Spec
from throughtime.specs import DataSpec, SequenceSpec, TokenSpec


def use(
    model: Model,
    spec: Spec,
    path: Path,
    *,
    missing: str | None = None,
    delimiter: str | None = None,
) -> Forecasts:
    """What a model says of new data; see `predict`, `answer` and `costs`."""
    if isinstance(model, SequenceNetwork):
        if isinstance(spec, SequenceSpec):
            return answer(model, spec, path, missing=missing, delimiter=delimiter)
        assert isinstance(spec, TokenSpec)
        return costs(model, spec, path)
    assert isinstance(model, Forecaster)
    assert isinstance(spec, DataSpec)
    return predict(model, spec, path, missing=missing, delimiter=delimiter)

"""Models as files: a folder of data, never of code.

``model.safetensors`` holds the numbers, ``config.json`` what they mean, ``README.md`` tells people.
Nothing in the folder is executed: the configuration is checked field by field, and the tensors
against the network it describes before any memory is taken for it.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from throughtime.errors import InputError
from throughtime.files import write_folder_whole
from throughtime.nn.models import Forecaster, ModelConfig, build
from throughtime.plain import from_plain, to_json

FORMAT = 1
_TENSORS, _CONFIG, _CARD = "model.safetensors", "config.json", "README.md"


@dataclass(frozen=True)
class DataSpec:
    """The table a model was trained on, so that new data can be lined up with it."""

    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    time: str | None
    group: str | None
    clock: tuple[str, int, str]  # kind, count, unit of the time step
    missing: str


def check_free(folder: Path) -> None:
    """Raise InputError unless a model may be written here: nothing there, or an older model."""
    if not folder.name:
        raise InputError(f"{folder}", "not a name for a model's folder", "name a new folder")
    if folder.is_dir():
        others = sorted({p.name for p in folder.iterdir()} - {_TENSORS, _CONFIG, _CARD})
        if others:
            raise InputError(
                str(folder), f"holds other files ({others[0]})", "name a new folder or an old model"
            )
    elif folder.exists():
        raise InputError(str(folder), "is a file", "name a new folder")
    first = next(p for p in folder.absolute().parents if p.exists())
    if not (first.is_dir() and os.access(first, os.W_OK | os.X_OK)):
        raise InputError(str(folder), f"{first} cannot be written to", "name another folder")


def save(model: Forecaster, folder: Path, data: DataSpec, card: str) -> None:
    """Write a model's folder, whole; an older model there is replaced, anything else refused."""
    check_free(folder)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_folder_whole(
        folder,
        {
            _TENSORS: save_tensors(tensors),
            _CONFIG: to_json({"format": FORMAT, "model": model.config, "data": data}).encode(),
            _CARD: card.encode(),
        },
    )


def load(folder: Path) -> tuple[Forecaster, DataSpec]:
    """Read a model's folder back.

    Raises InputError for a folder that is missing, cut, foreign or does not fit together.
    """
    described = _read_config(folder / _CONFIG)
    where = str(folder / _CONFIG)
    tensors = _read_tensors(folder / _TENSORS)
    try:
        config = from_plain(ModelConfig, described.get("model"), "model")
        data = from_plain(DataSpec, described.get("data"), "data")
        _check_columns(config, data)
        _check_sizes(config, list(tensors.values()))
        with torch.device("meta"):
            model = build(config)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(where, f"not a model's configuration ({error})", "save it again") from None
    expected = {name: (tuple(t.shape), t.dtype) for name, t in model.state_dict().items()}
    found = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
    if expected != found:
        wrong = sorted(n for n in expected | found if expected.get(n) != found.get(n))[0]
        raise InputError(
            str(folder / _TENSORS),
            f"tensor {wrong!r} is {found.get(wrong, 'missing')}, expected "
            f"{expected.get(wrong, 'none')} by {_CONFIG}",
            "the two files belong to different models: save it again",
        )
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(
                str(folder / _TENSORS), f"tensor {name!r} is not finite", "train it again"
            )
    model.load_state_dict(tensors, assign=True)
    return model.eval(), data


def _check_columns(config: ModelConfig, data: DataSpec) -> None:
    """The columns of the table are those the network was built for."""
    names = (*data.targets, *data.inputs)
    if len(set(names)) < len(names) or not all(names):
        raise ValueError(f"data names a column twice or not at all: {', '.join(names)}")
    if {data.time, data.group} & set(names):
        raise ValueError("data has a column that is time or group and values")
    if (len(data.targets), len(names)) != (config.targets, config.columns):
        raise ValueError(
            f"data has {len(data.targets)} targets among {len(names)} columns, "
            f"the model {config.targets} among {config.columns}"
        )


def _check_sizes(config: ModelConfig, tensors: list[torch.Tensor]) -> None:
    """No size is beyond what the file holds: building a network of it could take time without end.

    Only networks hold numbers; the trivial forecasts build nothing.
    """
    numbers = sum(tensor.numel() for tensor in tensors)
    limits = {"hidden_size": numbers, "columns": numbers, "horizon": numbers}
    for name, limit in {**limits, "num_layers": len(tensors)}.items():
        if tensors and getattr(config, name) > limit:
            raise ValueError(f"{name} is {getattr(config, name)}, more than {_TENSORS} can hold")


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            str(path.parent), f"no model here (no {path.name})", "name a folder that fit wrote"
        )
    try:
        described = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"not JSON, or cut ({error})", "save it again") from None
    found = described.get("format") if isinstance(described, dict) else None
    if found != FORMAT:
        raise InputError(
            str(path), f"format {found!r}, expected {FORMAT}", "use the version that wrote it"
        )
    return described


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_tensors(path.read_bytes())
    except OSError as error:
        raise InputError(
            str(path), f"cannot be read ({error.strerror})", "save the model again"
        ) from None
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            str(path), f"not a safetensors file, or cut ({error})", "save the model again"
        ) from None

"""Save models to folders and load them; a folder holds data only, never code.

``model.safetensors`` holds the tensors, ``config.json`` their meaning, ``README.md`` is the model
card. Nothing in the folder is executed: the configuration is checked field by field, and the
tensors against the network it describes, before any memory is allocated for the network.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from throughtime.bounded_reads import read_regular
from throughtime.catalogue import is_trivial, kind_of, registered
from throughtime.deploy.older_formats import FORMAT, converted
from throughtime.errors import InputError
from throughtime.files import write_folder_whole
from throughtime.output_guard import MODEL_FILES, check_writable, kept_kind
from throughtime.problems.forecasting.networks import Forecaster, ModelConfig, build
from throughtime.problems.labelling.networks import (
    SequenceConfig,
    SequenceNetwork,
    build_sequence_network,
)
from throughtime.serialization import from_plain, to_json
from throughtime.specs import DataSpec, SequenceSpec, TokenSpec

_TENSORS, _CONFIG, _CARD = MODEL_FILES
_BYTES = 256  # codes of text as bytes
_MOST_CARD = 1_000_000  # bytes
_MOST_CONFIG = 64_000_000  # bytes; a tokenizer is the largest thing in it


# by family: the network's configuration, the description of its data, and its builder
_FAMILIES: dict[str, tuple[type[Any], type[Any], Callable[[Any], nn.Module]]] = {
    "forecaster": (ModelConfig, DataSpec, build),
    "sequences": (SequenceConfig, SequenceSpec, build_sequence_network),
    "tokens": (SequenceConfig, TokenSpec, build_sequence_network),
}
Spec = DataSpec | SequenceSpec | TokenSpec
Model = Forecaster | SequenceNetwork


def check_free(folder: Path, *, replace: bool = True) -> None:
    """Raise InputError unless a model may be written here.

    The folder must not exist, or be empty, or with ``replace`` hold only an older model.
    """
    if not folder.name:
        raise InputError(f"{folder}", "not a name for a model's folder", "name a new folder")
    if folder.is_dir():
        there = sorted(p.name for p in folder.iterdir())
        others = sorted({p.name for p in folder.iterdir()} - {*MODEL_FILES})
        if there and (others or kept_kind(folder) != "model"):
            found = f"holds other files ({(others or there)[0]})"
            raise InputError(str(folder), found, "name a new folder, or that of an older model")
        if not replace and there:
            raise InputError(
                str(folder),
                "already holds a model",
                "name a new folder, or replace it with --force",
            )
    elif folder.exists():
        raise InputError(str(folder), "is a file", "name a new folder")
    check_writable("", folder)


def save(model: Model, folder: Path, data: Spec, card: str, *, replace: bool = True) -> None:
    """Write a model's folder, atomically.

    With ``replace`` an older model is replaced; anything else raises InputError.
    """
    check_free(folder, replace=replace)
    family = next(name for name, (_, kind, _) in _FAMILIES.items() if type(data) is kind)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_folder_whole(
        folder,
        {
            _TENSORS: save_tensors(tensors),
            _CONFIG: to_json(
                {"format": FORMAT, "family": family, "model": model.config, "data": data}
            ).encode(),
            _CARD: card.encode(),
        },
        replace=replace,
    )


def load(folder: Path) -> tuple[Model, Spec]:
    """Read a model's folder.

    Raises InputError if the folder is missing, truncated, inconsistent, or not a saved model.
    """
    described = _read_config(folder / _CONFIG)
    where = str(folder / _CONFIG)
    tensors = _read_tensors(folder / _TENSORS)
    try:
        family = described.get("family")
        if family not in _FAMILIES:
            raise ValueError(f"family is {family!r}; expected one of {', '.join(_FAMILIES)}")
        described = converted(described)
        config_kind, spec_kind, builder = _FAMILIES[family]
        config = from_plain(config_kind, described.get("model"), "model")
        data = from_plain(spec_kind, described.get("data"), "data")
        _check_columns(config, data)
        _check_sizes(config, list(tensors.values()))
        with torch.device("meta"):
            model = builder(config)
    except (TypeError, ValueError, LookupError, OverflowError, RuntimeError) as error:
        own = "import what registers" in str(error)
        next_step = "do that, then load it again" if own else "save it again"
        raise InputError(where, f"not a model's configuration ({error})", next_step) from None
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
    return cast(Model, model.eval()), data


def read_card(folder: Path) -> str:
    """Read the model card; it is optional."""
    path = folder / _CARD
    return read_regular(path, _MOST_CARD).decode("utf-8", "replace") if path.is_file() else ""


def _check_columns(config: Any, data: Any) -> None:
    """Raise ValueError unless the columns of the data fit the network."""
    if isinstance(data, SequenceSpec):
        sizes = tuple(len(words) for words in data.categories)
        given = (config.numbers, config.categories, config.every_step, config.classes)
        if given != (len(data.columns), sizes, data.every_step, bool(data.classes)) or (
            data.classes and len(data.classes) != config.outputs
        ):
            raise ValueError("columns or labels of the data differ from those of the model")
        if data.source == "text" and (len(data.columns), len(sizes)) != (0, 1):
            raise ValueError("a model of texts needs one column of codes and no numbers")
        if data.source == "text" and data.options.tokens == "bytes" and sizes != (_BYTES,):
            raise ValueError(f"{sizes} words for {_BYTES} bytes")
        return
    if isinstance(data, TokenSpec):
        if config.categories != (config.outputs,) or config.columns != 1:
            raise ValueError("a model of tokens needs one column, with its codes as outputs")
        words = _BYTES if data.unit == "bytes" else len(data.vocabulary)
        if data.unit != "tokenizer" and words != config.outputs:
            raise ValueError(f"{words} words for {config.outputs} codes")
        return
    options = data.options
    names = (*data.targets, *data.inputs, *options.known, *options.coded)
    if len(set(names)) < len(names) or not all(names):
        raise ValueError(f"the data has duplicate or empty column names: {', '.join(names)}")
    if {options.time_column, options.group} & set(names):
        raise ValueError("a column of the data is both time or group and values")
    if (len(data.targets), data.numbers) != (config.targets, config.numbers):
        raise ValueError(
            f"data has {len(data.targets)} targets among {data.numbers} columns, "
            f"the model {config.targets} among {config.numbers}"
        )
    sizes = tuple(len(words) for words in data.categories)
    if (sizes, data.known_ahead) != (config.categories, config.known):
        raise ValueError("categories or known columns of the data differ from those of the model")


def _check_sizes(config: Any, tensors: list[torch.Tensor]) -> None:
    """Raise ValueError if a size exceeds what the file can hold.

    Building a network of a huge size could take unlimited time. Trivial forecasts have no tensors.
    """
    numbers = sum(tensor.numel() for tensor in tensors)
    sizes = {name: getattr(config, name, 1) for name in ("hidden_size", "columns", "outputs")}
    sizes |= {"horizon": getattr(config, "horizon", 1), "num_layers": config.num_layers}
    sizes |= {"members": config.members, "categories": max((*getattr(config, "categories", ()), 1))}
    if is_trivial(config.kind):
        # not used by trivial predictions: a constant one has no number for each category
        del sizes["hidden_size"], sizes["num_layers"], sizes["categories"]
    elif not kind_of(config.kind).layer and kind_of(config.kind) in registered():
        del sizes["hidden_size"]  # a user's own network may not use it
    wide = kind_of(config.kind).memory == "window" and not is_trivial(config.kind)
    if isinstance(config, SequenceConfig) and wide:
        sizes["context"] = config.context  # the width of its first layer
    for name, size in sizes.items():
        limit = len(tensors) if name == "num_layers" else numbers
        if tensors and size > limit:
            raise ValueError(f"{name} is {size}, more than {_TENSORS} can hold")


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            str(path.parent),
            f"no model here (no {path.name})",
            "name a folder written by fit or compare",
        )
    raw = read_regular(path, _MOST_CONFIG)
    try:
        described = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"not JSON, or truncated ({error})", "save it again") from None
    found = described.get("format") if isinstance(described, dict) else None
    if found not in (2, FORMAT):
        raise InputError(
            str(path), f"format {found!r}, expected {FORMAT}", "use the version that wrote it"
        )
    return described


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    raw = read_regular(path)
    try:
        return load_tensors(raw)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            str(path), f"not a safetensors file, or truncated ({error})", "save the model again"
        ) from None

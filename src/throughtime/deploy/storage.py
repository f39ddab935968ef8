"""Models as files: a folder of data, never of code.

``model.safetensors`` holds the numbers, ``config.json`` what they mean, ``README.md`` tells people.
Nothing in the folder is executed: the configuration is checked field by field, and the tensors
against the network it describes before any memory is taken for it.
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

FORMAT = 2
_TENSORS, _CONFIG, _CARD = MODEL_FILES
_BYTES = 256  # codes of text as bytes
_MOST_CARD = 1_000_000  # bytes
_MOST_CONFIG = 64_000_000  # bytes; a tokenizer is the largest thing in it


# what a folder may hold: the network's configuration, what it knows of its data, and its builder
_FAMILIES: dict[str, tuple[type[Any], type[Any], Callable[[Any], nn.Module]]] = {
    "forecaster": (ModelConfig, DataSpec, build),
    "sequences": (SequenceConfig, SequenceSpec, build_sequence_network),
    "tokens": (SequenceConfig, TokenSpec, build_sequence_network),
}
Spec = DataSpec | SequenceSpec | TokenSpec
Model = Forecaster | SequenceNetwork


def check_free(folder: Path, *, replace: bool = True) -> None:
    """Raise InputError unless a model may be written here.

    That is so where nothing is there and, with ``replace``, where only an older model is.
    """
    if not folder.name:
        raise InputError(f"{folder}", "not a name for a model's folder", "name a new folder")
    if folder.is_dir():
        there = sorted(p.name for p in folder.iterdir())
        others = sorted({p.name for p in folder.iterdir()} - {*MODEL_FILES})
        if there and (others or kept_kind(folder) != "model"):
            found = f"holds other files ({(others or there)[0]})"
            raise InputError(str(folder), found, "name a new folder or an old model")
        if not replace and there:
            raise InputError(
                str(folder), "holds a model already", "name a new folder, or replace it by --force"
            )
    elif folder.exists():
        raise InputError(str(folder), "is a file", "name a new folder")
    check_writable("", folder)


def save(model: Model, folder: Path, data: Spec, card: str, *, replace: bool = True) -> None:
    """Write a model's folder, whole.

    With ``replace`` an older model there is replaced; anything else is refused.
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
    """Read a model's folder back.

    Raises InputError for a folder that is missing, cut, foreign or does not fit together.
    """
    described = _read_config(folder / _CONFIG)
    where = str(folder / _CONFIG)
    tensors = _read_tensors(folder / _TENSORS)
    try:
        family = described.get("family")
        if family not in _FAMILIES:
            raise ValueError(f"family {family!r} is none of {', '.join(_FAMILIES)}")
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
    """The lines for people in a model's folder; a folder without them is whole all the same."""
    path = folder / _CARD
    return read_regular(path, _MOST_CARD).decode("utf-8", "replace") if path.is_file() else ""


def _check_columns(config: Any, data: Any) -> None:
    """The columns of the data are those the network was built for."""
    if isinstance(data, SequenceSpec):
        sizes = tuple(len(words) for words in data.categories)
        given = (config.numbers, config.categories, config.every_step, config.classes)
        if given != (len(data.numbers), sizes, data.every_step, bool(data.classes)) or (
            data.classes and len(data.classes) != config.outputs
        ):
            raise ValueError("data has other columns or answers than the model")
        if data.source == "text" and (len(data.numbers), len(sizes)) != (0, 1):
            raise ValueError("texts have one column of codes and no numbers")
        if data.how.get("unit") == "bytes" and sizes != (_BYTES,):
            raise ValueError(f"{sizes} words for {_BYTES} bytes")
        return
    if isinstance(data, TokenSpec):
        if config.categories != (config.outputs,) or config.columns != 1:
            raise ValueError("a model of tokens has one column, whose codes it also tells")
        words = _BYTES if data.unit == "bytes" else len(data.vocabulary)
        if data.unit != "tokenizer" and words != config.outputs:
            raise ValueError(f"{words} words for {config.outputs} codes")
        return
    names = (*data.targets, *data.inputs, *data.known, *data.categorical)
    if len(set(names)) < len(names) or not all(names):
        raise ValueError(f"data names a column twice or not at all: {', '.join(names)}")
    if {data.time, data.group} & set(names):
        raise ValueError("data has a column that is time or group and values")
    if (len(data.targets), data.numbers) != (config.targets, config.numbers):
        raise ValueError(
            f"data has {len(data.targets)} targets among {data.numbers} columns, "
            f"the model {config.targets} among {config.numbers}"
        )
    sizes = tuple(len(words) for words in data.categories)
    known = len(data.known) + 2 * len(data.calendar)
    if (sizes, known) != (config.categories, config.known):
        raise ValueError("data has other categories or plans than the model")


def _check_sizes(config: Any, tensors: list[torch.Tensor]) -> None:
    """No size is beyond what the file holds: building a network of it could take time without end.

    Only networks hold numbers; the trivial forecasts build nothing.
    """
    numbers = sum(tensor.numel() for tensor in tensors)
    sizes = {name: getattr(config, name, 1) for name in ("hidden_size", "columns", "outputs")}
    sizes |= {"horizon": getattr(config, "horizon", 1), "num_layers": config.num_layers}
    sizes |= {"categories": max((*getattr(config, "categories", ()), 1))}
    if is_trivial(config.kind):
        del sizes["hidden_size"], sizes["num_layers"]  # of which a trivial answer builds nothing
    elif not kind_of(config.kind).layer and kind_of(config.kind) in registered():
        del sizes["hidden_size"]  # which a network of the user's own may not have
    wide = kind_of(config.kind).memory == "window" and not is_trivial(config.kind)
    if isinstance(config, SequenceConfig) and wide:
        sizes["context"] = config.context  # as wide as its first layer
    for name, size in sizes.items():
        limit = len(tensors) if name == "num_layers" else numbers
        if tensors and size > limit:
            raise ValueError(f"{name} is {size}, more than {_TENSORS} can hold")


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            str(path.parent), f"no model here (no {path.name})", "name a folder that fit wrote"
        )
    raw = read_regular(path, _MOST_CONFIG)
    try:
        described = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"not JSON, or cut ({error})", "save it again") from None
    found = described.get("format") if isinstance(described, dict) else None
    if found != FORMAT:
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
            str(path), f"not a safetensors file, or cut ({error})", "save the model again"
        ) from None

"""Serialization of training state: data without code, verified by a checksum.

    data = pack({"model": model.state_dict(), "step": 7})
    unpack(data)["step"]

The format is one line with the SHA-256 of the rest, then a safetensors file. The file holds every
tensor bit for bit; its header holds the nested dictionaries, lists, numbers and strings as JSON.
"""

import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from throughtime.files import fingerprint

_HEAD = "throughtime checkpoint 1 sha256 "
_HEAD_BYTES = len(_HEAD) + 64 + 1


class DamagedError(ValueError):
    """The bytes differ from those written."""


def pack(state: Mapping[Any, Any]) -> bytes:
    """Serialize nested dictionaries, lists and tuples of tensors, numbers, strings and None.

    Raises TypeError for anything else.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_to_tree(state, tensors))
    # clone: safetensors rejects tensors that share memory
    separate = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    body = save(separate, {"tree": tree})
    return f"{_HEAD}{fingerprint(body)}\n".encode() + body


def unpack(data: bytes) -> Any:
    """Restore what `pack` serialized. Raises DamagedError for truncated or changed bytes."""
    head, body = data[:_HEAD_BYTES], data[_HEAD_BYTES:]
    if not (head.startswith(_HEAD.encode()) and head.endswith(b"\n")):
        raise DamagedError("not a checkpoint of this version")
    written, found = head[len(_HEAD) : -1].decode(errors="replace"), fingerprint(body)
    if written != found:
        raise DamagedError(f"its SHA-256 is {found[:12]}..., expected {written[:12]}...")
    try:
        length = int.from_bytes(body[:8], "little")
        header = json.loads(body[8 : 8 + length])
        tensors = {name: t.clone() for name, t in load(body).items()}  # separate memory
        return _from_tree(json.loads(header["__metadata__"]["tree"]), tensors)
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"not a checkpoint ({error})") from None
    except RecursionError:
        raise DamagedError("not a checkpoint (nested too deeply)") from None


def _to_tree(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Values as JSON; a dictionary with one key marks tensors, mappings and tuples."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        pairs = [[key, _to_tree(item, tensors)] for key, item in value.items()]
        if not all(isinstance(key, str | int) for key, _ in pairs):
            raise TypeError(f"keys of a state must be strings or integers; got {list(value)}")
        return {"mapping": pairs}
    if isinstance(value, list):
        return [_to_tree(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_to_tree(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a state must hold tensors and plain values; got {type(value).__name__}")


def _from_tree(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_from_tree(item, tensors) for item in value]
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "tensor":
            return tensors[inner]
        if kind == "mapping":
            return {key: _from_tree(item, tensors) for key, item in inner}
        if kind == "tuple":
            return tuple(_from_tree(item, tensors) for item in inner)
        raise ValueError(f"unknown part {kind!r}")
    return value

"""The state of a training as bytes: data, never code, and whole or refused.

    data = pack({"model": model.state_dict(), "step": 7})
    unpack(data)["step"]

A first line with the SHA-256 of all that follows, then a safetensors file: every tensor to the bit,
and in its header the nested dictionaries, lists, numbers and texts around them as JSON.
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
    """The bytes are not what was written."""


def pack(state: Mapping[Any, Any]) -> bytes:
    """Nested dictionaries, lists and tuples of tensors, numbers, texts and None, as bytes.

    Raises TypeError for anything else.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_taken_apart(state, tensors))
    # of no shared memory, which safetensors refuses
    alone = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    body = save(alone, {"tree": tree})
    return f"{_HEAD}{fingerprint(body)}\n".encode() + body


def unpack(data: bytes) -> Any:
    """What `pack` was given. Raises DamagedError for bytes that are cut, changed or foreign."""
    head, body = data[:_HEAD_BYTES], data[_HEAD_BYTES:]
    if not (head.startswith(_HEAD.encode()) and head.endswith(b"\n")):
        raise DamagedError("not a checkpoint of this version")
    written, found = head[len(_HEAD) : -1].decode(errors="replace"), fingerprint(body)
    if written != found:
        raise DamagedError(f"its SHA-256 is {found[:12]}..., not {written[:12]}... as written")
    try:
        length = int.from_bytes(body[:8], "little")
        header = json.loads(body[8 : 8 + length])
        tensors = {name: t.clone() for name, t in load(body).items()}  # of their own memory
        return _put_together(json.loads(header["__metadata__"]["tree"]), tensors)
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"not a checkpoint ({error})") from None
    except RecursionError:
        raise DamagedError("not a checkpoint (too deep)") from None


def _taken_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """As JSON has it; a list of one key tells what JSON lacks."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        pairs = [[key, _taken_apart(item, tensors)] for key, item in value.items()]
        if not all(isinstance(key, str | int) for key, _ in pairs):
            raise TypeError(f"keys of a state are texts or whole numbers; got {list(value)}")
        return {"mapping": pairs}
    if isinstance(value, list):
        return [_taken_apart(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_taken_apart(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a state holds tensors and plain values; got {type(value).__name__}")


def _put_together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_put_together(item, tensors) for item in value]
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "tensor":
            return tensors[inner]
        if kind == "mapping":
            return {key: _put_together(item, tensors) for key, item in inner}
        if kind == "tuple":
            return tuple(_put_together(item, tensors) for item in inner)
        raise ValueError(f"unknown part {kind!r}")
    return value

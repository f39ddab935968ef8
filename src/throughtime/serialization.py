"""Strict conversion of dataclasses to JSON and back: all fields, no others, types checked."""

import json
import math
from dataclasses import field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
ADDED_LATER = {"added later": True}  # metadata of fields, see `added_later`
FORMERLY = "formerly"  # class attribute: fields of earlier versions, {old: new name, or ""}


def to_json(record: Any) -> str:
    """A dataclass as JSON text; raises ValueError for NaN and infinity, which JSON lacks."""
    return json.dumps(_plain(record), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in _names(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _names(kind: Any) -> list[str]:
    """The names of the fields that are saved; see `data_options`."""
    return [f.name for f in fields(kind) if f.metadata.get("saved", True)]


def added_later(default: Any) -> Any:
    """A dataclass field that files of earlier versions lack; it then takes its default."""
    return field(default=default, metadata=ADDED_LATER)


def from_plain(kind: type[T], value: Any, where: str = "") -> T:
    """Convert the result of `json.loads` to a dataclass.

    Raises ValueError that names the field if one is missing, unknown or of the wrong type.
    """
    return _read(kind, value, where or kind.__name__)


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:  # X | None
        inner = next(argument for argument in arguments if argument is not NoneType)
        return None if value is None else _read(inner, value, where)
    if is_dataclass(kind):
        types = get_type_hints(kind)
        hints = {name: types[name] for name in _names(kind)}
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {type(value).__name__}, expected an object")
        value = _renamed(kind, value)
        later = {f.name for f in fields(kind) if f.metadata.get("added later")}
        different = (set(value) ^ set(hints)) - (later - set(value))
        if different:
            names = ", ".join(sorted(different))
            raise ValueError(f"{where} has missing or unknown fields: {names}")
        read = {n: _read(h, value[n], f"{where}.{n}") for n, h in hints.items() if n in value}
        return kind(**read)  # pyright: ignore[reportCallIssue]
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} is {type(value).__name__}, expected a list")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise ValueError(f"{where} has {len(value)} entries, expected {len(arguments)}")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(
            _read(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {type(value).__name__}, expected an object")
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value, where)
    if type(value) is not kind:
        raise ValueError(f"{where} is {value!r}, expected {kind.__name__}")
    return _text(value, where) if isinstance(value, str) else value


def _renamed(kind: Any, value: dict[str, Any]) -> dict[str, Any]:
    """Rename fields of earlier versions; if a file has both names, leave them as they are."""
    new: dict[str, str] = getattr(kind, FORMERLY, {})
    kept = {n: v for n, v in value.items() if new.get(n) != ""}
    return {new[n] if n in new and new[n] not in value else n: v for n, v in kept.items()}


def _number(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of float
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{where} is not finite")
    return number


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        raise ValueError(f"{where} is {value!r}, which is not valid text") from None
    return value

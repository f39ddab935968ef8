"""A fingerprint of the code that a user registered: other code is another comparison."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from types import CodeType, FunctionType
from typing import Any

from throughtime.catalogue import registered
from throughtime.nn.outputs import registered_outputs

_PLAIN = (int, float, str, bool, tuple, list, type(None))
_LIBRARIES = ("throughtime", "torch", "builtins", "abc", "typing")


def fingerprint_of_own(names: Iterable[str]) -> str:
    """Of the kinds and outputs among these names that are none of the project's; else nothing.

    Classes are read with their methods and their cell, not what these call elsewhere.
    """
    wanted = set(names)
    own = [_text(vars(kind)) for kind in registered() if kind.name in wanted]
    own += [_text(type(output)) for output in registered_outputs() if output.name in wanted]
    return hashlib.sha256("\n".join(own).encode()).hexdigest() if own else ""


def _text(thing: Any) -> str:
    """What decides what a thing computes, as text that is the same in every process."""
    if isinstance(thing, type):
        bases = [b for b in thing.__mro__ if b.__module__.split(".")[0] not in _LIBRARIES]
        return "".join(_members(base) for base in bases)
    thing = getattr(thing, "fget", getattr(thing, "__func__", thing))  # properties, static methods
    if isinstance(thing, FunctionType):
        return _text(thing.__code__) + repr((thing.__defaults__, thing.__kwdefaults__))
    if isinstance(thing, CodeType):
        return thing.co_code.hex() + repr(thing.co_names) + "".join(map(_text, thing.co_consts))
    if isinstance(thing, Mapping):
        return "".join(f"{name}={_text(value)};" for name, value in sorted(thing.items()))
    if is_dataclass(thing):
        return _text(vars(thing))
    return repr(thing) if isinstance(thing, _PLAIN) else ""


def _members(kind: type) -> str:
    """The members of one class, but for what Python adds; classes inside it by their names."""
    shown = {
        name: value.__qualname__ if isinstance(value, type) else value
        for name, value in vars(kind).items()
        if not name.startswith("__") or name in ("__init__", "__call__")
    }
    return _text(shown)

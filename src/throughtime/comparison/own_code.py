"""Fingerprint of registered user code: changed code makes a new comparison."""

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
    """Fingerprint of the user-registered network kinds and outputs among these names.

    Empty if there are none. It covers classes with their methods and their cell, but not functions
    that these call elsewhere.
    """
    wanted = set(names)
    own = [_text(vars(kind)) for kind in registered() if kind.name in wanted]
    own += [_text(type(output)) for output in registered_outputs() if output.name in wanted]
    return hashlib.sha256("\n".join(own).encode()).hexdigest() if own else ""


def _text(value: Any) -> str:
    """The code of a value as text that is the same in every process."""
    if isinstance(value, type):
        bases = [b for b in value.__mro__ if b.__module__.split(".")[0] not in _LIBRARIES]
        return "".join(_members(base) for base in bases)
    value = getattr(value, "fget", getattr(value, "__func__", value))  # properties, static methods
    if isinstance(value, FunctionType):
        return _text(value.__code__) + repr((value.__defaults__, value.__kwdefaults__))
    if isinstance(value, CodeType):
        return value.co_code.hex() + repr(value.co_names) + "".join(map(_text, value.co_consts))
    if isinstance(value, Mapping):
        return "".join(f"{name}={_text(item)};" for name, item in sorted(value.items()))
    if is_dataclass(value):
        return _text(vars(value))
    return repr(value) if isinstance(value, _PLAIN) else ""


def _members(kind: type) -> str:
    """The members of a class, without those that Python adds; nested classes by name."""
    members = {
        name: member.__qualname__ if isinstance(member, type) else member
        for name, member in vars(kind).items()
        if not name.startswith("__") or name in ("__init__", "__call__")
    }
    return _text(members)

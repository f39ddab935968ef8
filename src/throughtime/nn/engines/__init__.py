"""The engines, and which of them computes a call. A new one is added to `ENGINES`."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from throughtime.nn.calls import StackCall
from throughtime.nn.engines.base import Engine, Path, Stack
from throughtime.nn.engines.equations import Equations
from throughtime.nn.engines.native import Native
from throughtime.nn.engines.torch_operators import TorchOperators

# the first that lacks nothing computes a call; the last lacks nothing
ENGINES: tuple[Engine, ...] = (Native(), TorchOperators(), Equations())
_NATIVE = Path(ENGINES[0].name, ENGINES[0].description)

_forced: ContextVar[str | None] = ContextVar("forced path", default=None)


@contextmanager
def forced_path(name: str) -> Generator[None]:
    """Compute every call by one engine, to compare engines with each other.

    >>> with forced_path("equations"):
    ...     output, state = layer(x)

    Args:
        name: native, torch or equations.

    Raises:
        ValueError: Here for an unknown name, and at the call where that engine cannot compute it.
    """
    known = [engine.name for engine in ENGINES]
    if name not in known:
        raise ValueError(f"path is one of {', '.join(known)}; got {name!r}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def forced() -> str | None:
    """The engine that `forced_path` asks for; None while a compiler traces."""
    return None if torch.compiler.is_compiling() else _forced.get()


def choose_for_cells() -> str:
    """The engine of single steps, which the kernels do not compute: torch or the equations.

    Raises ValueError where `forced_path` asks for the kernels.
    """
    name = forced() or "torch"
    if name == "native":
        raise ValueError(f"path {name!r} cannot compute this call: it has no cells")
    return name


def choose(stack: Stack, call: StackCall) -> tuple[Engine, Path]:
    """The engine that computes a call, and why. Raises ValueError as `forced_path` says."""
    name = forced()
    if name is not None:
        engine = next(engine for engine in ENGINES if engine.name == name)
        if lacks := engine.lacks(stack, call):
            raise ValueError(f"path {name!r} cannot compute this call: it has no {lacks}")
        return engine, Path(name, "forced by forced_path()")
    first = ENGINES[0]
    lacks = first.lacks(stack, call)
    if not lacks:
        return first, _NATIVE
    engine = next(engine for engine in ENGINES[1:] if not engine.lacks(stack, call))
    return engine, Path(engine.name, f"{engine.description}; {first.description} have no {lacks}")

"""Engines, and the choice of an engine for a call. Add a new engine to `ENGINES`."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from throughtime.nn.calls import StackCall
from throughtime.nn.engines.base import Engine, Path, Stack
from throughtime.nn.engines.equations import Equations
from throughtime.nn.engines.native import Native
from throughtime.nn.engines.torch_operators import TorchOperators

# the first engine that supports a call computes it; the last one supports every call
ENGINES: tuple[Engine, ...] = (Native(), TorchOperators(), Equations())
_NATIVE = Path(ENGINES[0].name, ENGINES[0].description)

_forced: ContextVar[str | None] = ContextVar("forced path", default=None)


@contextmanager
def forced_path(name: str) -> Generator[None]:
    """Compute every call in the block with one engine, to compare engines.

    >>> with forced_path("equations"):
    ...     output, state = layer(x)

    Args:
        name: "native", "torch" or "equations".

    Raises:
        ValueError: If the name is unknown. A layer call that the engine does not support raises
            ValueError, too.
    """
    known = [engine.name for engine in ENGINES]
    if name not in known:
        raise ValueError(f"path must be one of {', '.join(known)}; got {name!r}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def forced() -> str | None:
    """Return the engine set by `forced_path`; always None inside torch.compile."""
    return None if torch.compiler.is_compiling() else _forced.get()


def choose_for_cells() -> str:
    """Return the engine for single-step cells, "torch" or "equations".

    Raises ValueError if `forced_path` is set to "native", because the kernels have no cells.
    """
    name = forced() or "torch"
    if name == "native":
        raise ValueError(
            f"path {name!r} does not support single-step cells; use 'torch' or 'equations'"
        )
    return name


def choose(stack: Stack, call: StackCall) -> tuple[Engine, Path]:
    """Return the engine for a call, and why. Raises ValueError as described in `forced_path`."""
    name = forced()
    if name is not None:
        engine = next(engine for engine in ENGINES if engine.name == name)
        if lacks := engine.lacks(stack, call):
            raise ValueError(
                f"path {name!r} does not support {lacks}; use another path for this call"
            )
        return engine, Path(name, "forced by forced_path()")
    first = ENGINES[0]
    lacks = first.lacks(stack, call)
    if not lacks:
        return first, _NATIVE
    engine = next(engine for engine in ENGINES[1:] if not engine.lacks(stack, call))
    return engine, Path(
        engine.name, f"{engine.description}; {first.description} do not support {lacks}"
    )

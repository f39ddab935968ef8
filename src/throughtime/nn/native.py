"""The only door from torch to C++, and the choice of the path a layer's numbers take.

Three paths compute the same mathematics: the project's kernels (``native``), torch's own fused
operators (``torch``), and the plain equations of ``cells.py`` (``oracle``). Which one runs, and
why, is always one call away: `throughtime.explain_path`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

try:
    from throughtime import _native as kernels  # pyright: ignore[reportMissingModuleSource]

    unavailable = ""
except ImportError as error:  # a source tree that was never built
    kernels = None
    unavailable = str(error)


class Path(NamedTuple):
    """Which path computes a call, and why."""

    name: str  # "torch" or "oracle"
    reason: str


_forced: ContextVar[str | None] = ContextVar("forced path", default=None)


@contextmanager
def forced_path(name: str) -> Generator[None]:
    """Take one path whatever the call, to compare paths with each other.

    >>> with forced_path("oracle"):
    ...     output, state = layer(x)

    Raises ValueError for an unknown name here, and at the call where that path cannot compute it.
    """
    if name not in ("torch", "oracle"):
        raise ValueError(f"path is 'torch' or 'oracle', got {name!r}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def choose_path(beyond_torch: str) -> Path:
    """The path of a call. `beyond_torch` names what torch's operators lack, or is empty."""
    forced = _forced.get()
    if forced == "torch" and beyond_torch:
        raise ValueError(f"torch's operators cannot compute this call: {beyond_torch}")
    if forced:
        return Path(forced, "forced by forced_path()")
    if beyond_torch:
        return Path("oracle", f"torch's operators have no {beyond_torch}")
    return Path("torch", "the plain configuration, by torch's fused operator")


def cpu_features() -> list[str]:
    """What this processor can do for the kernels, e.g. ``['avx2', 'fma']``; empty if not built."""
    return kernels.cpu_features() if kernels else []

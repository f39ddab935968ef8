"""Equal sizes: networks of the same number of parameters, or a warning."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from throughtime.catalogue import label_of

C = TypeVar("C")

_FEWEST_UNITS = 4  # a narrower network fails because of its size, whatever its inputs
_FARTHEST_OFF = 0.10  # of the requested number of parameters


def matched(config: C, parameters: int, count: Callable[[C], int]) -> C:
    """The configuration with the hidden size whose parameter count is nearest to ``parameters``.

    Returned unchanged if the parameter count does not depend on the hidden size.
    """

    def sized(hidden_size: int) -> C:
        base: Any = config
        return replace(base, hidden_size=hidden_size)

    low, high = 1, 2
    if count(sized(high)) <= count(sized(low)):
        return config
    while count(sized(high)) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(sized(middle)) < parameters else (low, middle)
    return min(sized(low), sized(high), key=lambda c: abs(count(c) - parameters))


def size_note(kind: str, hidden_size: int, parameters: int, requested: int) -> str | None:
    """A warning if a network's size makes its comparison unfair, else None."""
    off = parameters - requested
    if hidden_size >= _FEWEST_UNITS and abs(off) <= _FARTHEST_OFF * requested:
        return None
    share = f" ({100 * abs(off) / requested:.0f} % {'more' if off > 0 else 'fewer'})" if off else ""
    return (
        f"{label_of(kind)} is not a fair match: hidden size {hidden_size}, {parameters:,} "
        f"parameters instead of {requested:,}{share}. It is no evidence about the past or "
        f"recurrence; raise --parameters."
    )

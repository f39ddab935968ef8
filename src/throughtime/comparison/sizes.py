"""Equal sizes: every network gets the same number of parameters, or the reader is told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from throughtime.catalogue import label_of

C = TypeVar("C")

_FEWEST_UNITS = 4  # a narrower network fails for its size, whatever it is given to see
_FARTHEST_OFF = 0.10  # of the parameters asked for


def matched(config: C, parameters: int, count: Callable[[C], int]) -> C:
    """The same network with the hidden size whose parameter count comes nearest.

    A network whose size does not depend on it is left as it is.
    """

    def sized(hidden_size: int) -> C:
        asked: Any = config
        return replace(asked, hidden_size=hidden_size)

    low, high = 1, 2
    if count(sized(high)) <= count(sized(low)):
        return config
    while count(sized(high)) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(sized(middle)) < parameters else (low, middle)
    return min(sized(low), sized(high), key=lambda c: abs(count(c) - parameters))


def size_note(kind: str, hidden_size: int, parameters: int, asked: int) -> str | None:
    """Why a network of this size is no fair match to the others; None: it is one."""
    off = parameters - asked
    if hidden_size >= _FEWEST_UNITS and abs(off) <= _FARTHEST_OFF * asked:
        return None
    share = f" ({100 * abs(off) / asked:.0f} % {'more' if off > 0 else 'fewer'})" if off else ""
    return (
        f"{label_of(kind)} is no fair match: hidden size {hidden_size}, {parameters:,} parameters "
        f"where {asked:,} were asked for{share}. Nothing is concluded from it about the past "
        f"or recurrence; raise --parameters."
    )

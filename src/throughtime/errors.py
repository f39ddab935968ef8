"""The errors that end a command, worded for the user."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from throughtime.escapes import one_line

_LONGEST = 1000  # characters of each part of a message


class InputError(ValueError):
    """The input is at fault: where, what was found, and what to do, in one line.

    >>> raise InputError("data.csv, row 7, column 'co2'", "text 'n/a?'", "write a number")
    """

    def __init__(self, where: str, found: str, next_step: str) -> None:
        super().__init__(where, found, next_step)  # what another process builds it from

    def __str__(self) -> str:
        where, found, next_step = self.args
        parts = (where, found, next_step)
        cut = [p if len(p) <= _LONGEST else f"{p[:_LONGEST]}..." for p in map(str, parts)]
        return one_line("{}: {}; {}".format(*cut))


class PausedError(RuntimeError):
    """A training was interrupted by a signal and has kept what it needs to go on."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message, signal)

    def __str__(self) -> str:
        return str(self.args[0])


class LostWorkerError(RuntimeError):
    """A process that worked for this one was ended from outside; the input is not at fault."""


class LostOutputError(RuntimeError):
    """Standard output cannot be written to, so the result was not printed."""


def one_of(option: str, value: str, known: Sequence[str]) -> str:
    """The value of an option. Raises InputError unless it is a known one."""
    if value not in known:
        raise InputError(option, repr(value), f"take one of {', '.join(known)}")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names closest to a mistyped one, or all of them: words for the end of an error."""
    names = list(known)
    close = get_close_matches(name.lower(), [n.lower() for n in names], n=3, cutoff=0.5)
    matches = [n for n in names if n.lower() in close]
    if matches:
        return "did you mean " + " or ".join(repr(n) for n in matches) + "?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there are: {shown}" if names else "there are none"

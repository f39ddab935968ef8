"""Errors that end a command, with messages for the user."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from throughtime.escapes import one_line

_LONGEST = 1000  # characters of each part of a message


class InputError(ValueError):
    """Invalid input; the message says in one line where, what was found, and what to do.

    >>> raise InputError("data.csv, row 7, column 'co2'", "text 'n/a?'", "write a number")
    """

    def __init__(self, where: str, found: str, next_step: str) -> None:
        super().__init__(where, found, next_step)  # all arguments, so that it can be pickled

    def __str__(self) -> str:
        where, found, next_step = self.args
        parts = (where, found, next_step)
        cut = [p if len(p) <= _LONGEST else f"{p[:_LONGEST]}..." for p in map(str, parts)]
        return one_line("{}: {}; {}".format(*cut))


class PausedError(RuntimeError):
    """A training was interrupted by a signal after it saved what it needs to resume."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message, signal)

    def __str__(self) -> str:
        return str(self.args[0])


class LostWorkerError(RuntimeError):
    """A worker process was killed from outside; the input is not the cause."""


class LostOutputError(RuntimeError):
    """Standard output cannot be written to, so the result was not printed."""


def one_of(option: str, value: str, known: Sequence[str]) -> str:
    """Return the value of an option; raise InputError unless it is known."""
    if value not in known:
        raise InputError(option, repr(value), f"take one of {', '.join(known)}")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known names closest to a mistyped one, or list them, for an error message."""
    names = list(known)
    close = get_close_matches(name.lower(), [n.lower() for n in names], n=3, cutoff=0.5)
    matches = [n for n in names if n.lower() in close]
    if matches:
        return "did you mean " + " or ".join(repr(n) for n in matches) + "?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there are: {shown}" if names else "there are none"

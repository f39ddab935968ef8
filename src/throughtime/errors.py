"""The errors that end a command, worded for the user."""

import errno
import os
import re
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from difflib import get_close_matches

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


@contextmanager
def library_errors(where: str, found: str, next_step: str) -> Generator[None]:
    """Turn whatever a library raises inside the block into an InputError with one line of it.

    Includes panics of libraries written in Rust, which are no `Exception` and print many lines by
    themselves: these are dropped. Shortage of memory stays a MemoryError, and the project's own
    errors stay what they are.
    """
    try:
        with _panics_unprinted():
            yield
    except (InputError, MemoryError):
        raise
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
        raise InputError(where, f"{found} ({line})", next_step) from None


@contextmanager
def _panics_unprinted() -> Generator[None]:
    """Hold back what is written to standard error; drop it after a panic, else write it then.

    In the main thread alone: the stream is the whole process's.
    """
    import tempfile  # slow to load, and seldom needed

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        standard = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        held = tempfile.TemporaryFile()  # noqa: SIM115 - closed below; an error here is no panic
    except OSError:  # no room: what a panic prints is seen
        os.close(standard)
        yield
        return
    with held:
        os.dup2(held.fileno(), 2)
        panicked = False
        try:
            yield
        except BaseException as error:
            panicked = is_panic(error)
            raise
        finally:
            os.dup2(standard, 2)
            os.close(standard)
            held.seek(0)
            text = held.read()
            if panicked:
                text = re.split(rb"\n?thread '.*' .*panicked at ", text, maxsplit=1)[0]
            if text:
                with suppress(OSError):
                    os.write(2, text)


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust gave up; PyO3 raises it as no `Exception`."""
    return type(error).__name__ == "PanicException"


def is_memory_shortage(error: BaseException) -> bool:
    """Whether memory ran out; libraries raise that as other errors, too."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    signs = ("can't allocate memory", "failed to map segment", "cannot allocate memory")
    signs += ("can't start new thread",)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError)
        and any(sign in str(error).lower() for sign in signs)
    )


def one_line(text: str) -> str:
    """Text in one line, whose control characters are written as escapes."""
    return visible(" ".join(text.split()))


def shown_path(path: object) -> str:
    """A path to print, in one line."""
    return visible(str(path)).replace("\n", "\\n")


def visible(text: str) -> str:
    """Text whose control characters are written as escapes: a terminal would obey them."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "replace").decode()
        for c in text
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names closest to a mistyped one, or all of them: words for the end of an error."""
    names = list(known)
    close = get_close_matches(name.lower(), [n.lower() for n in names], n=3, cutoff=0.5)
    matches = [n for n in names if n.lower() in close]
    if matches:
        return "did you mean " + " or ".join(repr(n) for n in matches) + "?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there are: {shown}" if names else "there are none"

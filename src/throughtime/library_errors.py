"""Errors of libraries, panics and shortages of memory among them, as errors of ours."""

import errno
import os
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

from throughtime.errors import InputError


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

"""Convert errors raised by libraries, including Rust panics and lack of memory."""

import errno
import os
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

from throughtime.errors import InputError


@contextmanager
def library_errors(where: str, found: str, next_step: str) -> Generator[None]:
    """Convert whatever a library raises inside the block into an InputError with its first line.

    This includes panics of libraries written in Rust, which do not derive from `Exception` and
    print many lines themselves; those lines are dropped. MemoryError and InputError pass through.
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
    """Buffer standard error; at the end, drop what a panic printed and write the rest.

    Only in the main thread, because the stream belongs to the whole process.
    """
    import tempfile  # slow to import, and rarely needed

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
    except OSError:  # disk full: the lines of a panic are then printed
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
    """Whether an error is a panic of a Rust library; PyO3's class is not an `Exception`."""
    return type(error).__name__ == "PanicException"


def is_memory_shortage(error: BaseException) -> bool:
    """Whether memory ran out; libraries report it by several error types."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    signs = ("can't allocate memory", "failed to map segment", "cannot allocate memory")
    signs += ("can't start new thread",)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError)
        and any(sign in str(error).lower() for sign in signs)
    )

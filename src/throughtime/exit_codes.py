"""How a command ends: whatever went wrong, in one line and with an exit code."""

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from throughtime import __version__
from throughtime.errors import InputError, LostOutputError, LostWorkerError, PausedError
from throughtime.escapes import one_line
from throughtime.library_errors import is_memory_shortage

try:
    import typer
except ImportError:  # pragma: no cover - the library alone is installed
    sys.exit("throughtime: the command line needs more: pip install 'throughtime[app]'")

# what typer raises for wrong options; it names the class nowhere in public
_UsageError: Any = typer.BadParameter.__mro__[1]
_INTERRUPTED, _TERMINATED = 130, 143  # as shells count Ctrl-C and SIGTERM


def run_to_the_end(app: Callable[..., Any], *, keeps: bool) -> NoReturn:
    """Run a typer app on the process's arguments and exit.

    Exit code 2 for the user's mistakes, 1 for ours, 130 and 143 for Ctrl-C and SIGTERM.
    ``keeps``: what the command has done by then is of use to the next run.
    """
    _open_streams()
    os.environ["PYTHONSAFEPATH"] = "1"  # no child process imports from the current folder
    os.environ["RUST_BACKTRACE"] = "0"  # a panic is told in one line
    signal.signal(signal.SIGTERM, _end)
    threading.excepthook = _thread_ended
    kept = "what is done is kept, the same command goes on from there"
    interrupted = f"interrupted; {kept if keeps else 'nothing was written'}"
    try:
        code = _exit_code(app)
        if code in (_INTERRUPTED, _TERMINATED):  # the first is how typer says Ctrl-C
            _stop(interrupted, code)
        sys.stdout.flush()
        sys.exit(code or 0)
    except InputError as error:
        # the Python functions word their errors for Python; the cause is worded for this command
        own = error.__cause__ if isinstance(error.__cause__, InputError) else error
        _stop(str(own), 2)
    except (KeyboardInterrupt, typer.Abort):
        _stop(interrupted, _INTERRUPTED)
    except PausedError as error:
        _stop(str(error), 128 + error.args[1])
    except LostWorkerError as error:
        _stop(str(error), 1)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        _drop_output()
        sys.exit(1)
    except LostOutputError as error:
        _drop_output()
        _stop(str(error), 1)
    except OSError as error:
        name = error.filename2 or error.filename or "a file"
        _stop(f"{name}: {error.strerror or error}; name another place, or make room", 2)
    except _UsageError as error:
        _stop(f"{error.format_message()} (throughtime --help)", 2)
    except SystemExit:
        raise
    except BaseException as error:  # panics of libraries written in Rust are no `Exception`
        if is_memory_shortage(error):
            _stop("memory ran out; give less data, or a machine with more memory", 1)
        _stop(_fault(error), 1)


def _exit_code(app: Callable[..., Any]) -> Any:
    try:
        return app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except SystemExit as ended:
        return ended.code
    except typer.Abort as error:
        if isinstance(error.__cause__ or error.__context__, EOFError):  # typer's word for that, too
            raise RuntimeError("a file ended too early") from error
        raise


class _Output(io.TextIOWrapper):
    """Standard output, which says so where it cannot be written to."""

    def write(self, text: str, /) -> int:
        """Write text. Raises LostOutputError where it is lost."""
        with _reported_loss():
            return super().write(text)

    def flush(self) -> None:
        """Write what is in the buffer. Raises LostOutputError where it is lost."""
        with _reported_loss():
            super().flush()


class _Aside(io.TextIOWrapper):
    """Standard error: notes and progress, whose loss must not end the work."""

    def write(self, text: str, /) -> int:
        """Write text, or lose it."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is in the buffer, or lose it."""
        with suppress(OSError):
            super().flush()


@contextmanager
def _reported_loss() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LostOutputError(
            f"standard output: {error.strerror}; what was to be printed is lost"
        ) from None


def _open_streams() -> None:
    """Make the standard streams safe to write to.

    They take names that the locale cannot show. A stream that the caller closed is opened on
    nothing: else the next file opened would get its number, and be written to in its place.
    """
    for number in range(3):
        if not _is_open(number):  # what is opened next takes the lowest free number: this one
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
    how: Any = {"encoding": "utf-8", "errors": "backslashreplace"}
    output = io.FileIO(1, "wb", closefd=False)
    aside = io.FileIO(2, "wb", closefd=False)
    sys.stdout = _Output(io.BufferedWriter(output), line_buffering=output.isatty(), **how)
    sys.stderr = _Aside(io.BufferedWriter(aside), line_buffering=True, **how)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _drop_output() -> None:
    """What is left in the buffer goes nowhere: at exit it would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _end(_signal: int, _frame: object) -> None:
    sys.exit(_TERMINATED)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    """An error in a thread; one of the system (a full disk) is raised in the main thread too."""
    if ended.exc_value is not None and not isinstance(ended.exc_value, OSError):
        print(f"throughtime: {one_line(_fault(ended.exc_value))}", file=sys.stderr)


def _stop(message: str, code: int) -> NoReturn:
    # Where Ctrl-C came inside code that is made from a string (a dataclass, a named tuple),
    # CPython remembers it, and ends `python -m` by the signal whatever the exit code. Running
    # any string makes it forget.
    exec("")
    print(f"throughtime: {one_line(message)}", file=sys.stderr)
    sys.exit(code)


def _fault(error: BaseException) -> str:
    """What to report, where neither the user nor the machine is to blame."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    found = " ".join(str(error).split()) or "no further word"
    return (
        f"a fault in throughtime {__version__}: {type(error).__name__} in "
        f"{Path(place.filename).name}, line {place.lineno}: {found}; please report this line and "
        "the command"
    )

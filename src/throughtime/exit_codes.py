"""Exit codes and final error lines of the commands."""

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
    sys.exit("throughtime: the command line needs more packages: pip install 'throughtime[app]'")

# raised by typer for wrong options; the class has no public name
_UsageError: Any = typer.BadParameter.__mro__[1]
_INTERRUPTED, _TERMINATED = 130, 143  # what shells report for Ctrl-C and SIGTERM


def run_to_the_end(app: Callable[..., Any], *, keeps: bool) -> NoReturn:
    """Run a typer app on the process's arguments and exit.

    The exit code is 2 for invalid input, 1 for internal errors, 130 for Ctrl-C, 143 for SIGTERM.
    ``keeps``: whether an interrupted command keeps finished work, so that the next run can resume.
    """
    _open_streams()
    os.environ["PYTHONSAFEPATH"] = "1"  # no child process imports from the current folder
    os.environ["RUST_BACKTRACE"] = "0"  # a panic is reported in one line
    signal.signal(signal.SIGTERM, _end)
    threading.excepthook = _thread_ended
    kept = "finished work is kept, run the same command to resume"
    interrupted = f"interrupted; {kept if keeps else 'nothing was written'}"
    try:
        code = _exit_code(app)
        if code in (_INTERRUPTED, _TERMINATED):  # typer returns the first for Ctrl-C
            _stop(interrupted, code)
        sys.stdout.flush()
        sys.exit(code or 0)
    except InputError as error:
        # the Python functions reword errors for Python; the cause has the command line's wording
        original = error.__cause__ if isinstance(error.__cause__, InputError) else error
        _stop(str(original), 2)
    except (KeyboardInterrupt, typer.Abort):
        _stop(interrupted, _INTERRUPTED)
    except PausedError as error:
        _stop(str(error), 128 + error.args[1])
    except LostWorkerError as error:
        _stop(str(error), 1)
    except BrokenPipeError:  # the reader of the output closed it, as `head` does
        _drop_output()
        sys.exit(1)
    except LostOutputError as error:
        _drop_output()
        _stop(str(error), 1)
    except OSError as error:
        name = error.filename2 or error.filename or "a file"
        _stop(f"{name}: {error.strerror or error}; use another path, or free disk space", 2)
    except _UsageError as error:
        _stop(f"{error.format_message()} (throughtime --help)", 2)
    except SystemExit:
        raise
    except BaseException as error:  # panics of Rust libraries do not derive from `Exception`
        if is_memory_shortage(error):
            _stop("out of memory; use less data, or a machine with more memory", 1)
        _stop(_fault(error), 1)


def _exit_code(app: Callable[..., Any]) -> Any:
    try:
        return app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except SystemExit as ended:
        return ended.code
    except typer.Abort as error:
        if isinstance(error.__cause__ or error.__context__, EOFError):  # typer raises Abort for it
            raise RuntimeError("a file ended too early") from error
        raise


class _Output(io.TextIOWrapper):
    """Standard output that raises LostOutputError if it cannot be written."""

    def write(self, text: str, /) -> int:
        """Write text."""
        with _reported_loss():
            return super().write(text)

    def flush(self) -> None:
        """Write the buffer."""
        with _reported_loss():
            super().flush()


class _ErrorOutput(io.TextIOWrapper):
    """Standard error: notes and progress; failed writes are ignored."""

    def write(self, text: str, /) -> int:
        """Write text, if possible."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write the buffer, if possible."""
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
            f"standard output: {error.strerror}; the output was not printed"
        ) from None


def _open_streams() -> None:
    """Make the standard streams safe to write to.

    They accept names that the locale cannot encode. A stream that the caller closed is opened on
    /dev/null: otherwise the next file opened would get its descriptor and receive the output.
    """
    for number in range(3):
        if not _is_open(number):  # os.open returns the lowest free descriptor: this one
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
    encoding: Any = {"encoding": "utf-8", "errors": "backslashreplace"}
    output = io.FileIO(1, "wb", closefd=False)
    error = io.FileIO(2, "wb", closefd=False)
    sys.stdout = _Output(io.BufferedWriter(output), line_buffering=output.isatty(), **encoding)
    sys.stderr = _ErrorOutput(io.BufferedWriter(error), line_buffering=True, **encoding)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _drop_output() -> None:
    """Redirect the rest of the buffer to /dev/null, because flushing at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _end(_signal: int, _frame: object) -> None:
    sys.exit(_TERMINATED)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    """Report an error in a thread; OSError (a full disk) is raised in the main thread too."""
    if ended.exc_value is not None and not isinstance(ended.exc_value, OSError):
        print(f"throughtime: {one_line(_fault(ended.exc_value))}", file=sys.stderr)


def _stop(message: str, code: int) -> NoReturn:
    # If Ctrl-C arrives inside code compiled from a string (a dataclass, a named tuple), CPython
    # remembers it and ends `python -m` by the signal, whatever the exit code. Executing any string
    # resets that.
    exec("")
    print(f"throughtime: {one_line(message)}", file=sys.stderr)
    sys.exit(code)


def _fault(error: BaseException) -> str:
    """Message for an internal error."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split()) or "no message"
    return (
        f"internal error in throughtime {__version__}: {type(error).__name__} in "
        f"{Path(place.filename).name}, line {place.lineno}: {message}; please report this line and "
        "the command"
    )

"""How a command ends: whatever went wrong, in one line and with an exit code."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from throughtime import __version__
from throughtime.errors import InputError, LostWorkerError, PausedError

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may hold what the locale cannot show
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    signal.signal(signal.SIGTERM, _end)
    kept = "what is done is kept, the same command goes on from there"
    interrupted = f"interrupted; {kept if keeps else 'nothing was written'}"
    try:
        try:
            code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        except SystemExit as ended:
            code = ended.code
        if code in (_INTERRUPTED, _TERMINATED):  # the first is how typer says Ctrl-C
            _stop(interrupted, code)
        sys.exit(code or 0)
    except InputError as error:
        _stop(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        _stop(interrupted, _INTERRUPTED)
    except PausedError as error:
        _stop(str(error), 128 + error.args[1])
    except LostWorkerError as error:
        _stop(str(error), 1)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        name = error.filename2 or error.filename or "output"
        _stop(f"{name}: {error.strerror or error}; name another place, or make room", 2)
    except _UsageError as error:
        _stop(f"{error.format_message()} (throughtime --help)", 2)
    except Exception as error:
        _stop(_fault(error), 1)


def _end(_signal: int, _frame: object) -> None:
    sys.exit(_TERMINATED)


def _stop(message: str, code: int) -> NoReturn:
    print(f"throughtime: {message}", file=sys.stderr)
    sys.exit(code)


def _fault(error: Exception) -> str:
    """What to report, where neither the user nor the machine is to blame."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    found = " ".join(str(error).split()) or "no further word"
    return (
        f"a fault in throughtime {__version__}: {type(error).__name__} in "
        f"{Path(place.filename).name}, line {place.lineno}: {found}; please report this line and "
        "the command"
    )

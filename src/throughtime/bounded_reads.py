"""Reading files with a bound on their size, and never from what has no end.

What a user names may be a file or a pipe. What lies inside a folder (data, models, runs) must be a
regular file: opening a pipe there would wait forever, and a device may have no end.
"""

import os
import stat
from pathlib import Path

from throughtime.errors import InputError, nearest

MOST_BYTES = 4_000_000_000  # of a file that is read whole into memory
MOST_PIPED = 1_000_000_000  # of a pipe, whose size is unknown before it ends
_PIECE = 1 << 20


def read_given(path: Path) -> bytes:
    """All bytes of a file or pipe that the user named.

    Raises InputError where there is no such file, it is a folder, a device or a socket, it is
    larger than MOST_BYTES (a pipe: MOST_PIPED), or it changes while it is read.
    """
    return _read(path, MOST_BYTES, pipes=True)


def read_regular(path: Path, most: int = MOST_BYTES) -> bytes:
    """All bytes of a file inside a folder; links to regular files are followed.

    Raises InputError as `read_given` does, and for a pipe.
    """
    return _read(path, most, pipes=False)


def check_regular(path: Path) -> None:
    """Raise InputError unless this is a regular file; it is not opened."""
    _check_kind(path, _status(path), pipes=False)


def _read(path: Path, most: int, *, pipes: bool) -> bytes:
    status = _status(path, suggest=pipes)
    _check_kind(path, status, pipes=pipes)
    pipe = pipes and stat.S_ISFIFO(status.st_mode)
    if pipe:
        most = min(most, MOST_PIPED)
    try:
        # a pipe that took the file's place since must not make `open` wait
        handle = os.open(path, os.O_RDONLY | (0 if pipe else os.O_NONBLOCK))
        with os.fdopen(handle, "rb") as file:
            before = os.fstat(file.fileno())
            _check_kind(path, before, pipes=pipes)
            if before.st_size > most:
                raise _too_large(path, f"{before.st_size:,} bytes; at most {most:,} are read")
            pieces: list[bytes] = []
            size = 0
            while piece := file.read(_PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > most:
                    raise _too_large(path, f"more than {most:,} bytes, the most that are read")
            after = os.fstat(file.fileno())
    except OSError as error:
        raise _unreadable(path, error) from None
    if not pipe and (before.st_size, before.st_mtime_ns) != (size, after.st_mtime_ns):
        raise InputError(str(path), "changed while it was read", "wait until it is written whole")
    return b"".join(pieces)


def _status(path: Path, *, suggest: bool = False) -> os.stat_result:
    """Of a file; ``suggest``: where it is missing, name those that are called alike."""
    try:
        return path.stat()
    except FileNotFoundError:
        advice = "check it"
        if suggest:
            there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            advice = nearest(path.name, sorted(there))
        raise InputError(str(path), "no such file", advice) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:  # a zero byte in its name
        raise InputError(repr(str(path)), f"no path ({error})", "check it") from None


def _check_kind(path: Path, status: os.stat_result, *, pipes: bool) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode)):
        return
    if stat.S_ISDIR(mode):
        raise InputError(str(path), "this is a folder", "name one file in it")
    kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
    advice = "give a regular file or a pipe" if pipes else "only regular files are read here"
    raise InputError(str(path), f"this is a {kind}", advice)


def _too_large(path: Path, found: str) -> InputError:
    advice = "give less; a folder of Parquet files may be larger than memory"
    return InputError(str(path), found, advice)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(str(path), f"cannot be read ({error.strerror})", "check it")

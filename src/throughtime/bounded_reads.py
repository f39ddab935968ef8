"""Read files with a size limit.

A path given by the user may be a file or a pipe. A file found inside a folder (data, models, runs)
must be a regular file: opening a pipe there would block forever, and a device may never end.
"""

import os
import stat
from pathlib import Path

from throughtime.errors import InputError, nearest

MOST_BYTES = 4_000_000_000  # largest file; files are read into memory as a whole
MOST_PIPED = 1_000_000_000  # most bytes from a pipe, whose size is not known in advance
_PIECE = 1 << 20


def read_given(path: Path) -> bytes:
    """Read all bytes of a file or pipe given by the user.

    Raises InputError if the file does not exist, is a folder, a device or a socket, is larger than
    MOST_BYTES (a pipe: MOST_PIPED), or changes while it is read.
    """
    return _read(path, MOST_BYTES, pipes=True)


def read_regular(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read all bytes of a file inside a folder; links to regular files are followed.

    Raises InputError like `read_given`, and also for a pipe.
    """
    return _read(path, most, pipes=False)


def check_regular(path: Path) -> None:
    """Raise InputError unless the path is a regular file; the file is not opened."""
    _check_kind(path, _status(path), pipes=False)


def _read(path: Path, most: int, *, pipes: bool) -> bytes:
    status = _status(path, suggest=pipes)
    _check_kind(path, status, pipes=pipes)
    pipe = pipes and stat.S_ISFIFO(status.st_mode)
    if pipe:
        most = min(most, MOST_PIPED)
    try:
        # do not block if a pipe has replaced the file since the check
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
        raise InputError(str(path), "changed while it was read", "wait until it is complete")
    return b"".join(pieces)


def _status(path: Path, *, suggest: bool = False) -> os.stat_result:
    """Return the status of a file; ``suggest``: name similar files if it does not exist."""
    try:
        return path.stat()
    except FileNotFoundError:
        advice = "check the path"
        if suggest:
            there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            advice = nearest(path.name, sorted(there)) if there else advice
        raise InputError(str(path), "no such file", advice) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:  # a zero byte in the name
        raise InputError(repr(str(path)), f"not a valid path ({error})", "check the path") from None


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
    advice = "give a smaller file, or a folder of Parquet files, which may be larger than memory"
    return InputError(str(path), found, advice)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        str(path), f"cannot be read ({error.strerror})", "check the path and its permissions"
    )

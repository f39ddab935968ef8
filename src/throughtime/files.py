"""Atomic writes of files and folders, and folder locks."""

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from throughtime.errors import InputError

_LONGEST = 60  # maximum characters of a name reused in the name of its temporary file


def write_whole(path: Path, content: bytes | str, *, named: bool = False) -> None:
    """Write a file atomically: readers see the old or the new content, even after a power cut.

    ``named``: the user named this path. Then the target of a link is replaced, not the link itself,
    and a pipe or a device is written to. A file that throughtime keeps for itself replaces whatever
    has its name, because a link placed there by somebody else must not lead out of the folder.
    """
    data = content.encode(errors="replace") if isinstance(content, str) else content
    path = path.resolve() if named else path.parent.resolve() / path.name
    if named and path.exists() and not (path.is_file() or path.is_dir()):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        temporary = _beside(path)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_folder_whole(folder: Path, files: dict[str, bytes], *, replace: bool = True) -> None:
    """Write a folder of files atomically, replacing an older one.

    If the system can exchange two names (Linux), one of the two folders exists at any moment.
    Raises OSError if the folder exists and ``replace`` is False.
    """
    folder = folder.parent.resolve() / folder.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _naming(folder):
        new = _beside(folder)
        new.mkdir()
        try:
            for name, content in files.items():
                write_whole(new / name, content)
            _sync_folder(new)
            if not replace:
                new.rename(folder)
            elif not (os.path.lexists(folder) and _exchange(new, folder)):
                _replace_folder(new, folder)
        finally:
            _discard(new)  # the old folder, or an unfinished new one
        _sync_folder(folder.parent)


def _beside(path: Path) -> Path:
    """A new hidden path in the same folder."""
    return path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}")


def _discard(path: Path) -> None:
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders atomically; return False if that is not supported."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_working_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
    names = (at_working_folder, os.fsencode(one), at_working_folder, os.fsencode(other))
    return rename(*names, exchange) == 0


def _replace_folder(new: Path, folder: Path) -> None:
    """Rename a folder to a name that may exist; the old folder is moved away, then removed."""
    if not os.path.lexists(folder):
        new.replace(folder)
        return
    aside = _beside(folder)
    folder.replace(aside)
    try:
        new.replace(folder)
    except BaseException:
        aside.replace(folder)
        raise
    _discard(aside)


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Lock a folder for this process within the block, by the file `lock` in it.

    Raises InputError if another process holds the lock. The system releases it when a process ends.
    """
    lock = None
    while lock is None:
        lock = _locked(folder)
    try:
        yield
    finally:
        os.close(lock)


def _locked(folder: Path) -> int | None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    lock = _opened_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        raise InputError(
            str(folder),
            f"{f'process {holder}' if holder else 'another process'} is using this folder",
            "wait until it ends, or set another --out",
        ) from None
    if not (path.exists() and path.stat().st_ino == os.fstat(lock).st_ino):
        os.close(lock)  # its owner removed the file meanwhile, so this lock excludes nobody
        return None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def _opened_lock(path: Path) -> int:
    """Open the lock file; never follow a link, because the file will be overwritten."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(lock).st_mode) and re.fullmatch(rb"\d{0,10}", os.read(lock, 20)):
            os.lseek(lock, 0, os.SEEK_SET)
            return lock
        os.close(lock)
    raise InputError(
        str(path), "is not a lock file of throughtime", "move it, or name another --out"
    )


def is_left_over(found: Path, path: Path) -> bool:
    """Whether a file is a leftover of a killed `write_whole` of `path`."""
    return found.parent == path.parent and found.name.startswith(_prefix(path))


def cache_home() -> Path | None:
    """Folder for cached files, which may be removed at any time; None without a home folder."""
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(home or Path.home() / ".cache") / "throughtime"
    except RuntimeError:  # this user has no home folder
        return None


def fingerprint(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _prefix(path: Path) -> str:
    return f".{path.name[:_LONGEST]}."


@contextmanager
def _naming(path: Path) -> Generator[None]:
    """Name the requested file in errors, not the temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files written whole or not at all."""

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from throughtime.errors import InputError


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a power cut, finds the old one or the new one."""
    data = content.encode(errors="replace") if isinstance(content, str) else content
    path = path.resolve()  # what a link points to is replaced, not the link
    if path.exists() and not (path.is_file() or path.is_dir()):
        path.write_bytes(data)  # a pipe or a device takes bytes; it cannot be replaced
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_folder_whole(folder: Path, files: dict[str, bytes]) -> None:
    """Write a folder of files so that it never holds a part of them; an old one is replaced.

    Where the system can exchange two names (Linux), one of the two folders is there at any moment.
    """
    folder = folder.resolve()  # what a link points to is replaced, not the link
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _naming(folder):
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix(folder)))
        try:
            new.chmod(0o777 & ~_umask())
            for name, content in files.items():
                write_whole(new / name, content)
            _sync_folder(new)
            if not (folder.is_dir() and _exchange(new, folder)):
                _replace_folder(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)  # the old folder, or what could not be used
        _sync_folder(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders take each other's names at once; False where that cannot be done."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_working_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
    names = (at_working_folder, os.fsencode(one), at_working_folder, os.fsencode(other))
    return rename(*names, exchange) == 0


def _replace_folder(new: Path, folder: Path) -> None:
    """Rename a folder to a name that another may have: that one steps aside first, then goes."""
    if not folder.exists():
        new.replace(folder)
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
    try:
        folder.replace(aside)
        try:
            new.replace(folder)
        except BaseException:
            aside.replace(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """A folder that is this process's alone while the block lasts, by the file `lock` in it.

    Raises InputError where another process has it. The system frees it however a process ends.
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
            f"{f'process {holder}' if holder else 'another process'} is at work here",
            "wait for its end, or name another place with --out",
        ) from None
    if not (path.exists() and path.stat().st_ino == os.fstat(lock).st_ino):
        os.close(lock)  # its owner removed it in between: it would hold nobody back
        return None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def _opened_lock(path: Path) -> int:
    """The lock file, opened; never what a link of that name points to: it will be overwritten."""
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
    raise InputError(str(path), "is no lock of throughtime's", "move it, or name another --out")


def is_left_over(found: Path, path: Path) -> bool:
    """Whether a file is what a killed `write_whole` of `path` left behind."""
    return found.parent == path.parent and found.name.startswith(_prefix(path))


def cache_home() -> Path | None:
    """Where copies are kept that may be removed at any time; None where there is no home."""
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(home or Path.home() / ".cache") / "throughtime"
    except RuntimeError:  # this user has none
        return None


def fingerprint(data: bytes) -> str:
    """SHA-256 in hexadecimal: equal for equal bytes alone."""
    return hashlib.sha256(data).hexdigest()


def _prefix(path: Path) -> str:
    return f".{path.name}."


@contextmanager
def _naming(path: Path) -> Generator[None]:
    """Errors name the file that was asked for, not the temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

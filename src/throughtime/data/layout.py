"""Files of a public data set as they were laid out and checked, and whether they still are.

A folder keeps `checked.json`: of every file its SHA-256, and its size, times and inode at the last
check. Files whose size, times and inode are the same need not be read again.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from throughtime.bounded_reads import read_regular
from throughtime.errors import InputError
from throughtime.files import fingerprint, write_whole
from throughtime.plain import from_plain, to_json

_RECORD = "checked.json"
_CHANGED = ".changed"  # what a file that was found changed is called from then on
_MOST_RECORD = 64_000_000  # bytes


@dataclass(frozen=True)
class FileCheck:
    """One file at its last check."""

    name: str  # below the folder
    sha256: str
    status: tuple[int, ...]  # size, mtime_ns, ctime_ns, inode


@dataclass(frozen=True)
class FolderCheck:
    """A folder at its last check."""

    path: str  # below the folder: the file that is handed out
    files: tuple[FileCheck, ...]


def laid_out(folder: Path, *, verify: bool = False) -> Path | None:
    """The path that a folder hands out; None where a file of it is missing or was changed.

    Contents are read where a file's status is not that of the last check, or with ``verify``.
    """
    try:
        check = from_plain(FolderCheck, json.loads(read_regular(folder / _RECORD, _MOST_RECORD)))
    except (InputError, ValueError):
        return None
    touched = False
    for file in check.files:
        path = folder / file.name
        try:
            same = _status(path) == file.status
            touched |= not same
            if (verify or not same) and fingerprint(read_regular(path)) != file.sha256:
                return None
        except (OSError, InputError):
            return None
    if touched:
        with suppress(OSError):  # a folder of somebody else's: checked again the next time
            record_check(folder, folder / check.path)
    return folder / check.path


def put(path: Path, content: bytes) -> None:
    """Write a file of a data set; another one there is kept beside it."""
    if path.exists():
        try:
            if read_regular(path) == content:
                return
        except InputError:
            pass  # no regular file, or larger than any of a data set
        path.replace(path.with_name(path.name + _CHANGED))
    write_whole(path, content)


def kept_aside(folder: Path) -> set[Path]:
    """Files that `put` found changed."""
    return set(folder.rglob(f"*{_CHANGED}"))


def record_check(folder: Path, path: Path) -> None:
    """Write down every file of a folder, whose contents are as they should be."""
    files: list[FileCheck] = []
    for found in sorted(folder.rglob("*")):
        name = found.relative_to(folder)
        ours = name.parts[0] in ("fetched", "lock", _RECORD) or found.name.endswith(_CHANGED)
        if ours or not found.is_file():
            continue
        files.append(FileCheck(str(name), fingerprint(read_regular(found)), _status(found)))
    check = FolderCheck(str(path.relative_to(folder)), tuple(files))
    write_whole(folder / _RECORD, to_json(check))


def _status(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

"""Write the files of a public data set and detect later changes to them.

The folder has a file `checked.json` with the SHA-256 of every written file, and its size, times and
inode at the last check. Files with unchanged size, times and inode are not read again.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from throughtime.bounded_reads import read_regular
from throughtime.errors import InputError
from throughtime.files import fingerprint, write_whole
from throughtime.serialization import from_plain, to_json

_RECORD = "checked.json"
_MOST_RECORD = 64_000_000  # bytes


@dataclass(frozen=True)
class FileCheck:
    """The state of a file at its last check."""

    name: str  # path relative to the folder
    sha256: str
    status: tuple[int, ...]  # size, mtime_ns, ctime_ns, inode

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in self.name:
            raise ValueError(f"{self.name!r} is not a path inside the folder")


@dataclass(frozen=True)
class FolderCheck:
    """The state of a folder at its last check."""

    path: str  # relative to the folder: the file to open
    files: tuple[FileCheck, ...]

    def __post_init__(self) -> None:
        if self.path not in [file.name for file in self.files]:
            raise ValueError(f"path {self.path!r} is not among the checked files")


class Layout:
    """Writes the files of a data set to a folder.

    >>> layout = Layout(Path("lynx"))
    >>> path = layout.put("Lynx.csv", content)
    >>> layout.record(path)

    ``moved``: new paths of existing files that differed and were renamed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.moved: list[Path] = []
        self._marks: dict[str, str] = {}

    def put(self, name: str, content: bytes) -> Path:
        """Write a file of the data set; return its path. A different existing file is renamed."""
        path = self.folder / name
        if path.parent != self.folder and path.parent.is_symlink():
            self._move_aside(path.parent)  # do not write through a link to another folder
        if not _holds(path, content):
            self._move_aside(path)
            write_whole(path, content)
        self._marks[name] = fingerprint(content)
        return path

    def record(self, path: Path) -> None:
        """Save the state of all written files; ``path`` is the file to open."""
        record = self.folder / _RECORD
        if _read_record(self.folder) is None:
            self._move_aside(record)  # not written by this class
        files = tuple(FileCheck(n, m, _status(self.folder / n)) for n, m in self._marks.items())
        write_whole(record, to_json(FolderCheck(str(path.relative_to(self.folder)), files)))

    def _move_aside(self, path: Path) -> None:
        if not (path.exists() or path.is_symlink()):
            return
        number = 1
        while True:
            aside = path.with_name(path.name + (f".changed-{number}" if number > 1 else ".changed"))
            if not (aside.exists() or aside.is_symlink()):
                break
            number += 1
        path.replace(aside)
        self.moved.append(aside)


def laid_out(folder: Path, *, verify: bool = False) -> Path | None:
    """Return the file to open in a folder, or None if any file is missing or has changed.

    A file is read if its status differs from that of the last check, or with ``verify``.
    """
    check = _read_record(folder)
    if check is None:
        return None
    files: list[FileCheck] = []
    for file in check.files:
        path = folder / file.name
        try:
            status = _status(path)
            unread = status == file.status and not verify
            if not unread and fingerprint(read_regular(path)) != file.sha256:
                return None
        except (OSError, InputError):
            return None
        files.append(replace(file, status=status))
    if tuple(files) != check.files:
        with suppress(OSError):  # not writable: checked again next time
            write_whole(folder / _RECORD, to_json(replace(check, files=tuple(files))))
    return folder / check.path


def _read_record(folder: Path) -> FolderCheck | None:
    try:
        raw = read_regular(folder / _RECORD, _MOST_RECORD)
        return from_plain(FolderCheck, json.loads(raw))
    except (InputError, ValueError, RecursionError):
        return None


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file, not a link, has this content."""
    try:
        return not path.is_symlink() and read_regular(path, max(1, len(content))) == content
    except InputError:
        return False


def _status(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

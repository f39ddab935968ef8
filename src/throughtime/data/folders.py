"""Folders of files: which are in them, in an order that does not depend on the disk."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from throughtime.bounded_reads import MOST_BYTES, check_regular, read_regular
from throughtime.errors import InputError
from throughtime.output_guard import kept_kind

TEXTS = (".txt", ".md", ".text")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
PARQUETS = (".parquet",)


def files_in(folder: Path, endings: Sequence[str]) -> list[Path]:
    """All files below a folder with one of these endings, sorted by name; hidden ones left out.

    >>> files_in(Path("recordings"), SOUNDS)

    Links to folders are not followed, so none can lead in a circle. Folders of models, runs and
    trainings are left out: they hold texts that are no data. Raises InputError for a folder that
    cannot be read, for a file that is not regular (a pipe, a device), and where there is no such
    file.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            str(error.filename), f"cannot be read ({error.strerror})", "change its permissions"
        )

    found: list[Path] = []
    for top, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not kept_kind(Path(top, name))
        )
        found += [
            Path(top, name)
            for name in sorted(names)
            if not name.startswith(".") and name.lower().endswith(tuple(endings))
        ]
    for path in found:
        check_regular(path)
    if not found:
        raise InputError(
            str(folder), f"no file with {' or '.join(endings)} in it", "name another folder"
        )
    return found


def known_files(folder: Path) -> list[Path]:
    """All files below a folder that some reader takes; none where none is there."""
    found: list[Path] = []
    for endings in (TEXTS, SOUNDS, PARQUETS):
        with suppress(InputError):
            found += files_in(folder, endings)
    return found


def read_files(files: Sequence[Path]) -> list[bytes]:
    """All bytes of several files inside a folder.

    Raises InputError for one that is not regular, and where together they are larger than
    MOST_BYTES.
    """
    left = MOST_BYTES
    contents: list[bytes] = []
    for file in files:
        contents.append(read_regular(file, left))
        left -= len(contents[-1])
    return contents


def kind_of_folder(folder: Path) -> str:
    """What a folder holds: "text", "audio" or "parquet".

    Raises InputError where it holds none, or several.
    """
    kinds = {"text": TEXTS, "audio": SOUNDS, "parquet": PARQUETS}
    found: list[str] = []
    for kind, endings in kinds.items():
        try:
            files_in(folder, endings)
        except InputError as error:
            if "no file with" not in str(error):
                raise
        else:
            found.append(kind)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            str(folder), f"files of {' and '.join(found)} in one folder", "name a folder of one"
        )
    endings = ", ".join(ending for kind in kinds.values() for ending in kind)
    raise InputError(str(folder), "no file that is known", f"known are {endings}; or name a file")


def fingerprint_of(parts: Sequence[tuple[str, bytes]]) -> str:
    """SHA-256 over names and contents of several files."""
    digest = hashlib.sha256()
    for name, content in parts:
        mark = os.fsencode(name)  # as the disk has it, UTF-8 or not
        digest.update(f"{len(mark)} {len(content)}\n".encode())
        digest.update(mark)
        digest.update(content)
    return digest.hexdigest()

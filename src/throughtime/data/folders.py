"""List and read the files in a folder, in an order that does not depend on the file system."""

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
    """List all files below a folder with one of the endings, sorted by name, without hidden files.

    >>> files_in(Path("recordings"), SOUNDS)

    Links to folders are not followed, which prevents endless loops. Folders of models, runs and
    trainings are skipped: their text files are not data. Raises InputError for a folder that
    cannot be read, for a file that is not regular (a pipe, a device), and if no file is found.
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
    """List all files below a folder that any reader accepts; may be empty."""
    found: list[Path] = []
    for endings in (TEXTS, SOUNDS, PARQUETS):
        with suppress(InputError):
            found += files_in(folder, endings)
    return found


def read_files(files: Sequence[Path]) -> list[bytes]:
    """Read all bytes of several files inside a folder.

    Raises InputError for a file that is not regular, and if their total size exceeds MOST_BYTES.
    """
    left = MOST_BYTES
    contents: list[bytes] = []
    for file in files:
        contents.append(read_regular(file, left))
        left -= len(contents[-1])
    return contents


def kind_of_folder(folder: Path) -> str:
    """Return the kind of files in a folder: "text", "audio" or "parquet".

    Raises InputError if it holds none of them, or several kinds.
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
            str(folder), f"{' and '.join(found)} files in one folder", "give a folder with one kind"
        )
    endings = ", ".join(ending for kind in kinds.values() for ending in kind)
    raise InputError(
        str(folder),
        "no file of a supported type",
        f"supported are {endings}; or name a single file",
    )


def fingerprint_of(parts: Sequence[tuple[str, bytes]]) -> str:
    """Compute the SHA-256 of the names and contents of several files."""
    digest = hashlib.sha256()
    for name, content in parts:
        mark = os.fsencode(name)  # the name on disk may not be valid UTF-8
        digest.update(f"{len(mark)} {len(content)}\n".encode())
        digest.update(mark)
        digest.update(content)
    return digest.hexdigest()

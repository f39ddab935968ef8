"""Refuse an output that would destroy an input, a model, a run or a training.

Every option that names an output is checked here before work begins. An output may not be the same
file as anything that the command reads (through links too), nor a file that throughtime keeps in a
model's, a run's or a training's folder, except the one that the command itself owns there.
"""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from throughtime.errors import InputError

MODEL_FILES = ("model.safetensors", "config.json", "README.md")
_TRAINING_FILE = re.compile(r"lock|(damaged-)?checkpoint-\d+|\.checkpoint-\d+\..*")
_RUN_FILES = ("identity", "lock", "comparison.json", "report.html", "model")


def check_output_file(
    option: str, path: Path, reads: Iterable[Path] = (), *, owned: Path | None = None
) -> None:
    """Raise InputError unless ``path`` may be written or replaced.

    >>> check_output_file("--out", Path("forecast.csv"), [Path("data.csv")])

    ``reads``: every file that the command reads. ``owned``: the file that it may replace in a run.
    """
    status = _status(option, path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise InputError(f"{option} {path}", "is a folder", "name a file")
    _refuse_inputs(option, path, reads)
    if owned is None or _place(path) != _place(owned):
        for folder in _above(path):
            kind = kept_kind(folder)
            inside = _real(path).relative_to(folder).parts
            if kind and (status is not None or _is_kept(kind, inside)):
                raise InputError(
                    f"{option} {path}", f"is a file of the {kind} {folder}", "name another file"
                )
    if status is None or stat.S_ISREG(status.st_mode):  # a pipe is written to as it is
        check_writable(option, path)


def check_output_folder(
    option: str, path: Path, reads: Iterable[Path] = (), *, added_to: bool = False
) -> None:
    """Raise InputError unless ``path`` may become a folder of output, or is one already.

    What else the folder holds is the caller's to check. ``added_to``: files are added to what is
    there, so that an input may lie in it too.
    """
    reads = list(reads)
    status = _status(option, path)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{option} {path}", "is a file", "name a new folder")
    _refuse_inputs(option, path, reads)
    for read in [] if added_to else reads:
        if _real(path) in _real(read).parents:
            raise InputError(
                f"{option} {path}", f"holds the input {read}", "name a folder of its own"
            )
    for folder in _above(path):
        if kind := kept_kind(folder):
            raise InputError(
                f"{option} {path}", f"lies in the {kind} {folder}", "name a folder outside it"
            )
    check_writable(option, path)


def check_writable(option: str, path: Path) -> None:
    """Raise InputError unless the nearest folder above ``path`` that exists can be written to."""
    for folder in _real(path).parents:
        if os.path.lexists(folder):
            if not folder.is_dir():
                found = f"{folder} is no folder"
            elif not os.access(folder, os.W_OK | os.X_OK):
                found = f"{folder} cannot be written to"
            else:
                return
            raise InputError(f"{option} {path}".strip(), found, "name another place")


def can_be_written(path: Path) -> bool:
    """Whether a file or folder could be made here."""
    try:
        check_writable("", path)
    except InputError:
        return False
    return True


def kept_kind(folder: Path) -> str:
    """What throughtime keeps in a folder: "model", "run", "training", or "" for neither."""
    if _is_file(folder / "model.safetensors") and _starts_with(
        folder / "config.json", rb'\s*\{\s*"format"\s*:'
    ):
        return "model"
    if _starts_with(folder / "identity", rb"[0-9a-f]{64}") and (
        (folder / "trials").is_dir() or _is_file(folder / "comparison.json")
    ):
        return "run"
    if folder.suffix == ".training" and any(folder.glob(f"checkpoint-{'[0-9]' * 12}")):
        return "training"
    return ""


def _is_kept(kind: str, inside: Sequence[str]) -> bool:
    """Whether a path inside a folder is one that throughtime keeps there."""
    if kind == "model":
        return inside[0] in MODEL_FILES
    if kind == "run":
        return inside[0] == "trials" or (len(inside) == 1 and inside[0] in _RUN_FILES)
    return _TRAINING_FILE.fullmatch(inside[0]) is not None


def _refuse_inputs(option: str, path: Path, reads: Iterable[Path]) -> None:
    for read in reads:
        if _same(path, read):
            raise InputError(
                f"{option} {path}", f"is the same file as the input {read}", "name another file"
            )


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one file; a path that does not exist is compared by its name."""
    try:
        return one.samefile(other)
    except OSError:
        return _real(one) == _real(other)
    except ValueError:  # a name that no file can have
        return False


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))  # unlike `resolve`, no error for a circle of links
    except ValueError:  # a name that no file can have
        return path.absolute()


def _place(path: Path) -> Path:
    """Where a path itself lies, be it a link or not."""
    return _real(path.parent) / path.name


def _above(path: Path) -> list[Path]:
    """Folders that the path, or the file it links to, lies in."""
    return list(_real(path).parents)


def _status(option: str, path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{option} {path}", f"cannot be used ({error})", "name another place"
        ) from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be looked into
        return False


def _starts_with(path: Path, pattern: bytes) -> bool:
    """Whether a file begins as throughtime writes it: other programs use the same names."""
    if not _is_file(path):
        return False
    try:
        with path.open("rb") as file:
            return re.match(pattern, file.read(64)) is not None
    except OSError:
        return True  # it cannot be read: rather ours than lost

"""Refuse outputs that would overwrite an input, a model, a run or a training.

Every option that names an output is checked here before work begins. An output must not be the same
file as any input of the command (links are followed), nor a file that throughtime keeps in the
folder of a model, a run or a training, except the one that the command itself owns.
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

    ``reads``: every file that the command reads. ``owned``: the file in a run that it may replace.
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
    if status is None or stat.S_ISREG(status.st_mode):  # a pipe is written to in place
        check_writable(option, path)


def check_output_folder(
    option: str, path: Path, reads: Iterable[Path] = (), *, added_to: bool = False
) -> None:
    """Raise InputError unless ``path`` is, or may become, an output folder.

    The caller checks what else the folder holds. ``added_to``: files are added to the existing
    ones, so the folder may also hold an input.
    """
    reads = list(reads)
    status = _status(option, path)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{option} {path}", "is a file", "name a new folder")
    _refuse_inputs(option, path, reads)
    for read in [] if added_to else reads:
        if _real(path) in _real(read).parents:
            raise InputError(
                f"{option} {path}", f"holds the input {read}", "name a separate folder"
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
                found = f"{folder} is not a folder"
            elif not os.access(folder, os.W_OK | os.X_OK):
                found = f"{folder} cannot be written to"
            else:
                return
            raise InputError(f"{option} {path}".strip(), found, "use another path")


def can_be_written(path: Path) -> bool:
    """Whether a file or folder can be created here."""
    try:
        check_writable("", path)
    except InputError:
        return False
    return True


def kept_kind(folder: Path) -> str:
    """What throughtime keeps in a folder: "model", "run", "training", or "" for none of them."""
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
    """Whether two paths are the same file; paths that do not exist are compared by name."""
    try:
        return one.samefile(other)
    except OSError:
        return _real(one) == _real(other)
    except ValueError:  # a name that no file can have
        return False


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))  # unlike `resolve`, no error for a loop of links
    except ValueError:  # a name that no file can have
        return path.absolute()


def _place(path: Path) -> Path:
    """Location of a path itself; a link is not followed."""
    return _real(path.parent) / path.name


def _above(path: Path) -> list[Path]:
    """Folders that contain the path, or the file it links to."""
    return list(_real(path).parents)


def _status(option: str, path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{option} {path}", f"cannot be used ({error})", "use another path"
        ) from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no permission to look into the folder
        return False


def _starts_with(path: Path, pattern: bytes) -> bool:
    """Whether a file starts the way throughtime writes it; other programs use the same names."""
    if not _is_file(path):
        return False
    try:
        with path.open("rb") as file:
            return re.match(pattern, file.read(64)) is not None
    except OSError:
        return True  # unreadable: assume that it is ours, so that it is not overwritten

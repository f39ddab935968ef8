"""The folder of a training: what it needs to go on, written whole, by one process at a time.

    with Checkpoints(Path("model.training"), identity) as kept:
        state = kept.newest()  # None: nothing there yet
        ...
        kept.write(step, state)

A process that dies in the midst of writing leaves the checkpoint before; one that is damaged is
found by its checksum, and the one before it is taken. Two are kept.
"""

import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any, Self

from throughtime.bounded_reads import read_regular
from throughtime.errors import InputError, PausedError
from throughtime.files import alone_in, is_left_over, write_whole
from throughtime.training.packing import DamagedError, pack, unpack

_NAME = "checkpoint-"
_KEPT = 2  # the second is what is taken when the first is damaged


class Checkpoints:
    """Checkpoints in a folder that is this process's alone while the block lasts.

    ``identity`` tells one training from another: data, network and settings. ``every``: seconds
    between two, at least; 0: at every step. ``tell`` is given a line where something is amiss that
    does not end the training.

    Raises InputError where another process is at work in the folder, or where it holds another
    training, or where no checkpoint in it is whole.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        *,
        every: float = 60.0,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.every = every
        self._tell = tell or _say_nothing
        self._last = time.monotonic()
        self._alone = alone_in(folder)
        self._full: str | None = None  # the last trouble with writing, told once

    def __enter__(self) -> Self:
        self._alone.__enter__()
        for path in self.folder.iterdir():  # of a process that was killed while it wrote
            if any(is_left_over(path, known) for known in self._names(path)):
                path.unlink()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._alone.__exit__(None, None, None)
        # a second signal ends a training at once: what an earlier step kept is still there
        if kind in (KeyboardInterrupt, SystemExit) and (kept := self._all()):
            step = int(kept[0].name.removeprefix(_NAME))
            raise PausedError(
                f"interrupted; {self.folder} keeps what there was after step {step}: the same "
                "command goes on from there",
                SIGINT if kind is KeyboardInterrupt else SIGTERM,
            ) from None

    def newest(self) -> Any | None:
        """The state of the newest checkpoint that is whole; None where there is none yet."""
        found = self._all()
        damaged: list[Path] = []
        for path in found:
            try:
                kept = _checked(unpack(read_regular(path)))
            except DamagedError as error:
                damaged.append(path)
                self._tell(f"{path}: damaged ({error}); the one before it is taken")
                continue
            except InputError as error:
                self._tell(f"{error}; the one before it is taken")
                continue
            if kept["identity"] != self.identity:
                raise InputError(
                    str(self.folder),
                    "holds a training with other data, another network or other settings",
                    "give the options it was begun with, delete it, or name another --out",
                )
            for other in damaged:  # to be looked at; the next newest is no longer in its way
                other.replace(other.with_name(f"damaged-{other.name}"))
            return kept["state"]
        if found:
            raise InputError(
                str(self.folder),
                "no checkpoint in it is whole",
                "delete it to begin anew",
            )
        return None

    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() - self._last >= self.every

    def write(self, step: int, state: dict[str, Any]) -> bool:
        """Keep a state, and forget all but the one before; False where there is no room for it.

        What was there stays; the training can go on, and try again at the next.
        """
        self._last = time.monotonic()
        data = pack({"identity": self.identity, "state": state})
        try:
            write_whole(self.folder / f"{_NAME}{step:012d}", data)
        except OSError as error:
            if self._full != error.strerror:
                self._full = error.strerror
                self._tell(
                    f"{self.folder}: a checkpoint of {len(data):,} bytes could not be written "
                    f"({error.strerror}); training goes on, the one before is kept; make room"
                )
            return False
        self._full = None
        for path in self._all()[_KEPT:]:
            path.unlink()
        return True

    def remove(self) -> None:
        """The training is done: nothing to go on from."""
        for path in [*self._all(), *self.folder.glob(f"damaged-{_NAME}*")]:
            path.unlink()
        (self.folder / "lock").unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _all(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob(f"{_NAME}[0-9]*"), reverse=True)

    def _names(self, path: Path) -> list[Path]:
        """Checkpoints that a temporary file may have been meant for."""
        name = path.name.removeprefix(".").rpartition(".")[0]
        return [self.folder / name] if name.startswith(_NAME) else []


def _checked(kept: Any) -> dict[str, Any]:
    """What a checkpoint holds. Raises DamagedError for what `Checkpoints.write` never wrote."""
    if not isinstance(kept, dict) or set(kept) != {"identity", "state"}:
        raise DamagedError("not a training's checkpoint")
    if not isinstance(kept["identity"], str) or not isinstance(kept["state"], dict):
        raise DamagedError("not a training's checkpoint")
    return kept


def _say_nothing(_: str) -> None:
    pass

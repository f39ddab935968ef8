"""Training checkpoints in a folder: written atomically, by one process at a time.

    with Checkpoints(Path("model.training"), identity) as checkpoints:
        state = checkpoints.newest()  # None: no checkpoint yet
        ...
        checkpoints.write(step, state)

The two newest checkpoints are kept. A process that is killed during a write leaves the previous
checkpoint intact. A checksum detects a damaged checkpoint; the previous one is then loaded.
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
_KEPT = 2  # the older one is loaded if the newer one is damaged


class Checkpoints:
    """Checkpoints in a folder that this process locks while the ``with`` block is active.

    Args:
        folder: Folder of the checkpoints.
        identity: Fingerprint of data, network and settings. It distinguishes training runs.
        every: Minimum number of seconds between two checkpoints; 0: at every step.
        tell: Called with a warning, one line, that does not end the training.

    Raises InputError if another process uses the folder, if it holds a different training run, or
    if every checkpoint in it is damaged.
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
        self._tell = tell or _ignore
        self._last = time.monotonic()
        self._alone = alone_in(folder)
        self._full: str | None = None  # the last write error, reported once

    def __enter__(self) -> Self:
        self._alone.__enter__()
        for path in self.folder.iterdir():  # temporary files of a killed process
            if any(is_left_over(path, known) for known in self._names(path)):
                path.unlink()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._alone.__exit__(None, None, None)
        # a second signal ends training immediately, after an earlier step was saved
        if kind in (KeyboardInterrupt, SystemExit) and (kept := self._all()):
            step = int(kept[0].name.removeprefix(_NAME))
            raise PausedError(
                f"interrupted; {self.folder} holds a checkpoint after step {step}: run the same "
                "command again to continue",
                SIGINT if kind is KeyboardInterrupt else SIGTERM,
            ) from None

    def newest(self) -> Any | None:
        """The state of the newest intact checkpoint, or None if the folder has no checkpoint."""
        found = self._all()
        damaged: list[Path] = []
        for path in found:
            try:
                kept = _checked(unpack(read_regular(path)))
            except DamagedError as error:
                damaged.append(path)
                self._tell(f"{path}: damaged ({error}); the previous checkpoint is used")
                continue
            except InputError as error:
                self._tell(f"{error}; the previous checkpoint is used")
                continue
            if kept["identity"] != self.identity:
                raise InputError(
                    str(self.folder),
                    "holds a training run with other data, another network or other settings",
                    "use the options of that run, delete the folder, or choose another --out",
                )
            for other in damaged:  # renamed, so that it can be inspected
                other.replace(other.with_name(f"damaged-{other.name}"))
            return kept["state"]
        if found:
            raise InputError(
                str(self.folder),
                "every checkpoint in it is damaged",
                "delete the folder to start again",
            )
        return None

    def due(self) -> bool:
        """Whether the next checkpoint is due."""
        return time.monotonic() - self._last >= self.every

    def write(self, step: int, state: dict[str, Any]) -> bool:
        """Save a state and delete all but the previous checkpoint.

        Returns False if the write failed, for example on a full disk. Existing checkpoints are then
        left unchanged, and training can continue.
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
                    f"({error.strerror}); training continues and the previous checkpoint is kept; "
                    "free disk space"
                )
            return False
        self._full = None
        for path in self._all()[_KEPT:]:
            path.unlink()
        return True

    def remove(self) -> None:
        """Delete all checkpoints, and the folder if it is then empty."""
        for path in [*self._all(), *self.folder.glob(f"damaged-{_NAME}*")]:
            path.unlink()
        (self.folder / "lock").unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _all(self) -> list[Path]:
        """All checkpoints, newest first."""
        return sorted(self.folder.glob(f"{_NAME}[0-9]*"), reverse=True)

    def _names(self, path: Path) -> list[Path]:
        """The checkpoints that a temporary file may belong to."""
        name = path.name.removeprefix(".").rpartition(".")[0]
        return [self.folder / name] if name.startswith(_NAME) else []


def _checked(kept: Any) -> dict[str, Any]:
    """The content of a checkpoint. Raises DamagedError unless `Checkpoints.write` wrote it."""
    if not isinstance(kept, dict) or set(kept) != {"identity", "state"}:
        raise DamagedError("not a training checkpoint")
    if not isinstance(kept["identity"], str) or not isinstance(kept["state"], dict):
        raise DamagedError("not a training checkpoint")
    return kept


def _ignore(_: str) -> None:
    pass

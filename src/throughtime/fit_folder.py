"""The folder of a fitted model, and the checkpoints of its training beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from throughtime.deploy.model import Model
from throughtime.deploy.storage import check_free
from throughtime.errors import InputError
from throughtime.output_guard import check_output_folder, kept_kind
from throughtime.training.checkpoints import Checkpoints


class FitFolder:
    """Where `fit` saves a model; FOLDER.training holds checkpoints until then.

    Args:
        folder: Folder of the model; links are resolved.
        reads: Every file that is read; none may be overwritten.
        log: Folder for TensorBoard logs.
        force: Whether to replace a finished model in the folder.

    Raises:
        InputError: If an output would overwrite an input or the files of another command.
    """

    def __init__(
        self, folder: Path, reads: Sequence[Path], *, log: Path | None = None, force: bool = False
    ) -> None:
        self.force = force
        self.path = folder
        self.check_free()
        check_output_folder("--out", folder, reads)
        self.path = folder.resolve() if folder.is_symlink() else folder
        self.training = self.path.with_name(f"{self.path.name}.training")
        check_output_folder("--out", self.training, reads)
        if log is not None:
            self._check_log(log, reads)

    def check_free(self) -> None:
        """Raise InputError unless the model may be saved in the folder."""
        check_free(self.path, replace=self.force)

    def _check_log(self, log: Path, reads: Sequence[Path]) -> None:
        check_output_folder("--log", log, reads, added_to=True)
        folders = {self.path.resolve(), self.training.resolve()}
        if kept_kind(log) or folders & {log.resolve(), *log.resolve().parents}:
            raise InputError(
                f"--log {log}", "is a folder of a model, a run or a training", "name another folder"
            )

    def checkpoints(
        self, identity: str, *, every: float, report: Callable[[str], None]
    ) -> Checkpoints:
        """Checkpoints every so many seconds, of the training with this fingerprint."""
        return Checkpoints(self.training, identity, every=every, tell=report)

    def save(self, model: Model, report: Callable[[str], None]) -> None:
        """Save the model; under another name if another process has used the folder meanwhile."""
        folder, number = self.path, 1
        while True:
            try:
                model.save(folder, force=self.force)
            except InputError:
                if not folder.exists():
                    raise
                report(f"{folder} was created during the training: saving the model beside it")
                number += 1
                folder = self.path.with_name(f"{self.path.name}-{number}")
            else:
                return


def tensorboard_writer(folder: Path | None) -> Any:
    """A TensorBoard writer, or None without a folder; raises InputError if it is not installed."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "--log", "TensorBoard is not installed", "pip install tensorboard"
        ) from None
    return SummaryWriter(str(folder))

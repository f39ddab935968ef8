"""Diagnosis during training, logged to TensorBoard, for any training loop and for Lightning."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from torch import Tensor, nn

from throughtime.insight.diagnosis import diagnose
from throughtime.insight.observation import check_every
from throughtime.network_records import Diagnosis


class Writer(Protocol):
    """The part of `torch.utils.tensorboard.SummaryWriter` that `Monitor` uses."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Log a number."""
        ...

    def add_text(self, tag: str, text_string: str, global_step: int) -> Any:
        """Log a text."""
        ...


class Monitor:
    """Diagnose a model at regular steps of its training, and log the results.

    >>> monitor = throughtime.Monitor(model, SummaryWriter("runs/today"), every=100)
    >>> for step, (x, y) in enumerate(batches):
    ...     ...  # a training step
    ...     monitor(step, x)

    Logs for each layer: the gradient by lag at lags 1, 2, 4, ..., all measures of `diagnose`, and
    the verdict as a text whenever it changes. The diagnosis does not affect training.

    Args:
        model: The model being trained.
        writer: A TensorBoard `SummaryWriter`, or any object with its add_scalar and add_text.
        every: Number of steps between two diagnoses.
        loss: As in `diagnose`; it is called with the batch.
        lag: As in `diagnose`.
        prefix: Prefix of all tags.

    Raises:
        ValueError: If ``every`` is less than 1, and in the same cases as `diagnose`.
    """

    def __init__(
        self,
        model: nn.Module,
        writer: Writer,
        *,
        every: int = 100,
        loss: Callable[..., Tensor] | None = None,
        lag: int | None = None,
        prefix: str = "throughtime",
    ) -> None:
        check_every(every)
        self.model = model
        self.writer = writer
        self.every = every
        self.loss = loss
        self.lag = lag
        self.prefix = prefix
        self._last_verdicts: dict[str, str] = {}  # the last verdict of each layer

    def __call__(self, step: int, *batch: Any) -> Diagnosis | None:
        """Diagnose the model on a batch if ``every`` divides the step, else return None."""
        if step % self.every:
            return None
        found = diagnose(self.model, *batch, loss=self.loss, lag=self.lag)
        for layer in found.layers:
            name = f"{self.prefix}/{layer.name}"
            lag = 1
            while lag < len(layer.gradient_by_lag):
                value = layer.gradient_by_lag[lag]
                self._scalar(f"{name}/gradient by lag/{lag}", value, step)
                lag *= 2
            for measure, value in layer.measures.items():
                if not measure.startswith("gradient at lag"):  # logged above
                    self._scalar(f"{name}/{measure}", value, step)
            self._verdict(f"{name}/verdict", layer.verdict, layer.findings, step)
        others = {f"{self.prefix}/{finding.where}" for finding in found.others}
        for tag in [
            t for t in self._last_verdicts if not t.endswith("/verdict") and t not in others
        ]:
            del self._last_verdicts[tag]  # resolved: log it again if it returns
        for finding in found.others:
            self._verdict(f"{self.prefix}/{finding.where}", finding.issue, (finding,), step)
        return found

    def _scalar(self, tag: str, value: float | None, step: int) -> None:
        if value is not None:
            self.writer.add_scalar(tag, value, step)

    def _verdict(self, tag: str, verdict: str, findings: Any, step: int) -> None:
        if self._last_verdicts.get(tag) == verdict:
            return
        self._last_verdicts[tag] = verdict
        lines = [verdict]
        for finding in findings:
            lines += ["", finding.evidence, "", *(f"- {line}" for line in finding.advice)]
        self.writer.add_text(tag, "\n".join(lines), step)


def lightning_callback(
    *,
    every: int = 100,
    inputs: Callable[[Any], Any] | None = None,
    lag: int | None = None,
    prefix: str = "throughtime",
) -> Any:
    """Create a Lightning callback that runs `Monitor` with the trainer's TensorBoard logger.

    >>> trainer = Trainer(callbacks=[throughtime.lightning_callback(every=100)])

    The callback calls the module's forward, not its training step. Works with `lightning` and
    `pytorch_lightning`, whichever has been imported.

    Args:
        every: Number of steps between two diagnoses.
        inputs: Maps a batch to the input of the module; by default the first element of the batch.
        lag: As in `diagnose`.
        prefix: Prefix of all tags.

    Returns:
        The callback.

    Raises:
        ImportError: If neither package is installed.
        RuntimeError: If training starts without a TensorBoard logger.
    """
    return _callback_class()(every, inputs or _first, lag, prefix)


def _first(batch: Any) -> Any:
    return batch[0] if isinstance(batch, list | tuple) else batch


def _callback_class() -> Any:
    """Define the class on first use, because Lightning is an optional dependency."""
    packages = ("pytorch_lightning", "lightning.pytorch")
    imported = [name for name in packages if name in sys.modules]
    for package in imported or packages:
        try:
            base: Any = import_module(package).Callback
            break
        except ImportError:
            continue
    else:
        raise ImportError(
            "neither lightning nor pytorch_lightning is installed; install one with pip"
        )

    class LightningMonitor(base):
        """See `lightning_callback`."""

        def __init__(self, every: int, inputs: Any, lag: int | None, prefix: str) -> None:
            super().__init__()
            check_every(every)
            self._every = every
            self._lag = lag
            self._prefix = prefix
            self._inputs = inputs
            self._monitor: Monitor | None = None
            self._last_step = -1

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            found: list[Any] = [getattr(logger, "experiment", None) for logger in trainer.loggers]
            writers = [w for w in found if hasattr(w, "add_scalar") and hasattr(w, "add_text")]
            if not writers and trainer.is_global_zero:
                raise RuntimeError(
                    "no TensorBoard logger to write to; give the Trainer "
                    "logger=TensorBoardLogger(folder)"
                )
            options: Any = {"every": self._every, "lag": self._lag, "prefix": self._prefix}
            self._monitor = Monitor(pl_module, writers[0], **options) if writers else None

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            del outputs, batch_idx
            step = trainer.global_step
            # the step repeats when gradients are accumulated
            if self._monitor is None or step == self._last_step or step % self._every:
                return
            self._last_step = step
            self._monitor(step, self._inputs(batch))

    return LightningMonitor

"""Diagnosis while a network trains, logged to TensorBoard: for any loop, and for Lightning."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from torch import Tensor, nn

from throughtime.insight.diagnosis import diagnose
from throughtime.insight.observation import check_every
from throughtime.runs import Diagnosis


class Writer(Protocol):
    """What is needed of `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """A number at a step."""
        ...

    def add_text(self, tag: str, text_string: str, global_step: int) -> Any:
        """A text at a step."""
        ...


class Monitor:
    """Examines a model at every so many steps of its training, and logs what it finds.

    >>> monitor = throughtime.Monitor(model, SummaryWriter("runs/today"), every=100)
    >>> for step, (x, y) in enumerate(batches):
    ...     ...  # a training step
    ...     monitor(step, x)

    Logged for each layer: the gradient by lag at lags 1, 2, 4, ..., all measures of `diagnose`, and
    the verdict as a text whenever it changes. Training goes on as if it had not been observed.

    Args:
        model: The model that is trained.
        writer: A `SummaryWriter` of TensorBoard, or what has its add_scalar and add_text.
        every: Steps from one examination to the next.
        loss: As in `diagnose`; the batch is then what that takes.
        lag: As in `diagnose`.
        prefix: Of all tags.

    Raises:
        ValueError: For ``every`` below 1, and what `diagnose` raises.
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
        self._told: dict[str, str] = {}  # the last verdict of each layer

    def __call__(self, step: int, *batch: Any) -> Diagnosis | None:
        """Examine the model on a batch, if it is time to; what was found, or None."""
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
                if not measure.startswith("gradient at lag"):  # is there already
                    self._scalar(f"{name}/{measure}", value, step)
            self._verdict(f"{name}/verdict", layer.verdict, layer.findings, step)
        others = {f"{self.prefix}/{finding.where}" for finding in found.others}
        for tag in [t for t in self._told if not t.endswith("/verdict") and t not in others]:
            del self._told[tag]  # it is over, and will be told when it comes again
        for finding in found.others:
            self._verdict(f"{self.prefix}/{finding.where}", finding.issue, (finding,), step)
        return found

    def _scalar(self, tag: str, value: float | None, step: int) -> None:
        if value is not None:
            self.writer.add_scalar(tag, value, step)

    def _verdict(self, tag: str, verdict: str, findings: Any, step: int) -> None:
        if self._told.get(tag) == verdict:
            return
        self._told[tag] = verdict
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
    """A Lightning callback that does what `Monitor` does, to the trainer's TensorBoard logger.

    >>> trainer = Trainer(callbacks=[throughtime.lightning_callback(every=100)])

    The module is called as if in a prediction; its training step is not run again. Works with
    `lightning` and `pytorch_lightning`, whichever has been imported.

    Args:
        every: Steps from one examination to the next.
        inputs: From a batch to what the module is called with; by default its first part.
        lag: As in `diagnose`.
        prefix: Of all tags.

    Returns:
        The callback.

    Raises:
        ImportError: Where neither is installed.
        RuntimeError: When training starts without a TensorBoard logger.
    """
    return _callback_class()(every, inputs or _first, lag, prefix)


def _first(batch: Any) -> Any:
    return batch[0] if isinstance(batch, list | tuple) else batch


def _callback_class() -> Any:
    """Lightning is not needed by those who do not use it, so the class is made when asked for."""
    homes = ("pytorch_lightning", "lightning.pytorch")
    known = [home for home in homes if home in sys.modules] or list(homes)
    for home in known:
        try:
            base: Any = import_module(home).Callback
            break
        except ImportError:
            continue
    else:
        raise ImportError("neither lightning nor pytorch_lightning is installed; pip install one")

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
            self._seen = -1

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            found: list[Any] = [getattr(logger, "experiment", None) for logger in trainer.loggers]
            writers = [w for w in found if hasattr(w, "add_scalar") and hasattr(w, "add_text")]
            if not writers and trainer.is_global_zero:
                raise RuntimeError(
                    "no TensorBoard logger to write to; give the Trainer "
                    "logger=TensorBoardLogger(folder)"
                )
            how: Any = {"every": self._every, "lag": self._lag, "prefix": self._prefix}
            self._monitor = Monitor(pl_module, writers[0], **how) if writers else None

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            del outputs, batch_idx
            step = trainer.global_step
            # the same step again: gradients accumulate
            if self._monitor is None or step == self._seen or step % self._every:
                return
            self._seen = step
            self._monitor(step, self._inputs(batch))

    return LightningMonitor

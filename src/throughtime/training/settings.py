"""Training settings, and how many steps they mean for a task."""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from throughtime.errors import InputError

# Upper bounds of training items, each with its usual batch size. Small data get small batches,
# whose noisier gradients generalize better (Masters and Luschi 2018); large data get large ones,
# which use the processor better.
_BATCH_SIZES = ((200, 16), (1_000, 32), (20_000, 64), (100_000, 128), (math.inf, 256))
_STEPS = 3_000  # steps of a training, unless given
_PASSES = 3  # or at least so many passes over large data
_PATIENCE = 800  # plateaus of gated networks last some hundred steps before they learn
_EVERY = 25  # least steps between two evaluations
_EVALUATIONS = 10  # at least so many in a training


class StepCounts(NamedTuple):
    """Numbers of optimizer steps."""

    limit: int  # at most
    every: int  # between two evaluations
    patience: int  # without improvement that matters, before training stops


_EVERYWHERE = ("compare", "fit")


def _option(
    default: Any,
    help: str,
    of: tuple[str, ...] = ("fit",),
    *,
    least: int | None = None,
    usual: bool = False,
) -> Any:
    """An option of the commands and functions in `of`; the ``usual`` ones come first in help."""
    about = {"help": help, "listed": bool(of), "of": of, "least": least, "usual": usual}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class TrainingSettings:
    """Training settings. For names see `optimizer_by_name`, `Rate` and `clipper_by_name`.

    The command line and the Python functions have these fields as options.

    >>> TrainingSettings(epochs=5).counts(epoch_steps=20)
    StepCounts(limit=100, every=20, patience=100)
    """

    learning_rate: float = _option(3e-3, "", ())  # see `Hyperparameters`
    steps: int | None = _option(
        None,
        "Maximum number of optimizer steps; default: 3000, on large data 3 passes.",
        _EVERYWHERE,
        least=1,
        usual=True,
    )
    epochs: int | None = _option(
        None, "Instead of --steps: number of passes over the data.", _EVERYWHERE, least=1
    )  # with an evaluation after each
    batch_size: int | None = _option(None, "", ())  # None: from their number, see `batch_size_for`
    clip: str = _option(
        "norm:1",
        "Gradient clipping: norm:1, value:0.5, auto:0.1, z:2.5, agc:0.01 or none.",
        _EVERYWHERE,
    )
    patience: int | None = _option(
        None,
        "Stop after so many steps without improvement; default: 800, all with --epochs.",
        _EVERYWHERE,
        least=1,
    )
    optimizer: str = _option(
        "adam", "Optimizer of torch.optim: adam, adamw, sgd:momentum=0.9, ...", _EVERYWHERE
    )
    weight_decay: float = _option(0.0, "For matrices, not for biases.", _EVERYWHERE, least=0)
    schedule: str = _option(
        "constant", "Learning rate schedule: constant, linear, cosine or plateau."
    )
    warmup: int = _option(0, "Steps over which the learning rate rises.", least=0)
    accumulate: int = _option(1, "Batches per optimizer step.", least=1)
    budget: float | None = _option(None, "Maximum training time: 90s, 10m, 1h30m.", usual=True)

    def resolved(self, items: int) -> "TrainingSettings":
        """These settings for so many training items, with a number in the place of None.

        >>> TrainingSettings().resolved(items=500).batch_size
        32
        """
        size = self.batch_size or batch_size_for(items)
        if self.epochs is not None:
            return replace(self, batch_size=size)
        passes = _PASSES * math.ceil(items / (size * self.accumulate))
        steps = self.steps or max(_STEPS, passes)
        return replace(self, batch_size=size, steps=steps, patience=self.patience or _PATIENCE)

    def counts(self, epoch_steps: int) -> StepCounts:
        """The numbers of steps for a task whose pass over the data has `epoch_steps` steps."""
        if self.epochs is not None:
            limit, every = self.epochs * epoch_steps, epoch_steps
        else:
            limit = self.steps or _STEPS
            every = min(max(_EVERY, epoch_steps // 2), max(1, limit // _EVALUATIONS))
        return StepCounts(limit, every, self.patience or limit)


def batch_size_for(items: int) -> int:
    """The usual batch size for so many training items.

    >>> batch_size_for(280), batch_size_for(50_000)
    (32, 128)
    """
    return next(size for most, size in _BATCH_SIZES if items <= most)


def seconds(option: str, duration: str | float | None) -> float | None:
    """A duration in seconds, from a number or text; raise InputError if invalid.

    >>> seconds("--budget", "1h30m"), seconds("--budget", "90")
    (5400.0, 90.0)
    """
    if not isinstance(duration, str):
        return duration
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", duration.strip())
    total = 0.0
    if match is not None:
        hours, minutes, rest = match.groups()
        total = 3600 * float(hours or 0) + 60 * float(minutes or 0) + float(rest or 0)
    if total <= 0:
        raise InputError(option, repr(duration), "give a time such as 90s, 10m or 1h30m")
    return total

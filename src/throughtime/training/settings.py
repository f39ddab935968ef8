"""Training settings, and how many steps they mean for a task."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

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


@dataclass(frozen=True)
class TrainingSettings:
    """Training settings. For names see `optimizer_by_name`, `Rate` and `clipper_by_name`.

    >>> TrainingSettings(epochs=5).counts(epoch_steps=20)
    StepCounts(limit=100, every=20, patience=100)
    """

    learning_rate: float = 3e-3
    steps: int | None = None  # optimizer steps at most; None: 3000, or 3 passes if that is more
    epochs: int | None = None  # instead of steps: passes, with an evaluation after each
    batch_size: int | None = None  # sequences; None: from their number, see `batch_size_for`
    clip: str = "norm:1"
    patience: int | None = None  # steps without improvement; None: 800, or all with epochs
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: int = 0  # steps
    accumulate: int = 1  # batches per optimizer step
    budget: float | None = None  # seconds, at most

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

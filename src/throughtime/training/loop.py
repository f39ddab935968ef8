"""Training: one loop, to be read from top to bottom.

    task = Forecasting(model, parts.training, parts.validation, ...)
    record, last = train(task, TrainingSettings(epochs=30))

A task (see `Task`) says what is learned: batches in an order that can be gone on with, a loss,
measures. The loop takes steps, measures after every epoch, keeps the best weights, and can be
killed at any time: with `Checkpoints` it goes on where it was, to the bit.
"""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from signal import SIGTERM
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.errors import InputError, PausedError
from throughtime.insight.callbacks import Writer
from throughtime.insight.finiteness import locate
from throughtime.runs import EpochRecord, Finding, TrainingRecord
from throughtime.serialization import from_plain, to_json
from throughtime.training.checkpoints import Checkpoints
from throughtime.training.clipping import Clipped, clipper_by_name
from throughtime.training.guard import Guard
from throughtime.training.interrupts import held_back
from throughtime.training.optimizing import Rate, optimizer_by_name, restore_exactly
from throughtime.training.processes import Team
from throughtime.training.task import Batch, Task, Watch

_NORMS = 10_000  # gradient norms of an epoch that its median is taken of: the latest
_TICK = 0.1  # seconds between two words to a progress bar
_LOG_EVERY = 10  # steps between two lines of a log


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. Names as in `optimizer_by_name`, `Rate` and `clipper_by_name`."""

    learning_rate: float = 3e-3
    epochs: int = 30  # at most
    batch_size: int = 64  # sequences
    clip: str = "norm:1"
    patience: int = 6  # epochs without a better measure before it stops
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: int = 0  # steps
    accumulate: int = 1  # batches whose gradients make one step
    budget: float | None = None  # seconds, at most


class Trained(NamedTuple):
    """What `train` gives; the best weights are in the model."""

    record: TrainingRecord
    last: dict[str, Tensor]  # the last good weights


def train(
    task: Task,
    settings: TrainingSettings,
    *,
    team: Team | None = None,
    kept: Checkpoints | None = None,
    watch: Watch | Callable[[EpochRecord], None] | None = None,
    writer: Writer | None = None,
) -> Trained:
    """Train a task's model in place and leave the best weights in it.

    Best is the epoch with the lowest first measure. What is not finite never reaches the weights
    (see `guard`). With ``kept`` it goes on where an earlier run was, and on Ctrl-C or SIGTERM
    finishes the step, keeps it, and raises PausedError. ``watch`` is told after every epoch, and
    its ``tick``, if it has one, ten times a second. ``writer`` gets loss, gradient norm and rate
    every ten steps, all measures after every epoch, and every incident as a text.
    """
    return _Training(task, settings, team or Team(), kept, watch, writer).run()


class _Training:
    def __init__(
        self,
        task: Task,
        settings: TrainingSettings,
        team: Team,
        kept: Checkpoints | None,
        watch: Any,
        writer: Writer | None,
    ) -> None:
        self.task, self.model, self.settings, self.team = task, task.model, settings, team
        self.kept, self.watch, self.writer = kept, watch, writer
        self.device = next(self.model.parameters()).device
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        # before anything copies weights: now they are the first process's everywhere
        self.loss = team.averaging(_Loss(self.model, task.loss))
        self.optimizer = optimizer_by_name(
            settings.optimizer,
            self.model,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.clip = clipper_by_name(settings.clip)
        self.rate = Rate(settings.schedule, settings.warmup, max(1, settings.patience // 2))
        self.guard = Guard(self.model, self.optimizer, self.clip, self.rate, team)
        self.total = settings.epochs * math.ceil(task.steps / settings.accumulate)
        self.best = _weights(self.model)
        self.best_value, self.best_epoch = math.inf, 0
        self.history: list[EpochRecord] = []
        self.epoch, self.step = 1, 0
        self.running = _Running()
        self.earlier = 0.0  # seconds of runs before this one, and of this epoch in them
        self.began = self.ticked = time.perf_counter()

    def run(self) -> Trained:
        state = self.team.leaders(self.kept.newest() if self.kept and self.team.leads else None)
        if state is not None:
            self._load(state)
        stopped = self._stops()
        keeps = any(self.team.gathered(self.kept is not None))
        # torchrun sends its own signal after the terminal's: one and the same to us
        holding = held_back(within=2.0 if self.team.size > 1 else 0.0)
        with holding if keeps else nullcontext(lambda: 0) as asked:
            while stopped is None:
                stopped = self._epoch(asked) or self._stops()
        if self.best_epoch:
            last = _weights(self.model)
            self.model.load_state_dict(self.best)
        else:
            self.guard.restore()
            last = _weights(self.model)
        self.model.eval()
        guard = self.guard
        record = TrainingRecord(
            epochs=tuple(self.history),
            best_epoch=self.best_epoch,
            stopped=stopped,
            skipped_steps=guard.skipped,
            seconds=self._seconds(),
            steps=self.step,
            retreats=guard.retreats,
            incidents=tuple(guard.incidents),
        )
        return Trained(record, last)

    def _epoch(self, asked: Callable[[], int]) -> str | None:
        """What is left of an epoch, and its measures; why training is over, if it is."""
        self.model.train()
        batches = self.task.batches()
        late = False
        while (flags := self._update(batches, asked)) is not None:
            signal, due, late = flags
            if due and not signal:
                self._keep()
            if signal:
                self._pause(signal)
            if late or self.guard.hopeless:
                break
        if self.guard.hopeless or not self.running.steps:
            return f"diverged in epoch {self.epoch}: {self._trouble()}"
        measures = self.task.measure()
        value = next(iter(measures.values()))
        if not math.isfinite(value):
            return f"diverged in epoch {self.epoch}: forecasts not finite"
        self._note(measures)
        better = value < self.best_value
        if better:
            self.best_value, self.best_epoch = value, self.epoch
            self.best = _weights(self.model)
        self.rate.validated(better)
        self.running = _Running()
        self.epoch += 1
        return f"the budget of {self.settings.budget:g} s is used up" if late else None

    def _stops(self) -> str | None:
        """Why training is over, if it is, between two epochs."""
        done = len(self.history)
        if done >= self.settings.epochs:
            return f"all {self.settings.epochs} epochs done"
        if done and done - self.best_epoch >= self.settings.patience:
            return f"no better for {self.settings.patience} epochs"
        return None

    def _update(
        self, batches: Iterator[Batch], asked: Callable[[], int]
    ) -> tuple[int, bool, bool] | None:
        """One step of the optimizer; whether a signal came, a checkpoint is due, time is up.

        Several batches, or several processes, weigh by their samples: as one batch of them all.
        None where no batch is left.
        """
        team, settings = self.team, self.settings
        self.optimizer.zero_grad()
        alone = settings.accumulate == 1 and team.size == 1
        value = count = 0.0
        group: list[Batch] = []
        # one after the other: a batch may carry the state that the one before has led to
        for given in islice(batches, settings.accumulate):
            batch = given
            if self.device.type != "cpu":
                batch = Batch(tuple(t.to(self.device) for t in given.tensors), given.weight)
            group.append(batch)
            loss = self.loss(*batch.tensors)
            (loss if alone else loss * batch.weight).backward()
            value += loss.item() * batch.weight
            count += batch.weight
        if not group:
            return None
        seconds, signal = self._seconds(), asked()
        due = self.kept is not None and self.kept.due()
        if team.size > 1:
            # decided by the first process's watch, and by all processes alike
            lead = float(team.leads)
            value, count, seconds, came, due = team.summed(
                [value, count, seconds * lead, float(signal), due * lead]
            )
            signal = signal or (SIGTERM if came else 0)
        if not alone:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(team.size / count)
        value /= count

        done = self.step / self.total
        if settings.budget is not None:
            done = max(done, seconds / settings.budget)
        factor = self.rate.factor(self.step, done)
        for knobs in self.optimizer.param_groups:
            knobs["lr"] = settings.learning_rate * factor
        told = self.clip(self.parameters)
        self.step += 1
        tensors = [t for batch in group for t in batch.tensors]
        refused = self.guard.step(self.step, value, told, tensors, lambda: self._locate(group))
        if refused is None:
            self.running.took(value, told)
        else:
            self.task.mend()
            if self.writer is not None:
                words = f"{refused.cause}, {refused.where}: {refused.evidence}; {refused.action}"
                self.writer.add_text("training/incident", words, self.step)
        self._tell(value, told, factor)
        self.running.batches += len(group)
        late = settings.budget is not None and seconds >= settings.budget
        return signal, bool(due), late

    def _locate(self, group: list[Batch]) -> Finding | None:
        """Where the first bad number of these batches came from, in whichever process has it."""
        found, before = None, self.task.state_dict()
        for batch in group:
            found = found or locate(self.model, *batch.tensors, loss=self.task.loss)
        self.task.load_state_dict(before)  # a loss may note what state it has led to
        return next((f for f in self.team.gathered(found) if f is not None), None)

    def _trouble(self) -> str:
        incidents = self.guard.incidents
        if not incidents:
            return "no step was taken"
        first = incidents[0]
        again = f", after going back {self.guard.retreats - 1} times" if self.guard.hopeless else ""
        return f"{first.cause} not finite since step {first.step}: {first.evidence}{again}"

    def _note(self, measures: dict[str, float]) -> None:
        """An epoch is done: a record of it, and a word to those who listen."""
        record = EpochRecord(
            training_loss=self.running.loss / self.running.steps,
            validation_error=next(iter(measures.values())),
            gradient_norm=median(self.running.norms),
            clipped=self.running.clipped / self.running.steps,
            seconds=self._seconds() - sum(e.seconds for e in self.history),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            measures=measures,
        )
        self.history.append(record)
        if self.watch is not None:
            self.watch(record)
        if self.writer is not None:
            for name, measure in measures.items():
                self.writer.add_scalar(f"validation/{name}", measure, self.step)
            self.writer.add_scalar("training/clipped (share)", record.clipped, self.step)

    def _tell(self, loss: float, told: Clipped, factor: float) -> None:
        """Of one step."""
        if self.writer is not None and self.step % _LOG_EVERY == 0:
            self.writer.add_scalar("training/loss", loss, self.step)
            self.writer.add_scalar("training/gradient norm", told.norm, self.step)
            rate = self.settings.learning_rate * factor
            self.writer.add_scalar("training/learning rate", rate, self.step)
        tick = getattr(self.watch, "tick", None)
        if tick is not None and (now := time.perf_counter()) - self.ticked > _TICK:
            self.ticked = now
            tick(self.epoch - 1 + self.running.batches / self.task.steps, loss, told.norm)

    def _seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.began

    def _pause(self, signal: int) -> None:
        saved = self._keep()
        folder = self.kept.folder if self.kept else None
        raise PausedError(
            f"interrupted after step {self.step}, epoch {self.epoch}; "
            + (
                f"saved in {folder}: the same command goes on from there"
                if saved
                else f"it could not be saved; what {folder} held before is still there"
            ),
            signal,
        )

    def _keep(self) -> bool:
        """All that changes, written whole by the first process."""
        ranks = self.team.gathered(
            {"task": self.task.state_dict(), "random": torch.get_rng_state()}
        )
        if self.kept is None or not self.team.leads:
            return True
        state = {
            "ranks": ranks,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "clip": self.clip.state_dict(),
            "rate": self.rate.state_dict(),
            "guard": self.guard.state_dict(),
            "best": self.best,
            "best value": self.best_value,
            "best epoch": self.best_epoch,
            "history": [to_json(record) for record in self.history],
            "epoch": self.epoch,
            "step": self.step,
            "running": self.running.state_dict(),
            "seconds": self._seconds(),
        }
        return self.kept.write(self.step, state)

    def _load(self, state: dict[str, Any]) -> None:
        """As it was when that was kept. Raises InputError for a state of another training."""
        try:
            self._restore(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(
                str(self.kept.folder) if self.kept else "the checkpoint",
                f"its checkpoint does not fit this training ({error})",
                "delete it to begin anew",
            ) from None

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        restore_exactly(self.optimizer, state["optimizer"])
        self.clip.load_state_dict(state["clip"])
        self.rate.load_state_dict(state["rate"])
        self.guard.load_state_dict(state["guard"])
        self.best, self.best_value = state["best"], state["best value"]
        self.best_epoch = state["best epoch"]
        self.history = [from_plain(EpochRecord, json.loads(text)) for text in state["history"]]
        self.epoch, self.step = state["epoch"], state["step"]
        self.running.load_state_dict(state["running"])
        self.earlier = state["seconds"]
        own = state["ranks"][self.team.rank % len(state["ranks"])]
        self.task.load_state_dict(own["task"])
        torch.set_rng_state(own["random"])


class _Loss(nn.Module):
    """The loss as a module's forward, which is where gradients begin to be averaged."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, *tensors: Tensor) -> Tensor:
        return self._loss(self.model, *tensors)


class _Running:
    """Sums over the good steps of an epoch, in memory that does not grow with it."""

    def __init__(self) -> None:
        self.steps = self.clipped = self.batches = 0
        self.loss = 0.0
        self.norms: deque[float] = deque(maxlen=_NORMS)

    def took(self, loss: float, told: Clipped) -> None:
        self.steps += 1
        self.loss += loss
        self.clipped += told.clipped
        self.norms.append(told.norm)

    def state_dict(self) -> dict[str, Any]:
        norms = torch.tensor(list(self.norms), dtype=torch.float64)
        counts = {"steps": self.steps, "clipped": self.clipped, "batches": self.batches}
        return {**counts, "loss": self.loss, "norms": norms}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self.clipped = state["steps"], state["clipped"]
        self.loss, self.batches = state["loss"], state["batches"]
        self.norms.extend(state["norms"].tolist())


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}

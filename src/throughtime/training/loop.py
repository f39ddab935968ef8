"""The training loop.

    task = Forecasting(model, parts.training, parts.validation, ...)
    record, last = train(task, TrainingSettings(steps=3000))

A task (see `Task`) defines resumable batches, a loss and validation measures. The loop takes
optimizer steps, evaluates at regular intervals and keeps the best weights. With `Checkpoints`, a
training can be killed at any time and resumes bit for bit.
"""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from signal import SIGTERM
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.errors import InputError, PausedError
from throughtime.insight.callbacks import Writer
from throughtime.insight.finiteness import locate
from throughtime.network_records import EvaluationRecord, Finding, TrainingRecord
from throughtime.serialization import from_plain, to_json
from throughtime.training.checkpoints import Checkpoints
from throughtime.training.clipping import Clipped, clipper_by_name
from throughtime.training.convergence import SOLVED
from throughtime.training.guard import Guard
from throughtime.training.interrupts import held_back
from throughtime.training.optimizing import Rate, optimizer_by_name, restore_exactly
from throughtime.training.processes import Team
from throughtime.training.settings import TrainingSettings
from throughtime.training.task import Batch, Task, Watch

_NORMS = 10_000  # latest gradient norms since an evaluation, for their median
_TICK = 0.1  # seconds between two progress bar updates
_IMPROVEMENT = 1e-3  # relative; less does not count for the patience
_SOLVED = 1e-3  # of the first evaluation; what is below is not worth further steps
_LOG_EVERY = 10  # steps between two log entries


class Trained(NamedTuple):
    """The result of `train`; the model itself holds the best weights."""

    record: TrainingRecord
    last: dict[str, Tensor]  # the last good weights


def train(
    task: Task,
    settings: TrainingSettings,
    *,
    team: Team | None = None,
    kept: Checkpoints | None = None,
    watch: Watch | Callable[[EvaluationRecord], None] | None = None,
    writer: Writer | None = None,
    stop: Callable[[list[EvaluationRecord]], str] | None = None,
) -> Trained:
    """Train a task's model in place and leave the best weights in it.

    The best evaluation has the lowest first measure; the others decide between equal ones.
    Non-finite values never reach the weights (see `guard`).

    Args:
        task: The task, with its model.
        settings: Training settings.
        team: The processes that train together; default: this process alone.
        kept: Checkpoints to resume from and to write to. With them, Ctrl-C or SIGTERM finishes the
            step, saves a checkpoint and raises PausedError.
        watch: Called with every `EvaluationRecord`. Its method ``tick``, if it has one, is called
            ten times a second.
        writer: Receives loss, gradient norm and learning rate every ten steps, all measures at
            every evaluation, and every incident as text.
        stop: Called with all evaluations so far; a reason, unless "", ends the training.
    """
    return _Training(task, settings, team or Team(), kept, watch, writer, stop).run()


class _Training:
    def __init__(
        self,
        task: Task,
        settings: TrainingSettings,
        team: Team,
        kept: Checkpoints | None,
        watch: Any,
        writer: Writer | None,
        stop: Callable[[list[EvaluationRecord]], str] | None,
    ) -> None:
        self.stop = stop
        self.task, self.model, self.settings, self.team = task, task.model, settings, team
        self.kept, self.watch, self.writer = kept, watch, writer
        self.device = next(self.model.parameters()).device
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        # first: this copies the first process's weights to all processes
        self.loss = team.averaging(_Loss(self.model, task.loss))
        self.optimizer = optimizer_by_name(
            settings.optimizer,
            self.model,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.clip = clipper_by_name(settings.clip)
        self.counts = settings.counts(math.ceil(task.steps / settings.accumulate))
        waits = max(1, self.counts.patience // self.counts.every // 2)
        self.rate = Rate(settings.schedule, settings.warmup, waits)
        self.guard = Guard(self.model, self.optimizer, self.clip, self.rate, team)
        self.batches: Iterator[Batch] | None = None  # of the current epoch
        self.best = _weights(self.model)
        self.best_measures, self.best_at = [math.inf], 0
        self.history: list[EvaluationRecord] = []
        self.step = self.improved = 0  # steps taken; at the last improvement
        self.running = _Running()
        self.earlier = 0.0  # seconds spent in earlier runs, before resuming
        self.began = self.ticked = time.perf_counter()

    def run(self) -> Trained:
        state = self.team.leaders(self.kept.newest() if self.kept and self.team.leads else None)
        if state is not None:
            self._load(state)
        stopped = self._stop_reason()
        keeps = any(self.team.gathered(self.kept is not None))
        # torchrun repeats the terminal's signal: count both as one
        deferral = held_back(within=2.0 if self.team.size > 1 else 0.0)
        with deferral if keeps else nullcontext(lambda: 0) as received:
            while stopped is None:
                stopped = self._until_evaluation(received) or self._stop_reason()
        if self.best_at:
            last = _weights(self.model)
            self.model.load_state_dict(self.best)
        else:
            self.guard.restore()
            last = _weights(self.model)
        self.model.eval()
        guard = self.guard
        record = TrainingRecord(
            evaluations=tuple(self.history),
            best=self.best_at,
            stopped=stopped,
            skipped_steps=guard.skipped,
            seconds=self._seconds(),
            steps=self.step,
            retreats=guard.retreats,
            incidents=tuple(guard.incidents),
            limit=self.counts.limit,
        )
        return Trained(record, last)

    def _until_evaluation(self, received: Callable[[], int]) -> str | None:
        """Train until the next evaluation, and evaluate; return why training ended, or None."""
        self.model.train()
        late = False
        end = min(self.counts.limit, self._evaluated + self.counts.every)
        while self.step < end and not late and not self.guard.hopeless:
            signal, due, late = self._update(received)
            if due and not signal:
                self._save()
            if signal:
                self._pause(signal)
        if self.guard.hopeless or not self.running.steps:
            return f"diverged after {self.step} steps: {self._cause_of_divergence()}"
        measures = self.task.measure()
        values = list(measures.values())
        if not math.isfinite(values[0]):
            return f"diverged after {self.step} steps: predictions not finite"
        self._report_evaluation(measures)
        better = values < self.best_measures
        if better:
            if _matters(values, self.best_measures, self._first):
                self.improved = self.step
            self.best_measures, self.best_at = values, len(self.history)
            self.best = _weights(self.model)
        self.rate.validated(better)
        self.running = _Running()
        return f"the budget of {self.settings.budget:g} s is used up" if late else None

    def _stop_reason(self) -> str | None:
        """Why training ends after the latest evaluation, or None."""
        if self._evaluated >= self.counts.limit:
            return f"all {self.counts.limit} steps taken"
        if self._evaluated - self.improved >= self.counts.patience:
            return f"no improvement for {self.counts.patience} steps"
        if self.history and self.best_measures[0] < _SOLVED * self._first:
            return f"{SOLVED}: the error is below {_SOLVED:.1%} of the first evaluation"
        if self.stop is None or not self.history:
            return None
        return self.stop(self.history) or None

    @property
    def _first(self) -> float:
        """The first evaluation's error, a scale for what is negligible."""
        return self.history[0].validation_error if self.history else 0.0

    @property
    def _evaluated(self) -> int:
        """The step of the latest evaluation; a resumed training may be ahead of it."""
        return self.history[-1].step if self.history else 0

    def _next_batches(self) -> Iterator[Batch]:
        """The batches of the next step; a new epoch begins after the last batch of one."""
        first = None if self.batches is None else next(self.batches, None)
        while first is None:  # a task resumed at the end of an epoch has no batch left in it
            self.batches = self.task.batches()
            first = next(self.batches, None)
        yield first
        yield from islice(self.batches or (), self.settings.accumulate - 1)

    def _update(self, received: Callable[[], int]) -> tuple[int, bool, bool]:
        """Take one optimizer step. Returns (signal, checkpoint due, budget used up).

        Several batches or processes are weighted by their samples, as one combined batch.
        """
        team, settings = self.team, self.settings
        self.optimizer.zero_grad()
        alone = settings.accumulate == 1 and team.size == 1
        value = count = 0.0
        group: list[Batch] = []
        # in sequence: a batch may carry the state of the previous one
        for source in self._next_batches():
            batch = source
            if self.device.type != "cpu":
                batch = Batch(tuple(t.to(self.device) for t in source.tensors), source.weight)
            group.append(batch)
            loss = self.loss(*batch.tensors)
            (loss if alone else loss * batch.weight).backward()
            value += loss.item() * batch.weight
            count += batch.weight
        seconds, signal = self._seconds(), received()
        due = self.kept is not None and self.kept.due()
        if team.size > 1:
            # the first process's clock decides for all processes
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

        done = self.step / self.counts.limit
        if settings.budget is not None:
            done = max(done, seconds / settings.budget)
        factor = self.rate.factor(self.step, done)
        for group_options in self.optimizer.param_groups:
            group_options["lr"] = settings.learning_rate * factor
        clipped = self.clip(self.parameters)
        self.step += 1
        tensors = [t for batch in group for t in batch.tensors]
        incident = self.guard.step(self.step, value, clipped, tensors, lambda: self._locate(group))
        if incident is None:
            self.running.add(value, clipped)
        else:
            self.task.mend()
            if self.writer is not None:
                text = f"{incident.cause}, {incident.where}: {incident.evidence}; {incident.action}"
                self.writer.add_text("training/incident", text, self.step)
        self._report_step(value, clipped, factor)
        late = settings.budget is not None and seconds >= settings.budget
        return signal, bool(due), late

    def _locate(self, group: list[Batch]) -> Finding | None:
        """The origin of the first non-finite value of these batches, in any process."""
        found, before = None, self.task.state_dict()
        for batch in group:
            found = found or locate(self.model, *batch.tensors, loss=self.task.loss)
        self.task.load_state_dict(before)  # computing a loss may change the carried state
        return next((f for f in self.team.gathered(found) if f is not None), None)

    def _cause_of_divergence(self) -> str:
        incidents = self.guard.incidents
        if not incidents:
            return "no step was taken"
        first = incidents[0]
        again = f", after {self.guard.retreats - 1} rollbacks" if self.guard.hopeless else ""
        return f"{first.cause} not finite since step {first.step}: {first.evidence}{again}"

    def _report_evaluation(self, measures: dict[str, float]) -> None:
        """Record an evaluation and report it to the callbacks."""
        record = EvaluationRecord(
            training_loss=self.running.loss / self.running.steps,
            validation_error=next(iter(measures.values())),
            gradient_norm=median(self.running.norms),
            clipped=self.running.clipped / self.running.steps,
            seconds=self._seconds() - sum(e.seconds for e in self.history),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            measures=measures,
            step=self.step,
        )
        self.history.append(record)
        if self.watch is not None:
            self.watch(record)
        if self.writer is not None:
            for name, measure in measures.items():
                self.writer.add_scalar(f"validation/{name}", measure, self.step)
            self.writer.add_scalar("training/clipped (share)", record.clipped, self.step)

    def _report_step(self, loss: float, clipped: Clipped, factor: float) -> None:
        """Report one step to the callbacks."""
        if self.writer is not None and self.step % _LOG_EVERY == 0:
            self.writer.add_scalar("training/loss", loss, self.step)
            self.writer.add_scalar("training/gradient norm", clipped.norm, self.step)
            rate = self.settings.learning_rate * factor
            self.writer.add_scalar("training/learning rate", rate, self.step)
        tick = getattr(self.watch, "tick", None)
        if tick is not None and (now := time.perf_counter()) - self.ticked > _TICK:
            self.ticked = now
            tick(self.step / self.counts.limit, loss, clipped.norm)

    def _seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.began

    def _pause(self, signal: int) -> None:
        saved = self._save()
        folder = self.kept.folder if self.kept else None
        raise PausedError(
            f"interrupted after step {self.step} of {self.counts.limit}; "
            + (
                f"saved in {folder}: run the same command again to continue"
                if saved
                else f"the checkpoint could not be written; {folder} still holds the previous one"
            ),
            signal,
        )

    def _save(self) -> bool:
        """Save the state of all processes; the first process writes it."""
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
            "best measures": self.best_measures,
            "best at": self.best_at,
            "improved": self.improved,
            "history": [to_json(record) for record in self.history],
            "step": self.step,
            "running": self.running.state_dict(),
            "seconds": self._seconds(),
        }
        return self.kept.write(self.step, state)

    def _load(self, state: dict[str, Any]) -> None:
        """Restore a checkpoint. Raises InputError if it does not fit this training run."""
        try:
            self._restore(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(
                str(self.kept.folder) if self.kept else "the checkpoint",
                f"its checkpoint does not fit this training run ({error})",
                "delete the folder to start again",
            ) from None

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        restore_exactly(self.optimizer, state["optimizer"])
        self.clip.load_state_dict(state["clip"])
        self.rate.load_state_dict(state["rate"])
        self.guard.load_state_dict(state["guard"])
        self.best, self.best_measures = state["best"], state["best measures"]
        self.best_at, self.improved = state["best at"], state["improved"]
        self.history = [from_plain(EvaluationRecord, json.loads(text)) for text in state["history"]]
        self.step = state["step"]
        self.running.load_state_dict(state["running"])
        self.earlier = state["seconds"]
        own = state["ranks"][self.team.rank % len(state["ranks"])]
        self.task.load_state_dict(own["task"])
        torch.set_rng_state(own["random"])


class _Loss(nn.Module):
    """The loss as a module's forward, as DistributedDataParallel requires."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, *tensors: Tensor) -> Tensor:
        return self._loss(self.model, *tensors)


class _Running:
    """Statistics of the steps taken since the latest evaluation, in constant memory."""

    def __init__(self) -> None:
        self.steps = self.clipped = 0
        self.loss = 0.0
        self.norms: deque[float] = deque(maxlen=_NORMS)

    def add(self, loss: float, clipped: Clipped) -> None:
        self.steps += 1
        self.loss += loss
        self.clipped += clipped.clipped
        self.norms.append(clipped.norm)

    def state_dict(self) -> dict[str, Any]:
        norms = torch.tensor(list(self.norms), dtype=torch.float64)
        counts = {"steps": self.steps, "clipped": self.clipped}
        return {**counts, "loss": self.loss, "norms": norms}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self.clipped = state["steps"], state["clipped"]
        self.loss = state["loss"]
        self.norms.extend(state["norms"].tolist())


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _matters(measures: list[float], best: list[float], first: float) -> bool:
    """Whether an improvement is large enough to continue for: not negligible beside the first."""
    new, old = next((m, b) for m, b in zip(measures, best, strict=False) if m != b)
    return old == math.inf or new < old - _IMPROVEMENT * max(abs(old), 0.1 * abs(first))

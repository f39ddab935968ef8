"""Guard against non-finite values: no non-finite loss or gradient ever changes the weights.

A step with a non-finite loss, gradient or weight is skipped and counted, and its cause is reported
down to layer and time step. After ten such steps in a row, or when the optimizer state itself is
non-finite, training restores the last good weights and halves the learning rate. Training ends at
the fourth such rollback.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.network_records import Finding, IncidentRecord
from throughtime.serialization import from_plain, to_json
from throughtime.training.clipping import Clipped, Clipper
from throughtime.training.optimizing import Rate, restore_exactly
from throughtime.training.processes import Team

_IN_A_ROW = 10  # skipped steps before a rollback
_MAX_ROLLBACKS = 3  # rollbacks before training ends
_SNAPSHOT_EVERY = 100  # good steps between two snapshots of the weights
_RECORDED = 10  # incidents that are recorded in detail; later ones are only counted

Locate = Callable[[], Finding | None]


class Guard:
    """Takes an optimizer's steps, and skips those with non-finite values.

    >>> guard = Guard(model, optimizer, clip, rate)
    >>> loss.backward()
    >>> incident = guard.step(number, float(loss), clip(model.parameters()), batch, locate)

    ``locate`` finds the origin of the first non-finite value. It is called only for the first
    incidents.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip: Clipper,
        rate: Rate,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self.optimizer = optimizer
        self.clip = clip
        self.rate = rate
        self.skipped = 0
        self.retreats = 0
        self.incidents: list[IncidentRecord] = []
        self._named = dict(model.named_parameters())
        # buffers too: a batch with NaN corrupts the running statistics of a BatchNorm
        self._own = [t.detach() for t in (*model.parameters(), *model.buffers())]
        self._weights = [p.detach() for p in model.parameters()]
        self._buffers = {name: b for name, b in model.named_buffers() if _is_floating(b)}
        self._versions = {name: b._version for name, b in self._buffers.items()}
        self._safe = [t.clone() for t in self._own]
        self._in_a_row = self._taken = 0
        self._good: dict[str, Any] = {}
        self._snapshot()

    @property
    def hopeless(self) -> bool:
        """Whether the limit of rollbacks is exceeded."""
        return self.retreats > _MAX_ROLLBACKS

    def step(
        self, number: int, loss: float, clipped: Clipped, batch: Sequence[Any], locate: Locate
    ) -> IncidentRecord | None:
        """Take a step and return None, or skip it and return the incident."""
        cause = _cause_before(loss, clipped) or self._cause_after()
        if cause is None:
            _copy(self._own, to=self._safe)
            self._in_a_row = 0
            self._taken += 1
            if self._taken % _SNAPSHOT_EVERY or self._snapshot():
                return None
            cause = "optimizer"
            names = self._names(cause)
        else:
            names = self._names(cause)
            _copy(self._safe, to=self._own)
        return self._skip(number, cause, names, loss, batch, locate)

    def _cause_after(self) -> str | None:
        """Take the step; return the cause if its result is non-finite, else None."""
        self.optimizer.step()
        if _finite(self._weights):
            # most buffers never change: check only those written to since the first step
            moved = [b for name, b in self._buffers.items() if b._version != self._versions[name]]
            return None if _finite(moved) else "buffer"
        return "weights" if _finite(_tensors(self.optimizer)) else "optimizer"

    def _skip(
        self,
        number: int,
        cause: str,
        names: str,
        loss: float,
        batch: Sequence[Any],
        locate: Locate,
    ) -> IncidentRecord:
        self.skipped += 1
        if cause in ("loss", "gradient"):
            # all processes must make the same decision, whichever has the bad input
            bad = float(not _finite([t for t in batch if _is_floating(t)]))
            cause = "input" if self.team.summed([bad])[0] else cause
        locates = len(self.incidents) < _RECORDED and cause not in ("optimizer", "buffer")
        found = locate() if locates else None
        where = found.where if found else names
        # a rollback does not help against bad data
        self._in_a_row += cause != "input"
        rolls_back = cause == "optimizer" or self._in_a_row == _IN_A_ROW
        if rolls_back:
            self._roll_back()
        incident = IncidentRecord(
            step=number,
            cause=cause,
            where=where,
            evidence=found.evidence if found else _evidence(cause, loss),
            action=f"restored the last good weights, learning rate x {self.rate.lowered:g}"
            if rolls_back
            else "skipped",
        )
        if len(self.incidents) < _RECORDED:
            self.incidents.append(incident)
        return incident

    def _names(self, cause: str) -> str:
        """The names of the affected parameters or buffers, at most four."""
        if cause == "buffer":
            names = [n for n, b in self._buffers.items() if not _finite([b])]
        elif cause == "optimizer":
            names = [n for n, p in self._named.items() if not _finite(_state_of(self.optimizer, p))]
        else:
            gradients = {n: p.grad for n, p in self._named.items() if p.grad is not None}
            names = [n for n, gradient in gradients.items() if not _finite([gradient])]
        return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")

    def _snapshot(self) -> bool:
        """Take a snapshot of this state if it is finite; return whether it is."""
        if not _finite([*_tensors(self.optimizer), *filter(_is_floating, self._own)]):
            return False
        self._good = {
            "own": [t.clone() for t in self._own],
            "optimizer": _cloned(self.optimizer.state_dict()),
            "clip": self.clip.state_dict(),
        }
        return True

    def _roll_back(self) -> None:
        self.retreats += 1
        self._in_a_row = 0
        self.restore()
        self.rate.lower()

    def restore(self) -> None:
        """Restore the last good weights, optimizer and clipper state."""
        _copy(self._good["own"], to=self._own)
        _copy(self._good["own"], to=self._safe)
        restore_exactly(self.optimizer, self._good["optimizer"])
        self.clip.load_state_dict(self._good["clip"])

    def state_dict(self) -> dict[str, Any]:
        """Counters, incidents and the last good state."""
        return {
            "skipped": self.skipped,
            "retreats": self.retreats,
            "incidents": [to_json(incident) for incident in self.incidents],
            "in a row": self._in_a_row,
            "taken": self._taken,
            "good": self._good,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore state saved by `state_dict`; load the model's weights first."""
        self.skipped, self.retreats = state["skipped"], state["retreats"]
        self.incidents = [from_plain(IncidentRecord, json.loads(i)) for i in state["incidents"]]
        self._in_a_row, self._taken = state["in a row"], state["taken"]
        self._good = state["good"]
        _copy(self._own, to=self._safe)


def _cause_before(loss: float, clipped: Clipped) -> str | None:
    if loss - loss != 0:  # NaN or infinite
        return "loss"
    return None if clipped.norm - clipped.norm == 0 else "gradient"


def _evidence(cause: str, loss: float) -> str:
    return {
        "input": "the batch contains a non-finite value",
        "loss": f"the loss is {loss:g}",
        "gradient": "the norm of the gradient is not finite",
        "weights": "the step leads to non-finite weights: the learning rate is too high",
        "buffer": "a buffer updated by the batch is not finite: its values are too large",
        "optimizer": "the optimizer state is not finite",
    }[cause]


def _copy(values: list[Tensor], *, to: list[Tensor]) -> None:
    """Copy all tensors in one call: a third of the time of a loop."""
    foreach: Any = torch
    foreach._foreach_copy_(to, values)


def _cloned(value: Any) -> Any:
    """A copy of nested dictionaries and lists with cloned tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    return [_cloned(item) for item in value] if isinstance(value, list) else value


def _finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all values are finite: one max-norm for each dtype and device."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor.reshape(-1))
    return all(
        bool(torch.linalg.vector_norm(torch.cat(same), ord=torch.inf).isfinite())
        for same in kinds.values()
        if any(t.numel() for t in same)
    )


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _state_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> list[Tensor]:
    return [t for t in optimizer.state.get(parameter, {}).values() if _is_floating(t)]


def _tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [t for state in optimizer.state.values() for t in state.values() if _is_floating(t)]

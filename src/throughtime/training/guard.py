"""The guard: no loss, gradient or weight that is not finite ever reaches the weights.

A step that would is not taken: it is counted, and what was wrong with it is named, down to layer
and time step. After ten such steps in a row, or where the optimizer itself has gone bad, training
goes back to the last good weights, with half the learning rate. After three such retreats the next
one ends it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.runs import Finding, IncidentRecord
from throughtime.serialization import from_plain, to_json
from throughtime.training.clipping import Clipped, Clipper
from throughtime.training.optimizing import Rate, restore_exactly
from throughtime.training.processes import Team

_IN_A_ROW = 10  # steps, then it goes back
_RETREATS = 3  # then it is over
_REMEMBERED = 100  # good steps from one memory of good weights to the next
_TOLD = 10  # incidents that are named and kept; the others are counted

Locate = Callable[[], Finding | None]


class Guard:
    """Takes an optimizer's steps, or refuses them.

    >>> guard = Guard(model, optimizer, clip, rate)
    >>> loss.backward()
    >>> refused = guard.step(number, float(loss), clip(model.parameters()), batch, locate)

    ``locate`` looks for the place where the first bad number came from; it is asked for the first
    incidents alone.
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
        # buffers too: a batch of NaN leaves its trace in those of a BatchNorm
        self._own = [t.detach() for t in (*model.parameters(), *model.buffers())]
        self._weights = [p.detach() for p in model.parameters()]
        self._buffers = {name: b for name, b in model.named_buffers() if _counts(b)}
        self._versions = {name: b._version for name, b in self._buffers.items()}
        self._safe = [t.clone() for t in self._own]
        self._in_a_row = self._taken = 0
        self._good: dict[str, Any] = {}
        self._remember()

    @property
    def hopeless(self) -> bool:
        """Whether it went back too often."""
        return self.retreats > _RETREATS

    def step(
        self, number: int, loss: float, told: Clipped, batch: Sequence[Any], locate: Locate
    ) -> IncidentRecord | None:
        """Take a step that is good, and None; or refuse it, and say why."""
        cause = _before(loss, told) or self._after()
        if cause is None:
            _copy(self._own, to=self._safe)
            self._in_a_row = 0
            self._taken += 1
            if self._taken % _REMEMBERED or self._remember():
                return None
            cause = "optimizer"
            names = self._names(cause)
        else:
            names = self._names(cause)
            _copy(self._safe, to=self._own)
        return self._refused(number, cause, names, loss, batch, locate)

    def _after(self) -> str | None:
        """The step taken; what is wrong with the weights it leads to."""
        self.optimizer.step()
        if _finite(self._weights):
            # most buffers never change: those that were written to since the first step
            moved = [b for name, b in self._buffers.items() if b._version != self._versions[name]]
            return None if _finite(moved) else "buffer"
        return "weights" if _finite(_tensors(self.optimizer)) else "optimizer"

    def _refused(
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
            # in whichever process it is: all must decide alike
            bad = float(not _finite([t for t in batch if _counts(t)]))
            cause = "input" if self.team.summed([bad])[0] else cause
        looks = len(self.incidents) < _TOLD and cause not in ("optimizer", "buffer")
        found = locate() if looks else None
        where = found.where if found else names
        # where the data are to blame, other weights are of no help
        self._in_a_row += cause != "input"
        going_back = cause == "optimizer" or self._in_a_row == _IN_A_ROW
        if going_back:
            self._retreat()
        incident = IncidentRecord(
            step=number,
            cause=cause,
            where=where,
            evidence=found.evidence if found else _words(cause, loss),
            action=f"back to the last good weights, rate x {self.rate.lowered:g}"
            if going_back
            else "skipped",
        )
        if len(self.incidents) < _TOLD:
            self.incidents.append(incident)
        return incident

    def _names(self, cause: str) -> str:
        """Of the parameters that the trouble shows in."""
        if cause == "buffer":
            names = [n for n, b in self._buffers.items() if not _finite([b])]
        elif cause == "optimizer":
            names = [n for n, p in self._named.items() if not _finite(_of(self.optimizer, p))]
        else:
            gradients = {n: p.grad for n, p in self._named.items() if p.grad is not None}
            names = [n for n, gradient in gradients.items() if not _finite([gradient])]
        return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")

    def _remember(self) -> bool:
        """Keep this state as good, if it is."""
        if not _finite([*_tensors(self.optimizer), *filter(_counts, self._own)]):
            return False
        self._good = {
            "own": [t.clone() for t in self._own],
            "optimizer": _cloned(self.optimizer.state_dict()),
            "clip": self.clip.state_dict(),
        }
        return True

    def _retreat(self) -> None:
        self.retreats += 1
        self._in_a_row = 0
        self.restore()
        self.rate.lower()

    def restore(self) -> None:
        """Back to the last good weights."""
        _copy(self._good["own"], to=self._own)
        _copy(self._good["own"], to=self._safe)
        restore_exactly(self.optimizer, self._good["optimizer"])
        self.clip.load_state_dict(self._good["clip"])

    def state_dict(self) -> dict[str, Any]:
        """All that it counts and keeps."""
        return {
            "skipped": self.skipped,
            "retreats": self.retreats,
            "incidents": [to_json(incident) for incident in self.incidents],
            "in a row": self._in_a_row,
            "taken": self._taken,
            "good": self._good,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; the model's weights are there already."""
        self.skipped, self.retreats = state["skipped"], state["retreats"]
        self.incidents = [from_plain(IncidentRecord, json.loads(i)) for i in state["incidents"]]
        self._in_a_row, self._taken = state["in a row"], state["taken"]
        self._good = state["good"]
        _copy(self._own, to=self._safe)


def _before(loss: float, told: Clipped) -> str | None:
    if loss - loss != 0:  # NaN or infinite
        return "loss"
    return None if told.norm - told.norm == 0 else "gradient"


def _words(cause: str, loss: float) -> str:
    return {
        "input": "a number in the batch is not finite",
        "loss": f"the loss is {loss:g}",
        "gradient": "the norm of the gradient is not finite",
        "weights": "the step would have led to weights that are not finite: the rate is too high",
        "buffer": "a buffer that the batch was written into is not finite: values too large",
        "optimizer": "what the optimizer remembers is not finite",
    }[cause]


def _copy(values: list[Tensor], *, to: list[Tensor]) -> None:
    """Each into its place, in one call for all: a third of the time of a loop."""
    foreach: Any = torch
    foreach._foreach_copy_(to, values)


def _cloned(value: Any) -> Any:
    """Tensors of their own, in dictionaries and lists as they were."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    return [_cloned(item) for item in value] if isinstance(value, list) else value


def _finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every number is: the largest of all, in one pass over each kind of number."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor.reshape(-1))
    return all(
        bool(torch.linalg.vector_norm(torch.cat(same), ord=torch.inf).isfinite())
        for same in kinds.values()
        if any(t.numel() for t in same)
    )


def _counts(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> list[Tensor]:
    return [t for t in optimizer.state.get(parameter, {}).values() if _counts(t)]


def _tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [t for state in optimizer.state.values() for t in state.values() if _counts(t)]

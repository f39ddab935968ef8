"""Truncated backpropagation through time: training on streams longer than memory.

The state is carried from piece to piece, and gradients are cut: every ``k1`` steps there is one
step of the optimizer, whose gradient goes back through the last ``k2`` steps from the losses of the
last k1 alone, so that each counts once (Williams and Peng 1990, BPTT(h; h') with h = k2, h' = k1).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.data.sequences.stream_batches import CodeStreams, Piece, Streams
from throughtime.training.processes import Team
from throughtime.training.task import Batch, Task

Criterion = Callable[[Tensor, Tensor], Tensor]


class TruncatedBPTT(Task):
    """A model learns from streams, its state carried along.

    >>> task = TruncatedBPTT(model, training, validation, nn.functional.mse_loss, k1=100)
    >>> train(task, TrainingSettings(epochs=3))

    The model is called as ``model(x [T,B,C], state, reset=[T,B])`` and gives output [T,B,...] and
    state, as our layers do; ``state`` is None at first, a tensor or a tuple of tensors then. Where
    ``reset`` is True the state is cleared before the step: another document begins. ``criterion``
    is the mean loss of outputs and targets. ``k2`` is k1 where it is not given.

    Memory does not grow with the streams: one piece at a time is read. The measure is the mean loss
    over the validation streams. A carried state that is not finite is cleared, lane by lane.
    Raises ValueError unless 1 <= k1 <= k2.
    """

    def __init__(
        self,
        model: nn.Module,
        training: Streams | CodeStreams,
        validation: Streams | CodeStreams,
        criterion: Criterion,
        *,
        k1: int,
        k2: int | None = None,
        team: Team | None = None,
    ) -> None:
        if not 1 <= k1 <= (k2 or k1):
            raise ValueError(f"1 <= k1 <= k2 steps are needed; got k1 {k1}, k2 {k2}")
        self.model = model
        self.training = training
        self.validation = validation
        self.criterion = criterion
        self.k1 = k1
        self.k2 = k2 or k1
        self.team = team or Team()
        self.steps = math.ceil(training.length / k1)
        self._done = 0  # pieces of this epoch
        self._carried: tuple[Tensor, ...] = ()  # state at the first step of the next piece
        self._ahead = 0  # steps of this piece to that state

    def batches(self) -> Iterator[Batch]:
        length = self.training.length
        for number in range(self._done, self.steps):
            end = min((number + 1) * self.k1, length)
            begin = max(0, (number + 1) * self.k1 - self.k2)
            following = max(0, (number + 2) * self.k1 - self.k2)
            self._ahead = min(following, end) - begin
            self._done = number + 1
            piece = self.training.piece(begin, end)
            target = piece.target[number * self.k1 - begin :]
            weight = target.shape[0] * target.shape[1]
            yield Batch((piece.input, target, piece.reset, *self._carried), weight)
        self._done, self._carried = 0, ()

    def loss(self, model: nn.Module, *tensors: Tensor) -> Tensor:
        x, target, reset, *carried = tensors
        ahead = self._ahead
        outputs: list[Tensor] = []
        state = _given(carried)
        if ahead:
            output, state = model(x[:ahead], state, reset=reset[:ahead])
            outputs.append(output)
        self._carried = tuple(s.detach().clone() for s in _taken(state))
        if ahead < len(x):
            output, _ = model(x[ahead:], state, reset=reset[ahead:])
            outputs.append(output)
        return self.criterion(torch.cat(outputs)[-len(target) :], target)

    def mend(self) -> None:
        whole = [s.isfinite().movedim(-2, 0).flatten(1).all(dim=1) for s in self._carried]
        if whole:
            lanes = torch.stack(whole).all(dim=0).unsqueeze(-1)  # [B,1]
            self._carried = tuple(torch.where(lanes, s, torch.zeros_like(s)) for s in self._carried)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        self.model.eval()
        state, total, count = None, 0.0, 0
        device = next(self.model.parameters()).device
        for begin in range(0, self.validation.length, self.k1):
            end = min(begin + self.k1, self.validation.length)
            piece = Piece(*(t.to(device) for t in self.validation.piece(begin, end)))
            output, state = self.model(piece.input, state, reset=piece.reset)
            weight = piece.target.shape[0] * piece.target.shape[1]
            total += float(self.criterion(output, piece.target)) * weight
            count += weight
        total, count = self.team.summed([total, count])
        return {"loss": total / count}

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done, "carried": list(self._carried)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._done, self._carried = state["done"], tuple(state["carried"])


def _given(carried: list[Tensor]) -> Any:
    """A state as a layer takes it."""
    return None if not carried else carried[0] if len(carried) == 1 else tuple(carried)


def _taken(state: Any) -> tuple[Tensor, ...]:
    """A state as it is carried."""
    return () if state is None else (state,) if isinstance(state, Tensor) else tuple(state)

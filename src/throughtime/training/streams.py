"""Truncated backpropagation through time, for streams too long for memory.

The state is carried from piece to piece, and gradients are truncated. Every ``k1`` time steps the
optimizer takes one step. Its gradient goes back through the last ``k2`` time steps, from the losses
of the last k1 only, so that each loss counts once (Williams and Peng 1990, BPTT(h; h') with h = k2,
h' = k1).
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
    """Trains a model on streams with truncated backpropagation through time.

    >>> task = TruncatedBPTT(model, training, validation, nn.functional.mse_loss, k1=100)
    >>> train(task, TrainingSettings(epochs=3))

    The model is called as ``model(x [T,B,C], state, reset=[T,B])`` and returns output [T,B,...] and
    state, as the layers of this library do. ``state`` is None at first, then a tensor or a tuple of
    tensors. Where ``reset`` is True, the state is cleared before the step, because a new document
    begins. ``criterion`` returns the mean loss of outputs and targets. ``k2`` defaults to k1.

    Memory does not grow with stream length, because one piece is read at a time. The measure is the
    mean loss over the validation streams. A non-finite carried state is cleared, separately for
    each stream of the batch. Raises ValueError unless 1 <= k1 <= k2.
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
            raise ValueError(f"1 <= k1 <= k2 is required; got k1 {k1}, k2 {k2}")
        self.model = model
        self.training = training
        self.validation = validation
        self.criterion = criterion
        self.k1 = k1
        self.k2 = k2 or k1
        self.team = team or Team()
        self.steps = math.ceil(training.length / k1)
        self._done = 0  # pieces of this epoch already used
        self._carried: tuple[Tensor, ...] = ()  # state at the first step of the next piece
        self._ahead = 0  # steps of this piece before that state

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
        state = _to_state(carried)
        if ahead:
            output, state = model(x[:ahead], state, reset=reset[:ahead])
            outputs.append(output)
        self._carried = tuple(s.detach().clone() for s in _to_tensors(state))
        if ahead < len(x):
            output, _ = model(x[ahead:], state, reset=reset[ahead:])
            outputs.append(output)
        return self.criterion(torch.cat(outputs)[-len(target) :], target)

    def mend(self) -> None:
        by_tensor = [s.isfinite().movedim(-2, 0).flatten(1).all(dim=1) for s in self._carried]
        if by_tensor:
            finite = torch.stack(by_tensor).all(dim=0).unsqueeze(-1)  # [B,1]
            self._carried = tuple(
                torch.where(finite, s, torch.zeros_like(s)) for s in self._carried
            )

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        self.model.eval()
        state, total, count = None, 0.0, 0
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
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


def _to_state(carried: list[Tensor]) -> Any:
    """Carried tensors as the state that a layer accepts."""
    return None if not carried else carried[0] if len(carried) == 1 else tuple(carried)


def _to_tensors(state: Any) -> tuple[Tensor, ...]:
    """A layer's state as carried tensors."""
    return () if state is None else (state,) if isinstance(state, Tensor) else tuple(state)

"""Several processes that train one model: started by torchrun, each with its share of a batch.

    with joined() as team:  # alone, unless torchrun says otherwise
        ...

Every process holds the whole model and draws the same order of batches; each computes its share,
and gradients are averaged by DistributedDataParallel. All decide alike, as they decide by numbers
that were summed over all. The first process alone writes.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from throughtime.errors import LostWorkerError

T = TypeVar("T")

_PATIENCE = timedelta(minutes=10)  # for a process that says nothing; one that died is seen at once


@dataclass(frozen=True)
class Team:
    """The processes of a training, and which of them this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, index: Tensor) -> Tensor:
        """This process's part of a batch's indices [B]: no overlap, together all."""
        return index[self.rank :: self.size]

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each number summed over all processes: the same everywhere, to the bit."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self._device())
        distributed.all_reduce(total)
        return total.tolist()

    def gathered(self, value: T) -> list[T]:
        """The value of every process, in their order, in every process."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found

    def leaders(self, value: T) -> T:
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        found: list[Any] = [value]
        distributed.broadcast_object_list(found, src=0)
        return found[0]

    def averaging(self, module: nn.Module) -> nn.Module:
        """The module, with gradients that are averaged over all processes."""
        return module if self.size == 1 else DistributedDataParallel(module)

    @staticmethod
    def _device() -> torch.device:
        return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


@contextmanager
def joined(
    device: str = "cpu", told: Callable[[str], str | None] = os.environ.get
) -> Generator[Team]:
    """The team that torchrun made this process a part of, or this process alone.

    Processes speak by gloo, or by nccl where ``device`` is cuda: each then has a GPU of its own.
    Raises LostWorkerError where another of them ended: torchrun then ends the rest.
    """
    size = int(told("WORLD_SIZE") or 1)
    if size == 1:
        yield Team()
        return
    rank = int(told("RANK") or 0)
    if device == "cuda":  # pragma: no cover - needs as many GPUs
        torch.cuda.set_device(int(told("LOCAL_RANK") or 0))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Team(rank, size)
    except RuntimeError as error:
        # gloo and nccl say it in words alone
        if any(word in str(error) for word in ("gloo", "NCCL", "Connection", "ProcessGroup")):
            raise LostWorkerError(
                f"process {rank} of {size} lost another one ({_first_line(error)}); what was saved "
                "is kept: run the same command again to go on from there"
            ) from None
        raise
    finally:
        distributed.destroy_process_group()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160]

"""Data-parallel training in several processes, started by torchrun.

    with joined() as team:  # one process, unless started by torchrun
        ...

Every process holds the whole model and uses the same order of batches. Each computes its share of a
batch, and DistributedDataParallel averages the gradients. All processes make the same decisions,
because they use values summed over all processes. Only the first process writes files.
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

_PATIENCE = timedelta(minutes=10)  # for an unresponsive process; a dead one is detected at once


@dataclass(frozen=True)
class Team:
    """The processes that train together, and the rank of this one."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the first process, which writes files and output."""
        return self.rank == 0

    def share(self, index: Tensor) -> Tensor:
        """This process's share of a batch's indices [B]; the shares partition the batch."""
        return index[self.rank :: self.size]

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all processes; bitwise equal in every process."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self._device())
        distributed.all_reduce(total)
        return total.tolist()

    def gathered(self, value: T) -> list[T]:
        """The values of all processes by rank, in every process."""
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
        """The module, wrapped to average gradients over all processes."""
        return module if self.size == 1 else DistributedDataParallel(module)

    @staticmethod
    def _device() -> torch.device:
        return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


def leads(getenv: Callable[[str], str | None] = os.environ.get) -> bool:
    """Whether this process is the first that torchrun started, or the only one."""
    return int(getenv("WORLD_SIZE") or 1) == 1 or int(getenv("RANK") or 0) == 0


@contextmanager
def joined(
    device: str = "cpu", getenv: Callable[[str], str | None] = os.environ.get
) -> Generator[Team]:
    """The team that torchrun started, or this process alone.

    Processes communicate by gloo, or by nccl if ``device`` is cuda, with one GPU for each process.
    ``getenv`` reads an environment variable. Raises LostWorkerError if another process ended;
    torchrun then ends the others.
    """
    size = int(getenv("WORLD_SIZE") or 1)
    if size == 1:
        yield Team()
        return
    rank = int(getenv("RANK") or 0)
    if device == "cuda":  # pragma: no cover - needs as many GPUs
        torch.cuda.set_device(int(getenv("LOCAL_RANK") or 0))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Team(rank, size)
        distributed.barrier()  # leave together: no process ends while another still talks to it
    except RuntimeError as error:
        # gloo and nccl raise RuntimeError, recognizable only by its message
        if any(word in str(error) for word in ("gloo", "NCCL", "Connection", "ProcessGroup")):
            raise LostWorkerError(
                f"process {rank} of {size} lost contact with another ({_first_line(error)}); "
                "checkpoints are kept: run the same command again to continue"
            ) from None
        raise
    finally:
        distributed.destroy_process_group()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160]

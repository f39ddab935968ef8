"""Batches of sequences of similar length, in an order that can be resumed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from throughtime.data.sequences.sequences import Sequences

A = TypeVar("A")
B = TypeVar("B")

_LIKE = 0.8  # least ratio of the shortest to the longest length in a bucket
_AHEAD = 2  # batches to prepare in advance


class Buckets:
    """Shuffles sequences into batches of similar length, differently in each epoch.

    >>> buckets = Buckets(lengths, batch_size=32, batch_steps=4096, seed=0)
    >>> for index in buckets.rest():  # of this epoch
    ...     buckets.took()
    >>> buckets.end()

    A batch has at most `batch_size` sequences and `batch_steps` steps, including padding; a longer
    sequence is a batch of its own. Every epoch has `len(buckets)` batches. The order depends only
    on the seed and the epoch number; `state_dict` saves the position to the batch.
    """

    def __init__(self, lengths: Tensor, *, batch_size: int, batch_steps: int, seed: int) -> None:
        if batch_size < 1 or batch_steps < 1:
            raise ValueError(
                f"batch_size and batch_steps must be 1 or more; got {batch_size} and {batch_steps}"
            )
        order = lengths.argsort(descending=True, stable=True)
        self._buckets: list[tuple[Tensor, int]] = []  # indices, and the batch size
        while len(order):
            longest = int(lengths[order[0]])
            count = int((lengths[order] >= _LIKE * longest).sum())
            most = max(1, min(batch_size, batch_steps // max(1, longest)))
            self._buckets.append((order[:count], most))
            order = order[count:]
        self._count = sum(-(-len(index) // most) for index, most in self._buckets)
        self._generator = (
            torch.Generator().manual_seed(seed).get_state()
        )  # at the start of this epoch
        self._done = 0

    def __len__(self) -> int:
        return self._count

    def rest(self) -> list[Tensor]:
        """Return the batches of this epoch that were not used yet."""
        return self._drawn()[0][self._done :]

    def took(self) -> None:
        """Count one batch as used."""
        self._done += 1

    def end(self) -> None:
        """End the epoch; the next one has another order."""
        self._generator = self._drawn()[1]
        self._done = 0

    def _drawn(self) -> tuple[list[Tensor], Tensor]:
        """Return all batches of this epoch, and the generator state after them."""
        generator = torch.Generator()
        generator.set_state(self._generator)
        batches: list[Tensor] = []
        for index, most in self._buckets:
            drawn = index[torch.randperm(len(index), generator=generator)]
            batches += drawn.split(most)
        order = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[number] for number in order], generator.get_state()

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the epoch."""
        return {"generator": self._generator, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore state saved by state_dict()."""
        self._generator, self._done = state["generator"], state["done"]


def in_order(lengths: Tensor, *, batch_size: int, batch_steps: int) -> Iterator[Tensor]:
    """Yield all sequences once in batches, the longest first, without shuffling."""
    order = lengths.argsort(descending=True, stable=True)
    while len(order):
        most = max(1, min(batch_size, batch_steps // max(1, int(lengths[order[0]]))))
        yield order[:most]
        order = order[most:]


def answered(
    answer: Callable[[Tensor, Tensor], Tensor],
    sequences: Sequences,
    index: Tensor,
    every_step: bool,
) -> Tensor:
    """Predict sequences in batches of similar length: [n,O], or [r,O] if `every_step`.

    ``answer`` is a function of x [T,B,C] and lengths [B] that returns the predictions.
    """
    found: list[Tensor] = []
    at: list[Tensor] = []
    lengths = sequences.lengths[index]
    ends = lengths.cumsum(0)
    for batch in in_order(lengths, batch_size=512, batch_steps=100_000):
        x, sizes = sequences.padded(index[batch])
        some = answer(x, sizes)
        if every_step:
            steps = torch.arange(len(x)).unsqueeze(1)
            inside = steps < sizes
            found.append(some[inside])
            at.append((ends[batch] - sizes + steps)[inside])
        else:
            found.append(some)
            at.append(batch)
    everything = torch.cat(found)
    answers = torch.empty_like(everything)
    answers[torch.cat(at)] = everything
    return answers


def prefetched(make: Callable[[A], B], items: Iterable[A]) -> Iterator[tuple[A, B]]:
    """Yield each item and `make(item)`; another thread prepares two results in advance.

    An exception in `make` is raised when its result is requested. If the consumer stops early, the
    thread ends.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as worker:
        ready = [(item, worker.submit(make, item)) for item in islice(waiting, _AHEAD)]
        try:
            while ready:
                item, future = ready.pop(0)
                for following in islice(waiting, 1):
                    ready.append((following, worker.submit(make, following)))
                yield item, future.result()
        finally:
            for _, future in ready:
                future.cancel()

"""Batches of sequences of like length, in an order that can be gone on with."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from throughtime.data.sequences.sequences import Sequences

A = TypeVar("A")
B = TypeVar("B")

_LIKE = 0.8  # the shortest of a bucket has at least this share of the longest's steps
_AHEAD = 2  # batches made ready while one is worked on


class Buckets:
    """Sequences sorted into buckets of like length, and in each epoch drawn from them anew.

    >>> buckets = Buckets(lengths, batch_size=32, batch_steps=4096, seed=0)
    >>> for index in buckets.rest():  # of this epoch
    ...     buckets.took()
    >>> buckets.end()

    A batch holds at most so many sequences, and so many steps, its padding counted; a sequence
    longer than that is a batch of its own. Every epoch has `len(buckets)` batches, whatever is
    drawn. The order depends on the seed and the epoch's number alone; `state_dict` tells where it
    is, to the batch.
    """

    def __init__(self, lengths: Tensor, *, batch_size: int, batch_steps: int, seed: int) -> None:
        if batch_size < 1 or batch_steps < 1:
            raise ValueError(f"a batch holds 1 or more; got {batch_size}, {batch_steps} steps")
        order = lengths.argsort(descending=True, stable=True)
        self._buckets: list[tuple[Tensor, int]] = []  # indices, and how many make a batch
        while len(order):
            longest = int(lengths[order[0]])
            count = int((lengths[order] >= _LIKE * longest).sum())
            most = max(1, min(batch_size, batch_steps // max(1, longest)))
            self._buckets.append((order[:count], most))
            order = order[count:]
        self._count = sum(-(-len(index) // most) for index, most in self._buckets)
        self._generator = torch.Generator().manual_seed(seed).get_state()  # before this epoch
        self._done = 0

    def __len__(self) -> int:
        return self._count

    def rest(self) -> list[Tensor]:
        """The batches of this epoch that were not taken yet."""
        return self._drawn()[0][self._done :]

    def took(self) -> None:
        """One of them was used."""
        self._done += 1

    def end(self) -> None:
        """This epoch is over: the next has an order of its own."""
        self._generator = self._drawn()[1]
        self._done = 0

    def _drawn(self) -> tuple[list[Tensor], Tensor]:
        """All batches of this epoch, and the generator's state after them."""
        generator = torch.Generator()
        generator.set_state(self._generator)
        batches: list[Tensor] = []
        for index, most in self._buckets:
            drawn = index[torch.randperm(len(index), generator=generator)]
            batches += drawn.split(most)
        order = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[number] for number in order], generator.get_state()

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        return {"generator": self._generator, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._generator, self._done = state["generator"], state["done"]


def in_order(lengths: Tensor, *, batch_size: int, batch_steps: int) -> Iterator[Tensor]:
    """All sequences once, the longest first, in batches as above; nothing is drawn."""
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
    """The answers to some sequences, [n,O], or to all their steps end to end, [r,O].

    ``answer`` is given x [T,B,C] and lengths [B], sequences of like length at a time.
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
    """Each item with what is made of it, two of which are made ready by another thread meanwhile.

    What goes wrong in making is raised where it would have been used; a consumer that stops early
    leaves no thread behind.
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

"""Batches of long sequences in parallel streams, cut into pieces that fit into memory."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Piece(NamedTuple):
    """A range of steps of every lane."""

    input: Tensor  # [T,B,C]
    target: Tensor  # [T,B,...]
    reset: Tensor  # [T,B] bool: the first step of a document


class Streams:
    """Documents concatenated and divided into lanes, one per sample of a batch.

    >>> streams = Streams([np.load("series.npy", mmap_mode="r")], lanes=64)
    >>> streams.piece(0, 100)  # the first hundred steps of every lane

    Successive pieces of a lane are successive steps. Documents are arrays [T_i, C]; memory-mapped
    arrays are read when needed. Targets are arrays with the same number of steps; the default is
    the input of the next step, which excludes the last step of a document. All lanes have the same
    length: the last steps, fewer than the number of lanes, are left out (`left_out`). A document
    that is cut at the end of a lane continues in the next lane without memory. ``of``: the numbers
    of the lanes of this process.

    Raises ValueError for no documents, unequal lengths, or fewer steps than lanes.
    """

    def __init__(
        self,
        documents: Sequence[Any],
        targets: Sequence[Any] | None = None,
        *,
        lanes: int,
        of: Sequence[int] | None = None,
    ) -> None:
        if lanes < 1:
            raise ValueError(f"lanes must be 1 or more; got {lanes}")
        if targets is not None and [len(d) for d in documents] != [len(t) for t in targets]:
            raise ValueError("documents and targets must have the same numbers of steps")
        self.documents = documents
        self.targets = targets
        lengths = [len(d) - (targets is None) for d in documents]
        if min(lengths, default=0) < 1:
            need = "two steps (input and target)" if targets is None else "one step"
            sizes = [len(d) for d in documents[:5]]
            raise ValueError(f"every document needs at least {need}; got lengths {sizes}")
        self._ends = np.cumsum(lengths)
        total = int(self._ends[-1])
        self.length = total // lanes  # T: steps in a lane
        self.left_out = total - self.length * lanes
        self.lanes = list(range(lanes)) if of is None else list(of)
        if not self.length:
            raise ValueError(f"{total} steps are too few for {lanes} lanes")

    def piece(self, begin: int, end: int) -> Piece:
        """Return steps begin to end (exclusive) of every lane."""
        lanes = [list(self._parts(lane * self.length + begin, end - begin)) for lane in self.lanes]

        def stacked(which: int) -> Tensor:
            return torch.stack([torch.cat([part[which] for part in lane]) for lane in lanes], dim=1)

        return Piece(stacked(0), stacked(1), stacked(2))

    def _parts(self, place: int, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield steps of the concatenated documents, in one part per document."""
        while count:
            number = int(np.searchsorted(self._ends, place, side="right"))
            begin = place - (int(self._ends[number - 1]) if number else 0)
            taken = min(count, int(self._ends[number]) - place)
            document = self.documents[number]
            if self.targets is None:
                both = _copied(document[begin : begin + taken + 1])
                values, answers = both[:-1], both[1:]
            else:
                values = _copied(document[begin : begin + taken])
                answers = _copied(self.targets[number][begin : begin + taken])
            reset = torch.zeros(taken, dtype=torch.bool)
            reset[0] = begin == 0
            yield values, answers, reset
            place += taken
            count -= taken


class CodeStreams:
    """Documents of codes [T_i] in memory, divided into lanes.

    >>> streams = CodeStreams([alphabet.encode(text)], lanes=64)

    Like `Streams`: the target is the code of the next step; the last step of a document has none.
    """

    def __init__(
        self, documents: Sequence[np.ndarray], *, lanes: int, of: Sequence[int] | None = None
    ) -> None:
        given = torch.from_numpy(np.concatenate([d[:-1] for d in documents]))
        wanted = torch.from_numpy(np.concatenate([d[1:] for d in documents]))
        begins = np.cumsum([0, *(len(d) - 1 for d in documents[:-1])])
        reset = torch.zeros(len(given), dtype=torch.bool)
        reset[torch.from_numpy(begins[begins < len(given)])] = True
        self.length = len(given) // lanes  # T: steps in a lane
        self.left_out = len(given) - self.length * lanes
        self.lanes = list(range(lanes)) if of is None else list(of)
        if not self.length:
            raise ValueError(f"{len(given)} steps are too few for {lanes} lanes")
        self._flat = [
            flat[: lanes * self.length].view(lanes, self.length)[self.lanes]
            for flat in (given, wanted, reset)
        ]

    def piece(self, begin: int, end: int) -> Piece:
        """Return steps begin to end (exclusive) of every lane: codes [T,B,1]."""
        given, wanted, reset = (flat[:, begin:end].T for flat in self._flat)
        return Piece(given.unsqueeze(-1), wanted.unsqueeze(-1), reset)


def _copied(rows: Any) -> Tensor:
    return rows.clone() if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))

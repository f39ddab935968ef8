"""Sequences of any length, what is asked of them, and which of them are for what.

All steps lie end to end in one tensor, so a batch is one indexed read: no Python for each sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from throughtime.data.tables.reading import listed
from throughtime.data.tables.windows import Split
from throughtime.errors import InputError
from throughtime.runs import Choice, DataRecord
from throughtime.specs import SequenceSpec

_SHOWN = 6  # of names in a message


class Sequences:
    """Sequences end to end.

    >>> x, lengths = sequences.padded(torch.tensor([4, 0]))  # [T,B,C], [B]

    Raises ValueError where the lengths do not add up to the rows.
    """

    def __init__(self, values: Tensor, lengths: Tensor, names: Sequence[str] = ()) -> None:
        self.values = values  # [R,C]
        self.lengths = lengths.long()  # [N]
        self.names = tuple(names)  # N, or none
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), self.lengths.cumsum(0)])
        if int(self.starts[-1]) != len(values):
            raise ValueError(f"lengths add up to {int(self.starts[-1])}, not to {len(values)} rows")

    def __len__(self) -> int:
        return len(self.lengths)

    def name(self, index: int) -> str:
        """What people call a sequence."""
        return self.names[index] if self.names else str(index + 1)

    def padded(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Some sequences side by side: [T,B,C], lengths [B]; behind its end each stands still."""
        lengths = self.lengths[index]
        rows = self._rows(index, lengths)
        found = self.values.index_select(0, rows.flatten())
        return found.view(*rows.shape, -1), lengths

    def aligned(self, of_steps: Tensor, index: Tensor, fill: float) -> Tensor:
        """Other values [R,...] of the same steps: [T,B,...], `fill` behind the last."""
        lengths = self.lengths[index]
        rows = self._rows(index, lengths)
        found = of_steps.index_select(0, rows.flatten()).view(*rows.shape, *of_steps.shape[1:])
        outside = torch.arange(len(rows)).unsqueeze(1) >= lengths
        return found.masked_fill_(outside.view(*rows.shape, *[1] * (found.ndim - 2)), fill)

    def steps_of(self, index: Tensor) -> Tensor:
        """The rows of some sequences, end to end."""
        lengths = self.lengths[index]
        rows = self._rows(index, lengths)
        return rows.T[(torch.arange(len(rows)).unsqueeze(1) < lengths).T]

    def _rows(self, index: Tensor, lengths: Tensor) -> Tensor:
        """Rows [T,B], the last of each again and again behind its end."""
        at = torch.arange(int(lengths.max()) if len(lengths) else 0).unsqueeze(1)
        return torch.minimum(at, lengths - 1).add_(self.starts[index])


@dataclass(frozen=True)
class Answers:
    """What is asked of sequences."""

    name: str
    classes: tuple[str, ...]  # names; none: numbers are asked for
    every_step: bool
    # int64 [N], or [R] where every step has one, -1: unknown; or float64 [N,O], [R,O], NaN: unknown
    values: Tensor

    @property
    def binary(self) -> bool:
        """Whether several numbers are asked for, each 0 or 1: the keys of a piano, say."""
        if self.classes or self.values.shape[-1] < 2:
            return False
        return bool(((self.values == 0) | (self.values == 1) | self.values.isnan()).all())

    @property
    def outputs(self) -> int:
        """Scores of classes, or numbers, O."""
        return len(self.classes) or self.values.shape[-1]

    @property
    def unknown(self) -> float:
        """What stands where there is no answer."""
        return -1 if self.classes else float("nan")


@dataclass(frozen=True)
class SequenceProblem:
    """What every network over sequences is given."""

    sequences: Sequences
    answers: Answers
    columns: tuple[str, ...]  # C: numbers first, then codes
    categories: tuple[tuple[str, ...], ...]  # of each code column the names of its codes
    training: Tensor  # indices of sequences
    validation: Tensor
    test: Tensor
    context: int  # steps that window-dense sees
    record: DataRecord
    spec: SequenceSpec
    chance: float | None = None  # the exact loss without memory, where it is known

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [T,B,C], lengths [B], and answers [B,...] or [T,B,...]."""
        x, lengths = self.sequences.padded(index)
        if self.answers.every_step:
            wanted = self.sequences.aligned(self.answers.values, index, self.answers.unknown)
        else:
            wanted = self.answers.values[index]
        return x, lengths, wanted

    def training_answers(self) -> Tensor:
        """All known answers of the training part, [n] or [n,O]."""
        index = self.training
        if self.answers.every_step:
            index = self.sequences.steps_of(index)
        found = self.answers.values[index]
        return found[found >= 0] if self.answers.classes else found[~found.isnan().any(dim=-1)]


def split_sequences(
    answers: Answers,
    count: int,
    split: Split,
    seed: int,
    given: np.ndarray | None,
    where: str,
) -> tuple[Tensor, Tensor, Tensor, tuple[Choice, ...]]:
    """Indices for training, validation and test, and how they were found.

    ``given`` [N]: "train", "validation" or "test" of each sequence, where the data says so; what is
    for validation is drawn from the training part if nothing is. Drawn class by class, so that
    each part has its share of each; in the order of a seed.

    Raises InputError where a part would be empty, or lacks a class in training.
    """
    whole = answers.classes and not answers.every_step
    strata = answers.values.numpy() if whole else np.zeros(count, dtype=np.int64)
    generator = np.random.default_rng(seed)
    if given is None:
        shares = (split.training, split.validation, split.test)
        parts = _drawn(np.arange(count), strata, shares, generator)
        told = f"% of the {count} sequences, drawn by seed {seed}" + (
            ", class by class" if whole else ""
        )
        choices = (Choice("split", str(split), told, "--split, --seed"),)
    else:
        known = [np.flatnonzero(given == part) for part in ("train", "validation", "test")]
        if not len(known[1]):
            share = split.validation / (split.training + split.validation)
            known[0], known[1] = _drawn(known[0], strata, (1 - share, share), generator)
            told = f"the test part is given; validation is drawn from training by seed {seed}"
        else:
            told = "all three parts are given"
        parts = known
        choices = (Choice("split", "given", told, "--split, --seed"),)
    for part, name in zip(parts, ("training", "validation", "test"), strict=True):
        if not len(part):
            raise InputError(
                where,
                f"{count} sequences leave none for {name}",
                "give more sequences, or set --split",
            )
    if whole:
        _check_classes(answers, parts, where)
    training, validation, test = (torch.from_numpy(np.sort(p)) for p in parts)
    return training, validation, test, choices


def _drawn(
    index: np.ndarray, strata: np.ndarray, shares: Sequence[float], generator: np.random.Generator
) -> list[np.ndarray]:
    """Parts of an index in these shares, of each stratum alike."""
    found: list[list[np.ndarray]] = [[] for _ in shares]
    for stratum in np.unique(strata[index]):
        mine = generator.permutation(index[strata[index] == stratum])
        edges = np.rint(np.cumsum(shares)[:-1] * len(mine)).astype(int)
        for part, piece in zip(found, np.split(mine, edges), strict=True):
            part.append(piece)
    return [np.concatenate(part) if part else np.empty(0, np.int64) for part in found]


def _check_classes(answers: Answers, parts: Sequence[np.ndarray], where: str) -> None:
    if len(answers.classes) < 2:
        raise InputError(
            where,
            f"one class alone: {listed(answers.classes)}",
            "give sequences of two classes or more: there is nothing to tell apart",
        )
    learned = set(np.unique(answers.values.numpy()[parts[0]]).tolist())
    for part, name in zip(parts[1:], ("validation", "test"), strict=True):
        strange = sorted(set(np.unique(answers.values.numpy()[part]).tolist()) - learned - {-1})
        if strange:
            names = listed([answers.classes[k] for k in strange])
            raise InputError(
                where,
                f"class {names} is in the {name} part and not in the training part",
                "give more sequences of it, or leave it out",
            )


def classes_of(words: Sequence[str | None], name: str) -> tuple[tuple[str, ...], Tensor]:
    """Names of classes in order, and the class of each word; -1 where there is none.

    >>> classes_of(["b", "a", None], "label")
    (('a', 'b'), tensor([ 1,  0, -1]))
    """
    known = sorted({word for word in words if word is not None}, key=_in_order)
    number = {word: k for k, word in enumerate(known)}
    codes = [-1 if word is None else number[word] for word in words]
    return tuple(known), torch.tensor(codes, dtype=torch.int64)


def _in_order(word: str) -> tuple[int, float, str]:
    """Numbers by value, before words."""
    try:
        return 0, float(word), word
    except ValueError:
        return 1, 0.0, word


def lengths_text(lengths: Tensor) -> str:
    """How long sequences are, in words.

    >>> lengths_text(torch.tensor([7, 29, 12]))
    '7 to 29 steps'
    """
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low} to {high} steps" if low < high else f"{low} step{'s' if low > 1 else ''}"

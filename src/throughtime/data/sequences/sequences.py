"""Sequences of variable length, their targets, and their split into parts.

All steps are concatenated in one tensor, so a batch is a single indexed read without a Python loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from throughtime.data.split import Split
from throughtime.data.tables.reading import listed
from throughtime.errors import InputError
from throughtime.runs import Choice, DataRecord
from throughtime.specs import SequenceSpec

_SHOWN = 6  # names in a message
_RARE = 0.05  # share of a class below which all classes count alike in the usual measure


class Sequences:
    """Sequences concatenated along time.

    >>> x, lengths = sequences.padded(torch.tensor([4, 0]))  # [T,B,C], [B]

    Raises ValueError if the lengths do not add up to the number of rows.
    """

    def __init__(self, values: Tensor, lengths: Tensor, names: Sequence[str] = ()) -> None:
        self.values = values  # [R,C]
        self.lengths = lengths.long()  # [N]
        self.names = tuple(names)  # N names, or empty
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), self.lengths.cumsum(0)])
        if int(self.starts[-1]) != len(values):
            raise ValueError(
                f"lengths add up to {int(self.starts[-1])}, but there are {len(values)} rows"
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def name(self, index: int) -> str:
        """Return the name of a sequence, or its number from 1."""
        return self.names[index] if self.names else str(index + 1)

    def padded(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return a batch [T,B,C] and lengths [B]; padding repeats the last step."""
        lengths = self.lengths[index]
        rows = self._rows(index, lengths)
        found = self.values.index_select(0, rows.flatten())
        return found.view(*rows.shape, -1), lengths

    def aligned(self, of_steps: Tensor, index: Tensor, fill: float) -> Tensor:
        """Batch other values [R,...] of the same steps as [T,B,...], padded with `fill`."""
        lengths = self.lengths[index]
        rows = self._rows(index, lengths)
        found = of_steps.index_select(0, rows.flatten()).view(*rows.shape, *of_steps.shape[1:])
        outside = torch.arange(len(rows)).unsqueeze(1) >= lengths
        return found.masked_fill_(outside.view(*rows.shape, *[1] * (found.ndim - 2)), fill)

    def shuffled(self, seed: int) -> "Sequences":
        """Return the same sequences, each with its steps in random order."""
        of = torch.arange(len(self)).repeat_interleave(self.lengths).numpy()
        keys = np.random.default_rng(seed).random(len(of))
        order = torch.from_numpy(np.lexsort((keys, of)))
        return Sequences(self.values[order], self.lengths, self.names)

    def steps_of(self, index: Tensor) -> Tensor:
        """Return the rows of sequences, concatenated."""
        lengths = self.lengths[index]
        rows = self._rows(index, lengths)
        return rows.T[(torch.arange(len(rows)).unsqueeze(1) < lengths).T]

    def _rows(self, index: Tensor, lengths: Tensor) -> Tensor:
        """Return row indices [T,B]; padding repeats the last row."""
        at = torch.arange(int(lengths.max()) if len(lengths) else 0).unsqueeze(1)
        return torch.minimum(at, lengths - 1).add_(self.starts[index])


@dataclass(frozen=True)
class Answers:
    """The targets of sequences: classes or numbers."""

    name: str
    classes: tuple[str, ...]  # names of classes; empty for regression
    every_step: bool
    # int64 [N], or [R] if `every_step`, -1: unknown; or float64 [N,O], [R,O], NaN: unknown
    values: Tensor

    @property
    def binary(self) -> bool:
        """Whether the targets are several numbers that are all 0 or 1, e.g. piano keys."""
        if self.classes or self.values.shape[-1] < 2:
            return False
        return bool(((self.values == 0) | (self.values == 1) | self.values.isnan()).all())

    @property
    def outputs(self) -> int:
        """The output size O: number of classes, or of numbers."""
        return len(self.classes) or self.values.shape[-1]

    @property
    def unknown(self) -> float:
        """The value of an unknown target."""
        return -1 if self.classes else float("nan")


@dataclass(frozen=True)
class SequenceProblem:
    """The data that every sequence network is trained and tested on."""

    sequences: Sequences
    answers: Answers
    columns: tuple[str, ...]  # C: numbers first, then codes
    categories: tuple[tuple[str, ...], ...]  # the vocabulary of each code column
    training: Tensor  # indices of sequences
    validation: Tensor
    test: Tensor
    context: int  # steps that window-dense sees
    record: DataRecord
    spec: SequenceSpec
    chance: float | None = None  # the exact loss without memory, if known
    class_weights: Tensor | None = None  # [classes]: of answers in the loss; None: all 1

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x [T,B,C], lengths [B], and targets [B,...] or [T,B,...]."""
        x, lengths = self.sequences.padded(index)
        if self.answers.every_step:
            wanted = self.sequences.aligned(self.answers.values, index, self.answers.unknown)
        else:
            wanted = self.answers.values[index]
        return x, lengths, wanted

    @property
    def metric(self) -> str:
        """The measure that errors are judged by, unless another is asked for."""
        answers = self.answers
        # a known chance level is a loss, so errors are measured by the loss too
        if self.chance is not None or answers.binary:
            return "cross-entropy" if answers.classes or answers.binary else "mse"
        if not answers.classes:
            return "mae"
        return "balanced-error" if self.class_weights is not None or self.rare else "error"

    @cached_property
    def class_shares(self) -> dict[str, float]:
        """The share of each class in the training part."""
        counts = torch.bincount(self.training_answers(), minlength=len(self.answers.classes))
        shares = (counts.double() / counts.sum().clamp(min=1)).tolist()
        return dict(zip(self.answers.classes, shares, strict=True))

    @property
    def balanced_weights(self) -> Tensor:
        """Weights that give each class the same share of the training part: mean 1, [classes]."""
        shares = torch.tensor(list(self.class_shares.values()), dtype=torch.float64)
        present = shares > 0
        return torch.where(present, 1 / (present.sum() * shares.clamp(min=1e-300)), 0.0)

    @property
    def rare(self) -> list[str]:
        """The classes so rare that a network that never finds them has a small share of errors."""
        return [name for name, share in self.class_shares.items() if 0 < share < _RARE]

    def training_answers(self) -> Tensor:
        """Return all known targets of the training part, [n] or [n,O]."""
        index = self.training
        if self.answers.every_step:
            index = self.sequences.steps_of(index)
        found = self.answers.values[index]
        return found[found >= 0] if self.answers.classes else found[~found.isnan().any(dim=-1)]


def with_classes(problem: SequenceProblem) -> SequenceProblem:
    """Record the share of each class, and that rare ones count as much as others."""
    if not problem.answers.classes:
        return problem
    record = replace(problem.record, classes=problem.class_shares)
    if problem.rare and problem.metric == "balanced-error":
        share = 100 * min(problem.class_shares[name] for name in problem.rare)
        reason = f"{listed(problem.rare)} has {share:.2g} % of the training answers"
        chosen = Choice("errors", "each class counts alike", reason, "--metric")
        record = replace(record, choices=(*record.choices, chosen))
    return replace(problem, record=record)


def split_sequences(
    answers: Answers,
    count: int,
    split: Split,
    seed: int,
    given: np.ndarray | None,
    where: str,
) -> tuple[Tensor, Tensor, Tensor, tuple[Choice, ...]]:
    """Return indices for training, validation and test, and the choices made.

    ``given`` [N]: "train", "validation" or "test" for each sequence, if the data have it; without a
    validation part, it is drawn from the training part. Sequences are drawn at random with the
    seed, stratified by class.

    Raises InputError if a part is empty, or a class is missing in the training part.
    """
    whole = answers.classes and not answers.every_step
    strata = answers.values.numpy() if whole else np.zeros(count, dtype=np.int64)
    generator = np.random.default_rng(seed)
    if given is None:
        shares = (split.training, split.validation, split.test)
        parts = _drawn(np.arange(count), strata, shares, generator)
        reason = f"% of the {count} sequences, drawn with seed {seed}" + (
            ", stratified by class" if whole else ""
        )
        choices = (Choice("split", str(split), reason, "--split, --seed"),)
    else:
        known = [np.flatnonzero(given == part) for part in ("train", "validation", "test")]
        if not len(known[1]):
            share = split.validation / (split.training + split.validation)
            known[0], known[1] = _drawn(known[0], strata, (1 - share, share), generator)
            reason = f"the test part is given; validation is drawn from training with seed {seed}"
        else:
            reason = "all three parts are given"
        parts = known
        choices = (Choice("split", "given", reason, "--split, --seed"),)
    for part, name in zip(parts, ("training", "validation", "test"), strict=True):
        if not len(part):
            raise InputError(
                where,
                f"{count} sequences are too few: none is left for {name}",
                "give more sequences, or set --split",
            )
    if whole:
        _check_classes(answers, parts, where)
    training, validation, test = (torch.from_numpy(np.sort(p)) for p in parts)
    return training, validation, test, choices


def _drawn(
    index: np.ndarray, strata: np.ndarray, shares: Sequence[float], generator: np.random.Generator
) -> list[np.ndarray]:
    """Split an index at random by shares, within each stratum."""
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
            f"there is only one class: {listed(answers.classes)}",
            "give sequences of two classes or more",
        )
    learned = set(np.unique(answers.values.numpy()[parts[0]]).tolist())
    for part, name in zip(parts[1:], ("validation", "test"), strict=True):
        strange = sorted(set(np.unique(answers.values.numpy()[part]).tolist()) - learned - {-1})
        if strange:
            names = listed([answers.classes[k] for k in strange])
            raise InputError(
                where,
                f"class {names} is in the {name} part but not in the training part",
                "add sequences of this class, or remove it",
            )


def classes_of(words: Sequence[str | None], name: str) -> tuple[tuple[str, ...], Tensor]:
    """Return the sorted class names, and the class of each word; -1 for None.

    >>> classes_of(["b", "a", None], "label")
    (('a', 'b'), tensor([ 1,  0, -1]))
    """
    known = sorted({word for word in words if word is not None}, key=_in_order)
    number = {word: k for k, word in enumerate(known)}
    codes = [-1 if word is None else number[word] for word in words]
    return tuple(known), torch.tensor(codes, dtype=torch.int64)


def _in_order(word: str) -> tuple[int, float, str]:
    """Sort key: numbers by value, then text."""
    try:
        return 0, float(word), word
    except ValueError:
        return 1, 0.0, word


def lengths_text(lengths: Tensor) -> str:
    """Describe the lengths of sequences.

    >>> lengths_text(torch.tensor([7, 29, 12]))
    '7 to 29 steps'
    """
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low} to {high} steps" if low < high else f"{low} step{'s' if low > 1 else ''}"

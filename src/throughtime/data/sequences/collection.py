"""Sequences from any reader, and their conversion to a training problem."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime.data.sequences import missing as missing_values
from throughtime.data.sequences.sequences import (
    Answers,
    SequenceProblem,
    Sequences,
    classes_of,
    lengths_text,
    split_sequences,
    with_classes,
)
from throughtime.data.split import Split
from throughtime.data.tables.categories import OTHER, UNKNOWN, trained_codes
from throughtime.data.tables.reading import listed
from throughtime.data_options import DataOptions
from throughtime.errors import InputError, one_of
from throughtime.runs import Choice, DataRecord
from throughtime.specs import SequenceSpec

_MOST_CLASSES = 50  # with more distinct whole numbers, the task is regression
_LONGEST_WINDOW = 32  # default steps that window-dense sees


class Read(NamedTuple):
    """Sequences from a reader, concatenated along time."""

    values: np.ndarray  # [R,C] float64 or float32, NaN where missing
    lengths: np.ndarray  # [N]
    columns: tuple[str, ...]  # C
    words: Sequence[str | None] | None  # classes, of sequences [N] or of steps [R]
    numbers: np.ndarray | None  # regression targets, [N,O] or [R,O]
    every_step: bool
    part: np.ndarray | None  # [N] of "train", "validation", "test"
    where: str
    fingerprint: str
    rows: Sequence[tuple[str, int]]  # file and first line of each sequence
    names: Sequence[str] = ()  # names of the sequences, or empty
    codes: np.ndarray | None = None  # [R,M]
    code_columns: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    options: DataOptions = DataOptions()  # where None, the reader has chosen
    source: str = "archive"
    gap_unit: float | None = None  # tables with times: unit of the time between rows
    tokenizer: str = ""  # the JSON of a Hugging Face tokenizer, or empty
    choices: tuple[Choice, ...] = ()
    step_rows: np.ndarray | None = None  # [R] row number of each step, for tables

    @property
    def label(self) -> str:
        """The name of the labels."""
        return self.options.label or "label"


def complete(
    read: Read, missing: str | None = None, learned: SequenceSpec | None = None
) -> tuple[Read, tuple[Choice, ...]]:
    """Fill or drop missing values, by default as requested; return the choices made, too."""
    missing = missing or read.options.missing
    begins = np.concatenate([[0], np.cumsum(read.lengths)])

    def place(row: int, column: int) -> str:
        sequence = int(np.searchsorted(begins, row, side="right")) - 1
        where, line = read.rows[sequence]
        if read.step_rows is not None:
            return f"{where}, row {read.step_rows[row]}, column {read.columns[column]!r}"
        step = row - int(begins[sequence]) + 1
        return f"{where}, line {line}, {read.columns[column]}, step {step}"

    masked = None
    if learned is not None:
        masked = [n for n in read.columns if f"{n} (observed)" in learned.columns]
    filled = missing_values.fill(read.values, read.lengths, read.columns, missing, place, masked)
    kept, of = filled.kept, np.repeat(filled.kept, read.lengths)
    words, numbers = read.words, read.numbers
    if not kept.all():
        keep = of if read.every_step else kept
        words = None if words is None else [w for w, k in zip(words, keep, strict=True) if k]
        numbers = None if numbers is None else numbers[keep]
    picked = np.flatnonzero(kept).tolist()
    return read._replace(
        values=filled.values,
        columns=filled.columns,
        lengths=read.lengths[kept],
        words=words,
        numbers=numbers,
        part=None if read.part is None else read.part[kept],
        rows=[read.rows[k] for k in picked],
        names=[read.names[k] if read.names else str(k + 1) for k in picked]
        if read.names or len(picked) < len(kept)
        else (),
        codes=None if read.codes is None else read.codes[of],
        step_rows=None if read.step_rows is None else read.step_rows[of],
    ), filled.choices


def sequences_of(read: Read) -> Sequences:
    """Concatenate all steps to one tensor: numeric columns, then codes."""
    parts: list[Tensor] = []
    if read.columns:
        parts.append(torch.from_numpy(np.ascontiguousarray(read.values)))
    if read.codes is not None:
        parts.append(torch.from_numpy(np.ascontiguousarray(read.codes)))
    dtype = parts[0].dtype
    values = parts[0] if len(parts) == 1 else torch.cat([p.to(dtype) for p in parts], dim=1)
    return Sequences(values, torch.from_numpy(read.lengths), read.names)


def sequence_problem(read: Read) -> SequenceProblem:
    """Convert sequences to a problem: fill missing values, interpret the labels, and split.

    The option `answer`: "classes", "numbers", or "auto" (numbers if some are not whole or there are
    many values). Raises InputError that names the place.
    """
    rows, options = len(read.values), read.options
    split, context = Split.read(options.split), options.context
    # cut before filling, so that no value is interpolated across parts
    cut: tuple[Choice, ...] = ()
    if read.every_step and len(read.lengths) == 1:
        read, cut = _cut(read, split, context)
    read, filled = complete(read)
    answers, understood = _answers(read, options.answer)
    sequences = sequences_of(read)
    training, validation, test, parted = split_sequences(
        answers, len(sequences), split, options.seed, read.part, read.where
    )
    sequences, known_codes = _recoded(sequences, training, read)
    if not len(_known(answers.values[_rows_of(sequences, answers, training)])):
        raise InputError(
            read.where, "the training part has no labels", "add labels, or set --split"
        )
    if answers.classes and answers.every_step:
        known = answers.values[sequences.steps_of(training)]
        _check_steps(answers, known, read.where)
    longest = int(sequences.lengths.max())
    context = min(context or _LONGEST_WINDOW, longest)
    asked = f"{answers.name}, {'each step' if answers.every_step else 'each sequence'}"
    kind = f"{len(answers.classes)} classes" if answers.classes else f"{answers.outputs} numbers"
    choices = (
        *read.choices,
        *filled,
        Choice("answer", kind, f"of {asked}; {understood}", "--answer"),
        Choice("lengths", lengths_text(sequences.lengths), f"{len(sequences)} sequences"),
        *cut,
        *parted,
        Choice("context", str(context), "steps that WindowDense sees", "--context"),
    )
    record = DataRecord(
        path=read.where,
        fingerprint=read.fingerprint,
        rows=rows,
        targets=(answers.name,),
        inputs=(*read.columns, *read.code_columns),
        time=options.time_column,
        group=options.group,
        series=len(sequences),
        step="step",
        context=longest,
        horizon=1,
        season=1,
        windows=(len(training), len(validation), len(test)),
        borders=("", ""),
        choices=choices,
        kind="steps" if answers.every_step else "sequences",
    )
    problem = SequenceProblem(
        sequences=sequences,
        answers=answers,
        columns=(*read.columns, *read.code_columns),
        categories=known_codes,
        training=training,
        validation=validation,
        test=test,
        context=context,
        record=record,
        spec=SequenceSpec(
            source=read.source,
            options=options.saved(),
            classes=answers.classes,
            every_step=answers.every_step,
            columns=read.columns,
            categories=known_codes,
            gap_unit=read.gap_unit,
            tokenizer=read.tokenizer,
        ),
    )
    if options.class_weight is not None:
        one_of("--class-weight", options.class_weight, ("balanced",))
        if not answers.classes:
            raise InputError("--class-weight", "the labels are numbers", "remove it")
        problem = replace(problem, class_weights=problem.balanced_weights)
    return with_classes(problem)


def _rows_of(sequences: Sequences, answers: Answers, index: Tensor) -> Tensor:
    return sequences.steps_of(index) if answers.every_step else index


def _known(values: Tensor) -> Tensor:
    return values[values >= 0] if values.dtype == torch.int64 else values[~values.isnan().any(-1)]


def _answers(read: Read, asked: str) -> tuple[Answers, str]:
    """Convert labels to tensors; also return the reason for classes or numbers."""
    if read.numbers is not None:
        if asked == "classes":
            raise InputError("--answer", "the labels are not whole numbers", "use --answer numbers")
        values = torch.from_numpy(np.ascontiguousarray(read.numbers, dtype=np.float64))
        answers = Answers(read.label, (), read.every_step, values)
        return answers, "all are 0 or 1" if answers.binary else "some are not whole numbers"
    if read.words is None:
        raise InputError(read.where, "there are no labels", "give labels (see --label)")
    understood = "as requested"
    if read.source in ("archive", "audio") and asked == "auto":
        asked, understood = "classes", "as in the file"
    numbers = _as_numbers(read.words)
    if asked == "auto":
        values = {v for v in numbers if not np.isnan(v)} if numbers is not None else set[float]()
        whole = all(float(v).is_integer() for v in values)
        many = len(values) > _MOST_CLASSES
        asked = "numbers" if numbers is not None and (many or not whole) else "classes"
        understood = f"{len(values)} values" if many else "some are not whole numbers"
        if asked == "classes":
            understood = "text" if numbers is None else f"{len(values)} whole numbers"
    if asked == "numbers":
        if numbers is None:
            raise InputError("--answer", "the labels are text", "use --answer classes")
        values = torch.from_numpy(numbers).unsqueeze(-1)
        return Answers(read.label, (), read.every_step, values), understood
    classes, codes = classes_of(read.words, read.label)
    return Answers(read.label, classes, read.every_step, codes), understood


def _as_numbers(words: Sequence[str | None]) -> np.ndarray | None:
    try:
        found = np.array([np.nan if w is None else float(w) for w in words])
    except ValueError:
        return None
    return None if np.isinf(found).any() else found


def _cut(read: Read, split: Split, context: int | None) -> tuple[Read, tuple[Choice, ...]]:
    """Split one sequence with a label at each step into three periods, each cut into pieces."""
    size = 4 * (context or _LONGEST_WINDOW)
    total = int(read.lengths[0])
    edges = [0, round(total * split.training), round(total * (1 - split.test)), total]
    lengths: list[int] = []
    parts: list[str] = []
    rows: list[tuple[str, int]] = []
    at = 0
    for name, begin, end in zip(("train", "validation", "test"), edges, edges[1:], strict=False):
        for start in range(begin, end, size):
            lengths.append(min(size, end - start))
            parts.append(name)
            rows.append((read.where, at))
            at += lengths[-1]
    reason = f"successive training, validation and test periods, in pieces of {size} steps"
    return read._replace(lengths=np.array(lengths), part=np.array(parts), rows=rows, names=()), (
        Choice("split", str(split), reason, "--split"),
    )


def _check_steps(answers: Answers, known: Tensor, where: str) -> None:
    present = torch.bincount(known[known >= 0], minlength=len(answers.classes))
    if int((present > 0).sum()) < 2:
        raise InputError(
            where,
            "the training part has only one class",
            "give steps of two classes or more, or set --split",
        )
    absent = [name for name, n in zip(answers.classes, present.tolist(), strict=True) if not n]
    if absent:
        raise InputError(
            where,
            f"class {absent[0]!r} is not in the training part",
            "give more of it, or set --split",
        )


def _recoded(
    sequences: Sequences, training: Tensor, read: Read
) -> tuple[Sequences, tuple[tuple[str, ...], ...]]:
    """Encode the categories again: values not in the training part become code 0."""
    if not read.categories:
        return sequences, ()
    found: list[tuple[str, ...]] = []
    rows, values = sequences.steps_of(training), sequences.values.clone()
    for number, words in enumerate(read.categories):
        column = values[:, len(read.columns) + number]
        if words[0] not in (OTHER, UNKNOWN):  # bytes or a tokenizer: all codes are known
            found.append(words)
            continue
        new, kept = trained_codes(column[rows].numpy(), words)
        column.copy_(torch.from_numpy(new)[column.long()])
        found.append(kept)
    return Sequences(values, sequences.lengths, sequences.names), tuple(found)


def as_learned(read: Read, spec: SequenceSpec) -> Read:
    """Arrange sequences in the columns of a trained model. Raises InputError if one is missing."""
    plain = [n for n in spec.columns if not n.endswith(("(observed)", "(steps since)"))]
    lacking = [name for name in plain if name not in read.columns]
    if lacking or len(plain) != len(read.columns):
        raise InputError(
            read.where,
            f"{len(read.columns)} columns ({listed(read.columns)}), but the model has {len(plain)}"
            + (f"; column {lacking[0]!r} is missing" if lacking else ""),
            "give sequences with the columns of the training data",
        )
    place = {name: number for number, name in enumerate(read.columns)}
    order = [place[name] for name in plain]
    ordered = read._replace(values=read.values[:, order], columns=tuple(plain))
    marked = len(plain) < len(spec.columns)
    read, filled = complete(ordered, "mask" if marked else None, spec)
    read = read._replace(choices=(*read.choices, *filled))
    place = {name: number for number, name in enumerate(read.columns)}
    order = [place[name] for name in spec.columns]
    return read._replace(values=read.values[:, order], columns=spec.columns)

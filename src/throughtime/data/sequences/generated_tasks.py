"""Generated tasks that require long memory, each with its exact chance level.

    task = task_by_name("adding", length=600)
    x, y = task.batch(32, generator)  # [T,B,I], and the targets

The chance level is the loss of the best prediction that knows the step but has no memory of the
input. A network that is not better has learned nothing.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from throughtime.data.sequences.sequences import (
    Answers,
    SequenceProblem,
    Sequences,
    with_classes,
)
from throughtime.data_options import DataOptions
from throughtime.errors import InputError
from throughtime.files import fingerprint
from throughtime.runs import Choice, DataRecord
from throughtime.specs import SequenceSpec

PREFIX = "task:"  # prefix of a task name that is given as a path
_STEPS = 4_000_000  # most steps in all sequences of a part
_LONGEST = 20_000  # largest length
_WINDOW = 32  # steps that window-dense sees
_ADDING_SOLVED = 1e-3  # mean squared error
_CLASSES_SOLVED = 0.99  # accuracy


class GeneratedTask(ABC):
    """Base class of memory tasks; `length` sets the number of steps to remember."""

    inputs: int  # I
    outputs: int  # output size of a network at a step
    chance: float  # loss without memory
    every_step: bool  # targets at every step, or only at the last

    def __init__(self, length: int) -> None:
        if length < self.shortest:
            raise ValueError(f"{self.name} needs a length of {self.shortest} or more; got {length}")
        self.length = length

    name = ""
    shortest = 2

    @abstractmethod
    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw `count` new sequences: input [T,B,I] and targets."""

    @abstractmethod
    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        """Return the mean loss of outputs [B,outputs], or [T,B,outputs] if `every_step`."""

    @abstractmethod
    def score(self, output: Tensor, answer: Tensor) -> float:
        """Return the score that `solved` compares with its threshold."""

    @abstractmethod
    def solved(self, score: float) -> bool:
        """Return whether a score counts as solved."""


class Adding(GeneratedTask):
    """Predict the sum of two marked numbers (Hochreiter and Schmidhuber 1997, section 5.4).

    Numbers are uniform in [0, 1], with one marked in each half, as in Bai et al. 2018. The chance
    level is the variance of the sum, 2 / 12, or 1 / 12 if the second mark is at the last step,
    where the number is visible without memory.
    """

    name = "adding"
    inputs, outputs, every_step = 2, 1, False

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.chance = (2 - 1 / (length - length // 2)) / 12

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        half, samples = self.length // 2, torch.arange(count)
        values = torch.rand(self.length, count, generator=generator)
        first = torch.randint(0, half, (count,), generator=generator)
        second = torch.randint(half, self.length, (count,), generator=generator)
        marks = torch.zeros(self.length, count)
        marks[first, samples] = marks[second, samples] = 1.0
        total = values[first, samples] + values[second, samples]
        return torch.stack([values, marks], dim=-1), total.unsqueeze(-1)

    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        return nn.functional.mse_loss(output, answer)

    def score(self, output: Tensor, answer: Tensor) -> float:
        return float(self.loss(output, answer))

    def solved(self, score: float) -> bool:
        return score < _ADDING_SOLVED


class Copy(GeneratedTask):
    """Repeat ten symbols after a signal, `length` steps after the last (Arjovsky et al. 2016).

    Symbols are 1 to 8, blanks are 0 and the signal is 9; T = length + 20. Chance level: blanks are
    predictable and each of the ten symbols is guessed, so 10 ln 8 / (length + 20).
    """

    name = "copy"
    inputs, outputs, every_step = 10, 9, True
    shortest = 1
    symbols, kinds = 10, 8

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.chance = self.symbols * math.log(self.kinds) / (length + 2 * self.symbols)

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        steps = self.length + 2 * self.symbols
        symbols = torch.randint(1, self.kinds + 1, (self.symbols, count), generator=generator)
        shown = torch.zeros(steps, count, dtype=torch.int64)
        shown[: self.symbols] = symbols
        shown[self.symbols + self.length - 1] = self.kinds + 1
        answer = torch.zeros(steps, count, dtype=torch.int64)
        answer[-self.symbols :] = symbols
        return nn.functional.one_hot(shown, self.inputs).float(), answer

    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.flatten(0, 1), answer.flatten())

    def score(self, output: Tensor, answer: Tensor) -> float:
        right = output[-self.symbols :].argmax(dim=-1) == answer[-self.symbols :]
        return float(right.double().mean())

    def solved(self, score: float) -> bool:
        return score >= _CLASSES_SOLVED


class TemporalOrder(GeneratedTask):
    """Classify the order of two rare symbols (Hochreiter and Schmidhuber 1997, section 5.6, 6a).

    X or Y appears in the second tenth of the sequence and again in the fifth, as in Pascanu et al.
    2013, and four other symbols elsewhere. The target at the end is one of four orders. Chance
    level: ln 4.
    """

    name = "temporal-order"
    inputs, outputs, every_step = 6, 4, False
    chance = math.log(4)
    shortest = 10

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        tenth, samples = self.length // 10, torch.arange(count)
        symbols = torch.randint(2, 6, (self.length, count), generator=generator)
        first = torch.randint(tenth, 2 * tenth, (count,), generator=generator)
        second = torch.randint(4 * tenth, 5 * tenth, (count,), generator=generator)
        which = torch.randint(0, 2, (2, count), generator=generator)
        symbols[first, samples], symbols[second, samples] = which[0], which[1]
        return nn.functional.one_hot(symbols, self.inputs).float(), 2 * which[0] + which[1]

    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, answer)

    def score(self, output: Tensor, answer: Tensor) -> float:
        return float((output.argmax(dim=-1) == answer).double().mean())

    def solved(self, score: float) -> bool:
        return score >= _CLASSES_SOLVED


class DelayedEcho(GeneratedTask):
    """Repeat at each step the symbol from `length` steps before, out of eight.

    T = 2 * length; the target of the first `length` steps is 0. Chance level: half of the targets
    are predictable, so ln 8 / 2.
    """

    name = "echo"
    inputs, outputs, every_step = 8, 9, True
    shortest = 1
    chance = math.log(8) / 2

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        symbols = torch.randint(0, self.inputs, (2 * self.length, count), generator=generator)
        answer = torch.zeros_like(symbols)
        answer[self.length :] = symbols[: self.length] + 1
        return nn.functional.one_hot(symbols, self.inputs).float(), answer

    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.flatten(0, 1), answer.flatten())

    def score(self, output: Tensor, answer: Tensor) -> float:
        right = output[self.length :].argmax(dim=-1) == answer[self.length :]
        return float(right.double().mean())

    def solved(self, score: float) -> bool:
        return score >= _CLASSES_SOLVED


class Parity(GeneratedTask):
    """Predict at every step whether the number of ones so far is odd.

    Chance level: the first bit is its own parity, later bits give no information:
    (T - 1) / T ln 2.
    """

    name = "parity"
    inputs, outputs, every_step = 1, 2, True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.chance = (length - 1) / length * math.log(2)

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        bits = torch.randint(0, 2, (self.length, count), generator=generator)
        return bits.unsqueeze(-1).float(), bits.cumsum(0) % 2

    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.flatten(0, 1), answer.flatten())

    def score(self, output: Tensor, answer: Tensor) -> float:
        return float((output[1:].argmax(dim=-1) == answer[1:]).double().mean())

    def solved(self, score: float) -> bool:
        return score >= _CLASSES_SOLVED


class SineMixture(GeneratedTask):
    """Predict at every step the next value of a sum of two sines.

    Each sine has amplitude 1, a random phase, and a frequency uniform in 0.1 to 1 radian per step.
    Chance level: for s + s' = x the cosines may have either sign, so the best prediction of the
    next value from x is m x with m = E[cos w] = (sin 1 - sin 0.1) / 0.9. Its error is 1 - m**2.
    """

    name = "sines"
    inputs, outputs, every_step = 1, 1, True
    slowest, fastest = 0.1, 1.0
    chance = 1 - ((math.sin(fastest) - math.sin(slowest)) / (fastest - slowest)) ** 2

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        span = self.fastest - self.slowest
        pace = self.slowest + span * torch.rand(2, count, generator=generator)
        phase = 2 * math.pi * torch.rand(2, count, generator=generator)
        steps = torch.arange(self.length + 1).view(-1, 1, 1)
        wave = torch.sin(pace * steps + phase).sum(dim=1, keepdim=True).transpose(1, 2)
        return wave[:-1], wave[1:]

    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        return nn.functional.mse_loss(output, answer)

    def score(self, output: Tensor, answer: Tensor) -> float:
        return float(self.loss(output, answer))

    def solved(self, score: float) -> bool:
        return score < self.chance / 100


_TASKS: MappingProxyType[str, Callable[[int], GeneratedTask]] = MappingProxyType(
    {kind.name: kind for kind in (Adding, Copy, TemporalOrder, DelayedEcho, Parity, SineMixture)}
)


def task_by_name(name: str, length: int) -> GeneratedTask:
    """Create a task by name. Raises ValueError for an unknown name or an invalid length.

    >>> task_by_name("copy", 100).chance
    0.173...
    """
    if name not in _TASKS:
        raise ValueError(f"the task must be one of {', '.join(_TASKS)}; got {name!r}")
    return _TASKS[name](length)


def task_problem(name: str, options: DataOptions) -> SequenceProblem:
    """Generate training, validation and test sequences of a task.

    >>> task_problem("adding", DataOptions(length=200)).chance
    0.1658...

    The sequences depend on the seed. Raises InputError for an unknown name or an invalid length.
    """
    length, seed = options.length or 100, options.seed
    try:
        task = task_by_name(name, length)
    except ValueError as error:
        raise InputError(f"{PREFIX}{name}", str(error), "see docs/data.md") from None
    if length > _LONGEST:
        raise InputError("--length", f"{length:,}", f"give at most {_LONGEST:,} steps")
    generator = torch.Generator().manual_seed(seed)
    x, wanted = task.batch(1, generator)
    counts = [max(100, min(most, _STEPS // len(x))) for most in (8000, 1000, 2000)]
    x, wanted = task.batch(sum(counts), generator)
    answers = _in_rows(wanted) if task.every_step else wanted
    whole = answers.dtype == torch.int64
    classes = tuple(str(k) for k in range(task.outputs)) if whole else ()
    if not whole:
        answers = answers.double()
    parts = torch.arange(sum(counts)).split(counts)
    columns = tuple(f"input {k + 1}" for k in range(task.inputs))
    window = min(options.context or _WINDOW, len(x))
    mark = fingerprint(f"{name} {length} {seed} {counts}".encode())
    choices = (
        Choice("task", name, f"{len(x)} steps; drawn with seed {seed}", "--length, --seed"),
        Choice(
            "chance", f"{task.chance:.6g}", "the loss of the best prediction without memory", ""
        ),
        Choice("context", str(window), "steps that WindowDense sees", "--context"),
    )
    record = DataRecord(
        path=f"{PREFIX}{name}",
        fingerprint=mark,
        rows=x.shape[0] * x.shape[1],
        targets=("answer",),
        inputs=columns,
        time=None,
        group=None,
        series=x.shape[1],
        step="step",
        context=len(x),
        horizon=1,
        season=1,
        windows=(counts[0], counts[1], counts[2]),
        borders=("", ""),
        choices=choices,
        kind="steps" if task.every_step else "sequences",
    )
    problem = SequenceProblem(
        sequences=Sequences(_in_rows(x), torch.full((x.shape[1],), len(x))),
        answers=Answers("answer", classes, task.every_step, answers),
        columns=columns,
        categories=(),
        training=parts[0],
        validation=parts[1],
        test=parts[2],
        context=window,
        record=record,
        spec=SequenceSpec(
            source="task",
            options=replace(options, length=length).saved(),
            classes=classes,
            every_step=task.every_step,
            columns=columns,
            task=name,
        ),
        chance=task.chance,
    )
    return with_classes(problem)


def _in_rows(steps: Tensor) -> Tensor:
    """Flatten [T,B,...] to rows, one sequence after the other."""
    return steps.transpose(0, 1).flatten(0, 1).contiguous()

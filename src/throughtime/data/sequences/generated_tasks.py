"""Generated tasks whose answer lies many steps back, each with its exact chance level.

    task = task_by_name("adding", length=600)
    x, y = task.batch(32, generator)  # [T,B,I], and what is to be found

The chance level is the loss of the best that can be said without memory of what was asked, by one
who knows the step: where a network is no better, it has learned nothing.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor, nn

from throughtime.data.sequences.sequences import Answers, SequenceProblem, Sequences
from throughtime.errors import InputError
from throughtime.files import fingerprint
from throughtime.runs import Choice, DataRecord
from throughtime.specs import SequenceSpec

PREFIX = "task:"  # of a task's name where a path may stand
_STEPS = 4_000_000  # of all sequences of a part together, at most
_LONGEST = 20_000  # steps to be bridged
_WINDOW = 32  # steps that window-dense sees
_ADDING_SOLVED = 1e-3  # mean squared error
_CLASSES_SOLVED = 0.99  # of all answers right


class GeneratedTask(ABC):
    """One way to ask for what lies far back. `length` is the distance that must be bridged."""

    inputs: int  # I
    outputs: int  # numbers a network gives at a step
    chance: float  # loss without memory
    every_step: bool  # an output for each step, or for the last alone

    def __init__(self, length: int) -> None:
        if length < self.shortest:
            raise ValueError(f"{self.name} needs a length of {self.shortest} or more; got {length}")
        self.length = length

    name = ""
    shortest = 2

    @abstractmethod
    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Input [T,B,I] and answer of `count` fresh sequences."""

    @abstractmethod
    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        """Mean loss of outputs [B,outputs], or [T,B,outputs] where every step has one."""

    @abstractmethod
    def score(self, output: Tensor, answer: Tensor) -> float:
        """What solving is judged by: see `solved`."""

    @abstractmethod
    def solved(self, score: float) -> bool:
        """Whether that is a solution."""


class Adding(GeneratedTask):
    """The sum of the two numbers that are marked (Hochreiter and Schmidhuber 1997, section 5.4).

    Numbers uniform in [0, 1], one marked in each half, as in Bai et al. 2018. Chance: the variance
    of the sum, 2 / 12; but where the second mark falls on the last step that number is seen.
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
    """Ten symbols, a bell `length` steps after the last, then the ten again (Arjovsky et al. 2016).

    Of eight kinds, between blanks 0, the bell 9; T = length + 20. Chance: blanks are foreseen, each
    of the ten guessed, so 10 ln 8 / (length + 20).
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
        said = torch.randint(1, self.kinds + 1, (self.symbols, count), generator=generator)
        heard = torch.zeros(steps, count, dtype=torch.int64)
        heard[: self.symbols] = said
        heard[self.symbols + self.length - 1] = self.kinds + 1
        answer = torch.zeros(steps, count, dtype=torch.int64)
        answer[-self.symbols :] = said
        return nn.functional.one_hot(heard, self.inputs).float(), answer

    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.flatten(0, 1), answer.flatten())

    def score(self, output: Tensor, answer: Tensor) -> float:
        right = output[-self.symbols :].argmax(dim=-1) == answer[-self.symbols :]
        return float(right.double().mean())

    def solved(self, score: float) -> bool:
        return score >= _CLASSES_SOLVED


class TemporalOrder(GeneratedTask):
    """In which order two rare symbols came (Hochreiter and Schmidhuber 1997, section 5.6, task 6a).

    X or Y in the second tenth of the sequence and again in the fifth, as in Pascanu et al. 2013;
    four others elsewhere. Which of the four orders, is asked at the end. Chance: ln 4.
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
    """Say at each step the symbol that came `length` steps before, of eight kinds.

    T = 2 * length; before there is anything to say the answer is 0. Chance: half of the answers are
    foreseen, so ln 8 / 2.
    """

    name = "echo"
    inputs, outputs, every_step = 8, 9, True
    shortest = 1
    chance = math.log(8) / 2

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        heard = torch.randint(0, self.inputs, (2 * self.length, count), generator=generator)
        answer = torch.zeros_like(heard)
        answer[self.length :] = heard[: self.length] + 1
        return nn.functional.one_hot(heard, self.inputs).float(), answer

    def loss(self, output: Tensor, answer: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.flatten(0, 1), answer.flatten())

    def score(self, output: Tensor, answer: Tensor) -> float:
        said = output[self.length :].argmax(dim=-1) == answer[self.length :]
        return float(said.double().mean())

    def solved(self, score: float) -> bool:
        return score >= _CLASSES_SOLVED


class Parity(GeneratedTask):
    """Whether the ones so far are odd in number, at every step.

    Chance: the first bit is its own parity, each further one says nothing: (T - 1) / T ln 2.
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
    """The next value of a sum of two sines, at every step.

    Each of amplitude 1, of random phase, of a frequency uniform in 0.1 to 1 radian a step. Chance:
    for s + s' = x the cosines may have either sign, so the best that x tells of the next value is
    m x with m = E[cos w] = (sin 1 - sin 0.1) / 0.9; what is left is 1 less the square of m.
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
    """A task over sequences of that length. Raises ValueError for a name or a length that is none.

    >>> task_by_name("copy", 100).chance
    0.173...
    """
    if name not in _TASKS:
        raise ValueError(f"the tasks are {', '.join(_TASKS)}; got {name!r}")
    return _TASKS[name](length)


def task_problem(
    name: str, length: int, *, seed: int = 0, context: int | None = None
) -> SequenceProblem:
    """A generated task as sequences to learn from, to choose by and to be measured on.

    >>> task_problem("adding", 200).chance
    0.1658...

    The sequences are drawn by the seed. Raises InputError for a name or a length that is none.
    """
    try:
        task = task_by_name(name, length)
    except ValueError as error:
        raise InputError(f"{PREFIX}{name}", str(error), "see docs/data.md") from None
    if length > _LONGEST:
        raise InputError("--length", f"{length:,}", f"{_LONGEST:,} steps are the most")
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
    window = min(context or _WINDOW, len(x))
    mark = fingerprint(f"{name} {length} {seed} {counts}".encode())
    choices = (
        Choice("task", name, f"{len(x)} steps; drawn by seed {seed}", "--length, --seed"),
        Choice("chance", f"{task.chance:.6g}", "the loss of the best without memory", ""),
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
    return SequenceProblem(
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
            label="answer",
            classes=classes,
            every_step=task.every_step,
            numbers=columns,
            codes=(),
            categories=(),
            missing="error",
            time=None,
            group=None,
            how={"task": name, "length": str(length)},
        ),
        chance=task.chance,
    )


def _in_rows(steps: Tensor) -> Tensor:
    """[T,B,...] as the rows of one sequence after the other."""
    return steps.transpose(0, 1).flatten(0, 1).contiguous()

"""Networks over sequences of any length: an answer at each step, or one for the whole.

    model(x [T,B,C], state, lengths=[B], reset=[T,B]) -> outputs [T,B,O], state
    model.answer(x, lengths) -> raw answers: [T,B,O] where every step has one, else [B,O]

Columns are numbers and, last, codes of categories (tokens, say), each with an embedding of its own.
The answer for a whole sequence is the output at its last step: what a network then still knows of
the steps before is its memory. Dense, which sees each step alone, has none.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from throughtime import catalogue
from throughtime.nn.outputs import answer_output
from throughtime.problems.forecasting.networks import (
    elements_of_matrices,
    embedding_width,
    perceptron,
)


@dataclass(frozen=True)
class SequenceConfig:
    """Everything a network over sequences is built from."""

    kind: str  # of the catalogue
    columns: int  # C: numbers first, then codes
    outputs: int  # O: classes, or numbers
    classes: bool  # outputs are scores of classes
    every_step: bool  # an answer for each step
    categories: tuple[int, ...] = ()  # how many codes each of the last columns has
    context: int = 1  # steps that window-dense sees
    hidden_size: int = 32  # H
    num_layers: int = 1
    normalize: str = "global"
    binary: bool = False  # each number is 0 or 1: outputs are logits, answers probabilities

    def __post_init__(self) -> None:
        catalogue.check_kind(self.kind, catalogue.SEQUENCES)
        if self.normalize not in ("global", "none"):
            raise ValueError(f"normalize is one of global, none; got {self.normalize!r}")
        for name in ("columns", "outputs", "context", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if len(self.categories) > self.columns or any(n < 1 for n in self.categories):
            raise ValueError(f"categories {self.categories} do not fit {self.columns} columns")

    @property
    def numbers(self) -> int:
        """How many columns are numbers."""
        return self.columns - len(self.categories)


class SequenceNetwork(nn.Module, ABC):
    """See the top of the file."""

    center: Tensor
    spread: Tensor
    answer_center: Tensor
    answer_spread: Tensor

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.config = config
        self.output = answer_output(classes=config.classes, binary=config.binary)
        for name, size, fill in (
            ("center", config.numbers, torch.zeros),
            ("spread", config.numbers, torch.ones),
            ("answer_center", config.outputs, torch.zeros),
            ("answer_spread", config.outputs, torch.ones),
        ):
            self.register_buffer(name, fill(size, dtype=torch.float64))

    def fit_scale(self, rows: Tensor, answers: Tensor | None = None) -> None:
        """Take mean and spread of training rows [R,C], and of answers [R,O] that are numbers."""
        if self.config.numbers and self.config.normalize == "global":
            numbers = rows[:, : self.config.numbers].double()
            center = numbers.nanmean(dim=0).nan_to_num(0.0)
            self.center.copy_(center)
            self.spread.copy_(_no_zero((numbers - center).square().nanmean(dim=0).sqrt()))
        if answers is not None and not (self.config.classes or self.config.binary):
            self.answer_center.copy_(answers.double().mean(dim=0))
            self.answer_spread.copy_(_no_zero(answers.double().std(dim=0, correction=0)))

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Outputs [T,B,O] in the network's own scale, and the state after the last step."""
        return self.through(x, state, lengths, reset)

    @abstractmethod
    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        """What `forward` gives."""

    def scaled_answer(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Outputs where the answer is asked: [T,B,O], or [B,O] at each last step."""
        outputs, _ = self(x, lengths=lengths)
        return outputs if self.config.every_step else last_steps(outputs, lengths)

    def answer(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As `scaled_answer`; numbers in their own unit, float64."""
        output = self.scaled_answer(x, lengths)
        return self.output.prediction(output, self.answer_center, self.answer_spread)

    def loss(self, x: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """The mean loss of its output; see `outputs`.

        ``target``: classes [B] or [T,B], or numbers [B,O] or [T,B,O]; where a class is negative or
        a number NaN there is no answer to learn from.
        """
        return self.loss_of_answer(self.scaled_answer(x, lengths), target)

    def loss_of_answer(self, answer: Tensor, target: Tensor) -> Tensor:
        """The same, of outputs that are there already."""
        return self.output.loss(answer, target, self.answer_center, self.answer_spread)

    def parameter_count(self) -> int:
        """Numbers that training sets."""
        return sum(parameter.numel() for parameter in self.parameters())

    def multiply_adds(self, steps: int = 1) -> int:
        """Multiply-adds in the matrix products of one answer, to the last of so many steps."""
        return elements_of_matrices(self)


class Constant(SequenceNetwork):
    """The same answer for all: logarithms of the classes' shares, or the mean."""

    value: Tensor

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        self.register_buffer("value", torch.zeros(config.outputs))

    def learn(self, targets: Tensor) -> None:
        """Take the answer from all training targets: classes [N], or numbers [N,O]."""
        if self.config.classes:
            self.value.copy_(_log_shares(targets, self.config.outputs))
        if self.config.binary:
            self.value.copy_(((targets.sum(dim=0) + 1) / (len(targets) + 2)).logit())

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        return self.value.expand(*x.shape[:2], -1), None


class Bigram(SequenceNetwork):
    """The next token by the present one alone: the best that a network without memory can do."""

    table: Tensor

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        if not (config.classes and config.columns == len(config.categories) == 1):
            raise ValueError(f"{config.kind} needs one column of codes, and classes")
        self.register_buffer("table", torch.zeros(config.categories[0], config.outputs))

    def learn(self, present: Tensor, following: Tensor) -> None:
        """Count pairs [N], [N]; each is taken to have been seen once more (Laplace)."""
        pairs = present.long() * self.config.outputs + following
        counts = torch.bincount(pairs, minlength=self.table.numel()).view_as(self.table) + 1.0
        self.table.copy_((counts / counts.sum(dim=1, keepdim=True)).log())

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        return self.table[x[..., 0].long()], None


class Embedded(SequenceNetwork):
    """A network that learns: numbers scaled, categories embedded, side by side."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        widths = [embedding_width(n) for n in config.categories]
        self.embeddings = nn.ModuleList(
            nn.Embedding(n, width) for n, width in zip(config.categories, widths, strict=True)
        )
        self.width = config.numbers + sum(widths)

    def embed(self, x: Tensor) -> Tensor:
        """What the network sees of a step, [T,B,width]."""
        numbers = self.config.numbers
        dtype = next(self.parameters()).dtype
        parts = [
            embedding(x[..., numbers + k].long()) for k, embedding in enumerate(self.embeddings)
        ]
        if numbers:
            scaled = ((x[..., :numbers] - self.center) / self.spread).to(dtype)
            # NaN: not seen yet; taken at the mean
            parts.insert(0, torch.where(scaled.isnan(), 0.0, scaled))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class StepDense(Embedded):
    """Sees each step alone."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        self.body = perceptron(self.width, config.hidden_size, config.outputs)

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        return self.body(self.embed(x)), None


class StepWindowDense(Embedded):
    """A perceptron over the last `context` steps; steps before the first are zeros.

    Its state: the last context - 1 steps [context-1,B,width], and how many of them belong to this
    sequence [1,B,1].
    """

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        self.body = perceptron(config.context * self.width, config.hidden_size, config.outputs)

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        seen, back = self.embed(x), self.config.context - 1
        steps, batch, width = seen.shape
        before, age = state or (seen.new_zeros(back, batch, width), seen.new_zeros(1, batch, 1))
        # how many earlier steps of its own sequence each step has
        at = torch.arange(steps).unsqueeze(1)
        own = at + age[:, :, 0].long()
        if reset is not None:
            began = torch.where(reset, at, -1).cummax(dim=0).values
            own = torch.where(began >= 0, at - began, own)
        whole = torch.cat([before, seen])
        window = whole.unfold(0, back + 1, 1).permute(0, 1, 3, 2)  # [T,B,context,width]
        reach = torch.arange(back, -1, -1)  # steps back from the present one
        window = window * (reach <= own.unsqueeze(-1)).unsqueeze(-1)
        after = (own[-1:] + 1).clamp(max=back).unsqueeze(-1).to(seen.dtype)
        return self.body(window.flatten(2)), (whole[len(whole) - back :], after)


class StepRecurrent(Embedded):
    """An RNN, LSTM or GRU, and a linear head on its hidden state."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        layer = catalogue.kind_of(config.kind).layer_class()
        self.body = layer(self.width, config.hidden_size, config.num_layers)
        self.head = nn.Linear(config.hidden_size, config.outputs)

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        hidden, after = self.body(self.embed(x), state, lengths=lengths, reset=reset)
        return self.head(hidden), after

    def multiply_adds(self, steps: int = 1) -> int:
        return elements_of_matrices(self.head) + steps * elements_of_matrices(self.body)

    def scaled_answer(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.config.every_step:
            return self.head(self.body(self.embed(x), lengths=lengths)[0])
        _, after = self.body(self.embed(x), lengths=lengths)
        hidden = after[0] if isinstance(after, tuple) else after  # [L,B,H]
        return self.head(hidden[-1])


def build_sequence_network(config: SequenceConfig) -> SequenceNetwork:
    """The network a configuration describes.

    >>> config = SequenceConfig("gru", columns=12, outputs=9, classes=True, every_step=False)
    >>> x, lengths = torch.randn(29, 4, 12), torch.tensor([29, 7, 12, 20])
    >>> build_sequence_network(config).answer(x, lengths).shape
    torch.Size([4, 9])
    """
    return catalogue.kind_of(config.kind).build(catalogue.SEQUENCES, config)


def last_steps(outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """The output at each sequence's last step, [B,O]."""
    if lengths is None:
        return outputs[-1]
    return outputs[(lengths - 1).clamp(min=0), torch.arange(outputs.shape[1])]


def _log_shares(classes: Tensor, count: int) -> Tensor:
    """Logarithms of the shares of classes [N]; each is taken to have been seen once more."""
    counts = torch.bincount(classes[classes >= 0].flatten(), minlength=count) + 1.0
    return (counts / counts.sum()).log()


def _no_zero(spread: Tensor) -> Tensor:
    return torch.where(spread > 0, spread, torch.ones_like(spread))

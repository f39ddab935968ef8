"""Sequence networks for any length: an answer at each step, or one for the whole sequence.

    model(x [T,B,C], state, lengths=[B], reset=[T,B]) -> outputs [T,B,O], state
    model.answer(x, lengths) -> answers in original units: [T,B,O] if every step has one, else [B,O]

Columns are numbers, then category codes (for example tokens), each with its own embedding. The
answer for a whole sequence is the output at its last step, so it depends on the network's memory of
earlier steps. Dense, which sees each step separately, has no memory.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from throughtime import catalogue
from throughtime.hyperparameters import POOLINGS
from throughtime.nn.outputs import answer_output
from throughtime.problems.network_parts import (
    check_members,
    check_network_options,
    elements_of_matrices,
    embedding_width,
    perceptron,
    recurrent_body,
)
from throughtime.serialization import added_later


@dataclass(frozen=True)
class SequenceConfig:
    """The configuration that a sequence network is built from."""

    kind: str  # name in the catalogue
    columns: int  # C: numbers first, then codes
    outputs: int  # O: classes, or numbers
    classes: bool  # outputs are scores of classes
    every_step: bool  # whether each step has an answer
    categories: tuple[int, ...] = ()  # number of codes of each of the last columns
    context: int = 1  # steps that window-dense sees
    hidden_size: int = 32  # H
    num_layers: int = 1
    normalize: str = "global"
    binary: bool = False  # each number is 0 or 1: outputs are logits, answers probabilities
    dropout: float = added_later(0.0)  # between layers, and before the head
    recurrent_dropout: float = added_later(0.0)
    bidirectional: bool = added_later(False)
    init: str = added_later("torch")  # of recurrent layers
    pooling: str = added_later("last")  # of a recurrent network: its last output, or the mean
    embedding: int = added_later(0)  # numbers per category code; 0: from the number of codes
    members: int = added_later(1)  # networks whose answers are averaged

    def __post_init__(self) -> None:
        catalogue.check_kind(self.kind, catalogue.SEQUENCES)
        if self.normalize not in ("global", "none"):
            raise ValueError(f"normalize must be one of global, none; got {self.normalize!r}")
        for name in ("columns", "outputs", "context", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if len(self.categories) > self.columns or any(n < 1 for n in self.categories):
            raise ValueError(f"categories {self.categories} do not fit {self.columns} columns")
        check_network_options(self.dropout, self.recurrent_dropout, self.init, self.embedding)
        check_members(self.kind, self.members)
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}; got {self.pooling!r}")
        if self.pooling != "last" and self.every_step:
            raise ValueError("pooling 'mean' is for whole sequences, not for every step")

    @property
    def numbers(self) -> int:
        """Number of numeric columns."""
        return self.columns - len(self.categories)


class SequenceNetwork(nn.Module, ABC):
    """Base class of sequence networks; see the module docstring."""

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
        """Set mean and spread from training rows [R,C] and from numeric answers [R,O]."""
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
        """Normalized outputs [T,B,O], and the state after the last step."""
        return self.through(x, state, lengths, reset)

    @abstractmethod
    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        """Compute the result of `forward`."""

    def scaled_answer(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalized outputs at the steps with an answer: [T,B,O], or [B,O] at each last step."""
        outputs, _ = self(x, lengths=lengths)
        return outputs if self.config.every_step else last_steps(outputs, lengths)

    def answer(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Like `scaled_answer`, with numbers in original units, float64."""
        output = self.scaled_answer(x, lengths)
        return self.output.prediction(output, self.answer_center, self.answer_spread)

    def loss(self, x: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """The mean loss of the outputs; see `outputs`.

        ``target``: classes [B] or [T,B], or numbers [B,O] or [T,B,O]. A negative class or a NaN
        means an unknown answer, which is ignored.
        """
        return self.loss_of_answer(self.scaled_answer(x, lengths), target)

    def loss_of_answer(self, answer: Tensor, target: Tensor) -> Tensor:
        """The mean loss of outputs already computed by `scaled_answer`."""
        return self.output.loss(answer, target, self.answer_center, self.answer_spread)

    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def multiply_adds(self, steps: int = 1) -> int:
        """Multiply-adds in the matrix products of one answer after ``steps`` steps."""
        return elements_of_matrices(self)


class Constant(SequenceNetwork):
    """A constant answer: log frequencies of the classes, or the mean."""

    value: Tensor

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        self.register_buffer("value", torch.zeros(config.outputs))

    def learn(self, targets: Tensor) -> None:
        """Set the answer from all training targets: classes [N], or numbers [N,O]."""
        if self.config.classes:
            self.value.copy_(_log_shares(targets, self.config.outputs))
        if self.config.binary:
            self.value.copy_(((targets.sum(dim=0) + 1) / (len(targets) + 2)).logit())

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        return self.value.expand(*x.shape[:2], -1), None


class Bigram(SequenceNetwork):
    """The next token from the current one only: the best possible without memory."""

    table: Tensor

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        if not (config.classes and config.columns == len(config.categories) == 1):
            raise ValueError(f"{config.kind} needs one column of codes and an output of classes")
        self.register_buffer("table", torch.zeros(config.categories[0], config.outputs))

    def learn(self, present: Tensor, following: Tensor) -> None:
        """Count pairs of tokens [N], [N], with add-one (Laplace) smoothing."""
        pairs = present.long() * self.config.outputs + following
        counts = torch.bincount(pairs, minlength=self.table.numel()).view_as(self.table) + 1.0
        self.table.copy_((counts / counts.sum(dim=1, keepdim=True)).log())

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        return self.table[x[..., 0].long()], None


class Embedded(SequenceNetwork):
    """Base class of trained networks, with scaled numbers and embedded categories as input."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        widths = [config.embedding or embedding_width(n) for n in config.categories]
        self.embeddings = nn.ModuleList(
            nn.Embedding(n, width) for n, width in zip(config.categories, widths, strict=True)
        )
        self.width = config.numbers + sum(widths)

    def embed(self, x: Tensor) -> Tensor:
        """The input features of each step, [T,B,width]."""
        numbers = self.config.numbers
        dtype = next(self.parameters()).dtype
        parts = [
            embedding(x[..., numbers + k].long()) for k, embedding in enumerate(self.embeddings)
        ]
        if numbers:
            scaled = ((x[..., :numbers] - self.center) / self.spread).to(dtype)
            # NaN, not observed yet: use the mean
            parts.insert(0, torch.where(scaled.isnan(), 0.0, scaled))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class StepDense(Embedded):
    """A perceptron on each step separately."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        self.body = perceptron(self.width, config.hidden_size, config.outputs, config.dropout)

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        return self.body(self.embed(x)), None


class StepWindowDense(Embedded):
    """A perceptron over the last `context` steps, with zeros before the first step.

    Its state is the last context - 1 steps [context-1,B,width], and the number of them that belong
    to the current sequence [1,B,1].
    """

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        inputs = config.context * self.width
        self.body = perceptron(inputs, config.hidden_size, config.outputs, config.dropout)

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        seen, back = self.embed(x), self.config.context - 1
        steps, batch, width = seen.shape
        before, age = state or (seen.new_zeros(back, batch, width), seen.new_zeros(1, batch, 1))
        # number of earlier steps in the same sequence, for each step
        at = torch.arange(steps).unsqueeze(1)
        own = at + age[:, :, 0].long()
        if reset is not None:
            began = torch.where(reset, at, -1).cummax(dim=0).values
            own = torch.where(began >= 0, at - began, own)
        whole = torch.cat([before, seen])
        window = whole.unfold(0, back + 1, 1).permute(0, 1, 3, 2)  # [T,B,context,width]
        reach = torch.arange(back, -1, -1)  # steps back from the current one
        window = window * (reach <= own.unsqueeze(-1)).unsqueeze(-1)
        after = (own[-1:] + 1).clamp(max=back).unsqueeze(-1).to(seen.dtype)
        return self.body(window.flatten(2)), (whole[len(whole) - back :], after)


class StepRecurrent(Embedded):
    """An RNN, LSTM or GRU, with a linear head on its hidden state."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        self.body = recurrent_body(config, self.width)
        self.dropout = nn.Dropout(config.dropout)
        directions = 2 if config.bidirectional else 1
        self.head = nn.Linear(directions * config.hidden_size, config.outputs)

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        hidden, after = self.body(self.embed(x), state, lengths=lengths, reset=reset)
        return self.head(self.dropout(hidden)), after

    def multiply_adds(self, steps: int = 1) -> int:
        return elements_of_matrices(self.head) + steps * elements_of_matrices(self.body)

    def scaled_answer(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        output, after = self.body(self.embed(x), lengths=lengths)
        if self.config.every_step:
            return self.head(self.dropout(output))
        if self.config.pooling == "mean":
            # outputs after a sequence's end are zeros
            counts = torch.full((), len(x)) if lengths is None else lengths
            last = output.sum(dim=0) / counts.to(output.dtype).unsqueeze(-1)
        else:
            hidden = after[0] if isinstance(after, tuple) else after  # [L * directions,B,H]
            last = torch.cat(list(hidden[-2:]), dim=-1) if self.config.bidirectional else hidden[-1]
        return self.head(self.dropout(last))


class SequenceEnsemble(SequenceNetwork):
    """The mean of the answers of networks that were trained with different seeds."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        one = replace(config, members=1)
        self.members = nn.ModuleList(build_sequence_network(one) for _ in range(config.members))

    def through(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        states = state or [None] * len(self.members)
        found = [
            member(x, own, lengths=lengths, reset=reset)
            for member, own in zip(self.members, states, strict=True)
        ]
        outputs, after = zip(*found, strict=True)
        return self.output.averaged(torch.stack(outputs)), list(after)

    def scaled_answer(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        each = [member.scaled_answer(x, lengths) for member in self.members]  # pyright: ignore
        return self.output.averaged(torch.stack(each))

    def multiply_adds(self, steps: int = 1) -> int:
        return sum(member.multiply_adds(steps) for member in self.members)  # pyright: ignore


def build_sequence_network(config: SequenceConfig) -> SequenceNetwork:
    """Build the network of a configuration.

    >>> config = SequenceConfig("gru", columns=12, outputs=9, classes=True, every_step=False)
    >>> x, lengths = torch.randn(29, 4, 12), torch.tensor([29, 7, 12, 20])
    >>> build_sequence_network(config).answer(x, lengths).shape
    torch.Size([4, 9])
    """
    if config.members > 1:
        return SequenceEnsemble(config)
    return catalogue.kind_of(config.kind).build(catalogue.SEQUENCES, config)


def last_steps(outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """The output at each sequence's last step, [B,O]."""
    if lengths is None:
        return outputs[-1]
    return outputs[(lengths - 1).clamp(min=0), torch.arange(outputs.shape[1])]


def _log_shares(classes: Tensor, count: int) -> Tensor:
    """Log frequencies of classes [N], with add-one (Laplace) smoothing."""
    counts = torch.bincount(classes[classes >= 0].flatten(), minlength=count) + 1.0
    return (counts / counts.sum()).log()


def _no_zero(spread: Tensor) -> Tensor:
    return torch.where(spread > 0, spread, torch.ones_like(spread))

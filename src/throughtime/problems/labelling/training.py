"""Training task for labels of whole sequences or of each step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.comparison.measures import OF_CLASSES
from throughtime.data.sequences.length_batches import Buckets, answered
from throughtime.data.sequences.sequences import Answers, SequenceProblem
from throughtime.nn.outputs import AnswerOutput, answer_output
from throughtime.problems.labelling.networks import SequenceNetwork
from throughtime.training.processes import Team
from throughtime.training.task import Batch, Task


class Labelling(Task):
    """Trains a network on labelled sequences, in batches of similar length.

    >>> task = Labelling(model, problem, batch_size=32, batch_steps=20_000, seed=0)

    Measures over the validation part: cross-entropy and share of wrong answers, or mean absolute
    and root mean squared error, each target in units of its spread in the training part; and the
    one that ``decided_by`` names, one of `comparison.measures.OF_CLASSES`.
    """

    def __init__(
        self,
        model: SequenceNetwork,
        problem: SequenceProblem,
        *,
        batch_size: int,
        batch_steps: int,
        seed: int,
        decided_by: str = "",
        team: Team | None = None,
    ) -> None:
        self.model = self.network = model
        self.problem = problem
        self.measures = output_of_answers(problem.answers).measures
        self.decided_by = decided_by or self.measures[0]
        self.team = team or Team()
        # sequences without any known answer are not used for training
        known = answers_of_sequences(problem, problem.training) > 0
        self.index = problem.training[known]
        self.buckets = Buckets(
            problem.sequences.lengths[self.index],
            batch_size=batch_size,
            batch_steps=batch_steps,
            seed=seed,
        )
        self.steps = len(self.buckets)

    def batches(self) -> Iterator[Batch]:
        # not prefetched: a second thread would start torch's thread pool twice (docs/data.md)
        for drawn in self.buckets.rest():
            batch = self._batch(drawn)
            self.buckets.took()
            yield batch
        self.buckets.end()

    def _batch(self, drawn: Tensor) -> Batch:
        index = self.index[drawn]
        own = self.team.share(index)
        tensors = self.problem.batch(own if len(own) else index[:1])
        return Batch(tensors, int(self.network.output.known(tensors[2]).sum()) if len(own) else 0)

    def loss(self, model: nn.Module, *tensors: Tensor) -> Tensor:
        assert isinstance(model, SequenceNetwork)
        return model.loss(*tensors)

    def measure(self) -> dict[str, float]:
        if self.decided_by in OF_CLASSES and self.decided_by not in self.measures:
            # not a mean over sequences, so that processes cannot share the work
            found = found_answers(self.network, self.problem, self.problem.validation)
            value = float(found.of_classes(self.decided_by).mean())
            return {self.decided_by: value, **self._usual()}
        measures = self._usual()
        return {self.decided_by: measures[self.decided_by], **measures}

    def _usual(self) -> dict[str, float]:
        """The two measures of the output."""
        own = self.team.share(self.problem.validation)
        sums = [0.0, 0.0, 0.0]
        if len(own):
            first, second = errors_of_sequences(self.network, self.problem, own)
            counts = answers_of_sequences(self.problem, own).double()
            has_answers = counts > 0
            counts = counts[has_answers]
            sums = [
                float((first[has_answers] * counts).sum()),
                float((second[has_answers] * counts).sum()),
                float(counts.sum()),
            ]
        one, other, count = self.team.summed(sums)
        return self.network.output.measured(one / count, other / count)

    def state_dict(self) -> dict[str, Any]:
        return self.buckets.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.buckets.load_state_dict(state)


def output_of_answers(answers: Answers) -> AnswerOutput:
    """The network output for these answers."""
    return answer_output(classes=bool(answers.classes), binary=answers.binary)


def answers_of_sequences(problem: SequenceProblem, index: Tensor) -> Tensor:
    """Number of known answers of each sequence, [n]."""
    known = output_of_answers(problem.answers).known(problem.answers.values)
    if not problem.answers.every_step:
        return known[index].long()
    before = torch.cat([torch.zeros(1, dtype=torch.int64), known.cumsum(0)])
    starts = problem.sequences.starts
    return before[starts[index + 1]] - before[starts[index]]


@dataclass(frozen=True)
class FoundAnswers:
    """What a network answers to sequences, where the answer is known."""

    output: Tensor  # [n, O], scaled
    wanted: Tensor  # [n] or [n, O]
    of: Tensor  # [n]: the position of its sequence in the index
    sequences: int  # that were asked

    def of_classes(self, metric: str) -> np.ndarray:
        """One value for each answer, whose mean is the measure; see `OF_CLASSES`."""
        return OF_CLASSES[metric](self.output.double().numpy(), self.wanted.numpy())

    def by_sequence(self, values: Tensor) -> Tensor:
        """Sums over the answers of each sequence, [sequences]."""
        found = torch.zeros(self.sequences, dtype=torch.float64)
        return found.index_add_(0, self.of, values.double())


@torch.no_grad()
def found_answers(model: SequenceNetwork, problem: SequenceProblem, index: Tensor) -> FoundAnswers:
    """What a network answers to the sequences of an index."""
    model.eval()
    answers = problem.answers
    found = answered(model.scaled_answer, problem.sequences, index, answers.every_step)
    at = problem.sequences.steps_of(index) if answers.every_step else index
    targets = answers.values[at]
    known = model.output.known(targets)
    of = torch.arange(len(index))
    if answers.every_step:
        of = of.repeat_interleave(problem.sequences.lengths[index])
    return FoundAnswers(found[known], targets[known], of[known], len(index))


def errors_of_sequences(
    model: SequenceNetwork, problem: SequenceProblem, index: Tensor
) -> tuple[Tensor, Tensor]:
    """Two errors of each sequence [n], [n], as means over its known answers.

    They are share of wrong answers and cross-entropy, or absolute and squared error, each target in
    units of its spread in training. NaN if no answer is known. For binary numbers, cross-entropy is
    the sum over all numbers of a step.
    """
    found = found_answers(model, problem, index)
    each = model.output.errors(found.output, found.wanted, model.answer_center, model.answer_spread)
    counts = found.by_sequence(torch.ones(len(found.of)))
    first, second = (found.by_sequence(value) / counts for value in each)
    return first, second

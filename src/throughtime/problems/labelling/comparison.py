"""Comparison of networks that label whole sequences or each step."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from throughtime import __version__
from throughtime.catalogue import kind_of, opponents, reference_of
from throughtime.comparison.cards import shown, shown_file
from throughtime.comparison.experiment import (
    LEAST_SPAN,
    NO_SAMPLE,
    Evaluation,
    Experiment,
    no_output,
)
from throughtime.comparison.measures import OF_CLASSES, WORDS, confusion, root
from throughtime.comparison.sizes import with_chosen
from throughtime.data.sequences.sequences import Answers, SequenceProblem
from throughtime.errors import InputError
from throughtime.hyperparameters import Hyperparameters
from throughtime.network_records import ContextRecord, Diagnosis
from throughtime.nn.outputs import Classes
from throughtime.problems.labelling.bag import Bag
from throughtime.problems.labelling.memory import sequence_context, sequence_diagnosis
from throughtime.problems.labelling.networks import (
    Constant,
    SequenceConfig,
    SequenceNetwork,
    build_sequence_network,
)
from throughtime.problems.labelling.training import (
    FoundAnswers,
    Labelling,
    found_answers,
    output_of_answers,
)
from throughtime.runs import Sample
from throughtime.specs import SequenceSpec
from throughtime.training.processes import Team

BATCH_STEPS = 20_000  # maximum steps of a batch, with padding
_OF_EACH_CLASS = ("balanced-error", "f1", "auc")  # measures in which all classes count alike
_MOST_CLASSES = 50  # of a confusion matrix
_EXAMINED = 64  # sequences of a diagnosis and of a context curve


class LabellingExperiment(Experiment):
    """The experiment of a labelling problem; see `Experiment`."""

    normalizations = ("global", "none")

    def __init__(
        self, problem: SequenceProblem, metric: str = "", batch_steps: int = BATCH_STEPS
    ) -> None:
        answers = problem.answers
        self.metrics = metrics_of(answers)
        self.metric = metric or problem.metric
        if self.metric == "balanced-error" and answers.classes:  # the loss fits what is judged
            problem = replace(problem, class_weights=problem.balanced_weights)
        self.problem = problem
        self.record = problem.record
        self.batch_steps = batch_steps
        if self.metric == "auc":
            _check_classes(problem)
        usual = output_of_answers(answers).measures
        self.measures = (*usual, *(m for m in self.metrics if m not in usual))
        self.reference = reference_of(self.trivial_kinds())
        counts = torch.zeros(0)
        if self.metric in _OF_EACH_CLASS:
            counts = self._test_counts()
            self.rarest = int(counts.min()) if len(counts) else 0
        if self.metric == "error" and not answers.binary and self.block == 1:
            self.share_of = len(problem.test)
        elif self.rarest and self.block == 1:  # an item of the rarest class weighs the most
            self.share_of = len(counts) * self.rarest
        self.unit = self._unit()

    def _test_counts(self) -> torch.Tensor:
        """Test items of each class that occurs: sequences, or those that have it at some step."""
        values = self.problem.answers.values
        if not self.problem.answers.every_step:
            known = values[self.problem.test]
            return torch.unique(known[known >= 0], return_counts=True)[1]
        sequences = self.problem.sequences
        each = [torch.unique(values[sequences.steps_of(i.reshape(1))]) for i in self.problem.test]
        found = torch.cat(each)
        return torch.unique(found[found >= 0], return_counts=True)[1]

    def _unit(self) -> str:
        answers, chance = self.problem.answers, self.problem.chance
        unit = WORDS[self.metric]
        if answers.binary and self.metric == "cross-entropy":
            return f"{unit}, of all {answers.outputs} numbers of a step"
        if chance is not None and self.metric == self.problem.metric:
            return f"{unit}; {chance:.4g} without memory"
        if not answers.classes and answers.outputs > 1:
            return f"{unit}, training standard deviations, mean over targets"
        return f"{unit}, {answers.name}" + ("" if answers.classes else ", in its own unit")

    def trivial_kinds(self) -> list[str]:
        kinds = opponents("classes" if self.problem.answers.classes else "numbers")
        return [kind for kind in kinds if self._admits(kind)]

    def _admits(self, kind: str) -> bool:
        """Whether this simple prediction is for such answers and columns."""
        try:
            parameters_of(self.config(kind, Hyperparameters(), 1))
        except ValueError:
            return False
        return True

    @property
    def whole_sequences(self) -> bool:
        return not self.problem.answers.every_step

    def usual_init(self, kind: str) -> str:
        # what decides may stand anywhere in a sequence, so its networks begin with a long memory
        long = kind_of(kind).gated and self.whole_sequences and self.memory_span >= LEAST_SPAN
        return f"chrono:{self.memory_span}" if long else "torch"

    @property
    def memory_span(self) -> int:
        lengths = self.problem.sequences.lengths[self.problem.training]
        return int(lengths.float().quantile(0.9))

    def shuffled(self) -> Experiment:
        problem = replace(self.problem, sequences=self.problem.sequences.shuffled(seed=0))
        return LabellingExperiment(problem, self.metric, self.batch_steps)

    def with_share(self, share: float) -> Experiment:
        """Sequences drawn at random, as many of every class as its share."""
        order = np.random.default_rng(0).permutation(len(self.problem.training))
        if self.whole_sequences and self.problem.answers.classes:
            # the first of each class, then the second of each, ...: every share has every class
            known = self.problem.answers.values[self.problem.training].numpy()[order]
            rank = np.array([(known[:n] == k).sum() for n, k in enumerate(known)])
            size = np.maximum(1, np.array([(known == k).sum() for k in known]))
            order = order[np.argsort(rank / size, kind="stable")]
        kept = np.sort(order[: max(1, round(share * len(order)))])
        training = self.problem.training[torch.from_numpy(kept)]
        record = replace(self.record, windows=(len(training), *self.record.windows[1:]))
        problem = replace(self.problem, training=training, record=record)
        return LabellingExperiment(problem, self.metric, self.batch_steps)

    def config(
        self, kind: str, chosen: Hyperparameters, parameters: int, output: str = ""
    ) -> SequenceConfig:
        no_output(output)
        problem = self.problem
        config = SequenceConfig(
            kind,
            columns=len(problem.columns),
            outputs=problem.answers.outputs,
            classes=bool(problem.answers.classes),
            every_step=problem.answers.every_step,
            binary=problem.answers.binary,
            categories=tuple(len(words) for words in problem.categories),
            context=problem.context,
            normalize=chosen.normalize or self.normalizations[0],
        )
        return with_chosen(config, chosen, parameters, parameters_of)

    def parameters(self, config: SequenceConfig) -> int:
        return parameters_of(config)

    def build(self, config: SequenceConfig) -> SequenceNetwork:
        problem = self.problem
        model = build_sequence_network(config)
        known = problem.training_answers()
        rows = problem.sequences.values[problem.sequences.steps_of(problem.training)]
        model.fit_scale(rows, None if config.classes else known)
        if isinstance(model.output, Classes):
            model.output.weight = problem.class_weights
        if isinstance(model, Constant):
            model.learn(known)
        if isinstance(model, Bag):
            model.learn(problem)
        return model

    def task(
        self,
        model: SequenceNetwork,
        batch_size: int,
        seed: int,
        decided_by: str = "",
        team: Team | None = None,
    ) -> Labelling:
        return Labelling(
            model,
            self.problem,
            batch_size=batch_size,
            batch_steps=self.batch_steps,
            seed=seed,
            decided_by=decided_by,
            team=team,
        )

    def resolution(self, measure: str) -> float:
        # one sequence more or less is no improvement
        return 1.5 / len(self.problem.validation) if measure == "error" else 0.0

    def multiply_adds(self, model: SequenceNetwork) -> int:
        whole = not self.problem.answers.every_step
        return model.multiply_adds(int(self.problem.sequences.lengths.median()) if whole else 1)

    def measured(self, model: SequenceNetwork) -> Evaluation:
        problem = self.problem
        validation = found_answers(model, problem, problem.validation)
        test = found_answers(model, problem, problem.test)
        values = by_answer(model, test, self.metric)
        counts = test.by_sequence(torch.ones(len(test.of)))
        # one value for each sequence, whose mean is the mean over answers
        by_sequence = (test.by_sequence(values) * test.sequences / len(test.of))[counts > 0]
        error = float(values.mean())
        return Evaluation(
            validation_error=float(by_answer(model, validation, self.metric).mean()),
            test_error=error,
            error_by_step=np.array([error]),
            error_by_item=(by_sequence * len(by_sequence) / test.sequences).numpy(),
            measures={m: float(by_answer(model, test, m).mean()) for m in self.metrics},
            confusion=_confusion(problem, test),
        )

    def context(self, model: SequenceNetwork) -> ContextRecord | None:
        if isinstance(model, Constant | Bag):
            return None
        index = self.problem.validation[:_EXAMINED]
        return sequence_context(model, *self.problem.batch(index), by_loss=self._by_loss())

    def _by_loss(self) -> bool:
        """Whether the loss is nearer to the measure of errors than the other error is."""
        return self.metric in ("cross-entropy", "mse", "rmse", "auc")

    def diagnosis(self, model: SequenceNetwork) -> Diagnosis | None:
        return sequence_diagnosis(model, *self.problem.batch(self.problem.training[:_EXAMINED]))

    def one_answer(self, model: SequenceNetwork) -> Callable[[], object]:
        x, lengths = self.problem.sequences.padded(self.problem.test[:1])

        def answer() -> Tensor:
            with torch.no_grad():
                return model.answer(x, lengths)

        return answer

    def spec(self) -> SequenceSpec:
        return self.problem.spec

    def card(self, model: SequenceNetwork, headline: str) -> str:
        return sequence_card(self, headline, model)

    def sample(self, normalize: str) -> Sample:
        return NO_SAMPLE

    @property
    def block(self) -> int | None:
        # errors of separate sequences are independent; pieces of one long sequence are correlated
        return None if self.problem.answers.every_step and not self.problem.record.group else 1


def metrics_of(answers: Answers) -> tuple[str, ...]:
    """The measures of errors that there are for such answers."""
    if answers.binary:
        return ("cross-entropy", "error")
    return tuple(OF_CLASSES) if answers.classes else ("mae", "rmse", "mse")


def _check_classes(problem: SequenceProblem) -> None:
    """Raise InputError if a part has no two classes to rank."""
    for index, part in ((problem.validation, "validation"), (problem.test, "test")):
        at = problem.sequences.steps_of(index) if problem.answers.every_step else index
        known = problem.answers.values[at]
        if len(torch.unique(known[known >= 0])) < 2:
            raise InputError("--metric", f"the {part} part has a single class", "take another one")


def by_answer(model: SequenceNetwork, found: FoundAnswers, metric: str) -> Tensor:
    """One value for each answer, whose mean is the measure, [n]."""
    if model.config.classes:
        return torch.from_numpy(found.of_classes(metric))
    first, second = model.output.errors(
        found.output, found.wanted, model.answer_center, model.answer_spread
    )
    if metric == "rmse":
        return torch.from_numpy(root(second.double().numpy()))
    return (first if metric in ("mae", "error") else second).double()


def _confusion(problem: SequenceProblem, found: FoundAnswers) -> tuple[tuple[int, ...], ...]:
    """Counts of true classes (rows) and answers (columns), if the classes are few."""
    if not 0 < len(problem.answers.classes) <= _MOST_CLASSES:
        return ()
    counts = confusion(found.output.numpy(), found.wanted.numpy())
    return tuple(tuple(row) for row in counts.tolist())


def parameters_of(config: SequenceConfig) -> int:
    """Number of parameters of a configuration, computed without allocating them."""
    with torch.device("meta"):
        return build_sequence_network(config).parameter_count()


def sequence_card(experiment: LabellingExperiment, headline: str, model: SequenceNetwork) -> str:
    """The README of a model's folder."""
    problem, record, config = experiment.problem, experiment.record, model.config
    answers = problem.answers
    what = f"one of {len(answers.classes)} classes" if answers.classes else "a number"
    of = "each step" if answers.every_step else "a whole sequence"
    return f"""# {config.kind}: {shown(answers.name)}

Predicts {shown(answers.name)} ({what}) of {of} from
{len(problem.columns)} columns.

- Trained by throughtime {__version__} on {record.windows[0]} sequences of {shown_file(record.path)}
  (SHA-256 {record.fingerprint[:16]}...).
- {model.parameter_count()} parameters.
- {shown(headline) or "One trial of a comparison."}

Use it with `throughtime predict FOLDER NEW -o out.csv`. Its error was measured on sequences like
those of its training data; on other sequences it is unknown.
"""

"""Comparison of networks that predict the next token of a text."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime import __version__
from throughtime.catalogue import kind_of, opponents, reference_of
from throughtime.comparison.cards import shown, shown_file
from throughtime.comparison.experiment import NO_SAMPLE, Evaluation, Experiment, no_output
from throughtime.comparison.sizes import with_chosen
from throughtime.data.text.documents import TextProblem
from throughtime.data.text.vocabularies import Alphabet
from throughtime.hyperparameters import Hyperparameters
from throughtime.network_records import ContextRecord, Diagnosis
from throughtime.problems.labelling.comparison import parameters_of
from throughtime.problems.labelling.memory import sequence_context, sequence_diagnosis
from throughtime.problems.labelling.networks import (
    Bigram,
    Constant,
    Embedded,
    SequenceConfig,
    SequenceNetwork,
    build_sequence_network,
)
from throughtime.problems.language.training import TOKEN_MEASURES, NextToken, token_nats
from throughtime.runs import Sample
from throughtime.specs import TokenSpec
from throughtime.training.processes import Team

_LARGEST_TABLE = 2048  # maximum vocabulary of bigrams; beyond it pairs are too rare to count
_WINDOW = 16  # maximum number of input tokens of window-dense
_CURVE = 512  # sections of the text for the context curve
_EXAMINED = 32  # sections of the text for a diagnosis


class TokenExperiment(Experiment):
    """The experiment of a language problem; see `Experiment`."""

    metrics = measures = TOKEN_MEASURES
    metric = TOKEN_MEASURES[0]  # by perplexity, the order would be the same
    normalizations = ("none",)

    def __init__(self, problem: TextProblem) -> None:
        self.problem = problem
        self.record = problem.record
        self.size = Alphabet(problem.spec).size
        self.reference = reference_of(self.trivial_kinds())
        # factor from nats per token to the unit; not per character for words, because unknown words
        # cost too little for their number of characters
        letters = problem.spec.unit != "words"
        self.unit = "bits per character" if letters else "bits per word"
        tokens = sum(map(len, problem.test))
        self._scale = (tokens / problem.test_characters if letters else 1.0) / math.log(2)

    def trivial_kinds(self) -> list[str]:
        return [kind for kind in opponents("tokens") if self._admits(kind)]

    def _admits(self, kind: str) -> bool:
        """Whether the vocabulary is small enough for this method."""
        return kind_of(kind).reference > 0 or self.size <= _LARGEST_TABLE

    @property
    def memory_span(self) -> int:
        return self.problem.context

    def with_share(self, share: float) -> Experiment:
        """The first part of every document, as if each had been shorter."""
        training = [d[: max(2, round(share * len(d)))] for d in self.problem.training]
        record = replace(self.record, windows=(sum(map(len, training)), *self.record.windows[1:]))
        return TokenExperiment(replace(self.problem, training=training, record=record))

    def config(
        self, kind: str, chosen: Hyperparameters, parameters: int, output: str = ""
    ) -> SequenceConfig:
        no_output(output)
        if chosen.bidirectional:
            raise ValueError("--bidirectional would read the token that is to be predicted")
        config = SequenceConfig(
            kind,
            columns=1,
            outputs=self.size,
            classes=True,
            every_step=True,
            categories=(self.size,),
            context=min(_WINDOW, self.problem.context),
            normalize="none",
        )
        return with_chosen(config, chosen, parameters, parameters_of)

    def parameters(self, config: SequenceConfig) -> int:
        return parameters_of(config)

    def build(self, config: SequenceConfig) -> SequenceNetwork:
        model = build_sequence_network(config)
        documents = self.problem.training
        if isinstance(model, Constant):
            model.learn(torch.from_numpy(np.concatenate(documents).astype(np.int64)))
        if isinstance(model, Bigram):
            before = np.concatenate([d[:-1] for d in documents]).astype(np.int64)
            after = np.concatenate([d[1:] for d in documents]).astype(np.int64)
            model.learn(torch.from_numpy(before), torch.from_numpy(after))
        return model

    def task(
        self,
        model: SequenceNetwork,
        batch_size: int,
        seed: int,
        decided_by: str = "",
        team: Team | None = None,
    ) -> NextToken:
        return NextToken(model, self.problem, lanes=batch_size, decided_by=decided_by, team=team)

    @property
    def items(self) -> int:
        return self.record.windows[0] // self.problem.context

    def measured(self, model: SequenceNetwork) -> Evaluation:
        validation = token_nats(model, self.problem.validation)
        test = token_nats(model, self.problem.test)
        nats = float(test.mean())
        return Evaluation(
            validation_error=float(validation.mean()) * self._scale,
            test_error=nats * self._scale,
            error_by_step=np.array([nats * self._scale]),
            error_by_item=(test * self._scale).numpy(),
            measures={
                "bits per token": nats / math.log(2),
                "perplexity": math.exp(min(nats, 700.0)),
            },
        )

    def context(self, model: SequenceNetwork) -> ContextRecord | None:
        if not isinstance(model, Embedded):
            return None
        found = sequence_context(model, *self._sections(_CURVE), by_loss=True)
        if found is None:
            return None
        return replace(
            found,
            error=tuple(e * self._scale for e in found.error),
            standard_error=tuple(e * self._scale for e in found.standard_error),
        )

    def diagnosis(self, model: SequenceNetwork) -> Diagnosis | None:
        return sequence_diagnosis(model, *self._sections(_EXAMINED))

    def _sections(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sections of the validation part: x [T,B,1], lengths [B], next tokens [T,B]."""
        text = max(self.problem.validation, key=len)
        steps = min(self.problem.context, len(text) - 1)
        starts = np.unique(np.linspace(0, len(text) - steps - 1, count).round().astype(int))
        rows = starts + np.arange(steps)[:, None]
        x = torch.from_numpy(text[rows].astype(np.int64)).unsqueeze(-1)
        after = torch.from_numpy(text[rows + 1].astype(np.int64))
        return x, torch.full((len(starts),), steps), after

    def one_answer(self, model: SequenceNetwork) -> Callable[[], object]:
        x = torch.tensor([[[int(self.problem.test[0][0])]]])
        state: Any = None

        def answer() -> Tensor:
            nonlocal state
            with torch.no_grad():
                output, state = model(x, state)
            return output

        return answer

    def spec(self) -> TokenSpec:
        return self.problem.spec

    def card(self, model: SequenceNetwork, headline: str) -> str:
        record, spec = self.record, self.problem.spec
        return f"""# {model.config.kind}: the next token

Predicts the next token of a text (unit: {spec.unit}, vocabulary size: {self.size}).

- Trained by throughtime {__version__} on {record.windows[0]} tokens of {shown_file(record.path)}
  (SHA-256 {record.fingerprint[:16]}...).
- {model.parameter_count()} parameters.
- {shown(headline) or "One trial of a comparison."}

Use `throughtime sample FOLDER --prompt ...` to generate text, and `throughtime predict FOLDER
new.txt` for the bits of each token of a text. The model reproduces the style and the errors of its
training text.
"""

    def sample(self, normalize: str) -> Sample:
        return NO_SAMPLE

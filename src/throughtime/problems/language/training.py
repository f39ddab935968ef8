"""Training task for predicting the next token of a text, and its errors."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.data.sequences.stream_batches import CodeStreams
from throughtime.data.text.documents import TextProblem
from throughtime.problems.labelling.networks import SequenceNetwork
from throughtime.training.processes import Team
from throughtime.training.streams import TruncatedBPTT

TOKEN_MEASURES = ("bits", "perplexity")  # per token
_LANES = 16  # parallel streams in an evaluation
_STEPS = 256  # per call of the model in an evaluation
_WARM = 512  # steps that a stream reads before it is measured


class NextToken(TruncatedBPTT):
    """Trains a network to predict the next token, with its state carried through each document.

    >>> task = NextToken(model, problem, lanes=32)

    Measures: bits per token, and perplexity (2 to the power of bits), on the validation part.
    """

    def __init__(
        self,
        model: SequenceNetwork,
        problem: TextProblem,
        *,
        lanes: int,
        decided_by: str = "",
        team: Team | None = None,
    ) -> None:
        self.decided_by = decided_by or TOKEN_MEASURES[0]
        team = team or Team()
        super().__init__(
            model,
            lanes_of(problem.training, lanes, problem.context, team),
            lanes_of(problem.validation, lanes, problem.context, team),
            token_loss,
            k1=problem.context,
            team=team,
        )

    def measure(self) -> dict[str, float]:
        nats = super().measure()["loss"]
        # exp would overflow; a NaN loss also becomes infinite
        perplexity = math.exp(nats) if nats < 700 else math.inf
        measures = {"bits": nats / math.log(2), "perplexity": perplexity}
        return {self.decided_by: measures[self.decided_by], **measures}


def lanes_of(documents: Sequence[np.ndarray], lanes: int, steps: int, team: Team) -> CodeStreams:
    """Documents as at most ``lanes`` parallel streams, each a few pieces of ``steps`` long."""
    total = sum(len(d) - 1 for d in documents)
    most = max(team.size, min(lanes, total // (2 * steps)))
    own = team.share(torch.arange(most)).tolist()
    return CodeStreams(documents, lanes=most, of=own)


def token_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy in nats of scores [T,B,V] against tokens [T,B,1]."""
    return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten().long())


@torch.no_grad()
def token_nats(model: SequenceNetwork, documents: Sequence[np.ndarray]) -> Tensor:
    """The cost of each token in nats, except the first of each document, in order [N], float64.

    Long texts are measured in parallel streams. Each first reads the text before its start, so that
    its state approximates that of a single pass.
    """
    model.eval()
    tokens = torch.from_numpy(np.concatenate([d[:-1] for d in documents]).astype(np.int64))
    targets = torch.from_numpy(np.concatenate([d[1:] for d in documents]).astype(np.int64))
    reset = torch.zeros(len(tokens), dtype=torch.bool)
    begins = np.cumsum([0, *(len(d) - 1 for d in documents[:-1])])
    reset[torch.from_numpy(begins)] = True
    lanes = max(1, min(_LANES, len(tokens) // (2 * _WARM)))
    length = -(-len(tokens) // lanes)
    starts = torch.arange(lanes) * length
    state: Any = None
    found: list[Tensor] = []
    warm = _WARM if lanes > 1 else 0
    for begin in range(-warm, length, _STEPS):
        steps = torch.arange(begin, min(begin + _STEPS, length)).unsqueeze(1)
        at = starts + steps
        inside = at.clamp(0, len(tokens) - 1)
        # before the first text the input is clamped; the reset at its start clears the state
        output, state = model(tokens[inside].unsqueeze(-1), state, reset=reset[inside])
        nats = nn.functional.cross_entropy(
            output.flatten(0, 1).double(), targets[inside].flatten(), reduction="none"
        )
        found.append(nats.view(at.shape)[steps[:, 0] >= 0])
    return torch.cat(found).T.flatten()[: len(tokens)]

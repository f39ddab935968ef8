"""The next token of a text as a task to be trained, and how well it is told."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.data.lanes import Streams
from throughtime.data.text import TextProblem
from throughtime.nn.sequence_models import SequenceNetwork
from throughtime.training.processes import Team
from throughtime.training.streams import TruncatedBPTT

TOKEN_MEASURES = ("bits", "perplexity")  # of a token
_LANES = 16  # side by side where nothing is learned
_STEPS = 256  # at a time there


class NextToken(TruncatedBPTT):
    """A network learns to tell the next token, its state carried through each document.

    >>> task = NextToken(model, problem, lanes=32)

    Measures: bits a token, and perplexity (2 to the power of it), over the validation part.
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
        # a loss beyond float's range: as bad as can be, and finite only if it is
        perplexity = math.exp(nats) if nats < 700 else math.inf
        measures = {"bits": nats / math.log(2), "perplexity": perplexity}
        return {self.decided_by: measures[self.decided_by], **measures}


def lanes_of(documents: Sequence[np.ndarray], lanes: int, steps: int, team: Team) -> Streams:
    """Documents in at most so many lanes, each of which is a few pieces long."""
    total = sum(len(d) - 1 for d in documents)
    most = max(team.size, min(lanes, total // (2 * steps)))
    own = team.share(torch.arange(most)).tolist()
    return Streams([d[:, None] for d in documents], lanes=most, of=own)


def token_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy in nats of scores [T,B,V] against tokens [T,B,1]."""
    return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten().long())


@torch.no_grad()
def token_nats(model: SequenceNetwork, documents: Sequence[np.ndarray]) -> Tensor:
    """The cost of each token but the first of each document, in order [N], float64, in nats."""
    model.eval()
    total = sum(len(d) - 1 for d in documents)
    streams = Streams([d[:, None] for d in documents], lanes=max(1, min(_LANES, total // _STEPS)))
    state: Any = None
    found: list[Tensor] = []
    for begin in range(0, streams.length, _STEPS):
        piece = streams.piece(begin, min(begin + _STEPS, streams.length))
        output, state = model(piece.input, state, reset=piece.reset)
        scores, wanted = output.flatten(0, 1).double(), piece.target.flatten().long()
        nats = nn.functional.cross_entropy(scores, wanted, reduction="none")
        found.append(nats.view(piece.target.shape[:2]))
    return torch.cat(found).T.flatten()

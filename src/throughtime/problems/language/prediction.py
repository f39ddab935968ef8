"""A network that tells the next token: what a text costs it, and text that it goes on writing."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from throughtime.data.sources import DataSource
from throughtime.data.text.documents import read_documents
from throughtime.data.text.vocabularies import Alphabet, check_codes
from throughtime.errors import InputError
from throughtime.problems.forecasting.prediction import Forecasts
from throughtime.problems.labelling.networks import SequenceNetwork
from throughtime.runs import Choice
from throughtime.specs import TokenSpec

_STEPS = 1000  # of a document at a time


@torch.no_grad()
def costs(
    model: SequenceNetwork,
    spec: TokenSpec,
    path: DataSource,
    *,
    missing: str | None = None,
    delimiter: str | None = None,
) -> Forecasts:
    """What each token of a text costs the model, in bits, and what it would have said instead.

    >>> costs(model, spec, Path("new.txt")).rows.columns
    ['file', 'step', 'token', 'bits', 'expected']

    The first token of a document is told from nothing and has no row. A text has nothing missing
    and no delimiter.
    """
    del missing, delimiter
    documents, _, choices = read_documents(path)
    alphabet = Alphabet(spec)
    check_codes(spec, model.config.outputs)
    frames: list[pl.DataFrame] = []
    letters = 0
    for document in documents:
        codes = torch.from_numpy(alphabet.encode(document.text).astype(np.int64))
        letters += len(document.text)
        state: Any = None
        for begin in range(0, len(codes) - 1, _STEPS):
            part = codes[begin : begin + _STEPS + 1]
            output, state = model(part[:-1, None, None], state)
            shares = output[:, 0].double().log_softmax(dim=-1)
            bits = -shares.gather(1, part[1:, None]).squeeze(1) / math.log(2)
            frames.append(
                pl.DataFrame(
                    {
                        "file": [document.name] * len(bits),
                        "step": list(range(begin + 2, begin + 2 + len(bits))),
                        "token": [alphabet.word(c) for c in part[1:].tolist()],
                        "bits": bits.numpy().round(4),
                        "expected": [alphabet.word(c) for c in shares.argmax(dim=-1).tolist()],
                    }
                )
            )
    if not frames:
        raise InputError(str(path), "one token alone", "give a text of two or more")
    rows = pl.concat(frames)
    total = float(rows["bits"].sum())
    told = f"{total / letters:.4g} a character, {total / len(rows):.4g} a token"
    found = f"{letters} letters, {len(documents)} documents"
    return Forecasts(rows, found, (*choices, Choice("bits", told, "mean over all that follows")))


def sample(
    model: SequenceNetwork,
    spec: TokenSpec,
    prompt: str,
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Text that goes on from a prompt, piece by piece as it is drawn.

    >>> "".join(sample(model, spec, "ROMEO:", length=200, temperature=0.8))

    ``length`` tokens; ``temperature`` 0 takes the likeliest each time; ``top_k`` draws among so
    many. The same seed gives the same text. Raises InputError for a prompt without a token.
    """
    alphabet = Alphabet(spec)
    check_codes(spec, model.config.outputs)
    codes = alphabet.encode(prompt)
    if not len(codes):
        raise InputError("--prompt", "no token in it", "give some text to go on from")
    unknown = sum(alphabet.word(c) == "\ufffd" for c in codes.tolist())
    if unknown == len(codes):
        raise InputError("--prompt", "the model knows none of its tokens", "give other text")
    drawn = _drawn(model, codes, temperature, top_k, torch.Generator().manual_seed(seed))
    return alphabet.pieces(islice(drawn, length))


@torch.no_grad()
def _drawn(
    model: SequenceNetwork,
    codes: np.ndarray,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator,
) -> Iterator[int]:
    """Codes without end."""
    given = torch.from_numpy(codes.astype(np.int64))[:, None, None]
    state: Any = None
    while True:
        output, state = model(given, state)
        code = _choice(output[-1, 0].double(), temperature, top_k, generator)
        yield code
        given = torch.tensor([[[code]]])


def _choice(
    scores: Tensor, temperature: float, top_k: int | None, generator: torch.Generator
) -> int:
    if temperature == 0:
        return int(scores.argmax())
    scores = (scores - scores.max()) / temperature  # the largest is 0, however small the divisor
    if top_k is not None and top_k < len(scores):
        least = scores.topk(top_k).values[-1]
        scores = torch.where(scores < least, -math.inf, scores)
    return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))

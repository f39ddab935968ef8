"""Language models in use: bits of each token of a text, and text generation."""

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

_STEPS = 1000  # of a document, per call of the model


@torch.no_grad()
def costs(
    model: SequenceNetwork,
    spec: TokenSpec,
    path: DataSource,
    *,
    missing: str | None = None,
    delimiter: str | None = None,
) -> Forecasts:
    """The cost of each token of a text in bits, and the token that the model expected.

    >>> costs(model, spec, Path("new.txt")).rows.columns
    ['file', 'step', 'token', 'bits', 'expected']

    The first token of a document has no context and no row. ``missing`` and ``delimiter`` do not
    apply to text and are ignored.
    """
    del missing, delimiter
    documents, _, choices = read_documents(path)
    alphabet = Alphabet(spec)
    check_codes(spec, model.config.outputs)
    frames: list[pl.DataFrame] = []
    characters = 0
    for document in documents:
        codes = torch.from_numpy(alphabet.encode(document.text).astype(np.int64))
        characters += len(document.text)
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
        raise InputError(
            str(path), "no document has two tokens", "give a text of two tokens or more"
        )
    rows = pl.concat(frames)
    total = float(rows["bits"].sum())
    bits_text = f"{total / characters:.4g} per character, {total / len(rows):.4g} per token"
    found = f"{characters} characters, {len(documents)} documents"
    return Forecasts(
        rows, found, (*choices, Choice("bits", bits_text, "mean over all predicted tokens"))
    )


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
    """Generate the continuation of a prompt, piece by piece as it is sampled.

    >>> "".join(sample(model, spec, "ROMEO:", length=200, temperature=0.8))

    Args:
        model: A trained language model.
        spec: Its vocabulary.
        prompt: Text to continue; the model must know at least one of its tokens.
        length: Number of tokens to generate.
        temperature: Divisor of the logits; 0 always takes the most likely token.
        top_k: Sample only from this many most likely tokens; None: from all.
        seed: Random seed; the same seed gives the same text.

    Raises InputError for a prompt without a known token.
    """
    alphabet = Alphabet(spec)
    check_codes(spec, model.config.outputs)
    codes = alphabet.encode(prompt)
    if not len(codes):
        raise InputError("--prompt", "it has no tokens", "give some text to continue")
    unknown = sum(alphabet.word(c) == "\ufffd" for c in codes.tolist())
    if unknown == len(codes):
        raise InputError("--prompt", "the model knows none of its tokens", "give other text")
    sampled = _sampled(model, codes, temperature, top_k, torch.Generator().manual_seed(seed))
    return alphabet.pieces(islice(sampled, length))


@torch.no_grad()
def _sampled(
    model: SequenceNetwork,
    codes: np.ndarray,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator,
) -> Iterator[int]:
    """An endless sequence of sampled codes."""
    tokens = torch.from_numpy(codes.astype(np.int64))[:, None, None]
    state: Any = None
    while True:
        output, state = model(tokens, state)
        code = _choice(output[-1, 0].double(), temperature, top_k, generator)
        yield code
        tokens = torch.tensor([[[code]]])


def _choice(
    scores: Tensor, temperature: float, top_k: int | None, generator: torch.Generator
) -> int:
    if temperature == 0:
        return int(scores.argmax())
    # without the maximum, a small temperature would overflow
    scores = (scores - scores.max()) / temperature
    if top_k is not None and top_k < len(scores):
        least = scores.topk(top_k).values[-1]
        scores = torch.where(scores < least, -math.inf, scores)
    return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))

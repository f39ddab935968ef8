"""Encode and decode text as bytes, characters, words, or with a Hugging Face tokenizer."""

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from throughtime.bounded_reads import read_given
from throughtime.data.tables.categories import UNKNOWN
from throughtime.data_options import DataOptions
from throughtime.errors import InputError
from throughtime.library_errors import library_errors
from throughtime.specs import TOKEN_UNITS, TokenSpec

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")
_MOST_WORDS = 20_000
_MOST_CODES = 2_000_000  # limit for a tokenizer; the largest in use have about 300,000


class Alphabet:
    """Encodes text as integer codes and decodes it.

    >>> alphabet = Alphabet.learned(DataOptions(tokens="characters"), ["abba"])
    >>> alphabet.decode(alphabet.encode("abc"))
    'ab\\ufffd'
    """

    def __init__(self, spec: TokenSpec) -> None:
        self.spec = spec
        self.unit = spec.unit
        if self.unit == "tokenizer":
            self._tokenizer = _tokenizer(spec.tokenizer, "the model's tokenizer")
            self.size = _codes_of(self._tokenizer)
        elif self.unit == "bytes":
            self.size = 256
        else:
            self.size = len(spec.vocabulary)
            self._codes = {word: code for code, word in enumerate(spec.vocabulary)}
            if self.unit == "characters":
                known = np.array([ord(c) for c in spec.vocabulary[1:]], dtype=np.int64)
                self._order = np.argsort(known)
                self._known = known[self._order]

    @staticmethod
    def learned(options: DataOptions, texts: Iterable[str]) -> "Alphabet":
        """Build the alphabet of texts: sorted characters, or the most frequent words.

        Raises InputError for unknown tokens, or a tokenizer that cannot be read.
        """
        unit, saved = options.tokens, options.saved()
        if unit.endswith(".json"):
            content = read_given(Path(unit)).decode("utf-8", "replace")
            _codes_of(_tokenizer(content, unit))
            # a model contains the tokenizer, not its path
            return Alphabet(TokenSpec(replace(saved, tokens="tokenizer"), (), content))
        if unit not in TOKEN_UNITS[:3]:
            raise InputError(
                "--tokens",
                f"unknown {unit!r}",
                "choose bytes, characters, words or the path of a tokenizer.json",
            )
        if unit == "bytes":
            words: list[str] = []
        elif unit == "characters":
            words = [UNKNOWN, *sorted(set[str]().union(*texts) - {UNKNOWN})]
        else:
            counts: Counter[str] = Counter()
            for text in texts:
                counts.update(_WORD.findall(text))
            words = [UNKNOWN, *(word for word, _ in counts.most_common(_MOST_WORDS))]
        return Alphabet(TokenSpec(saved, tuple(words), ""))

    def encode_all(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Encode each text as codes [T]; code 0 for tokens not in the vocabulary."""
        if self.unit != "tokenizer":
            return [self._encode(text) for text in texts]
        advice = "give a tokenizer with valid rules and a token for unknown text"
        # once for all texts: catching library errors takes longer than encoding a short text
        with library_errors("--tokens", "the tokenizer cannot read the text", advice):
            return [self._encode(text) for text in texts]

    def encode(self, text: str) -> np.ndarray:
        """Encode one text as codes [T]."""
        return self.encode_all([text])[0]

    def _encode(self, text: str) -> np.ndarray:
        if self.unit == "bytes":
            # invalid bytes from the command line are surrogate characters
            return np.frombuffer(text.encode(errors="surrogateescape"), dtype=np.uint8)
        if self.unit == "tokenizer":
            return np.array(self._tokenizer.encode(text).ids, dtype=np.int32)
        if self.unit == "words":
            return np.array([self._codes.get(w, 0) for w in _WORD.findall(text)], dtype=np.int32)
        letters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        if not len(self._known):
            return np.zeros(len(letters), dtype=np.int32)
        at = np.searchsorted(self._known, letters).clip(max=len(self._known) - 1)
        found = self._known[at] == letters
        return np.where(found, self._order[at] + 1, 0).astype(np.int32)

    def decode(self, codes: Iterable[int]) -> str:
        """Decode codes to text."""
        return "".join(self.pieces(codes))

    def pieces(self, codes: Iterable[int]) -> Iterator[str]:
        """Decode codes one by one; bytes are held back until their character is complete."""
        if self.unit == "bytes":
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            for code in codes:
                yield decoder.decode(bytes([code]))
            yield decoder.decode(b"", final=True)
        elif self.unit == "tokenizer":
            yield from _growing(
                lambda some: self._tokenizer.decode(some, skip_special_tokens=False), codes
            )
        else:
            between = " " if self.unit == "words" else ""
            for number, code in enumerate(codes):
                yield (between if number else "") + self.spec.vocabulary[code]

    def word(self, code: int) -> str:
        """Return the token of a code."""
        return next(self.pieces([code]), "") if self.unit != "bytes" else f"0x{code:02x}"


def _growing(decode: Callable[[list[int]], str], codes: Iterable[int]) -> Iterator[str]:
    """Yield the text that each code adds, for tokens that are decoded in context."""
    seen: list[int] = []
    begin = done = 0  # codes from `begin` are decoded again; those before `done` were yielded
    for code in codes:
        seen.append(code)
        old, new = decode(seen[begin:done]), decode(seen[begin:])
        if len(new) > len(old) and not new.endswith(UNKNOWN):  # else the character is incomplete
            yield new[len(old) :]
            begin, done = done, len(seen)


def check_codes(spec: TokenSpec, count: int) -> None:
    """Raise InputError unless a model has as many tokens as its network has codes."""
    size = Alphabet(spec).size
    if size != count:
        raise InputError(
            "the model's tokens",
            f"{size:,} codes, but its network has {count:,}",
            "fit and save the model again",
        )


def _codes_of(tokenizer: Any) -> int:
    """Count the codes of a tokenizer. Raises InputError if there are none or too many."""
    most = max(tokenizer.get_vocab().values(), default=-1)
    if not 0 <= most < _MOST_CODES:
        found = f"{most + 1:,} codes" if most >= 0 else "no token"
        raise InputError(
            "the tokenizer", f"it has {found}", f"give one with 1 to {_MOST_CODES:,} codes"
        )
    return most + 1


def _tokenizer(content: str, where: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError(where, "tokenizers is not installed", "pip install tokenizers") from None
    advice = "give a tokenizer.json written by Tokenizer.save()"
    with library_errors(where, "not a Hugging Face tokenizer", advice):
        tokenizer = Tokenizer.from_str(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer

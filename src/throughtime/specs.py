"""Data specifications saved with a model, used to match new data to its training data.

A model folder may come from an untrusted source: each class raises ValueError for values that the
reader of its kind of data cannot produce.
"""

import math
import re
from dataclasses import dataclass

MOST_STEPS = 1_000_000  # longest context or horizon of a model
TOKEN_UNITS = ("bytes", "characters", "words", "tokenizer")
# the further reader options of each source of sequences
_HOW: dict[str, tuple[str, ...]] = {
    "table": ("gap unit",),
    "archive": (),
    "text": ("text", "unit", "tokenizer"),
    "audio": ("features", "rate", "bands", "channels", "file"),
    "task": ("task", "length"),
}


@dataclass(frozen=True)
class DataSpec:
    """The table that a forecaster was trained on."""

    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    time: str | None
    group: str | None
    clock: tuple[str, int, str]  # kind, count, unit of the time step
    missing: str
    known: tuple[str, ...] = ()  # columns known ahead
    calendar: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()  # the vocabulary of each categorical column
    masked: tuple[str, ...] = ()  # columns with missing-value indicators
    resample: str | None = None
    gap_unit: float | None = None  # with --gaps: unit of the time between rows

    def __post_init__(self) -> None:
        strange = set(self.masked) - {*self.targets, *self.inputs}
        if strange:
            raise ValueError(f"masked column {min(strange)!r} is not a target or an input")
        if len(self.categorical) != len(self.categories) or not all(map(len, self.categories)):
            raise ValueError("every categorical column must have categories")
        if self.gap_unit is not None and not self.gap_unit > 0:
            raise ValueError(f"gap_unit must be positive, got {self.gap_unit}")

    @property
    def numbers(self) -> int:
        """The number of numeric values in a step."""
        own = len(self.targets) + len(self.inputs) + (self.gap_unit is not None)
        return own + 2 * len(self.masked) + len(self.known) + 2 * len(self.calendar)


@dataclass(frozen=True)
class SequenceSpec:
    """The labelled sequences that a network was trained on."""

    source: str  # "table", "archive", "text", "audio" or "task"
    label: str
    classes: tuple[str, ...]  # empty for regression
    every_step: bool
    numbers: tuple[str, ...]  # numeric columns
    codes: tuple[str, ...]  # categorical columns
    categories: tuple[tuple[str, ...], ...]  # the vocabulary of each categorical column
    missing: str
    time: str | None
    group: str | None
    how: dict[str, str]  # further options of the reader

    def __post_init__(self) -> None:
        if self.source not in _HOW:
            raise ValueError(f"source must be one of {', '.join(_HOW)}; got {self.source!r}")
        if set(self.how) != set(_HOW[self.source]):
            raise ValueError(
                f"how of source {self.source!r} must have the keys "
                f"{', '.join(_HOW[self.source]) or '(none)'}; got {', '.join(self.how) or '(none)'}"
            )
        if len(self.codes) != len(self.categories) or not all(map(len, self.categories)):
            raise ValueError("every code column must have categories")
        for name in ("rate", "bands"):
            if name in self.how and not re.fullmatch(r"[1-9]\d{0,5}", self.how[name]):
                raise ValueError(f"how.{name} must be a whole number, got {self.how[name]!r}")
        if gap := self.how.get("gap unit"):
            try:
                positive = math.isfinite(float(gap)) and float(gap) > 0
            except ValueError:
                positive = False
            if not positive:
                raise ValueError(f"how.gap unit must be a positive number, got {gap!r}")
        if self.source == "text":
            words = self.categories[0] if self.categories else ()
            # raises ValueError if the unit has no vocabulary
            TokenSpec(self.how["unit"], words, self.how["tokenizer"])


@dataclass(frozen=True)
class TokenSpec:
    """The tokens of a language model."""

    unit: str  # "bytes", "characters", "words" or "tokenizer"
    vocabulary: tuple[str, ...]  # the token of each code; empty for "tokenizer"
    tokenizer: str  # the JSON of a Hugging Face tokenizer, or empty

    def __post_init__(self) -> None:
        if self.unit not in TOKEN_UNITS:
            raise ValueError(f"unit must be one of {', '.join(TOKEN_UNITS)}; got {self.unit!r}")
        if (self.unit == "tokenizer") != bool(self.tokenizer):
            raise ValueError(
                "tokenizer must be set if and only if unit is 'tokenizer'; "
                f"got unit {self.unit!r} with {'a' if self.tokenizer else 'no'} tokenizer"
            )
        if self.unit in ("characters", "words") and not self.vocabulary:
            raise ValueError(f"unit {self.unit!r} has no vocabulary")
        if self.unit == "characters" and any(len(word) != 1 for word in self.vocabulary[1:]):
            raise ValueError("every entry of a vocabulary of characters must be one character")

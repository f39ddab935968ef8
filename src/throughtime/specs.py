"""What a model must know of its data, so that new data can be lined up with it.

A model's folder may come from anybody: each class refuses, by ValueError, what no reader of its
kind of data could have written.
"""

import math
import re
from dataclasses import dataclass

MOST_STEPS = 1_000_000  # that a model sees or forecasts
TOKEN_UNITS = ("bytes", "characters", "words", "tokenizer")
# of each source of sequences, what else its reader is asked
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
    known: tuple[str, ...] = ()  # plans
    calendar: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()  # of each the words that its codes stand for
    masked: tuple[str, ...] = ()  # columns with marks of what is missing
    resample: str | None = None
    gap_unit: float | None = None  # rows are steps, and the time between them, in it, an input

    def __post_init__(self) -> None:
        strange = set(self.masked) - {*self.targets, *self.inputs}
        if strange:
            raise ValueError(f"masked column {min(strange)!r} is no column")
        if len(self.categorical) != len(self.categories) or not all(map(len, self.categories)):
            raise ValueError("categorical columns and their categories do not fit together")
        if self.gap_unit is not None and not self.gap_unit > 0:
            raise ValueError(f"gap_unit must be positive, got {self.gap_unit}")

    @property
    def numbers(self) -> int:
        """How many numbers a step has."""
        own = len(self.targets) + len(self.inputs) + (self.gap_unit is not None)
        return own + 2 * len(self.masked) + len(self.known) + 2 * len(self.calendar)


@dataclass(frozen=True)
class SequenceSpec:
    """The sequences that a network was trained to answer to."""

    source: str  # "table", "archive", "text", "audio" or "task"
    label: str
    classes: tuple[str, ...]  # none: numbers
    every_step: bool
    numbers: tuple[str, ...]  # columns
    codes: tuple[str, ...]  # columns of categories
    categories: tuple[tuple[str, ...], ...]  # of each the words that its codes stand for
    missing: str
    time: str | None
    group: str | None
    how: dict[str, str]  # what else the reader was asked

    def __post_init__(self) -> None:
        if self.source not in _HOW:
            raise ValueError(f"source is one of {', '.join(_HOW)}; got {self.source!r}")
        if set(self.how) != set(_HOW[self.source]):
            raise ValueError(
                f"how of {self.source} has {', '.join(_HOW[self.source]) or 'nothing'}"
            )
        if len(self.codes) != len(self.categories) or not all(map(len, self.categories)):
            raise ValueError("code columns and their categories do not fit together")
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
            # raises for a unit without its vocabulary
            TokenSpec(self.how["unit"], words, self.how["tokenizer"])


@dataclass(frozen=True)
class TokenSpec:
    """The text whose next token a network was trained to tell."""

    unit: str  # "bytes", "characters", "words" or "tokenizer"
    vocabulary: tuple[str, ...]  # the words that codes stand for; empty for "tokenizer"
    tokenizer: str  # a Hugging Face tokenizer's JSON, or nothing

    def __post_init__(self) -> None:
        if self.unit not in TOKEN_UNITS:
            raise ValueError(f"unit is one of {', '.join(TOKEN_UNITS)}; got {self.unit!r}")
        if (self.unit == "tokenizer") != bool(self.tokenizer):
            raise ValueError(f"unit {self.unit!r} and tokenizer do not fit together")
        if self.unit in ("characters", "words") and not self.vocabulary:
            raise ValueError(f"unit {self.unit!r} has no vocabulary")
        if self.unit == "characters" and any(len(word) != 1 for word in self.vocabulary[1:]):
            raise ValueError("vocabulary of characters has words")

"""Data specifications saved with a model, used to match new data to its training data.

Each holds the options with which the training data were read (nothing is left to be chosen by the
reader), and what was learned from the data. A model folder may come from an untrusted source: each
class raises ValueError for values that the reader of its kind of data cannot produce.
"""

from dataclasses import dataclass

from throughtime.data_options import DataOptions
from throughtime.serialization import added_later

MOST_STEPS = 1_000_000  # longest context or horizon of a model
TOKEN_UNITS = ("bytes", "characters", "words", "tokenizer")
SOURCES = ("table", "archive", "text", "audio", "task")


@dataclass(frozen=True)
class DataSpec:
    """The table that a forecaster was trained on."""

    options: DataOptions
    clock: tuple[str, int, str]  # kind, count, unit of the time step
    categories: tuple[tuple[str, ...], ...] = ()  # the vocabulary of each categorical column
    masked: tuple[str, ...] = ()  # columns with missing-value indicators
    gap_unit: float | None = None  # with --gaps: unit of the time between rows
    # the vocabulary of each categorical column known ahead
    plans: tuple[tuple[str, ...], ...] = added_later(())

    def __post_init__(self) -> None:
        options = self.options
        _check(options, self.gap_unit)
        if None in (options.target, options.inputs, options.time):
            raise ValueError("target, inputs and time must be set")
        strange = set(self.masked) - {*self.targets, *self.inputs}
        if strange:
            raise ValueError(f"masked column {min(strange)!r} is not a target or an input")
        _check_categories(options.coded, self.categories)
        if len(options.planned_words) != len(self.plans):
            raise ValueError("every categorical column known ahead must have its categories")
        if options.gaps != (self.gap_unit is not None):
            raise ValueError("gap_unit must be set if and only if gaps is")

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to forecast."""
        return self.options.target or ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The further numeric columns."""
        return self.options.inputs or ()

    @property
    def numbers(self) -> int:
        """The number of numeric values in a step."""
        own = len(self.targets) + len(self.inputs) + self.options.gaps
        return own + 2 * len(self.masked) + self.known_ahead

    @property
    def known_ahead(self) -> int:
        """The number of numeric values in a step that are known ahead."""
        words = sum(len(words) for words in self.plans)
        numbers = len(self.options.known) - len(self.plans)
        return words + numbers + 2 * len(self.options.calendar)


@dataclass(frozen=True)
class SequenceSpec:
    """The labelled sequences that a network was trained on."""

    source: str  # "table", "archive", "text", "audio" or "task"
    options: DataOptions
    classes: tuple[str, ...]  # empty for regression
    every_step: bool
    columns: tuple[str, ...]  # numeric columns, also those that the reader adds
    categories: tuple[tuple[str, ...], ...] = ()  # the vocabulary of each categorical column
    gap_unit: float | None = None  # tables with times: unit of the time between rows
    tokenizer: str = ""  # the JSON of a Hugging Face tokenizer, or empty
    task: str = ""  # name of the generated task, or empty

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}; got {self.source!r}")
        _check(self.options, self.gap_unit)
        text = self.source == "text"
        _check_categories(("text",) if text else self.options.categorical, self.categories)
        if text:
            _ = self.tokens  # raises ValueError if they have no vocabulary

    @property
    def label(self) -> str:
        """The name of the labels."""
        return self.options.label or "label"

    @property
    def tokens(self) -> "TokenSpec":
        """The tokens of labelled texts."""
        numbered = self.options.tokens in ("bytes", "tokenizer")
        return TokenSpec(self.options, () if numbered else self.categories[0], self.tokenizer)


@dataclass(frozen=True)
class TokenSpec:
    """The tokens of a language model, or of labelled texts."""

    options: DataOptions
    vocabulary: tuple[str, ...]  # the token of each code; empty for "tokenizer"
    tokenizer: str  # the JSON of a Hugging Face tokenizer, or empty

    def __post_init__(self) -> None:
        _check(self.options)
        unit = self.unit
        if (unit == "tokenizer") != bool(self.tokenizer):
            raise ValueError(
                "tokenizer must be set if and only if tokens is 'tokenizer'; "
                f"got tokens {unit!r} with {'a' if self.tokenizer else 'no'} tokenizer"
            )
        if unit in ("characters", "words") and not self.vocabulary:
            raise ValueError(f"tokens {unit!r} has no vocabulary")
        if unit == "characters" and any(len(word) != 1 for word in self.vocabulary[1:]):
            raise ValueError("every entry of a vocabulary of characters must be one character")

    @property
    def unit(self) -> str:
        """The kind of tokens, one of TOKEN_UNITS."""
        return self.options.tokens


def _check(options: DataOptions, gap_unit: float | None = None) -> None:
    """Raise ValueError for options that no model saves."""
    if options != options.saved():
        raise ValueError("an option that is not saved with a model is set")
    if options.tokens not in TOKEN_UNITS:  # not the path of a tokenizer
        raise ValueError(f"tokens must be one of {', '.join(TOKEN_UNITS)}; got {options.tokens!r}")
    numbers = {"rate": options.rate, "bands": options.bands, "length": options.length}
    for name, value in {**numbers, "gap_unit": gap_unit}.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _check_categories(columns: tuple[str, ...], categories: tuple[tuple[str, ...], ...]) -> None:
    if len(columns) != len(categories) or not all(map(len, categories)):
        raise ValueError("every categorical column must have categories")

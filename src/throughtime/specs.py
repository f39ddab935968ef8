"""What a model must know of its data, so that new data can be lined up with it."""

from dataclasses import dataclass


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


@dataclass(frozen=True)
class TokenSpec:
    """The text whose next token a network was trained to tell."""

    unit: str  # "bytes", "characters", "words" or "tokenizer"
    vocabulary: tuple[str, ...]  # the words that codes stand for; empty for "tokenizer"
    tokenizer: str  # a Hugging Face tokenizer's JSON, or nothing

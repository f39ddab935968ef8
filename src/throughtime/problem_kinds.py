"""The kinds of problems in words: what tables, pages and verdicts say of each, in one entry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class ProblemKind:
    """What is said of a problem. `title` and `size` take a `DataRecord`."""

    items: str  # what training, validation and test consist of
    rows: str
    series: str
    title: Callable[[Any], str]
    size: Callable[[Any], str]
    answer: str = "answer"  # what a network gives
    by_step: bool = False  # whether errors are shown by step ahead, and time has a unit
    normalized: bool = True  # whether networks are given numbers
    resampled: str = "blocks of time"  # what an interval is taken over
    measure: str = "{unit}"  # of errors


def _ahead(data: Any) -> str:
    steps = f"{data.horizon} step{'s' if data.horizon > 1 else ''}"
    return f"{', '.join(data.targets)}: {steps} ahead"


def _table(data: Any) -> str:
    return f"{data.path}: {data.rows} rows, one every {data.step}; context {data.context} steps"


def _steps(data: Any) -> str:
    return f"{data.path}: {data.rows} steps of {len(data.inputs)} columns"


PROBLEMS: Mapping[str, ProblemKind] = MappingProxyType(
    {
        "forecasting": ProblemKind(
            "windows",
            "rows",
            "series",
            _ahead,
            _table,
            answer="forecast",
            by_step=True,
            measure="mean absolute error ({unit})",
        ),
        "sequences": ProblemKind(
            "sequences",
            "steps",
            "sequences",
            lambda data: f"{data.targets[0]} of each sequence",
            _steps,
            resampled="sequences",
        ),
        "steps": ProblemKind(
            "sequences",
            "steps",
            "sequences",
            lambda data: f"{data.targets[0]} of each step",
            _steps,
        ),
        "tokens": ProblemKind(
            "steps",
            "letters",
            "documents",
            lambda data: f"{data.path}: the next token",
            lambda data: f"{data.rows} letters",
            normalized=False,
        ),
    }
)

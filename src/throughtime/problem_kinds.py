"""Terms for each kind of problem, used in tables, pages and verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class ProblemKind:
    """Terms for a kind of problem. `title` and `size` take a `DataRecord`."""

    items: str  # what training, validation and test consist of
    rows: str
    series: str
    title: Callable[[Any], str]
    size: Callable[[Any], str]
    answer: str = "prediction"  # noun for the output of a network
    by_step: bool = False  # whether errors are reported by step ahead, and time has a unit
    normalized: bool = True  # whether inputs are numbers that can be normalized
    resampled: str = "blocks of time"  # what the bootstrap resamples


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
            "characters",
            "documents",
            lambda data: f"{data.path}: the next token",
            lambda data: f"{data.rows} characters",
            normalized=False,
        ),
    }
)

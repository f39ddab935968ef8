"""What users give as data in Python: paths, bytes, data frames, arrays and texts."""

from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import polars as pl

from throughtime.data import frames
from throughtime.data.sources import (
    DataSource,
    MemoryFile,
    MemorySequences,
    MemoryTable,
    MemoryTexts,
)
from throughtime.data_options import DataOptions
from throughtime.errors import InputError


def source_of(
    source: Any, answers: Any = None, *, sequences: bool = False
) -> tuple[DataSource, dict[str, Any]]:
    """What a user gave as data, where a path may stand; and the options that this implies.

    >>> source_of(np.zeros((3, 50, 2)), answers=[0, 1, 0])[0].arrays["x"].shape
    (3, 50, 2)

    ``sequences``: arrays are sequences of their own even without answers, as a model takes them.
    Raises TypeError for what is no data, InputError for arrays of a shape that has no meaning.
    """
    if isinstance(source, str | Path):
        return Path(source), {}
    if isinstance(source, bytes):
        return MemoryFile(source), {}
    if frames.is_frame(source):
        return MemoryTable(frames.to_polars(source)), {}
    items = list(source) if isinstance(source, list | tuple) else None
    if items and all(isinstance(item, str) for item in items):
        if answers is None:
            return MemoryTexts(tuple(items)), {}
        words = [str(answer) for answer in answers]
        table = _table("the texts", {"text": items, "label": words})
        return table, {"text": "text", "label": "label"}
    if items and all(np.ndim(item) in (1, 2) for item in items):
        series = [_columns(np.asarray(item)) for item in items]
        if answers is None and not sequences:
            return _series("the arrays", series), {"group": "series"}
        arrays = {"x": np.concatenate(series), "lengths": np.array([len(s) for s in series])}
        return MemorySequences({**arrays, **_answers(answers)}), {}
    if hasattr(source, "__array__"):
        array = np.asarray(source)
        if answers is not None or sequences:
            return MemorySequences({"x": array, **_answers(answers)}), {}
        if array.ndim == 3:
            return _series("the array", list(array)), {"group": "series"}
        if array.ndim in (1, 2):
            return _series("the array", [_columns(array)], single=True), {}
        raise InputError("the array", f"shape {array.shape}", "give [T], [T, C] or [N, T, C]")
    raise TypeError(
        f"read() takes a path, bytes, a data frame, arrays or texts; got {type(source).__name__}"
    )


def _answers(answers: Any) -> dict[str, np.ndarray]:
    """Answers as one array: of sequences [N], or of all steps end to end."""
    if answers is None:
        return {}
    if isinstance(answers, list | tuple) and len(answers) and np.ndim(answers[0]) > 0:
        return {"y": np.concatenate([np.asarray(a) for a in answers])}
    return {"y": np.asarray(answers)}


def _columns(array: np.ndarray) -> np.ndarray:
    return array[:, None] if array.ndim == 1 else array


def _table(name: str, columns: dict[str, Any]) -> MemoryTable:
    return MemoryTable(pl.DataFrame(columns), name)


def _series(name: str, series: list[np.ndarray], *, single: bool = False) -> MemoryTable:
    """Series [T, C] under each other: columns x1, x2, ..., and which series each row is of."""
    values = np.concatenate(series)
    columns: dict[str, Any] = {f"x{k + 1}": values[:, k] for k in range(values.shape[1])}
    if not single:
        numbers = np.repeat(np.arange(len(series)) + 1, [len(s) for s in series])
        columns = {"series": numbers.astype(str), **columns}
    return _table(name, columns)


def data_options_of(given: dict[str, Any]) -> DataOptions:
    """The options of data as a caller wrote them. Raises TypeError for an unknown one."""
    known = {f.name: f for f in fields(DataOptions)}
    hints = get_type_hints(DataOptions)
    for name, value in given.items():
        if name not in known:
            close = get_close_matches(name, known, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise TypeError(f"read() got an unexpected argument {name!r}; {advice}")
        several = "tuple" in str(hints[name])
        if several and value is not None:
            names = (value,) if isinstance(value, str) else tuple(value)
            given[name] = () if name == "inputs" and names == ("none",) else names
        elif name == "static" and value is not None:
            given[name] = source_of(value)[0]
        elif isinstance(value, Path):
            given[name] = str(value)
    return DataOptions(**given)

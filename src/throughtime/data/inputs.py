"""Convert Python data (paths, bytes, data frames, arrays, texts) to data sources."""

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
    """Convert user data to a data source, and return the options that it implies.

    >>> source_of(np.zeros((3, 50, 2)), answers=[0, 1, 0])[0].arrays["x"].shape
    (3, 50, 2)

    ``sequences``: treat arrays as separate sequences even without answers, for prediction.
    Raises TypeError for unsupported types, InputError for arrays of an unsupported shape.
    """
    found = _ready(source)
    if found is not None:
        if answers is not None:
            raise InputError(
                "--answers",
                "they apply to arrays and texts only",
                "give the column of labels: label=NAME",
            )
        return found, {}
    source, answers = _plain(source), None if answers is None else _plain(answers)
    items = list(source) if isinstance(source, list | tuple) else None
    if items is not None and not items:
        raise InputError("the list", "it is empty", "give arrays or texts")
    if answers is not None and items is not None and len(answers) != len(items):
        found = f"{len(answers)} answers for {len(items)} items"
        raise InputError("--answers", found, "give one answer, or one list of answers, per item")
    if items and all(isinstance(item, str) for item in items):
        return _texts(items, answers)
    if items and all(isinstance(item, int | float) for item in items):
        source, items = np.asarray(items, dtype=np.float64), None
    if items is not None:
        items = [_plain(item) for item in items]
        if all(np.ndim(item) in (1, 2) for item in items):
            return _arrays([_columns(np.asarray(item)) for item in items], answers, sequences)
    if items is None and hasattr(source, "__array__"):
        return _array(np.asarray(source), answers, sequences)
    raise TypeError(
        f"read() takes a path, bytes, a data frame, arrays or texts; got {type(source).__name__}"
    )


def _ready(source: Any) -> DataSource | None:
    """Return a source for data that name their columns; None for arrays and texts."""
    if isinstance(source, str | Path):
        if not str(source):
            raise InputError("the path", "it is empty", "give the path of a file or folder")
        return Path(source)
    if isinstance(source, bytes):
        return MemoryFile(source)
    return MemoryTable(frames.to_polars(source)) if frames.is_frame(source) else None


def _texts(texts: list[str], answers: Any) -> tuple[DataSource, dict[str, Any]]:
    if answers is None:
        return MemoryTexts(tuple(texts)), {}
    if any(answer is None for answer in answers):
        raise InputError("--answers", "an answer is None", "remove its text")
    words = [str(answer) for answer in answers]
    table = _table("the texts", {"text": texts, "label": words})
    return table, {"text": "text", "label": "label"}


def _arrays(
    series: list[np.ndarray], answers: Any, sequences: bool
) -> tuple[DataSource, dict[str, Any]]:
    """Several series [T, C]."""
    widths = sorted({s.shape[1] for s in series})
    if len(widths) > 1:
        found = f"some have {widths[0]} columns, others {widths[-1]}"
        raise InputError("the arrays", found, "give all arrays the same number of columns")
    if answers is None and not sequences:
        return _series("the arrays", series), {"group": "series"}
    _check_steps(series, answers)
    arrays = {"x": np.concatenate(series), "lengths": np.array([len(s) for s in series])}
    return MemorySequences({**arrays, **_answers(answers)}), {}


def _array(array: np.ndarray, answers: Any, sequences: bool) -> tuple[DataSource, dict[str, Any]]:
    """One array: a series, or several of equal length."""
    if answers is not None or sequences:
        if answers is not None and (array.ndim < 2 or len(answers) != len(array)):
            found = f"{len(answers)} answers for an array of shape {array.shape}"
            raise InputError("--answers", found, "give an array [N, T, C] and N answers")
        _check_steps(array, answers)
        return MemorySequences({"x": array, **_answers(answers)}), {}
    if array.ndim == 3:
        return _series("the array", list(array)), {"group": "series"}
    if array.ndim in (1, 2):
        return _series("the array", [_columns(array)], single=True), {}
    raise InputError("the array", f"its shape is {array.shape}", "give [T], [T, C] or [N, T, C]")


def _plain(values: Any) -> Any:
    """Convert arrays of any library to numpy, without gradients or masks; texts to a list."""
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu()
        values = (
            (values.float() if values.dtype.is_floating_point else values).numpy()
            if (str(values.dtype) == "torch.bfloat16")
            else values.numpy()
        )
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    if type(values).__name__ == "Series" and hasattr(values, "to_list"):  # of pandas or polars
        values = values.to_list()
    if not hasattr(values, "__array__"):
        return values
    array = np.asarray(values)
    if array.dtype.kind in "OUT":
        flat = array.ravel().tolist()
        if all(isinstance(value, str) for value in flat):
            return array.tolist()
        try:
            return np.array(array.tolist(), dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(
                "the array",
                f"its type {array.dtype} is not numeric",
                "give only numbers or only texts",
            ) from None
    if array.dtype.kind == "c" or array.dtype.names:
        raise InputError("the array", f"its type is {array.dtype}", "give real numbers")
    return array


def _check_steps(series: Any, answers: Any) -> None:
    """Raise InputError for a series with several answers, but not one per step."""
    for number, (x, y) in enumerate(
        zip(series, answers if answers is not None else (), strict=False)
    ):
        if np.ndim(y) == 1 and len(y) != len(x) and np.ndim(x) == 2:
            raise InputError(
                f"answers of item {number + 1}",
                f"{len(y)} answers for {len(x)} steps",
                "give one answer per step, or one for the whole sequence",
            )


def _answers(answers: Any) -> dict[str, np.ndarray]:
    """Return the answers as one array: of sequences [N], or of all steps, concatenated."""
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
    """Concatenate series [T, C] to a table with columns x1, x2, ... and the series number."""
    values = np.concatenate(series)
    columns: dict[str, Any] = {f"x{k + 1}": values[:, k] for k in range(values.shape[1])}
    if not single:
        numbers = np.repeat(np.arange(len(series)) + 1, [len(s) for s in series])
        columns = {"series": numbers.astype(str), **columns}
    return _table(name, columns)


def data_options_of(given: dict[str, Any]) -> DataOptions:
    """Convert keyword arguments to data options. Raises TypeError for an unknown option."""
    known = [f.name for f in fields(DataOptions)]
    hints = get_type_hints(DataOptions)
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            close = get_close_matches(name, known, n=1)
            advice = (
                f"did you mean {close[0]!r}?" if close else f"the arguments are {', '.join(known)}"
            )
            raise TypeError(f"read() got an unexpected argument {name!r}; {advice}")
        found[name] = _option(name, value, str(hints[name]))
    return DataOptions(**found)


def _option(name: str, value: Any, hint: str) -> Any:
    """Convert an option to its type in `DataOptions`. Raises InputError for a wrong type."""
    if value is None:
        return getattr(DataOptions(), name)
    if "tuple" in hint:
        names: Any = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            raise InputError(f"--{name}", repr(value), "give a name, or a list of names")
        return () if name == "inputs" and list(names) == ["none"] else tuple(names)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if "int" in hint and not whole:
        raise InputError(f"--{name}", repr(value), "give a whole number")
    if name == "static":
        return source_of(value)[0]
    return str(value) if isinstance(value, Path) else value

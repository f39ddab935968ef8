"""Missing values filled: held, with marks, or by straight lines; of tables and of sequences."""

import numpy as np


def last_seen(there: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The row of the last value up to each row, [R,C], from which values are there.

    ``first`` [R]: the row in which the sequence of each begins; -1 where nothing was seen since.
    """
    rows = np.arange(len(there))[:, None]
    last = np.maximum.accumulate(np.where(there, rows, -1), axis=0)
    return np.where(last >= first[:, None], last, -1)


def hold(values: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The last value of each column, [R,C]; NaN where nothing was seen yet."""
    held = values[np.maximum(last, 0), np.arange(values.shape[1])]
    return np.where(last >= 0, held, np.nan)


def marks(last: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Of one column [R]: 1 where it was observed, and the steps since it was, [R,2]."""
    rows = np.arange(len(last))
    since = rows - np.where(last >= 0, last, first)
    return np.column_stack([last == rows, since]).astype(np.float64)


def join(column: np.ndarray) -> np.ndarray:
    """One column of one sequence [T], straight lines where it lacks values, its ends held."""
    steps, there = np.arange(len(column)), ~np.isnan(column)
    return np.interp(steps, steps[there], column[there])

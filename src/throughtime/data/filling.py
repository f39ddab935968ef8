"""Fill missing values of tables and sequences: forward fill, indicators, or interpolation."""

import numpy as np


def last_seen(there: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the row of the last present value up to each row, [R,C].

    ``there`` [R,C]: whether a value is present. ``first`` [R]: the first row of each row's
    sequence. The result is -1 where the sequence has had no value so far.
    """
    rows = np.arange(len(there))[:, None]
    last = np.maximum.accumulate(np.where(there, rows, -1), axis=0)
    return np.where(last >= first[:, None], last, -1)


def hold(values: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Forward fill: the last value of each column, [R,C]; NaN before the first value."""
    held = values[np.maximum(last, 0), np.arange(values.shape[1])]
    return np.where(last >= 0, held, np.nan)


def marks(last: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return indicators of one column, [R,2]: 1 where observed, and steps since observed."""
    rows = np.arange(len(last))
    since = rows - np.where(last >= 0, last, first)
    return np.column_stack([last == rows, since]).astype(np.float64)


def join(column: np.ndarray) -> np.ndarray:
    """Interpolate missing values of one column [T] linearly; the ends are held constant."""
    steps, there = np.arange(len(column)), ~np.isnan(column)
    return np.interp(steps, steps[there], column[there])

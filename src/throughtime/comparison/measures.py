"""Measures of error, each as one value per item, whose mean is the measure.

A mean over items is resampled by resampling items. Other measures (a root, a ratio, a rank) are
replaced by the value at the data plus each item's influence on it (Hampel 1974), whose mean is the
measure and whose resampled means vary as the measure does. So one bootstrap judges all measures.
All are errors: the lower, the better.
"""

from collections.abc import Callable, Mapping

import numpy as np

WORDS: Mapping[str, str] = {
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "mase": "mean absolute error",
    "mse": "mean squared error",
    "error": "share of wrong answers",
    "balanced-error": "share of wrong answers, each class with the same weight",
    "f1": "1 - F1, mean over classes",
    "auc": "1 - area under the ROC curve, mean over classes",
    "cross-entropy": "cross-entropy in nats",
    "bits": "bits",
}


def root(squares: np.ndarray) -> np.ndarray:
    """The root of the mean of squares [n].

    >>> root(np.array([1.0, 49.0])).mean()
    5.0
    """
    found = float(np.sqrt(squares.mean()))
    return found + (squares - squares.mean()) / (2 * found) if found else squares


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The ratio of two sums over items [n], [n].

    >>> ratio(np.array([1.0, 0, 0]), np.array([1.0, 1, 0])).mean()
    0.5
    """
    found = above.sum() / below.sum()
    return found + (above - found * below) / below.mean()


def balanced_error(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The share of wrong answers of each class, mean over the classes that occur.

    Args:
        scores: Scores of classes, [n, classes].
        wanted: The true classes, [n].
    """
    wrong = scores.argmax(axis=1) != wanted
    each = [ratio(wrong & (wanted == k), wanted == k) for k in np.unique(wanted)]
    return np.mean(each, axis=0)


def f1(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """1 - F1, mean over the classes that occur or are predicted; arguments as `balanced_error`."""
    found = scores.argmax(axis=1)
    each: list[np.ndarray] = []
    for k in np.union1d(wanted, found):
        wrong = ((found == k) != (wanted == k)).astype(float)
        right = ((found == k) & (wanted == k)).astype(float)
        each.append(ratio(wrong, 2 * right + wrong))
    return np.mean(each, axis=0)


def auc(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """1 - area under the ROC curve of each class against the others, mean over classes.

    Items are ranked by the probability of the class, the softmax of their scores. A class of all
    items has no curve; if there is no other class, all values are NaN. Arguments as
    `balanced_error`.
    """
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    each: list[np.ndarray] = []
    for k in np.unique(wanted):
        own = wanted == k
        if own.all():
            continue
        above = 1 - _placements(probabilities[own, k], probabilities[~own, k])
        below = _placements(probabilities[~own, k], probabilities[own, k])
        error = above.mean()
        values = np.empty(len(wanted))
        values[own] = error + (above - error) * len(wanted) / own.sum()
        values[~own] = error + (below - error) * len(wanted) / (~own).sum()
        each.append(values)
    return np.mean(each, axis=0) if each else np.full(len(wanted), np.nan)


def _placements(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of other scores below each score; equal ones count half (DeLong et al. 1988)."""
    others = np.sort(others)
    below = np.searchsorted(others, scores, side="left")
    until = np.searchsorted(others, scores, side="right")
    return (below + until) / (2 * len(others))


def cross_entropy(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the true class's probability; arguments as `balanced_error`."""
    highest = scores.max(axis=1)
    total = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1))
    return total - scores[np.arange(len(wanted)), wanted]


def error(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Whether each answer is wrong; arguments as `balanced_error`."""
    return (scores.argmax(axis=1) != wanted).astype(float)


OF_CLASSES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "error": error,
    "balanced-error": balanced_error,
    "f1": f1,
    "auc": auc,
    "cross-entropy": cross_entropy,
}


def confusion(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Counts [classes, classes]: rows are true classes, columns the predicted ones.

    >>> confusion(np.array([[1.0, 0], [0, 1]]), np.array([0, 0]))
    array([[1, 1],
           [0, 0]])
    """
    classes = scores.shape[1]
    pairs = wanted * classes + scores.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

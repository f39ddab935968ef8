"""Measures against those of scikit-learn, and their intervals against repeated samples."""

import numpy as np
import pytest
from sklearn import metrics

from throughtime.comparison.bootstrap import Bootstrap, interval
from throughtime.comparison.measures import OF_CLASSES, confusion, ratio, root


def answers(seed, count=200, classes=3):
    random = np.random.default_rng(seed)
    wanted = random.choice(classes, count, p=[0.6, 0.3, 0.1][:classes])
    scores = random.normal(size=(count, classes))
    scores[np.arange(count), wanted] += 1.0
    return scores.round(1), wanted  # rounded, so that some are equal


def softmax(scores):
    found = np.exp(scores - scores.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


EXPECTED = {
    "error": lambda s, y: 1 - metrics.accuracy_score(y, s.argmax(axis=1)),
    "balanced-error": lambda s, y: 1 - metrics.balanced_accuracy_score(y, s.argmax(axis=1)),
    "f1": lambda s, y: 1 - metrics.f1_score(y, s.argmax(axis=1), average="macro"),
    "auc": lambda s, y: 1 - metrics.roc_auc_score(y, softmax(s), multi_class="ovr"),
    "cross-entropy": lambda s, y: metrics.log_loss(y, softmax(s)),
}


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_a_measure_is_that_of_scikit_learn(metric):
    for seed in range(5):
        scores, wanted = answers(seed)
        values = OF_CLASSES[metric](scores, wanted)
        assert values.shape == (200,)
        assert values.mean() == pytest.approx(EXPECTED[metric](scores, wanted), abs=1e-12)


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_the_interval_of_a_measure_is_as_wide_as_it_varies(metric):
    """Values of items vary as the measure does from sample to sample."""
    found = [OF_CLASSES[metric](*answers(seed, 400)) for seed in range(300)]
    spread = np.std([values.mean() for values in found])
    claimed = np.median([values.std() / 20 for values in found])
    assert claimed == pytest.approx(spread, rel=0.15)
    low, high = interval(Bootstrap(400, 1, seed=0)(found[0][None]))
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.3)


def test_a_root_and_a_ratio_are_the_mean_of_their_values():
    squares = np.random.default_rng(0).normal(size=500) ** 2
    assert root(squares).mean() == pytest.approx(np.sqrt(squares.mean()))
    assert (root(np.zeros(3)) == 0).all()
    above, below = np.array([1.0, 0, 1, 0]), np.array([1.0, 1, 1, 0])
    assert ratio(above, below).mean() == pytest.approx(2 / 3)


def test_a_class_that_never_occurs_or_always_has_no_curve_and_no_share():
    scores, wanted = answers(0)
    only = np.zeros(200, dtype=int)
    assert np.isnan(OF_CLASSES["auc"](scores, only)).all()
    expected = np.mean(scores.argmax(axis=1) != 0)
    assert OF_CLASSES["balanced-error"](scores, only).mean() == pytest.approx(expected)
    assert np.isfinite(OF_CLASSES["auc"](scores[wanted < 2], wanted[wanted < 2])).all()


def test_a_confusion_matrix_counts_true_classes_in_rows():
    scores, wanted = answers(1)
    assert (confusion(scores, wanted) == metrics.confusion_matrix(wanted, scores.argmax(1))).all()

"""How many steps a training takes, and how large its batches are."""

import pytest

from throughtime.training.settings import StepCounts, TrainingSettings, batch_size_for


@pytest.mark.parametrize(
    ("items", "size"),
    [(1, 16), (200, 16), (201, 32), (1000, 32), (20_000, 64), (100_000, 128), (10**7, 256)],
)
def test_batches_follow_the_number_of_items(items, size):
    assert batch_size_for(items) == size
    assert TrainingSettings().resolved(items).batch_size == size
    assert TrainingSettings(batch_size=7).resolved(items).batch_size == 7


def test_a_few_items_get_as_many_steps_as_many_do():
    few, many = (TrainingSettings().resolved(items) for items in (31, 5000))
    assert few.steps == many.steps == 3000 and few.patience == 800
    assert few.counts(epoch_steps=2) == StepCounts(limit=3000, every=25, patience=800)
    huge = TrainingSettings().resolved(10**6)  # at least three passes
    assert huge.steps == 3 * -(-(10**6) // 256)
    assert huge.counts(3907).every == huge.steps // 10  # at least ten evaluations


def test_epochs_are_counted_in_passes_with_an_evaluation_after_each():
    settings = TrainingSettings(epochs=5).resolved(500)
    assert (settings.steps, settings.patience) == (None, None)
    assert settings.counts(epoch_steps=16) == StepCounts(limit=80, every=16, patience=80)
    assert TrainingSettings(epochs=5, patience=7).counts(16).patience == 7


def test_given_numbers_are_kept():
    settings = TrainingSettings(steps=100, patience=30).resolved(10**6)
    assert settings.counts(50) == StepCounts(limit=100, every=10, patience=30)

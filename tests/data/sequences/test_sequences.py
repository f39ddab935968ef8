"""Ragged sequences, their answers, and their parts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.sequences.sequences import (
    Answers,
    Sequences,
    classes_of,
    lengths_text,
    split_sequences,
)
from throughtime.data.split import USUAL_SPLIT, Split
from throughtime.errors import InputError


def numbered(lengths):
    return Sequences(torch.arange(sum(lengths)).unsqueeze(1).double(), torch.tensor(lengths))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_padded_is_each_sequence_standing_still_at_its_end(lengths, data):
    sequences = numbered(lengths)
    index = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5))
    x, sizes = sequences.padded(torch.tensor(index))
    begins = np.cumsum([0, *lengths])
    assert sizes.tolist() == [lengths[k] for k in index]
    for column, k in enumerate(index):
        own = x[:, column, 0].tolist()
        assert own[: lengths[k]] == list(range(begins[k], begins[k + 1]))
        assert set(own[lengths[k] :]) <= {begins[k + 1] - 1}
    rows = [r for k in index for r in range(begins[k], begins[k + 1])]
    assert sequences.steps_of(torch.tensor(index)).tolist() == rows


def test_answers_of_steps_are_unknown_behind_the_end():
    sequences = numbered([3, 1])
    found = sequences.aligned(torch.tensor([5, 6, 7, 8]), torch.tensor([1, 0]), -1)
    assert found.T.tolist() == [[8, -1, -1], [5, 6, 7]]


def test_lengths_must_add_up():
    with pytest.raises(ValueError, match="add up to 4, but there are 3 rows"):
        Sequences(torch.zeros(3, 1), torch.tensor([2, 2]))


def classes(values):
    return Answers("y", ("a", "b", "c"), False, torch.tensor(values))


def test_parts_share_every_class_and_overlap_nowhere():
    answers = classes([0] * 100 + [1] * 20 + [2] * 40)
    parts = split_sequences(answers, 160, USUAL_SPLIT, 3, None, "x")[:3]
    assert sorted(torch.cat(parts).tolist()) == list(range(160))
    for share, part in zip((0.7, 0.15, 0.15), parts, strict=True):
        counts = torch.bincount(answers.values[part], minlength=3)
        assert torch.equal(counts, torch.tensor([100 * share, 20 * share, 40 * share]).round())
    again = split_sequences(answers, 160, USUAL_SPLIT, 3, None, "x")[:3]
    other = split_sequences(answers, 160, USUAL_SPLIT, 4, None, "x")[:3]
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
    assert not torch.equal(parts[0], other[0])


def test_given_parts_are_kept_and_validation_comes_of_training():
    answers = classes([0, 1, 2] * 20)
    given_parts = np.array(["train"] * 42 + ["test"] * 18)
    training, validation, test, _ = split_sequences(
        answers, 60, Split(0.7, 0.15, 0.15), 0, given_parts, "x"
    )
    assert test.tolist() == list(range(42, 60))
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(42))
    assert len(validation) == 6  # 0.15 of 0.85 of 14, rounded, of each class alike


@pytest.mark.parametrize(
    ("values", "given_parts", "told"),
    [
        ([0, 1], None, "none is left for"),
        ([0] * 9 + [1] * 9, ["train"] * 9 + ["test"] * 9, "class b is in the test part but not"),
    ],
)
def test_parts_that_cannot_be_are_told(values, given_parts, told):
    given_parts = None if given_parts is None else np.array(given_parts)
    with pytest.raises(InputError, match=told):
        split_sequences(classes(values), len(values), USUAL_SPLIT, 0, given_parts, "x")


def test_one_class_alone_is_nothing_to_learn():
    answers = Answers("y", ("a",), False, torch.zeros(50, dtype=torch.int64))
    with pytest.raises(InputError, match="there is only one class: a"):
        split_sequences(answers, 50, USUAL_SPLIT, 0, None, "x")


def test_classes_are_in_the_order_people_count():
    names, codes = classes_of(["10", "9", "x", None, "9"], "y")
    assert (names, codes.tolist()) == (("9", "10", "x"), [1, 0, 2, -1, 0])


def test_lengths_in_words():
    assert lengths_text(torch.tensor([7, 29])) == "7 to 29 steps"
    assert lengths_text(torch.tensor([1, 1])) == "1 step"
    assert lengths_text(torch.tensor([5])) == "5 steps"


def test_keys_of_a_piano_are_told_from_numbers():
    def answers(values):
        return Answers("y", (), True, torch.tensor(values, dtype=torch.float64))

    assert answers([[0, 1], [1, 1]]).binary
    assert not answers([[0, 1], [2, 1]]).binary
    assert not answers([[0], [1]]).binary

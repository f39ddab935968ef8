"""What is missing in sequences: refused, left out, or filled with a mark."""

import numpy as np
import pytest

from throughtime.data.sequences.missing import fill
from throughtime.errors import InputError

NAN = np.nan
VALUES = np.array([[NAN, 1], [2, 1], [NAN, 1], [4, 1], [NAN, 1], [6, 1], [7, 1]], dtype=float)
LENGTHS = np.array([4, 2, 1])


def filled(missing, values=VALUES, masked=None):
    return fill(values, LENGTHS, ("a", "b"), missing, lambda r, c: f"row {r}, column {c}", masked)


def test_nothing_missing_is_left_as_it_is():
    whole = np.ones((7, 2))
    assert filled("error", whole).values is whole


def test_missing_is_refused_with_its_place():
    with pytest.raises(InputError, match="row 0, column 0: a missing value, 3 in total"):
        filled("error")


def test_sequences_that_lack_a_value_are_left_out():
    found = filled("drop")
    assert found.kept.tolist() == [False, False, True]
    assert found.values.tolist() == [[7, 1]]


def test_lines_are_drawn_within_a_sequence_alone():
    found = filled("interpolate")
    assert found.values[:, 0].tolist() == [2, 2, 3, 4, 6, 6, 7]


def test_masks_hold_the_last_value_and_look_at_no_later_one():
    found = filled("mask")
    assert found.columns == ("a", "b", "a (observed)", "a (steps since)")
    np.testing.assert_equal(found.values[:, 0], [NAN, 2, 2, 4, NAN, 6, 7])
    assert found.values[:, 2].tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert found.values[:, 3].tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_a_model_gets_the_marks_it_learned():
    whole = filled("mask", np.ones((7, 2)), masked=("b",))
    assert whole.columns == ("a", "b", "b (observed)", "b (steps since)")
    assert whole.values[:, 2].all()
    other = filled("mask", masked=())
    assert other.columns == ("a", "b")
    np.testing.assert_equal(other.values[:, 0], [NAN, 2, 2, 4, NAN, 6, 7])


def test_what_cannot_be_filled_is_told():
    with pytest.raises(InputError, match="--missing: 'guess'"):
        filled("guess")
    with pytest.raises(InputError, match="sequence 3 has no values"):
        filled("interpolate", np.where(np.arange(14).reshape(7, 2) > 11, NAN, 1.0))
    with pytest.raises(InputError, match="every sequence has a missing value"):
        filled("drop", np.full((7, 2), NAN))

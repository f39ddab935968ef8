"""The user's errors: one line, with the nearest names."""

import pickle

import pytest

from throughtime.errors import InputError, nearest


def test_an_error_is_one_line_of_place_finding_and_next_step():
    error = InputError("a.csv, row 7", "text\n'x'", "write a number")
    assert str(error) == "a.csv, row 7: text 'x'; write a number"
    assert isinstance(error, ValueError)


def test_an_error_comes_whole_from_another_process():
    error = InputError("a.csv, row 7", "text 'x'", "write a number")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("co", ["date", "co2"], "did you mean 'co2'?"),
        ("CO2", ["date", "co2"], "did you mean 'co2'?"),
        ("xyz", ["date", "co2"], "there are: date, co2"),
        ("x", [], "there are none"),
        ("zzz", [f"c{i}" for i in range(20)], ", ..."),
    ],
)
def test_the_nearest_names_are_offered(name, known, text):
    assert nearest(name, known).endswith(text)


def test_what_is_long_is_cut_and_what_a_terminal_would_obey_is_written_out():
    told = str(InputError("a\nb\x1b[31m.csv", "x" * 10**6, "mend it"))
    assert told.startswith("a b\\x1b[31m.csv: xxx") and told.endswith("...; mend it")
    assert len(told) < 1100

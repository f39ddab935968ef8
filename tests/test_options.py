"""How the text of options is read."""

import pytest

from throughtime.errors import InputError
from throughtime.options import checked, seconds


@pytest.mark.parametrize(
    "text, value",
    [("90", 90), ("90s", 90), ("0.5s", 0.5), ("10m", 600), ("1h30m", 5400), ("1h1m1s", 3661)],
)
def test_times(text, value):
    assert seconds("--budget", text) == value


def test_no_time_is_none():
    assert seconds("--budget", None) is None


@pytest.mark.parametrize("text", ["", "0", "-3", "ten", "10d", "1m1h", "nan"])
def test_what_is_no_time_is_told(text):
    with pytest.raises(InputError, match=r"--budget: .*give a time such as 90s, 10m or 1h30m"):
        seconds("--budget", text)


def test_what_a_name_should_be_is_told_with_its_option():
    def build():
        raise ValueError("there are this and that")

    with pytest.raises(InputError, match="--clip: there are this and that; see throughtime fit"):
        checked("--clip", build)
    checked("--clip", dict)

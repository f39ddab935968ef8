"""Text from outside, safe to print and to encode."""

import os

from throughtime.escapes import one_line, printable, shown_path


def test_what_cannot_be_encoded_can_be_printed():
    assert printable(os.fsdecode(b"a\xff.csv")) == "a\\xff.csv"
    assert printable("é") == "é"


def test_what_a_terminal_would_obey_is_written_out():
    assert shown_path("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert one_line(" a\n\tb\u202e ") == "a b\\u202e"

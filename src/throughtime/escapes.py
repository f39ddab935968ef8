"""Escape names, paths and messages from outside, so that they are safe to print and encode."""

import os


def printable(path: object) -> str:
    """A path as text that can be encoded; bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def one_line(text: str) -> str:
    """Text on one line, with control characters escaped."""
    return visible(" ".join(text.split()))


def shown_path(path: object) -> str:
    """A path to print, on one line."""
    return visible(str(path)).replace("\n", "\\n")


def visible(text: str) -> str:
    """Text with control characters escaped, because a terminal would execute them."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "replace").decode()
        for c in text
    )

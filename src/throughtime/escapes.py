"""Text from outside (names, paths, messages), made safe to print and to encode."""

import os


def printable(path: object) -> str:
    """A path as text that can be encoded: bytes that are not UTF-8 are written as \\xNN."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def one_line(text: str) -> str:
    """Text in one line, whose control characters are written as escapes."""
    return visible(" ".join(text.split()))


def shown_path(path: object) -> str:
    """A path to print, in one line."""
    return visible(str(path)).replace("\n", "\\n")


def visible(text: str) -> str:
    """Text whose control characters are written as escapes: a terminal would obey them."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "replace").decode()
        for c in text
    )

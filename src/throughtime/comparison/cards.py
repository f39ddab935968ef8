"""Escaping of user data in model cards, which are Markdown."""

import html
import re
from collections.abc import Iterable
from pathlib import Path

from throughtime.escapes import printable

# inline markup of CommonMark and GitHub Flavored Markdown, and what starts a link
_MARKUP = re.compile(r"([\\`*_\[\]#|~@$]|:(?=//)|(?<=www)\.)", re.IGNORECASE)


def shown(text: str) -> str:
    """One line of text whose Markdown and HTML are escaped.

    >>> shown("<b>load</b> *kW*")
    '&lt;b&gt;load&lt;/b&gt; \\\\*kW\\\\*'
    """
    line = "".join(c if c.isprintable() else " " for c in printable(" ".join(text.split())))
    return _MARKUP.sub(r"\\\1", html.escape(line, quote=False))


def shown_names(names: Iterable[str]) -> str:
    """Names separated by commas, escaped; "none" if there are none."""
    return ", ".join(map(shown, names)) or "none"


def shown_file(path: str) -> str:
    """The last part of a path, escaped."""
    return shown(Path(path).name)

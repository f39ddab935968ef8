"""Text of the user's data in a model's card, which is Markdown: shown as it is, never as markup."""

import html
import re
from collections.abc import Iterable
from pathlib import Path

from throughtime.escapes import printable

# what CommonMark and GitHub's dialect give a meaning to inside a line, and what makes an address
_MARKUP = re.compile(r"([\\`*_\[\]#|~@$]|:(?=//)|(?<=www)\.)", re.IGNORECASE)


def shown(text: str) -> str:
    """One line of text whose Markdown and HTML are escaped.

    >>> shown("<b>load</b> *kW*")
    '&lt;b&gt;load&lt;/b&gt; \\\\*kW\\\\*'
    """
    line = "".join(c if c.isprintable() else " " for c in printable(" ".join(text.split())))
    return _MARKUP.sub(r"\\\1", html.escape(line, quote=False))


def shown_names(names: Iterable[str]) -> str:
    """Names with commas between, escaped; "none" where there is none."""
    return ", ".join(map(shown, names)) or "none"


def shown_file(path: str) -> str:
    """The last part of a path, escaped."""
    return shown(Path(path).name)

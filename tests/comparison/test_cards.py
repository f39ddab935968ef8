"""Model cards: whatever a column or file is called, Markdown and HTML show its name as it is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers import throughtime
from kinds import SMALL
from throughtime.comparison.cards import shown, shown_file, shown_names

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "`code`",
    "**bold** _it_ ~~no~~",
    "a\n# heading",
    "&lt;b&gt;",
    "| a | b |",
    "https://evil.example",
    "www.evil.example",
    "me@evil.example",
    "$x$",
    "\\",
    "\x1b[31mred\x07",
    "\u202eevil",
]


def rendered(markdown):
    """The text that a reader of Markdown shows, and every tag that it makes."""
    from html.parser import HTMLParser

    from markdown_it import MarkdownIt

    class Seen(HTMLParser):
        text, tags = "", ()

        def handle_data(self, data):
            self.text += data

        def handle_starttag(self, tag, attributes):
            self.tags = (*self.tags, tag)

    seen = Seen()
    seen.feed(MarkdownIt("gfm-like", {"linkify": False}).render(markdown))
    return seen.text, seen.tags


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is(name):
    text, tags = rendered(f"Forecasts {shown(name)} ahead\n")
    line = " ".join(name.split())
    line = "".join(c if c.isprintable() else " " for c in line)
    assert " ".join(text.split()) == " ".join(f"Forecasts {line} ahead".split())
    assert tags == ("p",)


@given(st.text(max_size=30))
@example(" ")
def test_any_name_is_one_line_of_text(name):
    text, tags = rendered(f"Forecasts x{shown(name)}x ahead\n")
    assert tags == ("p",)
    assert shown(name).isprintable()
    if name.isprintable():
        line = " ".join(name.split())
        assert " ".join(text.split()) == " ".join(f"Forecasts x{line}x ahead".split())


def test_names_and_files():
    assert shown_names([]) == "none"
    assert shown_names(["a_b", "c"]) == "a\\_b, c"
    assert shown_file("/x/y<z>.csv") == "y&lt;z&gt;.csv"


def test_the_card_of_a_model(tmp_path):
    name = HOSTILE[0] + "[x](y)"
    rows = "\n".join(f"{k % 7},{k % 5}" for k in range(90))
    (tmp_path / "<b>.csv").write_text(f'"{name}","`in`"\n{rows}\n')
    fit = ("--target", f'"{name}"', "--context", 4, *SMALL)
    throughtime("fit", "<b>.csv", *fit, "-o", "m", cwd=tmp_path)
    card = (tmp_path / "m" / "README.md").read_text()
    assert "<" not in card and "[" not in card.replace("\\[", "")
    text, tags = rendered(card)
    assert text.count(name) == 3 and "`in`" in text and "<b>.csv" in text
    assert set(tags) == {"h1", "p", "ul", "li", "code"}  # `code` is the command

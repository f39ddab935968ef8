"""The page: self-contained, complete, and safe with any text in the data."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from throughtime.report.page import write_page
from throughtime.runs import NAMES


@pytest.fixture(scope="module")
def page(comparison):
    return write_page(comparison[0])


class Tags(HTMLParser):
    """Tags that load something, and whether all are closed."""

    def __init__(self):
        super().__init__()
        self.loads, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_is_one_whole_file_that_loads_nothing(page):
    tags = Tags()
    tags.feed(page)
    assert tags.loads == []
    assert tags.open == []
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "http" not in outside


def test_it_says_the_verdict_its_reasons_and_every_number(page, comparison):
    record, _ = comparison
    assert record.verdict.headline in page
    for candidate in record.verdict.candidates:
        assert f"<td>{NAMES[candidate.kind]}</td><td>{candidate.error:.4g}</td>" in page
    for choice in record.data.choices:
        assert f"<td>{choice.name}</td>" in page
    assert record.command in page
    assert record.data.fingerprint[:16] in page


def test_text_from_the_data_cannot_become_markup(comparison):
    record, _ = comparison
    bad = "<script>alert(1)</script>"
    data = replace(record.data, targets=(bad,), path=bad)
    sample = replace(record.sample, target=bad, series=bad)
    page = write_page(replace(record, data=data, sample=sample, command=bad, unit=bad))
    assert bad not in page


def test_a_network_that_diverged_is_shown_as_such(comparison):
    record, _ = comparison
    lost = [
        replace(c, error=None, low=None, high=None, relative=None, error_last_step=None, diverged=2)
        if c.kind == "gru"
        else c
        for c in record.verdict.candidates
    ]
    trials = [
        replace(t, error_by_step=(), forecast=(), validation_error=None) if t.kind == "gru" else t
        for t in record.trials
    ]
    verdict = replace(record.verdict, candidates=tuple(lost))
    page = write_page(replace(record, verdict=verdict, trials=tuple(trials)))
    assert "<td>GRU</td><td>diverged</td>" in page
    assert "2 (2 diverged)" in page

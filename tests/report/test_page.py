"""The page: self-contained, complete, and safe with any text in the data."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from throughtime.catalogue import kind_of, label_of
from throughtime.report import figures
from throughtime.report.page import write_page


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
        numbers = (f"{candidate.validation_error:.4g}", f"{candidate.error:.4g}")
        assert f"<td>{'</td><td>'.join((label_of(candidate.kind), *numbers))}</td>" in page
        assert f"<td>{candidate.multiply_adds:,}</td>" in page
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
        replace(
            c,
            validation_error=None,
            error=None,
            low=None,
            high=None,
            relative=None,
            error_last_step=None,
            diverged=2,
        )
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
    assert "<td>GRU</td><td></td><td>diverged</td>" in page
    assert "2 (2 diverged)" in page


def test_steps_needed_and_health_are_in_the_table(page, comparison):
    record, _ = comparison
    (gru,) = [c for c in record.verdict.candidates if c.kind == "gru"]
    assert gru.steps_needed and gru.health
    assert f"<td>{gru.steps_needed}</td><td>{gru.health}</td>" in page
    assert "How many steps each needs" in page and "How far back training reaches" in page


def test_one_step_ahead_has_no_error_by_step(page, comparison):
    record, _ = comparison
    assert "Error by step ahead" in page
    trials = tuple(replace(t, error_by_step=t.error_by_step[:1]) for t in record.trials)
    one = replace(record, data=replace(record.data, horizon=1), trials=trials)
    assert "Error by step ahead" not in write_page(one)


def test_it_says_what_the_intervals_cover(page, comparison):
    record, _ = comparison
    assert "interval over blocks of time." in page  # two seeds tell nothing of seeds
    settings = replace(record.settings, seeds=(0, 1, 2))
    whole = write_page(replace(record, settings=settings))
    assert "interval over seeds and blocks of time." in whole


def colors(css):
    return dict(re.findall(r"--(\w+): (#\w+)", css))


def contrast(one, other):
    """Ratio of relative luminances (WCAG 2.1): 1 is no contrast, 21 is black on white."""

    def luminance(color):
        digits = color[1:] if len(color) == 7 else "".join(2 * c for c in color[1:])
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_pictures_can_be_read_on_light_and_on_dark(page):
    style = page.split("<style>")[1].split("</style>")[0]
    light, rest = style.split("@media (prefers-color-scheme: dark) {")
    papers = colors(light), colors(light) | colors(rest.split("} }")[0])
    assert papers[0]["paper"] != papers[1]["paper"]
    for color in papers:
        assert contrast(color["ink"], color["paper"]) > 12
        assert contrast(color["ink"], color["mark"]) > 10
        assert contrast(color["quiet"], color["paper"]) > 4.5
        # the trivial forecasts' grey is seen on the paper, and told from the truth, drawn in ink
        grey = kind_of("persistence").color
        assert contrast(grey, color["paper"]) > 2.5
        assert contrast(grey, color["ink"]) > 2.2


def test_pictures_take_the_ink_of_the_page(page):
    """plotly's own text is dark: on dark paper it needs the script, and again on every change."""
    script = page.rsplit("<script>", 1)[1]
    assert "matchMedia('(prefers-color-scheme: dark)')" in script
    assert "getPropertyValue('--ink')" in script
    assert "Plotly.relayout(plot, {'font.color': ink})" in script
    assert f"trace.meta === '{figures.INK}'" in script
    assert "Plotly.restyle(plot, {'line.color': ink}, inked)" in script
    assert "dark.addEventListener('change', theme); theme();" in script


def test_names_are_text_in_pictures_too(comparison):
    """plotly takes some tags in its titles for markup: a link, say."""
    record, _ = comparison
    name = '<a href="https://evil.example">load</a>'
    record = replace(record, unit=name, sample=replace(record.sample, target=name, series=name))
    page = write_page(record)
    drawn = "".join(re.findall(r"Plotly.newPlot\((.*?)\)\s", page, flags=re.DOTALL))
    assert "evil.example" in drawn
    assert "\\u003ca href" not in drawn and "<a href" not in drawn


def test_reading_a_run_loads_no_torch(comparison, tmp_path):
    _, folder = comparison
    code = (
        "import sys; from throughtime.cli import main\n"
        f"sys.argv = ['throughtime', 'report', {str(folder)!r}, '-o', 'page.html']\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert (tmp_path / "page.html").is_file() and "plotly" in loaded
    assert not loaded & {"torch", "polars"}

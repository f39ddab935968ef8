"""HTML shared by all pages: self-contained, readable in light and dark mode."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #60646c; --line: #d9dce1; --paper: #fff;
        --mark: #e8f3ee; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #edeef0; --quiet: #a3a8b0; --line: #363a3f; --paper: #16181b; --mark: #1b2f27; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 80rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.4rem; }
p.quiet, figcaption, td.quiet { color: var(--quiet); }
.verdict { font-size: 1.25rem; background: var(--mark); padding: .8rem 1rem;
           border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem;
        font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { text-align: right; padding: .3rem .4rem; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 500; vertical-align: bottom; }
td { white-space: nowrap; } table.words td { white-space: normal; }
th:first-child, td:first-child, table.words td, table.words th { text-align: left; }
tr.recommended { background: var(--mark); } figure { margin: 0; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; padding: .6rem; }
"""

# plotly sets colours in attributes, which style sheets cannot override
_THEME = """
const dark = matchMedia('(prefers-color-scheme: dark)');
function theme() {
  const ink = getComputedStyle(document.documentElement).getPropertyValue('--ink').trim();
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    Plotly.relayout(plot, {'font.color': ink});
    const inked = plot.data.flatMap((trace, index) => trace.meta === 'ink' ? [index] : []);
    if (inked.length) Plotly.restyle(plot, {'line.color': ink}, inked);
  }
}
dark.addEventListener('change', theme); theme();
"""


def page(title: str, body: str) -> str:
    """The page as text. ``title`` is text; ``body`` is HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - throughtime</title><style>{_STYLE}</style>
<script>{get_plotlyjs()}</script></head><body>
{body}
<script>{_THEME}</script></body></html>
"""


def picture(title: str, figure: go.Figure, caption: str) -> str:
    """A figure with its heading and caption."""
    drawn = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        auto_play=False,
        config={"displayModeBar": False, "responsive": True},
    )
    caption = f"<figcaption>{escape(caption)}</figcaption>"
    return f"<h2>{escape(title)}</h2><figure>{drawn}{caption}</figure>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """A table; ``words``: cells hold text, which is aligned left and wrapped."""
    lines = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    kind = ' class="words"' if words else ""
    return f'<div class="wide"><table{kind}><tr>{head}</tr>{"".join(lines)}</table></div>'

"""One comparison as one self-contained HTML page."""

from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from throughtime.report import figures
from throughtime.runs import ENOUGH_SEEDS, NAMES, Candidate, ComparisonRecord

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #60646c; --line: #d9dce1; --paper: #fff;
        --mark: #e8f3ee; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #edeef0; --quiet: #a3a8b0; --line: #363a3f; --paper: #16181b; --mark: #1b2f27; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 70rem; margin: 0 auto; padding: 1.5rem; }
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

# plotly sets colours in attributes, which style sheets do not reach
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

_PICTURES = (
    (
        "Error against cost",
        figures.error_against_cost,
        "Low and left is good. Bars: 95 % intervals.",
    ),
    (
        "Forecasts against truth",
        figures.forecasts_against_truth,
        "The last step of each forecast, by the seed that validation liked best. "
        "Click a name to show or hide it.",
    ),
    ("Error by step ahead", figures.error_by_step, "Mean over seeds."),
    (
        "Training",
        figures.training_curves,
        "Validation error after each epoch, a line a seed; the mark is the epoch that was kept.",
    ),
    ("Gradients", figures.gradient_norms, "Before clipping, median over the steps of an epoch."),
    (
        "What a network is given",
        figures.window_seen,
        "The last window of the sample, in raw values and normalized. "
        "Dense is given its last step alone.",
    ),
)


def write_page(record: ComparisonRecord) -> str:
    """The page as text: verdict, table, pictures, what was decided, how to repeat it."""
    data, verdict = record.data, record.verdict
    target = escape(", ".join(data.targets))
    title = f"{target}: {data.horizon} step{'s' if data.horizon > 1 else ''} ahead"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    made_with = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    pictures = "".join(
        f"<h2>{escape(name)}</h2><figure>{_embed(draw(record))}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for name, draw, caption in _PICTURES
        # one step ahead, the error by step is lone dots
        if draw is not figures.error_by_step or data.horizon > 1
    )
    over = "blocks of time"
    if len(record.settings.seeds) >= ENOUGH_SEEDS:
        over = "seeds and blocks of time"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - throughtime</title><style>{_STYLE}</style>
<script>{get_plotlyjs()}</script></head><body>
<h1>{title}</h1>
<p class="quiet">{escape(data.path)}: {data.rows} rows, one every {escape(data.step)}; context
{data.context} steps; {data.windows[0]} windows for training, {data.windows[1]} for validation,
{data.windows[2]} for test (from {escape(data.borders[1])} on)</p>
<p class="verdict">{escape(verdict.headline)}</p><ul>{reasons}</ul>
<h2>Result on the test part</h2><div class="wide">{_results(record)}</div>
<p class="quiet">Mean absolute error ({escape(record.unit)}), mean over seeds, with a 95 % interval
over {over}.</p>
{pictures}
<h2>What was decided</h2><div class="wide">{_choices(record)}</div>
<h2>How to repeat it</h2><pre>{escape(record.command)}</pre>
<p class="quiet">throughtime {escape(record.version)}, {escape(made_with)}; {record.threads} thread
a trial, {escape(record.cpu)}; {record.seconds:.0f} s; data SHA-256
{escape(data.fingerprint[:16])}...</p>
<script>{_THEME}</script></body></html>
"""


def _embed(figure: go.Figure) -> str:
    return figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"displayModeBar": False, "responsive": True},
    )


def _results(record: ComparisonRecord) -> str:
    heads = (
        "",
        "validation error",
        "test error",
        "95 % interval",
        f"relative to {NAMES[record.verdict.reference]}",
        f"at step {record.data.horizon}",
        "parameters",
        "multiply-adds",
        "hidden size",
        "learning rate",
        "seeds",
        "one training",
        "one prediction",
    )
    rows = "".join(_result(c, record.verdict.recommended) for c in record.verdict.candidates)
    return f"<table><tr>{''.join(f'<th>{escape(h)}</th>' for h in heads)}</tr>{rows}</table>"


def _result(candidate: Candidate, recommended: str) -> str:
    c = candidate
    learned = not c.trivial
    cells = (
        NAMES[c.kind],
        "" if c.validation_error is None else f"{c.validation_error:.4g}",
        "diverged" if c.error is None else f"{c.error:.4g}",
        "" if c.low is None or c.high is None else f"{c.low:.4g} to {c.high:.4g}",
        "" if c.relative is None else f"{c.relative:.2f}",
        "" if c.error_last_step is None else f"{c.error_last_step:.4g}",
        f"{c.parameters:,}",
        f"{c.multiply_adds:,}",
        str(c.hidden_size) if learned else "",
        f"{c.learning_rate:g}" if learned else "",
        (str(c.seeds) + (f" ({c.diverged} diverged)" if c.diverged else "")) if learned else "",
        f"{c.training_seconds:.1f} s" if learned else "",
        f"{c.prediction_us:.0f} us",
    )
    mark = ' class="recommended"' if c.kind == recommended else ""
    return f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _choices(record: ComparisonRecord) -> str:
    s = record.settings
    settings = (
        ("networks", ", ".join(NAMES[k] for k in s.networks), "", "--networks"),
        ("normalization", s.normalize, "", "--normalize"),
        ("parameters", f"{s.parameters:,}", "every network is matched to it", "--parameters"),
        (
            "learning rates",
            ", ".join(f"{r:g}" for r in s.learning_rates),
            "each tried with the first seed; validation decides",
            "",
        ),
        ("seeds", ", ".join(map(str, s.seeds)), "", "--seeds, --seed"),
        (
            "epochs",
            str(s.epochs),
            f"at most; stops after {s.patience} without a better one",
            "--epochs",
        ),
        ("clipping", f"global norm {s.clip_norm:g}", "", ""),
    )
    data = [(c.name, c.value, c.reason, c.option) for c in record.data.choices]
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in (*data, *settings)
    )
    return (
        '<table class="words"><tr><th>what</th><th>value</th><th>why</th><th>set with</th></tr>'
        f"{rows}</table>"
    )

"""The HTML page of a comparison."""

import math
from collections.abc import Sequence
from html import escape

from throughtime.catalogue import label_of
from throughtime.comparison_columns import comparison_rows, is_recommended
from throughtime.problem_kinds import PROBLEMS
from throughtime.report import figures, html
from throughtime.runs import ENOUGH_SEEDS, ComparisonRecord, length_choice

_PICTURES = (
    (
        "Error against cost",
        figures.error_against_cost,
        "Lower left is better. Bars: 95 % intervals.",
    ),
    (
        "Forecasts against truth",
        figures.forecasts_against_truth,
        "The last step of each forecast, from the seed with the lowest validation error. "
        "Click a name to show or hide it.",
    ),
    ("Error by step ahead", figures.error_by_step, "Mean over seeds."),
    (
        "Error against training data",
        figures.learning_curve,
        "Networks that were trained on 10, 30 and 100 % of the training data, mean over seeds.",
    ),
    (
        "Training",
        figures.training_curves,
        "Validation error at each evaluation, one line per seed; the marker is the kept step.",
    ),
    (
        "How many steps each needs",
        figures.context_curves,
        "Error on the validation part when older steps are another item's, for the seed with the "
        "lowest validation error; bars: one standard error.",
    ),
    (
        "How far back training reaches",
        figures.gradients_by_lag,
        "The share of a recurrent state's gradient that reaches earlier states, in the trained "
        "network with the lowest validation error. Below the dotted line it is lost: it is too "
        "small to change a bit.",
    ),
    (
        "Gradients",
        figures.gradient_norms,
        "Before clipping, median over the steps between evaluations.",
    ),
    (
        "Network input",
        figures.window_seen,
        "The last window of the sample, in raw values and normalized. "
        "Dense sees only its last step.",
    ),
)


def write_page(record: ComparisonRecord) -> str:
    """The page as text: verdict, table, figures, decisions, and how to repeat the comparison."""
    data, verdict = record.data, record.verdict
    title, about = _about(record)
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    made_with = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    pictures = "".join(
        html.picture(name, figure, caption)
        for name, draw, caption in _PICTURES
        for figure in (draw(record),)
        if figure.data
    )
    kind = PROBLEMS[data.kind]
    over = kind.resampled
    if len(record.settings.seeds) >= ENOUGH_SEEDS:
        over = f"seeds and {over}"
    unit = record.unit[:1].upper() + record.unit[1:]
    body = f"""<h1>{escape(title)}</h1>
<p class="quiet">{escape(about)}</p>
<p class="verdict">{escape(verdict.headline)}</p><ul>{reasons}</ul>
<h2>Result on the test part</h2><div class="wide">{_results(record)}</div>
<p class="quiet">{escape(unit)}, mean over seeds, with a 95 % interval over {over}.</p>
{_confusion(record)}{pictures}
<h2>What was decided</h2>{_choices(record)}
<h2>How to repeat it</h2><pre>{escape(record.command)}</pre>
<p class="quiet">throughtime {escape(record.version)}, {escape(made_with)}; {record.threads} thread
a trial, {escape(record.cpu)}; {record.seconds:.0f} s; data SHA-256
{escape(data.fingerprint[:16])}...</p>"""
    return html.page(title, body)


def summary(record: ComparisonRecord) -> str:
    """The verdict and the table, for display in notebooks."""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in record.verdict.reasons)
    return f"<p><b>{escape(record.verdict.headline)}</b></p><ul>{reasons}</ul>{_results(record)}"


def _about(record: ComparisonRecord) -> tuple[str, str]:
    """A title and a line about the data."""
    data, kind = record.data, PROBLEMS[record.data.kind]
    training, validation, test = data.windows
    items = kind.items
    parts = f"{training} {items} for training, {validation} for validation, {test} for test"
    begins = f" (from {data.borders[1]} on)" if kind.by_step else ""
    return kind.title(data), f"{kind.size(data)}; {parts}{begins}"


def _results(record: ComparisonRecord) -> str:
    heads, rows = comparison_rows(record, page=True)
    lines = "".join(
        _line(is_recommended(c, record.verdict.recommended), cells) for c, cells in rows
    )
    return f"<table><tr>{''.join(f'<th>{escape(h)}</th>' for h in heads)}</tr>{lines}</table>"


def _confusion(record: ComparisonRecord) -> str:
    """What the recommended contestant answers to each class, of its best training."""
    verdict = record.verdict
    names = list(record.data.classes)
    group = [t for t in record.trials if t.kind == verdict.recommended]
    group = [t for t in group if names and len(t.confusion) == len(names)]
    if not group:
        return ""
    best = min(group, key=lambda t: math.inf if t.validation_error is None else t.validation_error)
    shares = record.data.classes
    rows = [
        (
            name,
            f"{100 * shares[name]:.3g} %",
            *map(str, row),
            f"{100 * row[k] / sum(row):.3g} %" if sum(row) else "",
        )
        for k, (name, row) in enumerate(zip(names, best.confusion, strict=True))
    ]
    heads = ("true class", "share in training", *(f"answered {n}" for n in names), "recall")
    return (
        f"<h2>Right and wrong answers of {escape(label_of(best.kind))}</h2>"
        f'<div class="wide">{html.table(heads, rows)}</div>'
    )


def _line(recommended: bool, cells: Sequence[str]) -> str:
    mark = ' class="recommended"' if recommended else ""
    return f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _choices(record: ComparisonRecord) -> str:
    s = record.settings
    length = length_choice(s.steps, s.epochs, s.patience)
    settings = (
        ("networks", ", ".join(label_of(k) for k in s.networks), "", "--networks"),
        ("parameters", f"{s.parameters:,}", "at most, of each network", "--parameters"),
        ("trials", str(s.trials), "choices tried for each network, with one seed", "--trials"),
        ("given", s.given.described() or "nothing", "choices that were not tuned", ""),
        ("seeds", ", ".join(map(str, s.seeds)), "", "--seeds, --seed"),
        (length.name, length.value, length.reason, length.option),
        ("clipping", s.clip, "of the gradient", "--clip"),
        ("measure", record.unit, "of errors", "--metric"),
    )
    data = [(c.name, c.value, c.reason, c.option) for c in record.data.choices]
    return html.table(("what", "value", "why", "set with"), [*data, *settings], words=True)

"""One comparison as one self-contained HTML page."""

from html import escape

from throughtime.catalogue import label_of
from throughtime.report import figures, html
from throughtime.runs import ENOUGH_SEEDS, PROBLEMS, Candidate, ComparisonRecord

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
    (
        "How many steps each needs",
        figures.context_curves,
        "Error on the validation part when only the last k steps are given, by the seed that "
        "validation liked best; bars: one standard error.",
    ),
    (
        "How far back training reaches",
        figures.gradients_by_lag,
        "How much of the gradient of a recurrent state reaches the states before, in the trained "
        "network that validation liked best. Below the dotted line it changes no bit.",
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
    title, about = _about(record)
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    made_with = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    pictures = "".join(
        html.picture(name, figure, caption)
        for name, draw, caption in _PICTURES
        for figure in (draw(record),)
        if figure.data
    )
    over = "sequences" if data.kind == "sequences" else "blocks of time"
    if len(record.settings.seeds) >= ENOUGH_SEEDS:
        over = f"seeds and {over}"
    unit = record.unit[:1].upper() + record.unit[1:]
    if data.kind == "forecasting":
        unit = f"Mean absolute error ({record.unit})"
    body = f"""<h1>{escape(title)}</h1>
<p class="quiet">{escape(about)}</p>
<p class="verdict">{escape(verdict.headline)}</p><ul>{reasons}</ul>
<h2>Result on the test part</h2><div class="wide">{_results(record)}</div>
<p class="quiet">{escape(unit)}, mean over seeds, with a 95 % interval over {over}.</p>
{pictures}
<h2>What was decided</h2>{_choices(record)}
<h2>How to repeat it</h2><pre>{escape(record.command)}</pre>
<p class="quiet">throughtime {escape(record.version)}, {escape(made_with)}; {record.threads} thread
a trial, {escape(record.cpu)}; {record.seconds:.0f} s; data SHA-256
{escape(data.fingerprint[:16])}...</p>"""
    return html.page(title, body)


def summary(record: ComparisonRecord) -> str:
    """The verdict and the table alone, as notebooks show them."""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in record.verdict.reasons)
    return f"<p><b>{escape(record.verdict.headline)}</b></p><ul>{reasons}</ul>{_results(record)}"


def _about(record: ComparisonRecord) -> tuple[str, str]:
    """What was learned, and from what: a title and a line."""
    data = record.data
    training, validation, test = data.windows
    items = PROBLEMS[data.kind]
    parts = f"{training} {items} for training, {validation} for validation, {test} for test"
    if data.kind == "forecasting":
        steps = f"{data.horizon} step{'s' if data.horizon > 1 else ''}"
        return (
            f"{', '.join(data.targets)}: {steps} ahead",
            f"{data.path}: {data.rows} rows, one every {data.step}; context {data.context} steps; "
            f"{parts} (from {data.borders[1]} on)",
        )
    if data.kind == "tokens":
        return f"{data.path}: the next token", f"{data.rows} letters; {parts}"
    each = "each step" if data.kind == "steps" else "each sequence"
    return (
        f"{data.targets[0]} of {each}",
        f"{data.path}: {data.rows} steps of {len(data.inputs)} columns; {parts}",
    )


def _results(record: ComparisonRecord) -> str:
    heads = (
        "",
        "validation error",
        "test error",
        "95 % interval",
        f"relative to {label_of(record.verdict.reference)}",
        *([f"at step {record.data.horizon}"] if record.data.kind == "forecasting" else []),
        "parameters",
        "multiply-adds",
        "hidden size",
        "learning rate",
        "seeds",
        "steps needed",
        "recurrent layers",
        "one training",
        "one prediction",
    )
    rows = "".join(_result(c, record) for c in record.verdict.candidates)
    return f"<table><tr>{''.join(f'<th>{escape(h)}</th>' for h in heads)}</tr>{rows}</table>"


def _result(c: Candidate, record: ComparisonRecord) -> str:
    recommended, by_step = record.verdict.recommended, record.data.kind == "forecasting"
    learned = not c.trivial
    cells = (
        label_of(c.kind),
        "" if c.validation_error is None else f"{c.validation_error:.4g}",
        "diverged" if c.error is None else f"{c.error:.4g}",
        "" if c.low is None or c.high is None else f"{c.low:.4g} to {c.high:.4g}",
        "" if c.relative is None else f"{c.relative:.2f}",
        *(["" if c.error_last_step is None else f"{c.error_last_step:.4g}"] * by_step),
        f"{c.parameters:,}",
        f"{c.multiply_adds:,}",
        str(c.hidden_size) if learned else "",
        f"{c.learning_rate:g}" if learned else "",
        (str(c.seeds) + (f" ({c.diverged} diverged)" if c.diverged else "")) if learned else "",
        "" if c.steps_needed is None else str(c.steps_needed),
        c.health,
        f"{c.training_seconds:.1f} s" if learned else "",
        f"{c.prediction_us:.0f} us",
    )
    mark = ' class="recommended"' if c.kind == recommended else ""
    return f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _choices(record: ComparisonRecord) -> str:
    s = record.settings
    settings = (
        ("networks", ", ".join(label_of(k) for k in s.networks), "", "--networks"),
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
    return html.table(("what", "value", "why", "set with"), [*data, *settings], words=True)

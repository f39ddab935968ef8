"""The HTML page of an inspection."""

from html import escape
from pathlib import PurePath

from throughtime.catalogue import label_of
from throughtime.network_records import Diagnosis, LayerDiagnosis
from throughtime.report import html, pictures
from throughtime.report.axes import LOST
from throughtime.runs import InspectionRecord, SeenRecord

ENOUGH = 10  # windows needed to estimate the standard error of an error


def write_inspection(record: InspectionRecord) -> str:
    """The page as text: verdict, memory, and the states of the network on one window."""
    title = f"{label_of(record.kind)} on {PurePath(record.data).name}"
    body = f"""<h1>{escape(title)}</h1>
<p class="quiet">{escape(record.model)} on {escape(record.data)}:
{record.parameters:,} parameters{_units(record)}; {record.windows} windows,
one step every {escape(record.step)}</p>
<p class="verdict">{escape(headline(record))}</p>
{_findings(record.diagnosis)}{_memory(record)}{_at_work(record)}
<h2>How to repeat it</h2><pre>{escape(record.command)}</pre>
<p class="quiet">throughtime {escape(record.version)}; data SHA-256
{escape(record.fingerprint[:16])}...</p>"""
    return html.page(title, body)


def headline(record: InspectionRecord) -> str:
    """One sentence about the verdict and one about the memory."""
    diagnosis, context = record.diagnosis, record.context
    if diagnosis.layers:
        issues = [
            f"{layer.name} {layer.verdict}"
            for layer in diagnosis.layers
            if layer.verdict != "healthy"
        ]
        health = f"Not healthy: {', '.join(issues)}." if issues else "Healthy."
    else:
        health = "No recurrent layer to examine."
    if record.windows < ENOUGH:
        return f"{health} {record.windows} windows are too few to find how many steps it needs."
    if not context.horizon:
        return f"{health} It makes no use of its context."
    return (
        f"{health} Its error with the last {context.horizon} of {context.steps[-1]} steps is as "
        "low as with all of them."
        if context.horizon < context.steps[-1]
        else f"{health} It needs all of its {context.steps[-1]} steps: a longer context may help."
    )


def _cut(record: InspectionRecord, seen: SeenRecord) -> str:
    shown = len(next(iter(seen.values.values()))[0])
    return f", the first {shown} of {record.hidden_size}" if shown < record.hidden_size else ""


def _units(record: InspectionRecord) -> str:
    return f", {record.hidden_size} hidden units" if record.hidden_size else ""


def _findings(diagnosis: Diagnosis) -> str:
    found = [finding for layer in diagnosis.layers for finding in layer.findings]
    parts: list[str] = []
    for finding in [*found, *diagnosis.others]:
        advice = "".join(f"<li>{escape(line)}</li>" for line in finding.advice)
        limit = "" if finding.threshold is None else f"threshold {finding.threshold:.2g}: "
        parts.append(
            f"<h2>{escape(finding.where)}: {escape(finding.issue)}</h2>"
            f"<p>{escape(finding.evidence)}</p><ul>{advice}</ul>"
            f'<p class="quiet">{limit}{escape(finding.source)}</p>'
        )
    notes = "".join(f'<p class="quiet">{escape(note)}</p>' for note in diagnosis.notes)
    return "".join(parts) + notes + _measures(diagnosis.layers)


def _measures(layers: tuple[LayerDiagnosis, ...]) -> str:
    names = list(dict.fromkeys(name for layer in layers for name in layer.measures))
    if not names:
        return ""
    rows = [(name, *(_number(layer.measures.get(name)) for layer in layers)) for name in names]
    heads = ("", *(f"{layer.name}: {layer.verdict}" for layer in layers))
    return f"<h2>Measures</h2>{html.table(heads, rows)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _memory(record: InspectionRecord) -> str:
    context, step = record.context, f"steps of {record.step}"
    curve = (context.steps, context.error, context.standard_error)
    parts = [
        html.picture(
            "How many steps it needs",
            pictures.context_curve({label_of(record.kind): curve}, unit=record.unit, step=step),
            "The error when the steps older than the last k are those of another window; bars: "
            f"one standard error. From k = {context.horizon} on, it does not differ from that with "
            f"all {context.steps[-1]} steps.",
        )
    ]
    profiles = {
        layer.name: layer.gradient_by_lag
        for layer in record.diagnosis.layers
        if layer.gradient_by_lag
    }
    if profiles:
        parts.append(
            html.picture(
                "How far back training reaches",
                pictures.gradient_by_lag(profiles, lost=LOST, step=step),
                "The share of a state's gradient that reaches earlier states (upper quartile). "
                "Below the dotted line it is lost: added to the gradient at the last step, it "
                "changes no bit.",
            )
        )
    if record.lyapunov:
        parts.append(
            html.picture(
                "How fast changes of the state die out",
                pictures.lyapunov_spectrum(record.lyapunov),
                "Above 0 a small change grows; at -0.1 it has shrunk to 1/e after 10 steps.",
            )
        )
    return "".join(parts)


def _at_work(record: InspectionRecord) -> str:
    parts: list[str] = []
    for name, seen in record.seen.items():
        parts.append(
            html.picture(
                f"States and gates: {name}",
                pictures.heat_map(
                    seen.values,
                    input=record.input,
                    times=record.times,
                    time_title="time",
                    input_title=record.target,
                ),
                f"The last window, one row per unit{_cut(record, seen)}.",
            )
        )
        if seen.gradient:
            parts.append(
                html.picture(
                    f"Gradient of the loss: {name}",
                    pictures.gradient_by_lag({name: seen.gradient[::-1]}, step="before the last"),
                    "Norm of dL/dh_t for the loss of this window, from the last step back.",
                )
            )
    if record.seen:
        name, seen = list(record.seen.items())[-1]
        parts.append(
            html.picture(
                f"Step by step: {name}",
                pictures.scrub(
                    seen.values, record.input, times=record.times, input_title=record.target
                ),
                "Move the slider through time; one bar per unit.",
            )
        )
    return "".join(parts)

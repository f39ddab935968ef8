"""Figures of a comparison; each function takes a record and returns a plotly figure."""

from collections.abc import Sequence

import plotly.graph_objects as go

from throughtime.catalogue import kind_of, label_of
from throughtime.network_records import TrainingRecord
from throughtime.problem_kinds import PROBLEMS
from throughtime.report import pictures
from throughtime.report.axes import INK, LOST, axes, logarithmic
from throughtime.runs import Candidate, ComparisonRecord, TrialRecord


def error_against_cost(record: ComparisonRecord) -> go.Figure:
    """Test error with its interval against the time of one prediction; lower left is better."""
    figure = go.Figure()
    for candidate in record.verdict.candidates:
        if candidate.error is None:
            continue
        figure.add_scatter(
            x=[candidate.prediction_us],
            y=[candidate.error],
            error_y=_interval(candidate),
            mode="markers",
            marker={
                "size": 14 if candidate.kind == record.verdict.recommended else 10,
                "symbol": kind_of(candidate.kind).symbol,
                "color": kind_of(candidate.kind).color,
            },
            name=label_of(candidate.kind),
        )
    axes(figure, "time of one prediction, microseconds", f"test error ({record.unit})")
    figure.update_xaxes(logarithmic([c.prediction_us for c in record.verdict.candidates]))
    return figure


def error_by_step(record: ComparisonRecord) -> go.Figure:
    """Error against the forecast step, mean over seeds; empty for a horizon of one step."""
    figure = go.Figure()
    if record.data.horizon == 1:  # lines would be single points
        return figure
    for candidate in record.verdict.candidates:
        done = [t.error_by_step for t in _trials(record, candidate.kind) if t.error_by_step]
        if done:
            means = [sum(step) / len(done) for step in zip(*done, strict=True)]
            figure.add_scatter(
                x=list(range(1, len(means) + 1)),
                y=means,
                mode="lines+markers",
                line=_line(candidate.kind),
                name=label_of(candidate.kind),
            )
    axes(figure, f"steps ahead, of {record.data.step}", f"test error ({record.unit})")
    figure.update_xaxes(dtick=max(1, record.data.horizon // 12))
    return figure


def learning_curve(record: ComparisonRecord) -> go.Figure:
    """Error against the training data that a network had; empty unless it was asked for."""
    figure = go.Figure()
    points = [p for p in record.verdict.curve if p.error is not None]
    for kind in dict.fromkeys(p.kind for p in points):
        own = sorted((p for p in points if p.kind == kind), key=lambda p: p.items)
        figure.add_scatter(
            x=[p.items for p in own],
            y=[p.error for p in own],
            mode="lines+markers",
            line=_line(kind),
            name=label_of(kind),
        )
    items = PROBLEMS[record.data.kind].items
    axes(figure, f"{items} for training", f"test error ({record.unit})")
    figure.update_xaxes(logarithmic([p.items for p in points]) if points else {})
    return figure


def forecasts_against_truth(record: ComparisonRecord) -> go.Figure:
    """The last step of every forecast and the true values on a section of the test part.

    Empty if the record has no sample.
    """
    figure = go.Figure()
    sample = record.sample
    if not sample.times:
        return figure
    best_trivial = next(c.kind for c in record.verdict.candidates if c.trivial)
    shown = (record.verdict.recommended, best_trivial)
    figure.add_scatter(
        x=sample.times,
        y=sample.truth,
        mode="lines",
        line={"width": 2.5, "color": "#0072B2"},
        name="truth",
        meta=INK,
    )
    for candidate in record.verdict.candidates:
        trial = _best(_trials(record, candidate.kind))
        if trial is not None:
            figure.add_scatter(
                x=sample.times,
                y=trial.forecast,
                mode="lines",
                line={**_line(candidate.kind), "width": 1.5},
                name=label_of(candidate.kind),
                visible=True if candidate.kind in shown else "legendonly",
            )
    series = f", series {sample.series}" if sample.series else ""
    axes(figure, "time that is forecast", f"{sample.target}{series}")
    return figure


def training_curves(record: ComparisonRecord) -> go.Figure:
    """Validation error at each evaluation, one line per seed; a marker at the kept step."""
    figure = go.Figure()
    for kind in record.settings.networks:
        for number, trial in enumerate(_trials(record, kind)):
            if trial.training is None or not trial.training.evaluations:
                continue
            curve = [e.validation_error for e in trial.training.evaluations]
            steps = _steps(trial.training)
            figure.add_scatter(
                x=steps,
                y=curve,
                mode="lines",
                line={"color": kind_of(kind).color, "width": 1.2},
                name=label_of(kind),
                legendgroup=kind,
                showlegend=number == 0,
            )
            best = trial.training.best
            figure.add_scatter(
                x=[steps[best - 1]],
                y=[curve[best - 1]],
                mode="markers",
                marker={"color": kind_of(kind).color, "size": 7},
                legendgroup=kind,
                showlegend=False,
                hovertemplate=f"{label_of(kind)}, seed {trial.seed}: kept step %{{x}}"
                "<extra></extra>",
            )
    axes(figure, "optimizer steps", f"validation {_decides(record)}")
    return figure


def _steps(training: TrainingRecord) -> list[int]:
    """The step of each evaluation; its number in a record that has no steps."""
    return [e.step or number for number, e in enumerate(training.evaluations, start=1)]


def _decides(record: ComparisonRecord) -> str:
    """Name of the measure that selected the best weights."""
    if PROBLEMS[record.data.kind].by_step:
        return f"error ({record.unit})"
    first = next((e for t in record.trials if t.training for e in t.training.evaluations), None)
    return next(iter(first.measures), "error") if first is not None else "error"


def context_curves(record: ComparisonRecord) -> go.Figure:
    """Error against the number of input steps, one line per network; empty if not measured."""
    curves = {
        label_of(kind): (trial.context.steps, trial.context.error, trial.context.standard_error)
        for kind, trial in _best_trials(record).items()
        if trial.context is not None
    }
    if not curves:
        return go.Figure()
    unit = f"validation error ({record.unit})"
    return pictures.context_curve(curves, unit=unit, step=_each(record), colors=_colors(record))


def gradients_by_lag(record: ComparisonRecord) -> go.Figure:
    """Gradient against lag, one line per recurrent layer; empty if there is none."""
    profiles: dict[str, tuple[float | None, ...]] = {}
    for kind, trial in _best_trials(record).items():
        if trial.diagnosis is not None:
            for layer in trial.diagnosis.layers:
                suffix = f", {layer.name}" if len(trial.diagnosis.layers) > 1 else ""
                profiles[label_of(kind) + suffix] = layer.gradient_by_lag
    if not any(profiles.values()):
        return go.Figure()
    return pictures.gradient_by_lag(profiles, lost=LOST, step=_each(record), colors=_colors(record))


def _best_trials(record: ComparisonRecord) -> dict[str, TrialRecord]:
    """For each network, the trial with the lowest validation error."""
    found = {kind: _best(_trials(record, kind)) for kind in record.settings.networks}
    return {kind: trial for kind, trial in found.items() if trial is not None}


def _each(record: ComparisonRecord) -> str:
    return f"steps of {record.data.step}" if PROBLEMS[record.data.kind].by_step else "steps"


def gradient_norms(record: ComparisonRecord) -> go.Figure:
    """Median gradient norm between evaluations, before clipping, and the clipping bound."""
    figure = go.Figure()
    name, _, bound = record.settings.clip.partition(":")
    shown = [float(bound)] if name == "norm" else []
    for kind in record.settings.networks:
        for number, trial in enumerate(_trials(record, kind)):
            if trial.training is None:
                continue
            norms = [e.gradient_norm for e in trial.training.evaluations]
            shown += norms
            figure.add_scatter(
                x=_steps(trial.training),
                y=norms,
                mode="lines",
                line={"color": kind_of(kind).color, "width": 1.2},
                name=label_of(kind),
                legendgroup=kind,
                showlegend=number == 0,
            )
    trainings = [t.training for t in record.trials if t.training]
    last = max((step for t in trainings for step in _steps(t)), default=1)
    if name == "norm":  # the other rules have no fixed bound
        figure.add_scatter(
            x=[1, last],
            y=[float(bound)] * 2,
            mode="lines",
            line={"dash": "dot", "color": "#0072B2"},
            name="clipped above",
            meta=INK,
        )
    axes(figure, "optimizer steps", "gradient norm, median over steps")
    figure.update_yaxes(logarithmic(shown))
    return figure


def window_seen(record: ComparisonRecord) -> go.Figure:
    """One window in raw values and normalized; empty if the record has no sample."""
    sample = record.sample
    figure = go.Figure()
    if not sample.context_times:
        return figure
    figure.add_scatter(
        x=sample.context_times,
        y=sample.context_values,
        name="raw, left axis",
        line={"width": 5, "color": "rgba(128,128,128,0.5)"},
    )
    figure.add_scatter(
        x=sample.context_times,
        y=sample.context_scaled,
        name=f"normalized ({record.settings.normalize}), right axis",
        yaxis="y2",
        line={"width": 1.5, "color": "#009E73"},
    )
    axes(figure, "time", sample.target)
    figure.update_layout(
        yaxis2={
            "title": "scaled value",
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "zeroline": False,
            "tickformat": ".2~f",
        }
    )
    return figure


def _interval(candidate: Candidate) -> dict[str, object]:
    error = candidate.error or 0.0
    return {
        "type": "data",
        "symmetric": False,
        "array": [(candidate.high or error) - error],
        "arrayminus": [error - (candidate.low or error)],
    }


def _line(kind: str) -> dict[str, object]:
    return {"color": kind_of(kind).color, "dash": kind_of(kind).dash}


def _trials(record: ComparisonRecord, kind: str) -> list[TrialRecord]:
    return [trial for trial in record.trials if trial.kind == kind]


def _best(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The trial with the lowest validation error, or None if all diverged."""
    done = [t for t in trials if t.validation_error is not None]
    return min(done, key=lambda t: t.validation_error or 0.0, default=None)


def _colors(record: ComparisonRecord) -> dict[str, str]:
    """The colour of each candidate, by its label."""
    kinds = [kind_of(candidate.kind) for candidate in record.verdict.candidates]
    return {kind.label: kind.color for kind in kinds}

"""Figures show what the record holds, with units, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from throughtime.catalogue import kind_of, label_of, names
from throughtime.report import axes, figures

ALL = [
    figures.error_against_cost,
    figures.error_by_step,
    figures.forecasts_against_truth,
    figures.training_curves,
    figures.context_curves,
    figures.gradients_by_lag,
    figures.gradient_norms,
    figures.window_seen,
]


@pytest.mark.parametrize("draw", ALL, ids=lambda f: f.__name__)
def test_axes_are_named_and_colours_left_to_the_page(comparison, draw):
    figure = draw(comparison[0])
    assert figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert len(figure.data) > 0


def test_every_kind_has_a_colour():
    colors = [kind_of(n).color for n in names(trained=True)]
    assert len(set(colors)) == len(colors)


def test_trivial_forecasts_are_told_apart_without_colour(comparison):
    record, _ = comparison
    trivial = {label_of(c.kind) for c in record.verdict.candidates if c.trivial}
    points = [t.marker.symbol for t in figures.error_against_cost(record).data if t.name in trivial]
    dashes = [t.line.dash for t in figures.error_by_step(record).data if t.name in trivial]
    assert len(set(points)) == len(set(dashes)) == len(trivial) == 7
    assert "solid" not in dashes
    assert "circle" not in points


def test_the_truth_is_drawn_in_ink(comparison):
    record, _ = comparison
    inked = [t for t in figures.forecasts_against_truth(record).data if t.meta == axes.INK]
    assert [t.name for t in inked] == ["truth"]
    assert inked[0].line.color not in {kind_of(n).color for n in names()}


@pytest.mark.parametrize("measured", [(120, 180), (100,), (5, 900), (3, 4e5), (1e-9, 1e30)])
def test_logarithmic_axes_have_some_labels_and_hold_all_points(comparison, measured):
    record, _ = comparison
    kinds = record.verdict.candidates
    candidates = tuple(
        replace(c, prediction_us=measured[i % len(measured)]) for i, c in enumerate(kinds)
    )
    verdict = replace(record.verdict, candidates=candidates)
    axis = figures.error_against_cost(replace(record, verdict=verdict)).layout.xaxis
    assert axis.type == "log"
    low, high = (10**end for end in axis.range)
    assert low < min(measured) <= max(measured) < high
    inside = [v for v in axis.tickvals if low * 0.999 <= v <= high * 1.001]
    assert 2 <= len(inside) == len(axis.ticktext) <= 11
    assert [float(text.replace(",", "")) for text in axis.ticktext] == pytest.approx(inside)


def test_gradient_norms_lie_on_their_axis(comparison):
    record, _ = comparison
    figure = figures.gradient_norms(record)
    low, high = figure.layout.yaxis.range
    drawn = [y for t in figure.data for y in t.y]
    assert low < np.log10(min(drawn)) < np.log10(max(drawn)) < high
    assert len(figure.layout.yaxis.tickvals) > 1


def test_cost_and_error_are_those_of_the_record(comparison):
    record, _ = comparison
    drawn = {t.name: t for t in figures.error_against_cost(record).data}
    for candidate in record.verdict.candidates:
        trace = drawn[label_of(candidate.kind)]
        assert (trace.x[0], trace.y[0]) == (candidate.prediction_us, candidate.error)
        low = trace.y[0] - trace.error_y.arrayminus[0]
        assert low == pytest.approx(candidate.low)
        assert trace.y[0] + trace.error_y.array[0] == pytest.approx(candidate.high)


def test_errors_by_step_are_means_over_seeds(comparison):
    record, _ = comparison
    drawn = {t.name: t.y for t in figures.error_by_step(record).data}
    expected = np.mean([t.error_by_step for t in record.trials if t.kind == "gru"], axis=0)
    assert np.allclose(drawn["GRU"], expected)


def test_forecasts_are_drawn_with_the_truth(comparison):
    record, _ = comparison
    drawn = {t.name: t for t in figures.forecasts_against_truth(record).data}
    assert tuple(drawn["truth"].y) == record.sample.truth
    visible = {name for name, t in drawn.items() if t.visible != "legendonly"}
    best_trivial = next(c.kind for c in record.verdict.candidates if c.trivial)
    assert visible == {"truth", label_of(best_trivial), label_of(record.verdict.recommended)}
    # persistence four steps ahead is the truth of four steps before
    assert tuple(drawn["persistence"].y[4:]) == record.sample.truth[:-4]


def test_the_kept_step_is_marked(comparison):
    record, _ = comparison
    marks = [t for t in figures.training_curves(record).data if t.mode == "markers"]
    kept = [t.training.best_step for t in record.trials if t.training]
    assert sorted(t.x[0] for t in marks) == sorted(kept)


def test_the_window_is_drawn_raw_and_as_normalized(comparison):
    record, _ = comparison
    raw, scaled = (np.array(t.y) for t in figures.window_seen(record).data)
    assert np.allclose(scaled, (raw - raw[-1]) / raw.std())


def test_what_was_seen_inside_is_drawn_in_each_networks_colour(comparison):
    record, _ = comparison
    curves = figures.context_curves(record)
    assert [t.name for t in curves.data] == ["Dense", "WindowDense", "GRU"]
    assert [t.line.color for t in curves.data] == [
        kind_of(k).color for k in ("dense", "window-dense", "gru")
    ]
    best = min((t for t in record.trials if t.kind == "gru"), key=lambda t: t.validation_error)
    assert curves.data[2].y == best.context.error[1:]  # 0 steps have no place on the axis
    by_lag = figures.gradients_by_lag(record)
    assert [t.name for t in by_lag.data] == ["GRU", "lost below"]
    assert by_lag.data[0].y[1] == pytest.approx(best.diagnosis.layers[0].gradient_by_lag[1])
    assert by_lag.data[0].line.color == kind_of("gru").color


def test_what_was_not_measured_is_not_drawn(comparison):
    record, _ = comparison
    trials = tuple(replace(t, context=None, diagnosis=None) for t in record.trials)
    empty = replace(record, trials=trials)
    assert not figures.context_curves(empty).data and not figures.gradients_by_lag(empty).data
    one_step = replace(record, data=replace(record.data, horizon=1))
    assert not figures.error_by_step(one_step).data

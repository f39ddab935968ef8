"""Figures show what the record holds, with units, and nothing else."""

import numpy as np
import pytest

from throughtime.report import figures
from throughtime.runs import NAMES

ALL = [
    figures.error_against_cost,
    figures.error_by_step,
    figures.forecasts_against_truth,
    figures.training_curves,
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
    assert set(figures.COLORS) == set(NAMES)


def test_cost_and_error_are_those_of_the_record(comparison):
    record, _ = comparison
    drawn = {t.name: t for t in figures.error_against_cost(record).data}
    for candidate in record.verdict.candidates:
        trace = drawn[NAMES[candidate.kind]]
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
    assert visible == {"truth", NAMES[best_trivial], NAMES[record.verdict.recommended]}
    # persistence four steps ahead is the truth of four steps before
    assert tuple(drawn["persistence"].y[4:]) == record.sample.truth[:-4]


def test_the_kept_epoch_is_marked(comparison):
    record, _ = comparison
    marks = [t for t in figures.training_curves(record).data if t.mode == "markers"]
    kept = [t.training.best_epoch for t in record.trials if t.training]
    assert sorted(t.x[0] for t in marks) == sorted(kept)


def test_the_window_is_drawn_raw_and_as_normalized(comparison):
    record, _ = comparison
    raw, scaled = (np.array(t.y) for t in figures.window_seen(record).data)
    assert np.allclose(scaled, (raw - raw[-1]) / raw.std())

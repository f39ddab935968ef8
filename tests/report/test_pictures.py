"""Pictures hold the numbers they were given, with named axes, and colours for light and dark."""

import math

import numpy as np
import pytest
import torch

import throughtime
from throughtime.report import pictures
from throughtime.report.axes import INK

T, H = 7, 3
GRID = torch.linspace(0, 1, T * H).view(T, H)


def drawn():
    """Every picture once."""
    yield pictures.gradient_by_lag({"LSTM": [1.0, 0.5], "RNN": [1.0, 0.1]}, lost=1e-7)
    yield pictures.heat_map({"forget gate": GRID, "state": GRID - 0.5}, input=list(range(T)))
    yield pictures.text_by_state("throughtime", torch.linspace(-1, 1, 11), columns=4)
    yield pictures.lyapunov_spectrum({"GRU": [0.1, -0.5, -math.inf]})
    yield pictures.context_curve({"GRU": ([1, 2, 4], [3.0, 2.0, 1.0], [0.1, 0.1, 0.1])})
    yield pictures.scrub({"state": GRID}, list(range(T)))


@pytest.mark.parametrize("figure", list(drawn()), ids=lambda f: f.data[0].type)
def test_axes_are_named_and_colours_left_to_the_page(figure):
    titles = [axis.title.text for axis in figure.select_xaxes()]
    titles += [axis.title.text for axis in figure.select_yaxes()]
    assert sum(bool(title) for title in titles) >= 2 or figure.frames
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.font.color == "#7f7f7f"  # until a page says otherwise
    assert all(axis.automargin for axis in figure.select_yaxes())


def test_gradients_are_relative_to_lag_0_and_gaps_stay_gaps():
    figure = pictures.gradient_by_lag(
        {"a": torch.tensor([2.0, 1.0, math.nan, 0.0]), "b": np.array([4.0, 1.0])}, lost=1e-3
    )
    a, b, lost = figure.data
    assert a.y == (1.0, 0.5, None, 1e-20) and a.x == (0, 1, 2, 3)
    assert b.y == (1.0, 0.25)
    assert (a.name, b.name, lost.name, lost.meta) == ("a", "b", "lost below", INK)
    assert lost.x == (0, 3) and lost.y == (1e-3, 1e-3)
    low, high = figure.layout.yaxis.range
    assert figure.layout.yaxis.type == "log" and low < -20 and high > 0


def test_what_the_library_measures_can_be_drawn():
    torch.manual_seed(0)
    layer = throughtime.LSTM(2, 3)
    with throughtime.observe(layer) as seen, torch.no_grad():
        layer(torch.randn(9, 2, 2))
    view = seen["l0"]
    profile = throughtime.gradient_by_lag(view)
    figure = pictures.gradient_by_lag({"LSTM": profile.norms})
    assert figure.data[0].y[1] == pytest.approx(float(profile.norms[1] / profile.norms[0]))
    figure = pictures.lyapunov_spectrum({"LSTM": throughtime.lyapunov_spectrum(view).exponents})
    assert len(figure.data[0].y) == 6
    gates = {f"{name} gate": values[:, 0] for name, values in view.gates.items()}
    figure = pictures.heat_map(gates, input=view.input[:, 0])
    assert [t.type for t in figure.data] == ["scatter"] * 2 + ["heatmap"] * 4


def test_heat_maps_have_a_row_a_unit_and_the_range_of_their_quantity():
    figure = pictures.heat_map(
        {"forget gate": GRID, "cell gate": GRID - 0.5, "cell state": 6 * GRID - 3},
        input=torch.arange(T), times=[f"day {t}" for t in range(T)], time_title="day",
    )  # fmt: skip
    x, forget, cell_gate, cell = figure.data
    assert list(x.y) == list(range(T)) and x.x[0] == "day 0"
    assert np.allclose(np.array(forget.z), GRID.T.numpy()) and forget.x == x.x
    assert (forget.zmin, forget.zmax) == (0, 1)
    assert (cell_gate.zmin, cell_gate.zmax) == (-1, 1)
    assert (cell.zmin, cell.zmax) == (-3, 3)
    assert [a.text for a in figure.layout.annotations][1:] == [
        "forget gate",
        "cell gate",
        "cell state",
    ]
    assert figure.layout.xaxis4.title.text == "day"
    # each bar of colours beside its own map
    for trace, axis in ((forget, "yaxis2"), (cell, "yaxis4")):
        bottom, top = figure.layout[axis].domain
        assert trace.colorbar.y == pytest.approx((bottom + top) / 2)
        assert trace.colorbar.len <= top - bottom + 1e-9
    assert len(pictures.heat_map({"state": GRID}).data) == 1


def test_every_character_lies_on_its_own_state():
    text, states = "ab\ncdefg", [0.1 * n for n in range(8)]
    (grid,) = pictures.text_by_state(text, states, columns=3).data
    assert ["".join(row) for row in grid.text] == ["ab\u23ce", "cde", "fg"]
    assert [list(row) for row in grid.z] == [states[:3], states[3:6], states[6:]]
    assert pictures.text_by_state(text, states, columns=3).layout.yaxis.autorange == "reversed"
    with pytest.raises(ValueError, match="8 characters, but 7 states"):
        pictures.text_by_state(text, states[:7])


def test_what_is_forgotten_at_once_is_no_exponent():
    figure = pictures.lyapunov_spectrum({"a": [0.2, -0.1, None], "b": [-0.3, -math.inf]})
    assert figure.data[0].y == (0.2, -0.1) and figure.data[1].y == (-0.3,)
    assert figure.data[2].x == (1, 2) and figure.data[2].y == (0, 0)


def test_curves_have_their_errors():
    (curve,) = pictures.context_curve({"a": ((1, 2, 8), [3.0, 2.0, 1.0], [0.3, 0.2, 0.1])}).data
    assert curve.x == (1, 2, 8) and curve.y == (3, 2, 1)
    assert curve.error_y.array == (0.3, 0.2, 0.1)


def test_the_slider_shows_each_step_and_marks_it():
    series = [float(t * t) for t in range(T)]
    labels = [f"day {t}" for t in range(T)]
    figure = pictures.scrub({"state": GRID - 0.5, "forget gate": GRID}, series, times=labels)
    assert len(figure.frames) == T == len(figure.layout.sliders[0].steps)
    for t, frame in enumerate(figure.frames):
        mark, state, gate = frame.data
        # plotly takes a frame's trace for a line unless it says what it is
        assert [d.type for d in frame.data] == [figure.data[n].type for n in frame.traces]
        assert list(mark.x) == [labels[t]] and list(mark.y) == [series[t]]
        assert np.allclose(state.y, GRID[t] - 0.5) and np.allclose(gate.y, GRID[t])
        assert list(figure.layout.sliders[0].steps[t].args[0]) == [frame.name]
    assert [figure.data[n].type for n in figure.frames[0].traces] == ["scatter", "bar", "bar"]
    for values, given in ((GRID, []), (GRID[:3], series), ([], [])):
        with pytest.raises(ValueError, match="need the same number of steps"):
            pictures.scrub({"state": values}, given)


def test_nothing_and_what_is_not_finite_can_be_drawn():
    nan = torch.full((3, 2), math.nan)
    for figure in (
        pictures.gradient_by_lag({}),
        pictures.gradient_by_lag({"a": [], "b": [math.nan] * 3}),
        pictures.heat_map({"state": []}),
        pictures.heat_map({"state": nan}, input=nan),
        pictures.text_by_state("", []),
        pictures.lyapunov_spectrum({"a": [-math.inf]}),
        pictures.context_curve({}),
        pictures.scrub({"state": nan}, [1.0, math.nan, 2.0]),
    ):
        assert "NaN" not in figure.to_json()
    with pytest.raises(ValueError, match="nothing to draw"):
        pictures.heat_map({})


def test_labels_may_be_arrays_and_one_unit_needs_no_axis_of_its_own():
    labels = np.arange(T) * 7
    figure = pictures.heat_map({"state": GRID[:, 0]}, times=labels)
    assert list(figure.data[0].x) == labels.tolist()
    assert np.allclose(figure.data[0].z, GRID[:, :1].T)
    assert pictures.scrub({"state": GRID}, list(range(T)), times=labels).frames
    figure = pictures.gradient_by_lag({"a": [0.0, 1.0]})
    assert figure.data[0].y == (None, None)  # relative to nothing


def test_the_name_of_the_input_is_text():
    """plotly takes some tags in its titles for markup: a link, say."""
    values = {"hidden state": [[0.1, 0.2], [0.3, 0.4]]}
    for draw in (pictures.heat_map, pictures.scrub):
        figure = draw(values, input=[1.0, 2.0], input_title="<b>load</b>")
        assert figure.layout.annotations[0].text == "&lt;b&gt;load&lt;/b&gt;"

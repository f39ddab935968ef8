"""Sizes: matched, or told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.catalogue import FORECASTER, names
from throughtime.comparison.sizes import matched, size_note
from throughtime.data.tables.windows import WindowPlan
from throughtime.problems.forecasting.comparison import config_for
from throughtime.problems.forecasting.networks import ModelConfig, build, parameter_count
from throughtime.problems.registry import experiment_of


def test_matched_sizes_need_no_note(problem, small_settings):
    settings = replace(small_settings, parameters=4000)
    assert experiment_of(problem).size_notes(settings) == []
    for kind in settings.networks:
        count = build(config_for(problem, kind, "window", 4000)).parameter_count()
        assert count == pytest.approx(4000, rel=0.1)


def test_a_window_too_wide_for_the_size_asked_is_told(problem, small_settings):
    wide = replace(problem, plan=WindowPlan(context=400, horizon=4, season=52))
    (note,) = experiment_of(wide).size_notes(replace(small_settings, parameters=1000))
    config = config_for(wide, "window-dense", "window", 1000)
    count = build(config).parameter_count()
    assert config.hidden_size < 4
    assert note.startswith(
        f"WindowDense is not a fair match: hidden size {config.hidden_size}, {count:,} parameters "
        f"instead of 1,000 ({100 * (1 - count / 1000):.0f} % fewer)."
    )
    assert "raise --parameters" in note


@pytest.mark.parametrize(
    ("units", "parameters", "words"),
    [
        (4, 1000, None),
        (4, 1100, None),
        (4, 900, None),
        (3, 1000, "hidden size 3, 1,000 parameters instead of 1,000. "),
        (9, 1111, "hidden size 9, 1,111 parameters instead of 1,000 (11 % more)."),
        (9, 880, "hidden size 9, 880 parameters instead of 1,000 (12 % fewer)."),
    ],
)
def test_where_the_bounds_are(units, parameters, words):
    note = size_note("lstm", units, parameters, 1000)
    assert note is None if words is None else words in note


@pytest.mark.parametrize("kind", names(FORECASTER, trained=True))
@given(parameters=st.integers(150, 5000))
def test_matched_sizes_come_as_near_as_they_can(kind, parameters):
    config = ModelConfig(kind, context=10, horizon=3, columns=2)

    def off(size):
        return abs(parameter_count(replace(config, hidden_size=size)) - parameters)

    size = matched(config, parameters, parameter_count).hidden_size
    assert off(size) == min(off(s) for s in (max(1, size - 1), size, size + 1))


def test_a_network_that_has_no_hidden_size_is_left_as_it_is():
    config = ModelConfig("gru", context=12, horizon=2, columns=1, hidden_size=7)
    assert matched(config, 10_000, lambda config: 26) == config

"""Sizes: the largest within the bound, or a note; and options that apply."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.catalogue import FORECASTER, names
from throughtime.comparison.sizes import applicable, largest_within, size_note
from throughtime.data.tables.windows import WindowPlan
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.forecasting.comparison import config_for
from throughtime.problems.forecasting.networks import ModelConfig, build, parameter_count
from throughtime.problems.registry import experiment_of

WINDOW = Hyperparameters(normalize="window")


def test_sizes_within_the_bound_need_no_note(problem, small_settings):
    settings = replace(small_settings, parameters=4000)
    assert experiment_of(problem).size_notes(settings) == []
    for kind in settings.networks:
        count = build(config_for(problem, kind, WINDOW, 4000)).parameter_count()
        assert 0.9 * 4000 <= count <= 4000
        half = Hyperparameters(size=0.5).over(WINDOW)
        assert build(config_for(problem, kind, half, 4000)).parameter_count() <= 2000
        units = Hyperparameters(hidden_size=3).over(WINDOW)
        assert config_for(problem, kind, units, 4000).hidden_size == 3


def test_a_window_too_wide_for_the_bound_is_reported(problem, small_settings):
    wide = replace(problem, plan=WindowPlan(context=400, horizon=4, season=52))
    (note,) = experiment_of(wide).size_notes(replace(small_settings, parameters=1000))
    config = config_for(wide, "window-dense", WINDOW, 1000)
    count = build(config).parameter_count()
    assert config.hidden_size == 8 and count > 1000
    assert note == (
        f"WindowDense has {count:,} parameters with 8 units, more than the 1,000 that the others "
        "may have; raise --parameters to give all the same"
    )
    assert size_note("lstm", 1000, 1000) is None


@pytest.mark.parametrize("kind", names(FORECASTER, trained=True))
@given(parameters=st.integers(600, 5000))
def test_no_larger_size_fits(kind, parameters):
    config = ModelConfig(kind, context=10, horizon=3, columns=2)
    size = largest_within(config, parameters, parameter_count).hidden_size
    assert parameter_count(replace(config, hidden_size=size + 1)) > parameters
    assert size == 8 or parameter_count(replace(config, hidden_size=size)) <= parameters


def test_a_network_that_has_no_hidden_size_is_left_as_it_is():
    config = ModelConfig("gru", context=12, horizon=2, columns=1, hidden_size=7)
    assert largest_within(config, 10_000, lambda config: 26) == config


def test_choices_are_given_to_the_kinds_that_have_a_use_for_them(problem):
    given = Hyperparameters(init="chrono:40", layers=2, dropout=0.1)
    assert applicable(given, "gru") == given
    assert applicable(given, "rnn") == Hyperparameters(layers=2, dropout=0.1)
    assert applicable(given, "dense") == Hyperparameters(dropout=0.1)
    config = config_for(problem, "lstm", given, 4000)
    assert (config.init, config.num_layers, config.dropout) == ("chrono:40", 2, 0.1)
    body = build(config).body
    assert (body.num_layers, body.dropout, body.init) == (2, 0.1, "chrono:40")
    with pytest.raises(ValueError, match="--bidirectional does not apply to this problem"):
        config_for(problem, "gru", Hyperparameters(bidirectional=True), 4000)

"""The kinds of networks: each entry whole, and kinds from outside like the project's own."""

import re

import pytest
import torch

from throughtime import catalogue
from throughtime.catalogue import FORECASTER, SEQUENCES, NetworkKind
from throughtime.problems.forecasting.networks import ModelConfig, Network, build
from throughtime.problems.labelling.networks import SequenceConfig, build_sequence_network


@pytest.fixture(autouse=True)
def only_the_projects_own():
    yield
    for kind in catalogue.registered():
        catalogue.forget(kind.name)


@pytest.mark.parametrize("name", catalogue.names())
def test_every_entry_is_whole_and_builds(name):
    kind = catalogue.kind_of(name)
    assert kind.explanation.endswith(".") and re.fullmatch("#[0-9A-F]{6}", kind.color.upper())
    assert sum(other.cost == kind.cost for other in map(catalogue.kind_of, catalogue.names())) == 1
    assert kind.builders
    if FORECASTER in kind.builders:
        model = build(ModelConfig(name, context=6, horizon=2, columns=1, season=2))
        assert model(torch.zeros(3, 6, 1, dtype=torch.float64)).shape == (3, 2, 1)
    if SEQUENCES in kind.builders:
        steps = name != "bag"  # which is for whole sequences alone
        how = {"columns": 1, "outputs": 5, "classes": True, "every_step": steps, "categories": (5,)}
        model = build_sequence_network(SequenceConfig(name, **how))
        assert model(torch.zeros(3, 2, 1))[0].shape == (3, 2, 5)


class Linear(Network):
    """The last value, and a line through the window."""

    def __init__(self, config):
        super().__init__(config)
        self.body = torch.nn.Linear(config.context * self.width, config.horizon * config.targets)

    def compute(self, seen, ahead=None):
        return self.body(seen.flatten(1))


def test_a_kind_from_outside_is_built_like_any_other():
    kind = NetworkKind(
        "linear", "Linear", "A line.", builders={FORECASTER: Linear}, memory="window"
    )
    assert catalogue.register_network(kind) is kind
    assert catalogue.names(FORECASTER, trained=True)[-1] == "linear"
    assert "linear" not in catalogue.names(SEQUENCES)
    assert isinstance(build(ModelConfig("linear", 6, 2, 1)), Linear)
    with pytest.raises(ValueError, match=r"kind is one of .*; got 'linear'"):
        SequenceConfig("linear", columns=1, outputs=1, classes=False, every_step=True)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"memory": "long"}, "memory is one of none, window, recurrent; got 'long'"),
        ({"builders": {}}, "a kind needs a name, a label, and a layer or builders"),
        ({"builders": {"tables": Linear}}, "builders of linear are for 'tables'"),
    ],
)
def test_entries_that_do_not_fit_together_are_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        NetworkKind("linear", "Linear", "A line.", **{"builders": {FORECASTER: Linear}, **wrong})


def test_a_name_of_the_project_cannot_be_taken_and_an_unknown_one_says_what_to_do():
    with pytest.raises(ValueError, match="'gru' is one of throughtime's own kinds"):
        catalogue.register_network(
            NetworkKind("gru", "Mine", "Other.", builders={FORECASTER: Linear})
        )
    with pytest.raises(ValueError, match=r"got 'mingru' .for a kind of your own: in Python"):
        catalogue.kind_of("mingru")

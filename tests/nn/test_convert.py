"""Tests of conversion: replacement of layers in place, its report, and its reversal."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import throughtime
from helpers import assert_same


class Mine(nn.LSTM):
    """A user's subclass."""


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.GRU(3, 4, 2, batch_first=True, bidirectional=True)})
        self.cells = nn.ModuleList([nn.LSTMCell(8, 5), nn.RNNCell(5, 6, nonlinearity="relu")])
        self.last = nn.LSTM(6, 4, proj_size=2, dropout=0.5, num_layers=2)
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        y, _ = self.encoder["rnn"](x)
        h = self.cells[1](self.cells[0](y[:, -1])[0])
        return self.head(self.last(h.unsqueeze(0))[0])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


def outcome(model, seed=0):
    torch.manual_seed(seed)
    y = model(torch.randn(2, 5, 3))
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(y.square().sum(), weights, materialize_grads=True)
    return y, dict(zip(names, found, strict=True))


def test_every_layer_is_swapped_and_computes_the_same(model):
    before = outcome(model)
    weights = {name: id(p) for name, p in model.named_parameters()}
    conversion = throughtime.convert(model)
    assert conversion.model is model
    assert dict(conversion.swapped) == {
        "encoder.rnn": "GRU",
        "cells.0": "LSTMCell",
        "cells.1": "RNNCell",
        "last": "LSTM",
    }
    assert not conversion.left
    assert str(conversion).splitlines()[0] == "swapped encoder.rnn: GRU"
    assert type(model.encoder["rnn"]) is throughtime.GRU
    assert type(model.cells[1]) is throughtime.RNNCell
    assert {name: id(p) for name, p in model.named_parameters()} == weights
    assert_same(outcome(model), before)


def test_the_random_state_is_not_touched(model):
    state = torch.get_rng_state()
    throughtime.convert(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_revert_undoes_it_with_the_weights_of_now(model):
    classes = [type(m) for m in model.modules()]
    model.own = throughtime.GRU(2, 2)  # created by throughtime, not converted
    throughtime.convert(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 5, 3)).sum().backward()
    optimizer.step()
    trained = outcome(copy.deepcopy(model))
    model.last.zoneout = 0.5
    conversion = throughtime.revert(model)
    assert dict(conversion.left) == {"last": "it uses zoneout, which torch.nn does not have"}
    model.last.zoneout = 0.0
    assert dict(throughtime.revert(model).swapped) == {"last": "LSTM"}
    assert type(model.own) is throughtime.GRU
    del model.own
    assert [type(m) for m in model.modules()] == classes
    trained[1].pop("own.weight_ih_l0", None)
    y, gradients = outcome(model)
    assert_same(y, trained[0])
    assert_same(gradients, {k: trained[1][k] for k in gradients})
    assert not throughtime.revert(model).swapped


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_what_is_left_is_told_with_the_reason():
    model = nn.ModuleDict(
        {
            "mine": Mine(3, 4),
            "normed": parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0"),
            "plain": nn.Linear(1, 1),
        }
    )
    conversion = throughtime.convert(model)
    assert not conversion.swapped
    assert conversion.left["mine"].startswith("a subclass of LSTM (Mine)")
    assert conversion.left["normed"].startswith("a subclass of GRU (ParametrizedGRU)")
    hooked = nn.ModuleDict({"normed": nn.utils.weight_norm(nn.GRU(3, 4), "weight_hh_l0")})
    assert "weight_hh_l0_g" in throughtime.convert(hooked).left["normed"]
    assert "nothing to swap" in str(throughtime.convert(nn.Linear(1, 1)))


def test_hooks_modes_and_shared_layers_stay():
    seen = []
    shared = nn.GRU(3, 3)
    shared.register_forward_hook(lambda *_: seen.append(1))
    model = nn.ModuleDict({"one": shared, "other": shared}).eval()
    throughtime.convert(model)
    assert model["one"] is model["other"]
    assert not model["one"].training
    model["one"](torch.zeros(2, 1, 3))
    assert seen == [1]


def test_a_bare_layer_comes_back_as_the_model():
    conversion = throughtime.convert(nn.LSTM(3, 4))
    assert type(conversion.model) is throughtime.LSTM
    assert str(conversion) == "swapped the model itself: LSTM"


def test_patched_builds_ours_and_ends_with_its_block():
    theirs = nn.LSTM
    with pytest.raises(RuntimeError, match="stop"), throughtime.patched():
        assert nn.LSTM is throughtime.LSTM
        assert type(Model().encoder["rnn"]) is throughtime.GRU
        from torch.nn.modules.rnn import GRUCell

        assert GRUCell is throughtime.GRUCell
        raise RuntimeError("stop")
    assert nn.LSTM is theirs
    assert nn.modules.rnn.LSTM is theirs

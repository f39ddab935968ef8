import math

import pytest
import torch
from torch import nn

import throughtime
from throughtime import initialize
from throughtime.nn.cell_types import CELL_TYPES
from throughtime.nn.initialization import by_name

KINDS = ["RNN", "LSTM", "GRU"]
GATES = {cell.name: cell.weight_blocks for cell in CELL_TYPES.values()}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_home = pytest.mark.parametrize("home", [throughtime, nn], ids=["ours", "torchs"])


def summed_biases(layer, gate):
    """The total bias of a gate, one row per layer and direction."""
    size = layer.hidden_size
    own = slice(gate * size, (gate + 1) * size)
    pairs = [
        (p, dict(layer.named_parameters())[n.replace("_ih", "_hh")])
        for n, p in layer.named_parameters()
        if n.startswith("bias_ih")
    ]
    return torch.stack([a[own] + b[own] for a, b in pairs])


@every_kind
def test_torchs_default_is_torchs_to_the_bit(kind):
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(3, 4, 2, bidirectional=True)
    torch.manual_seed(0)
    ours = getattr(throughtime, kind)(3, 4, 2, bidirectional=True)
    for (n, a), (m, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert n == m and torch.equal(a, b)
    torch.manual_seed(0)
    assert initialize(theirs, "torch") == [""]
    assert torch.equal(theirs.weight_hh_l1, ours.weight_hh_l1)


@every_home
@every_kind
def test_orthogonal_blocks_keep_every_length(home, kind):
    layer = getattr(home, kind)(3, 6, 2, bidirectional=True)
    initialize(layer, "orthogonal")
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            for block in parameter.chunk(GATES[kind]):
                torch.testing.assert_close(block @ block.T, torch.eye(6))
        elif name.startswith("bias"):
            assert not parameter.any()
        else:  # Glorot and Bengio: uniform within sqrt(6 / (in + out)) of each gate
            bound = math.sqrt(6 / (parameter.shape[1] + 6))
            assert 0.5 * bound < parameter.abs().max() <= bound


def test_a_projection_is_drawn_orthogonal_as_a_whole():
    layer = throughtime.LSTM(3, 6, proj_size=2, init="orthogonal")
    torch.testing.assert_close(layer.weight_hr_l0 @ layer.weight_hr_l0.T, torch.eye(2))
    block = layer.weight_hh_l0[:6]
    torch.testing.assert_close(block.T @ block, torch.eye(2))


@every_home
def test_identity_passes_the_state_on(home):
    layer = home.RNN(3, 40, 2, nonlinearity="relu")
    initialize(layer, "identity")
    assert torch.equal(layer.weight_hh_l1, torch.eye(40))
    assert not layer.bias_ih_l0.any() and not layer.bias_hh_l1.any()
    assert 0.0005 < layer.weight_ih_l0.std() < 0.0015
    state = torch.rand(2, 5, 40)
    torch.testing.assert_close(layer(torch.zeros(50, 5, 3), state)[1][0], state[0])
    for kind in ("LSTM", "GRU"):
        with pytest.raises(ValueError, match=f"identity is only for an RNN .* got {kind}"):
            initialize(getattr(home, kind)(3, 4), "identity")


@every_home
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_forget_bias_is_one_of_the_two_in_every_layer_and_direction(home, kind):
    layer = getattr(home, kind)(3, 4, 2, bidirectional=True)
    initialize(layer, "forget-bias")
    assert torch.equal(summed_biases(layer, 1), torch.ones(4, 4))
    assert layer.bias_ih_l1_reverse[4:8].eq(1).all() and not layer.bias_hh_l1_reverse[4:8].any()
    others = [g for g in range(GATES[kind]) if g != 1]
    assert all(0 < summed_biases(layer, g).abs().max() <= 1 for g in others)
    initialize(layer, "forget-bias:2.5")
    assert torch.equal(summed_biases(layer, 1), torch.full((4, 4), 2.5))


@every_home
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_chrono_spreads_time_scales_up_to_the_longest(home, kind):
    """A gate of sigmoid(ln u) = u / (1 + u) keeps the state for about u + 1/2 steps."""
    torch.manual_seed(0)
    layer = getattr(home, kind)(3, 500, 2)
    initialize(layer, "chrono:100")
    u = summed_biases(layer, 1).exp()
    assert 1 <= u.min() < 3 and 97 < u.max() <= 99
    assert u.mean().item() == pytest.approx(50, abs=4)
    if kind == "LSTM":
        torch.testing.assert_close(summed_biases(layer, 0), -u.log())
    else:
        assert summed_biases(layer, 0).abs().max() < 0.1


def test_layers_take_it_as_an_option():
    torch.manual_seed(0)
    layer = throughtime.GRU(3, 4, init="chrono:9", layer_norm=True)
    assert repr(layer) == "GRU(3, 4, layer_norm=True, init='chrono:9')"
    assert layer.norm_ih_l0.eq(1).all()
    before = layer.bias_ih_l0.clone()
    layer.reset_parameters()
    after = summed_biases(layer, 1).exp()
    assert not torch.equal(layer.bias_ih_l0, before) and after.min() >= 1 and after.max() <= 8
    irnn = throughtime.RNN(3, 4, nonlinearity="relu", layer_norm=True, init="identity")
    assert irnn.norm_hh_l0.eq(1).all() and torch.equal(irnn.weight_hh_l0, torch.eye(4))


def test_a_whole_model_is_drawn_and_what_was_is_told():
    model = nn.ModuleDict({"a": nn.GRU(3, 4), "b": throughtime.LSTM(3, 4), "c": nn.Linear(3, 4)})
    before = model["c"].weight.clone()
    assert initialize(model, "chrono:20") == ["a", "b"]
    assert torch.equal(model["c"].weight, before)
    with pytest.raises(ValueError, match="no recurrent layer in Linear"):
        initialize(model["c"], "torch")


@pytest.mark.parametrize(
    "how, message",
    [
        ("xavier", "one of torch, orthogonal, identity, forget-bias, chrono; got 'xavier'"),
        ("chrono", "chrono needs a number: the longest time scale, e.g. chrono:784"),
        ("chrono:", "chrono takes a number: the longest time scale"),
        ("chrono:nan", "chrono takes a number"),
        ("chrono:1", "2 steps or more; got 1.0"),
        ("orthogonal:2", "orthogonal takes no number; got 'orthogonal:2'"),
    ],
)
def test_what_cannot_be_is_told(how, message):
    with pytest.raises(ValueError, match=message):
        throughtime.LSTM(3, 4, init=how)


def test_gates_that_are_not_there_cannot_be_biased():
    for how in ("forget-bias", "chrono:9"):
        with pytest.raises(ValueError, match="an RNN has no gate"):
            throughtime.RNN(3, 4, init=how)
        with pytest.raises(ValueError, match="no biases"):
            throughtime.GRU(3, 4, bias=False, init=how)
    with pytest.raises(ValueError, match="expected an RNN, LSTM or GRU; got Linear"):
        by_name("torch")(nn.Linear(2, 3))


@every_home
def test_what_fails_changes_nothing(home):
    model = nn.ModuleList([home.LSTM(3, 4), home.RNN(3, 4)])
    before = [p.clone() for p in model.parameters()]
    for how in ("forget-bias:2", "chrono:9"):
        with pytest.raises(ValueError, match="an RNN has no gate"):
            initialize(model, how)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@every_home
def test_parametrized_weights_are_refused(home):
    layer = nn.utils.parametrizations.weight_norm(home.RNN(3, 4), "weight_hh_l0")
    for how in ("orthogonal", "identity", "torch"):
        with pytest.raises(ValueError, match="of this RNN are parametrized"):
            initialize(layer, how)
    assert layer.weight_hh_l0.isfinite().all()

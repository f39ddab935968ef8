"""Tests of a user-defined cell: layer, observation, memory measures and diagnosis."""

import copy
import math

import pytest
import torch

import throughtime
from helpers import assert_same, flat
from throughtime.nn.cell_types import CELL_TYPES, CellType, Gate


def min_gru_step(x_part, h_part, state, norms=None):
    """z = sigmoid(a_z), h' = (1 - z) h + z a_h: no gate reads the state (Feng et al. 2024)."""
    a_z, a_h = x_part.chunk(2, dim=-1)
    z = torch.sigmoid(a_z)
    return ((1 - z) * state[0] + z * a_h,), (z, a_h)


class MinGRU(throughtime.RecurrentLayer):
    cell_type = CellType(
        "MinGRU",
        min_gru_step,
        gates=(Gate("update"), Gate("candidate", "linear")),
        recurrent_weights=False,
        keeps="update",
        keeps_when_open=False,
    )


def test_it_is_a_layer_with_all_of_a_layers_options():
    torch.manual_seed(0)
    options = {"num_layers": 2, "bidirectional": True, "zoneout": 0.1, "layer_norm": True}
    layer = MinGRU(3, 4, **options, dtype=torch.float64)
    names = [n for n, _ in layer.named_parameters()]
    assert names[:4] == ["weight_ih_l0", "bias_ih_l0", "norm_ih_l0", "weight_ih_l0_reverse"]
    x, lengths = torch.randn(6, 5, 3, dtype=torch.float64), torch.tensor([6, 4, 0, 1, 6])
    layer.eval()
    output, last = layer(x, lengths=lengths)
    assert (output.shape, last.shape) == ((6, 5, 8), (4, 5, 4))
    for sample, length in enumerate(lengths.tolist()):
        alone, h_n = layer(x[:length, sample])
        assert_same(output[:length, sample], alone)
        assert_same(last[:, sample], h_n)
    assert repr(MinGRU(3, 4)) == "MinGRU(3, 4)"
    path = throughtime.explain_path(layer, x)
    assert path.name == "equations"
    assert path.reason == "the plain equations; the native kernels do not support the MinGRU cell"
    again = copy.deepcopy(layer)
    assert_same(again(x)[0], layer(x)[0])


def test_it_is_the_recurrence_of_its_paper_step_by_step():
    torch.manual_seed(0)
    layer = MinGRU(3, 4, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    with throughtime.observe(layer) as seen:
        output, _ = layer(x)
        output.sum().backward()
    view = seen["l0"]
    assert list(view.gates) == ["update", "candidate"]
    parts = x @ layer.weight_ih_l0.T + layer.bias_ih_l0
    z, h = torch.sigmoid(parts[..., :4]), torch.zeros(2, 4, dtype=torch.float64)
    assert_same(view.gates["update"], z)
    for t in range(6):
        h = (1 - z[t]) * h + z[t] * parts[t, :, 4:]
        assert_same(output[t], h)
    # dL/dh_t of a sum over outputs: 1, plus the gradient from later steps
    dh = torch.zeros(2, 4, dtype=torch.float64)
    for t in reversed(range(6)):
        dh = torch.ones_like(dh) if t == 5 else 1 + dh * (1 - z[t + 1])
        assert_same(view.hidden_grad[t], dh)
    streamed, state = [], None
    for x_t in x:
        h_t, state = layer.step(x_t, state)
        streamed.append(h_t)
    assert_same(torch.stack(streamed), output)


def test_chrono_opens_the_gate_that_keeps_whatever_its_place_and_sign():
    torch.manual_seed(0)
    layer = MinGRU(3, 512, init="chrono:100")
    bias = layer.bias_ih_l0.detach()
    scales = 1 / torch.sigmoid(bias[:512])  # 1 / (1 - f)
    assert float(scales.min()) > 1.9 and float(scales.max()) < 101
    assert 40 < float(scales.median()) < 62  # uniform
    assert float(bias[512:].abs().max()) <= 1 / math.sqrt(512)  # untouched
    throughtime.initialize(layer, "forget-bias:3")
    assert_same(layer.bias_ih_l0[:512], torch.full((512,), -3.0))

    class Reordered(throughtime.LSTM):  # with another order of the gates
        cell_type = CellType(
            "Reordered",
            lambda x, h, state, norms=None: CELL_TYPES["LSTM"].step(
                (x + h).roll(-(x.shape[-1] // 4), -1), torch.zeros_like(x), state
            ),
            gates=(Gate("output"), Gate("input"), Gate("forget"), Gate("cell", "tanh")),
            states=("hidden", "cell"),
            keeps="forget",
            admits="input",
        )

    layer = Reordered(3, 4, init="chrono:100")
    _, written, kept, _ = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().chunk(4)
    assert_same(written, -kept)
    assert float(kept.min()) >= 0 and float(kept.max()) <= math.log(99)


def test_its_memory_is_measured_and_it_is_diagnosed():
    torch.manual_seed(0)
    layer = MinGRU(3, 16, init="chrono:50", dtype=torch.float64)
    x = torch.randn(60, 8, 3, dtype=torch.float64)
    with throughtime.observe(layer) as seen:
        layer(x)
    scales = throughtime.time_scales(seen["l0"])
    f = 1 - seen["l0"].gates["update"]
    assert scales.gate == "update"
    assert_same(scales.units, -1 / f.log().mean(dim=(0, 1)))
    # diagonal recurrence: the growth rates are the logarithms of the gates
    exponents = throughtime.lyapunov_spectrum(seen["l0"]).exponents
    assert_same(exponents.sum(), f.log().mean(dim=(0, 1)).sum())
    assert throughtime.diagnose(layer, x).verdict == "healthy"
    with torch.no_grad():
        layer.bias_ih_l0[:16] = 40.0  # replaces the state at each step: no memory
    found = throughtime.diagnose(layer, x)
    assert found.verdict == "saturated"
    assert "update gate" in found.layers[0].findings[0].where
    with torch.no_grad():
        layer.bias_ih_l0[:16] = -40.0  # keeps the state forever: memory, not an issue
    assert "saturated" not in {f.issue for f in throughtime.diagnose(layer, x).layers[0].findings}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"keeps": "forget"}, "keeps of X must be one of its gates, a; got 'forget'"),
        ({"admits": "a"}, "X has `admits` but no `keeps`"),
        ({"states": ("cell",)}, "states of X must start with 'hidden'"),
        (
            {"hidden_activation": "softmax"},
            "activations of X must be one of sigmoid, tanh, relu, linear",
        ),
        ({"gates": ()}, "X has neither gates nor blocks"),
        ({"gates": (Gate("a"), Gate("a"))}, "gates of X must have different names; got a, a"),
        ({"gates": ("a",)}, "gates of X must be Gate objects; got"),
    ],
)
def test_an_entry_that_does_not_fit_together_is_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        CellType("X", min_gru_step, **{"gates": (Gate("a"),), **wrong})


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            {"states": ("hidden", "cell")},
            r"returns 1 states and 2 values; expected 2 .hidden, c",
        ),
        ({"gates": (Gate("update"),), "blocks": 2}, "returns 1 states and 2 values; .* and 1"),
    ],
)
def test_a_step_that_returns_other_things_than_declared_is_refused(wrong, text):
    declared = {"gates": (Gate("update"), Gate("candidate", "linear")), "recurrent_weights": False}

    class Wrong(throughtime.RecurrentLayer):
        cell_type = CellType("Wrong", min_gru_step, **{**declared, **wrong})

    with pytest.raises(ValueError, match=text):
        Wrong(3, 4)


def test_three_states_are_carried_seen_and_measured():
    """A cell that the kernels do not support: two accumulators in addition to h."""

    def step(x_part, h_part, state, norms=None):
        a = torch.tanh(x_part + h_part)
        fast, slow = 0.5 * state[1] + a, 0.9 * state[2] + a
        return (fast - slow, fast, slow), (a,)

    class Two(throughtime.RecurrentLayer):
        cell_type = CellType("Two", step, (Gate("a", "tanh"),), ("hidden", "fast", "slow"))

    torch.manual_seed(0)
    layer, x = Two(2, 3, dtype=torch.float64), torch.randn(7, 4, 2, dtype=torch.float64)
    with throughtime.observe(layer) as seen:
        output, last = layer(x)
        output.square().sum().backward()
    view = seen["l0"]
    assert list(view.states) == ["hidden", "fast", "slow"]
    assert_same(view.hidden, view.states["fast"] - view.states["slow"])
    assert_same([s[-1] for s in view.states.values()], [s[0] for s in last])
    assert_same(flat(view.state_gradients["slow"][-1]), flat(-2 * output[-1]))
    assert throughtime.gradient_by_lag(view).norms.shape == (7,)

"""Tests of options that torch.nn lacks: lengths, resets, recurrent dropout, zoneout and others."""

import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime
from helpers import assert_same, flat, gradients
from strategies import layer_cases
from throughtime import forced_path
from throughtime.nn.calls import CallOptions, LayerCall, Trace
from throughtime.nn.engines import kernels
from throughtime.nn.engines.autograd import sequence

KINDS = ["RNN", "LSTM", "GRU"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=kernels.instruction_sets())
def isa(request):
    with kernels.instruction_set(request.param):
        yield request.param


def run(layer, path, x, state, packed, options, seed=5):
    """Outputs and all gradients, 0 where an input was not used."""
    leaves = {"x": x}
    if state is not None:
        leaves |= {str(i): s for i, s in enumerate(flat(state))}
    leaves |= dict(layer.named_parameters())
    given = x
    if packed is not None:
        given = pack_padded_sequence(x, packed, enforce_sorted=False)
    torch.manual_seed(seed)  # the same masks
    with forced_path(path):
        output, last = layer(given, state, **options)
    found = gradients((output, last), leaves, torch.Generator().manual_seed(seed))
    found = {k: torch.zeros_like(leaves[k]) if g is None else g for k, g in found.items()}
    if packed is not None:
        output = pad_packed_sequence(output)[0]
    return output, last, found


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=layer_cases(40, ((0, 12), (1, 20), (1, 20))), training=st.booleans())
def test_the_kernels_agree_with_the_equations(isa, case, training):
    kind, hidden, options, (steps, batch, inputs), which, seed = case
    torch.manual_seed(seed)
    layer = getattr(throughtime, kind)(inputs, hidden, dtype=torch.float64, **options)
    layer.train(training)
    x = torch.randn(steps, batch, inputs, dtype=torch.float64, requires_grad=True)
    rows = options["num_layers"] * (2 if options["bidirectional"] else 1)
    sizes = [options.get("proj_size", hidden), hidden][: 2 if kind == "LSTM" else 1]
    state = tuple(
        torch.randn(rows, batch, n, dtype=torch.float64, requires_grad=True) for n in sizes
    )
    state = state if kind == "LSTM" else state[0]
    given, packed = {}, None
    if which in ("lengths", "both"):
        given["lengths"] = torch.randint(0, steps + 1, (batch,))
    if which in ("reset", "both"):
        given["reset"] = torch.rand(steps, batch) < 0.3
    if which == "packed" and steps:
        packed = torch.randint(1, steps + 1, (batch,))
        packed[seed % batch] = steps
    expected = run(layer, "equations", x, state, packed, given)
    found = run(layer, "native", x, state, packed, given)
    assert_same(found, expected)
    layer.checkpoint = not layer.checkpoint  # must not change any bit
    other = run(layer, "native", x, state, packed, given)
    for a, b in zip(flat([*found[:2], *found[2].values()]), flat([*other[:2], *other[2].values()]),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)


@every_kind
def test_lengths_and_threads_cannot_change_a_bit(kind):
    """A ragged batch, split over threads, gives the same bits as each sample alone."""
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(17, 45, bidirectional=True)
    x, lengths = torch.randn(40, 23, 17, requires_grad=True), torch.randint(0, 41, (23,))
    before, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(run(layer, "native", x, None, None, {"lengths": lengths}))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(flat([*results[0][:2], *results[0][2].values()]),
                        flat([*other[:2], *other[2].values()]), strict=True):  # fmt: skip
            assert torch.equal(a, b)
    with torch.no_grad():
        for b in range(23):
            alone, _ = layer(x[: lengths[b], b : b + 1])
            assert torch.equal(alone, results[0][0][: lengths[b], b : b + 1])


def test_marks_beyond_a_samples_length_say_nothing():
    layer = throughtime.GRU(3, 4, bidirectional=True)
    x, lengths = torch.randn(6, 2, 3), torch.tensor([6, 2])
    reset = torch.zeros(6, 2, dtype=torch.bool)
    state = torch.randn(2, 2, 4)
    plain = layer(x, state, lengths=lengths)
    reset[2:, 1] = True
    for path in ("native", "equations"):
        with forced_path(path):
            assert_same(layer(x, state, lengths=lengths, reset=reset), plain)


def test_recurrent_dropout_is_one_mask_a_sequence_and_none_in_eval():
    torch.manual_seed(0)
    layer = throughtime.RNN(3, 50, nonlinearity="relu", recurrent_dropout=0.5, bias=False)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.eye(50))  # every unit depends only on itself
        layer.weight_ih_l0.zero_()
    state = torch.ones(1, 4, 50)
    last = layer(torch.zeros(3, 4, 3), state)[0][-1]
    assert set(last.unique().tolist()) == {0.0, 8.0}  # dropped or doubled at every step
    assert torch.equal(layer.eval()(torch.zeros(3, 4, 3), state)[0][-1], state[0])


@every_kind
def test_zoneout_of_1_keeps_the_state_and_its_mean_in_eval(kind):
    layer = getattr(throughtime, kind)(3, 5, zoneout=1.0)
    x = torch.randn(4, 2, 3)
    state = (torch.randn(1, 2, 5),) * 2
    state = state if kind == "LSTM" else state[0]
    assert_same(layer(x, state)[1], state)
    plain = getattr(throughtime, kind)(3, 5)
    half = getattr(throughtime, kind)(3, 5, zoneout=0.5).eval()
    half.load_state_dict(plain.state_dict())
    one = flat(plain(x[:1], state)[1])
    for found, new, old in zip(flat(half(x[:1], state)[1]), one, flat(state), strict=True):
        assert_same(found, 0.5 * old + 0.5 * new)


@pytest.mark.parametrize("path", ["native", "equations"])
def test_clipping_bounds_what_flows_through_time(path):
    """In a linear network dL/dh_{t-1} = w dL/dh_t, so the bound applies to all gradients of x."""
    layer = throughtime.RNN(1, 1, nonlinearity="relu", bias=False, clip_hidden_grad=3.0)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(2.0), layer.weight_ih_l0.fill_(1.0)
    x = torch.ones(6, 1, 1, requires_grad=True)
    with forced_path(path):
        layer(x)[0][-1].sum().backward()
    assert x.grad.flatten().tolist() == [3.0, 3.0, 3.0, 3.0, 2.0, 1.0]


def test_layer_norm_is_ba_et_al_s():
    torch.manual_seed(0)
    layer = throughtime.LSTM(3, 5, layer_norm=True)
    assert {n for n, _ in layer.named_parameters() if n.startswith("norm")} == {
        "norm_ih_l0", "norm_hh_l0", "norm_c_l0", "norm_bias_c_l0"}  # fmt: skip
    x, h, c = torch.randn(1, 2, 3), torch.randn(1, 2, 5), torch.randn(1, 2, 5)

    def norm(v):
        return (v - v.mean(-1, keepdim=True)) / (
            v.var(-1, keepdim=True, correction=0) + 1e-5
        ).sqrt()

    a = norm(x[0] @ layer.weight_ih_l0.T) + layer.bias_ih_l0
    a = a + norm(h[0] @ layer.weight_hh_l0.T) + layer.bias_hh_l0
    i, f, g, o = a.chunk(4, -1)
    new_c = f.sigmoid() * c[0] + i.sigmoid() * g.tanh()
    new_h = o.sigmoid() * norm(new_c).tanh()
    assert_same(layer(x, (h, c))[1], (new_h[None], new_c[None]))


def test_options_out_of_range_are_refused_and_shown():
    for wrong in ({"zoneout": 1.5}, {"recurrent_dropout": -0.1}, {"clip_hidden_grad": -1.0},
                  {"zoneout": "a"}, {"clip_hidden_grad": float("nan")}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            throughtime.GRU(3, 4, **wrong)
    layer = throughtime.RNN(3, 4, zoneout=0.1, checkpoint=True)
    assert repr(layer) == "RNN(3, 4, zoneout=0.1, checkpoint=True)"


@every_kind
def test_what_is_seen_is_what_a_probe_says(kind):
    """dL/dh_t is the gradient of a zero probe added to h_t; likewise for c_t."""
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(3, 5, dtype=torch.float64)
    steps, batch = 6, 4
    x = torch.randn(steps, batch, 3, dtype=torch.float64)
    trace = Trace()
    h_0 = torch.zeros(1, batch, 5, dtype=torch.float64)
    c_0 = h_0 if kind == "LSTM" else None
    state = (h_0,) if c_0 is None else (h_0, c_0)
    y, (h_n, *_) = sequence(
        LayerCall(layer.cell_type, x, state, layer.weights(), options=CallOptions(trace=trace))
    )
    dy = torch.randn_like(y)
    ((y * dy).sum() + h_n.square().sum()).backward()

    def probed(h_probe, c_probe):
        state, outputs = (h_0 if c_0 is None else (h_0, c_0)), []
        for t in range(steps):
            _, state = layer(x[t : t + 1], state)
            if kind == "LSTM":
                h, c = state
                o, moved = trace.saved.values[0, t, :, 3], c + c_probe[t]
                # the probe added to c_t must also affect h_t
                state = (h + h_probe[t] + o * (moved.tanh() - c.tanh()), moved)
                outputs.append(state[0])
            else:
                state = state + h_probe[t]
                outputs.append(state)
        y = torch.cat(outputs)
        return (y * dy).sum() + outputs[-1].square().sum()

    zero = torch.zeros(steps, batch, 5, dtype=torch.float64)
    dh, dc = torch.autograd.functional.jacobian(probed, (zero, zero))
    assert_same(trace.gradients[0][0], dh)
    if kind == "LSTM":
        # o does not depend on c_t, so the total dL/dc_t is the gradient of the probe
        assert_same(trace.gradients[1][0], dc)
    assert_same(trace.saved.y, y)


MEMORY = """
import re, sys, torch, throughtime
from pathlib import Path

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
home, kind, steps = {"torch": torch.nn}.get(sys.argv[1], throughtime), sys.argv[2], int(sys.argv[3])
options = {"checkpoint": True} if sys.argv[1] == "checkpoint" else {}
layer = getattr(home, kind)(4, 64, **options)
layer(torch.randn(3, 1, 4))[0].sum().backward()  # loads everything once before the measurement
x = torch.randn(steps, 32, 4, requires_grad=True)
Path("/proc/self/clear_refs").write_text("5")  # reset the peak memory
before = peak()
layer(x)[0].sum().backward()
print(peak() - before)
"""


def peak_of_a_step(which, kind, steps):
    """Peak bytes of a forward and backward pass: torch, ours, ours with checkpoint."""
    arguments = [sys.executable, "-c", MEMORY, which, kind, str(steps)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_takes_less_memory_than_torchs_and_a_checkpoint_the_square_root(kind):
    states = 3000 * 32 * 64 * 4  # bytes of y, which is always stored
    width = kernels.facts("RNN_TANH" if kind == "RNN" else kind).saved
    ours = peak_of_a_step("ours", kind, 3000)
    assert ours > 0.9 * width * states  # the measurement includes the saved values
    assert ours < peak_of_a_step("torch", kind, 3000)
    if width:  # an Elman network saves only y
        assert peak_of_a_step("checkpoint", kind, 3000) < ours - 0.8 * width * states

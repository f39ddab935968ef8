"""Tests of views: values follow the equations at every step of every sample."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime
from helpers import assert_same
from throughtime import forced_path, observe

KINDS = ["RNN", "LSTM", "GRU"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def quantities(view):
    """All quantities of a view, by name."""
    found = {"hidden": view.hidden, "hidden_grad": view.hidden_grad, "input": view.input}
    found |= {f"{name} gate": values for name, values in view.gates.items()}
    if view.kind == "LSTM":
        found |= {"cell": view.cell, "cell_grad": view.cell_grad}
    return found


def without_padding(view, values):
    """Check that exactly the padding is NaN, and replace it by 0."""
    assert torch.equal(values.isnan().any(dim=-1), ~view.inside)
    return values.nan_to_num(0.0)


@every_kind
def test_a_ragged_batch_shows_each_sample_as_it_is_alone(kind):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(3, 4, batch_first=True, dtype=torch.float64)
    x, lengths = torch.randn(4, 7, 3, dtype=torch.float64), torch.tensor([7, 2, 0, 5])
    with observe(layer) as seen:
        layer(x, lengths=lengths)[0].square().sum().backward()
    ragged = quantities(seen["l0"])
    for b, length in enumerate(lengths.tolist()):
        assert all(v[length:, b].isnan().all() for v in ragged.values())
        if length == 0:
            continue
        with observe(layer) as seen:
            layer(x[b, :length])[0].square().sum().backward()  # [T, I], without a batch
        alone = quantities(seen["l0"])
        assert_same({n: v[:length, b : b + 1] for n, v in ragged.items()}, alone)


@every_kind
def test_states_and_gates_obey_the_equations(kind):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(3, 4, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    with observe(layer) as seen, torch.no_grad():
        output, _ = layer(x)
    view = seen["l0"]
    assert torch.equal(view.hidden, output)
    assert torch.equal(view.input, x)
    before = torch.cat([torch.zeros(1, 2, 4, dtype=torch.float64), view.hidden[:-1]])
    gates = view.gates
    if kind == "LSTM":
        assert_same(view.hidden, gates["output"] * view.cell.tanh())
        cell_before = torch.cat([torch.zeros(1, 2, 4, dtype=torch.float64), view.cell[:-1]])
        assert_same(view.cell, gates["forget"] * cell_before + gates["input"] * gates["cell"])
    elif kind == "GRU":
        z = gates["update"]
        assert_same(view.hidden, (1 - z) * gates["new"] + z * before)
        w_ih, w_hh, b_ih, b_hh = view.weights[:4]
        r_part = x @ w_ih[:4].T + b_ih[:4] + before @ w_hh[:4].T + b_hh[:4]
        assert_same(gates["reset"], r_part.sigmoid())
    else:
        assert dict(gates) == {}


@every_kind
@pytest.mark.parametrize("which", ["lengths", "reset", "packed"])
def test_steps_done_again_from_the_states_before_give_the_states(kind, which):
    """With every mask of the pass, in both directions."""
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(
        3, 4, 2, bidirectional=True, recurrent_dropout=0.4, layer_norm=True, zoneout=0.4,
        dtype=torch.float64
    )  # fmt: skip
    x, lengths = torch.randn(6, 4, 3, dtype=torch.float64), torch.tensor([3, 6, 0, 4])
    options, state = {}, (torch.randn(4, 4, 4, dtype=torch.float64),) * 2
    if which == "packed":
        lengths[2] = 5
        x = pack_padded_sequence(x, lengths, enforce_sorted=False)
    else:
        options["lengths"] = lengths
    if which == "reset":
        options["reset"] = torch.rand(6, 4) < 0.4
    with observe(layer) as seen, torch.no_grad():
        layer(x, state if kind == "LSTM" else state[0], **options)
    for view in seen.values():
        times, samples = view.inside.nonzero().T
        before = tuple(s[times, samples] for s in view.state_before)
        found = view.steps(times, samples, before)
        assert_same(found, tuple(s[times, samples] for s in view.state))
        if not view.backwards:
            assert all(s[~view.inside].isnan().all() for s in view.state_before)
    assert seen["l1_reverse"].begins.any() == (which == "reset")


def test_norms_are_the_lengths_of_what_is_shown():
    torch.manual_seed(0)
    layer = throughtime.LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64)
    x, lengths = torch.randn(6, 3, 3, dtype=torch.float64), torch.tensor([6, 0, 4])
    for path in ("native", "equations"):
        views = {}
        for keep in ("all", "norms"):
            with forced_path(path), observe(layer, keep=keep) as seen:
                layer(x, lengths=lengths)[0].square().sum().backward()
            views[keep] = dict(seen)
        for name, view in views["all"].items():
            expected = {n: v.norm(dim=-1) for n, v in quantities(view).items() if n != "input"}
            for found in (view.norms, views["norms"][name].norms):
                assert set(found) == set(expected)
                for n, norm in found.items():
                    assert_same(norm.nan_to_num(0.0), expected[n].nan_to_num(0.0))
                    assert torch.equal(norm.isnan(), ~view.inside)
        lean = views["norms"]["l0"]
        assert lean._call.trace.saved is None  # only norms are stored
        with pytest.raises(RuntimeError, match="only the norms of hidden were kept"):
            _ = lean.hidden


def test_what_was_changed_afterwards_is_not_shown():
    layer = throughtime.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    with observe(layer) as seen, torch.no_grad():
        output, _ = layer(x)
        output += 1
        x += 1
    with pytest.raises(RuntimeError, match="output was changed in place"):
        _ = seen["l0"].hidden
    with pytest.raises(RuntimeError, match="input was changed in place"):
        _ = seen["l0"].input
    assert seen["l0"].gates["update"].isfinite().all()


def test_measures_refuse_weights_and_states_that_have_changed():
    layer, x, h = throughtime.GRU(3, 4), torch.randn(5, 2, 3), torch.randn(1, 2, 4)
    with observe(layer) as seen, torch.no_grad():
        layer(x, h)
    throughtime.gradient_by_lag(seen["l0"])
    h.zero_()
    with pytest.raises(RuntimeError, match="the initial state were changed since the pass"):
        throughtime.gradient_by_lag(seen["l0"])
    with observe(layer) as seen:
        layer(x)[0].sum().backward()
    torch.optim.Adam(layer.parameters()).step()
    for measure in (throughtime.gradient_by_lag, throughtime.lyapunov_spectrum):
        with pytest.raises(RuntimeError, match="changed since the pass"):
            measure(seen["l0"])
    with observe(layer, keep="norms") as seen:
        layer(x)
    with pytest.raises(RuntimeError, match="keep='all'"):
        throughtime.gradient_by_lag(seen["l0"])


def test_norms_hold_no_input():
    layer, x = throughtime.GRU(300, 4), torch.randn(5, 2, 300)
    with observe(layer, keep="norms") as seen:
        layer(x)
    assert seen["l0"]._call.call.x.untyped_storage().nbytes() < 300

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime
from helpers import assert_same
from throughtime import (
    context_curve,
    gradient_by_lag,
    jacobian_spectrum,
    lyapunov_spectrum,
    memory_horizon,
    observe,
    time_scales,
)
from throughtime.insight.memory import _jacobians

DOUBLE = torch.float64
gated = pytest.mark.parametrize("kind", ["LSTM", "GRU"])
every_kind = pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])


def look(layer, x, name="l0", **options):
    """The view of a pass; needs no gradient."""
    with observe(layer) as seen, torch.no_grad():
        layer(x, **options)
    return seen[name]


def linear_rnn(weights, bidirectional=False):
    """h' = W h + x, while all values are positive."""
    size = len(weights)
    layer = throughtime.RNN(
        size, size, nonlinearity="relu", bias=False, bidirectional=bidirectional, dtype=DOUBLE
    )
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(weights if "hh" in name else torch.eye(size))
    return layer


def keeping(kind, keep, size=3):
    """W_hh = 0, and a gate with this value at every step."""
    layer = getattr(throughtime, kind)(2, size, dtype=DOUBLE)
    own = slice(size, 2 * size)
    with torch.no_grad():
        layer.weight_hh_l0.zero_(), layer.weight_ih_l0[own].zero_()
        layer.bias_hh_l0[own] = 0
        layer.bias_ih_l0[own] = math.log(keep / (1 - keep))
    return layer


def powers(base, count):
    return torch.tensor([base**k for k in range(count)], dtype=DOUBLE)


# ------------------------------------------------------------------ gradient by lag


@pytest.mark.parametrize("w", [0.5, 1.0, 1.5])
def test_a_scalar_linear_network_passes_on_powers_of_its_weight(w):
    layer = linear_rnn(torch.tensor([[w]], dtype=DOUBLE), bidirectional=True)
    x = torch.rand(20, 5, 1, dtype=DOUBLE)
    for name in ("l0", "l0_reverse"):
        profile = gradient_by_lag(look(layer, x, name))
        for part in (profile.norms, profile.low, profile.high, profile.hidden, profile.inputs):
            torch.testing.assert_close(part, powers(w, 20))
        assert profile.cell is None


def test_an_orthogonal_network_keeps_every_gradient():
    layer = linear_rnn(torch.eye(6, dtype=DOUBLE)[torch.randperm(6)])
    profile = gradient_by_lag(look(layer, torch.rand(30, 4, 6, dtype=DOUBLE)), lags=25)
    torch.testing.assert_close(profile.norms, torch.ones(25, dtype=DOUBLE))


@pytest.mark.parametrize("keep", [0.99, 0.5])
def test_a_cell_that_keeps_by_its_gate_alone_passes_on_powers_of_the_gate(keep):
    profile = gradient_by_lag(look(keeping("LSTM", keep), torch.randn(40, 3, 2, dtype=DOUBLE)))
    assert not profile.hidden[1:].any()  # no gradient passes through h
    ratio = profile.cell[1:] / profile.cell[:-1]
    torch.testing.assert_close(ratio[:18], torch.full((18,), keep, dtype=DOUBLE))
    torch.testing.assert_close(profile.norms[1:], profile.cell[1:])
    profile = gradient_by_lag(look(keeping("GRU", keep), torch.randn(40, 3, 2, dtype=DOUBLE)))
    torch.testing.assert_close(profile.norms, powers(keep, 40))


@every_kind
@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"zoneout": 0.3}])
def test_the_profile_is_what_autograd_says_of_a_loop(kind, options):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(2, 3, dtype=DOUBLE, clip_hidden_grad=1e-3, **options).eval()
    x = torch.randn(7, 4, 2, dtype=DOUBLE)
    profile = gradient_by_lag(look(layer, x), ends=1, seed=3)
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(4, 3, generator=generator, dtype=DOUBLE)
    direction /= direction.norm(dim=-1, keepdim=True)
    layer.clip_hidden_grad = 0.0  # the measure ignores it
    x = x.requires_grad_()
    with throughtime.forced_path("equations"), observe(layer) as seen:
        output, _ = layer(x)
        (output[-1] * direction).sum().backward()
    parts = [seen["l0"].hidden_grad]
    parts += [seen["l0"].cell_grad] if kind == "LSTM" else []
    for found, gradient in (
        (profile.norms, torch.cat(parts, dim=-1)),
        (profile.hidden, parts[0]),
        (profile.cell, parts[-1]) if kind == "LSTM" else (profile.inputs, x.grad),
    ):
        expected = torch.nanquantile(gradient.norm(dim=-1), 0.5, dim=1).flip(0)
        assert_same(found, expected)


def test_lags_end_where_a_sample_or_a_sequence_begins():
    layer = linear_rnn(torch.tensor([[0.5]], dtype=DOUBLE), bidirectional=True)
    x, lengths = torch.rand(9, 3, 1, dtype=DOUBLE), torch.tensor([4, 0, 6])
    for name in ("l0", "l0_reverse"):
        profile = gradient_by_lag(look(layer, x, name, lengths=lengths), ends=1)
        torch.testing.assert_close(profile.norms[:6], powers(0.5, 6))
        assert profile.norms[6:].isnan().all()
    packed = pack_padded_sequence(x, [4, 1, 6], enforce_sorted=False, batch_first=False)
    profile = gradient_by_lag(look(layer, packed, "l0_reverse"), ends=1)
    torch.testing.assert_close(profile.norms[:6], powers(0.5, 6))
    reset = torch.zeros(9, 3, dtype=torch.bool)
    reset[6] = True  # the last three steps are a sequence of their own
    for name, reached in (("l0", 3), ("l0_reverse", 6)):
        profile = gradient_by_lag(look(layer, x, name, reset=reset), ends=1)
        torch.testing.assert_close(profile.norms[:reached], powers(0.5, reached))
        assert profile.norms[reached:].isnan().all()
    with pytest.raises(ValueError, match="the observed layer computed no step"):
        gradient_by_lag(look(layer, x, lengths=torch.zeros(3, dtype=torch.long)))


def test_a_model_seen_without_gradients_or_in_inference_can_be_measured():
    layer = throughtime.LSTM(2, 3)
    with observe(layer) as seen, torch.inference_mode():
        layer(torch.randn(5, 2, 2))
    profile = gradient_by_lag(seen["l0"])
    assert profile.norms.isfinite().all() and all(p.grad is None for p in layer.parameters())
    assert lyapunov_spectrum(seen["l0"]).exponents.isfinite().all()


# ------------------------------------------------------------------ Jacobians and their products


@every_kind
def test_products_of_step_jacobians_are_the_jacobian_of_the_whole(kind):
    torch.manual_seed(0)
    options = {"proj_size": 2} if kind == "LSTM" else {}
    layer = getattr(throughtime, kind)(2, 4, dtype=DOUBLE, bidirectional=True, **options)
    x = torch.randn(6, 1, 2, dtype=DOUBLE)
    sizes = [2, 4] if kind == "LSTM" else [4]
    state = tuple(torch.randn(2, 1, n, dtype=DOUBLE) for n in sizes)
    for d, name in enumerate(("l0", "l0_reverse")):
        with observe(layer) as seen, torch.no_grad():
            layer(x, state if kind == "LSTM" else state[0])
        steps = torch.arange(6) if d == 0 else torch.arange(6).flip(0)
        product = torch.eye(sum(sizes), dtype=DOUBLE)
        for jacobian in _jacobians(seen[name], steps, torch.zeros(6, dtype=torch.long)):
            product = jacobian @ product

        def whole(*own, d=d):
            parts = [s.clone() for s in state]
            for part, value in zip(parts, own, strict=True):
                part[d, 0] = value
            last = layer(x, tuple(parts) if kind == "LSTM" else parts[0])[1]
            return tuple(s[d, 0] for s in (last if kind == "LSTM" else (last,)))

        blocks = torch.autograd.functional.jacobian(whole, tuple(s[d, 0] for s in state))
        assert_same(product, torch.cat([torch.cat(row, dim=1) for row in blocks]))


def test_singular_values_are_those_of_the_weights_of_a_linear_network():
    torch.manual_seed(0)
    weights = torch.rand(4, 4, dtype=DOUBLE) / 3
    lengths, reset = torch.tensor([7, 3, 5]), torch.zeros(7, 3, dtype=torch.bool)
    reset[4, 0] = True
    view = look(
        linear_rnn(weights), torch.rand(7, 3, 4, dtype=DOUBLE), lengths=lengths, reset=reset
    )
    found = jacobian_spectrum(view)
    expected = torch.linalg.svdvals(weights)
    for t in range(7):
        for b in range(3):
            if t >= lengths[b]:
                assert found[t, b].isnan().all()
            elif (t, b) == (4, 0):
                assert not found[t, b].any()
            else:
                torch.testing.assert_close(found[t, b], expected)
    assert torch.equal(jacobian_spectrum(view, steps=[1]), found[1:2])


@pytest.mark.parametrize("steps", [1, 7, 300])
def test_a_linear_networks_exponents_are_the_logarithms_of_its_eigenvalues(steps):
    torch.manual_seed(0)
    weights = torch.rand(5, 5, dtype=DOUBLE) / 2
    spectrum = lyapunov_spectrum(look(linear_rnn(weights), torch.rand(steps, 2, 5, dtype=DOUBLE)))
    exact = torch.linalg.det(weights).abs().log()
    torch.testing.assert_close(spectrum.exponents.sum(), exact)  # at any length
    assert spectrum.steps == 2 * steps
    eigenvalues = torch.linalg.eigvals(weights).abs().log().sort(descending=True).values
    torch.testing.assert_close(spectrum.exponents, eigenvalues, atol=6 / steps, rtol=0)
    assert torch.equal(spectrum.by_sample[0], spectrum.by_sample[0].sort(descending=True).values)


def test_an_orthogonal_network_has_exponents_of_0():
    layer = linear_rnn(torch.eye(6, dtype=DOUBLE)[torch.randperm(6)])
    spectrum = lyapunov_spectrum(look(layer, torch.rand(20, 1, 6, dtype=DOUBLE)))
    torch.testing.assert_close(spectrum.exponents, torch.zeros(6, dtype=DOUBLE))


def test_the_spectrum_is_over_the_whole_state():
    """With W_hh = 0 no memory passes through h, but the cell still remembers 100 steps."""
    view = look(keeping("LSTM", 0.99), torch.randn(50, 2, 2, dtype=DOUBLE))
    exponents = lyapunov_spectrum(view).exponents
    torch.testing.assert_close(exponents[:3], torch.full((3,), math.log(0.99), dtype=DOUBLE))
    assert exponents[3:].lt(-20).all()  # -inf, up to rounding
    view = look(keeping("GRU", 0.9), torch.randn(50, 2, 2, dtype=DOUBLE))
    exponents = lyapunov_spectrum(view).exponents
    torch.testing.assert_close(exponents, torch.full((3,), math.log(0.9), dtype=DOUBLE))


@gated
def test_exponents_of_a_short_product_are_those_of_autograds_jacobian(kind):
    """Their sum is the logarithm of its determinant, sample by sample, over resets and lengths."""
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(2, 3, bidirectional=True, dtype=DOUBLE)
    x, lengths = torch.randn(9, 3, 2, dtype=DOUBLE), torch.tensor([9, 4, 1])
    reset = torch.zeros(9, 3, dtype=torch.bool)
    reset[5, 0] = reset[0, 1] = True
    for name in ("l0", "l0_reverse"):
        view = look(layer, x, name, lengths=lengths, reset=reset)
        spectrum = lyapunov_spectrum(view)
        measured = (view.inside & ~view.begins).nonzero()
        each = _jacobians(view, *measured.T)
        for b in range(3):
            own = each[measured[:, 1] == b]
            expected = own.det().abs().log().mean()
            torch.testing.assert_close(spectrum.by_sample[b].sum(), expected)
        assert spectrum.steps == len(measured)


def test_what_has_no_step_has_no_exponents():
    layer = throughtime.GRU(2, 3)
    with pytest.raises(ValueError, match="only steps after a reset"):
        reset = torch.ones(4, 2, dtype=torch.bool)
        lyapunov_spectrum(look(layer, torch.randn(4, 2, 2), reset=reset))


def test_chunks_do_not_change_the_result(monkeypatch):
    view = look(throughtime.LSTM(2, 3, dtype=DOUBLE), torch.randn(9, 3, 2, dtype=DOUBLE))
    whole = lyapunov_spectrum(view), jacobian_spectrum(view)
    monkeypatch.setattr("throughtime.insight.memory._CHUNK", 2 * 36)
    assert_same(lyapunov_spectrum(view).by_sample, whole[0].by_sample)
    assert_same(jacobian_spectrum(view), whole[1])


# ------------------------------------------------------------------ time scales


@gated
@pytest.mark.parametrize("keep, steps", [(0.99, 99.4992), (0.5, 1.442695), (0.7310586, 3.192220)])
def test_a_gate_that_stays_has_its_closed_form(kind, keep, steps):
    scales = time_scales(look(keeping(kind, keep), torch.randn(10, 3, 2, dtype=DOUBLE)))
    assert scales.gate == {"LSTM": "forget", "GRU": "update"}[kind]
    torch.testing.assert_close(
        scales.units, torch.full((3,), steps, dtype=DOUBLE), rtol=1e-6, atol=0
    )
    assert scales.median == pytest.approx(steps, rel=1e-6)


def test_a_gate_that_moves_counts_by_its_product():
    layer = keeping("GRU", 0.5, size=1)
    with torch.no_grad():
        layer.weight_ih_l0[1] = torch.tensor([1.0, 0.0])
    x = torch.tensor([[math.log(1 / 3), 0.0], [math.log(9.0), 0.0]], dtype=DOUBLE)  # z = 1/4, 9/10
    scales = time_scales(look(layer, x.unsqueeze(1)))
    assert scales.median == pytest.approx(-2 / math.log(0.25 * 0.9))


def test_time_scales_leave_padding_out_and_have_both_ends():
    layer = keeping("GRU", 0.5)
    with torch.no_grad():
        layer.bias_ih_l0[3:6] = torch.tensor([0.0, 1e4, -1e4])
    lengths = torch.tensor([3, 0])
    scales = time_scales(look(layer, torch.randn(5, 2, 2, dtype=DOUBLE), lengths=lengths))
    assert scales.units.tolist() == [pytest.approx(1 / math.log(2)), math.inf, 0.0]
    with pytest.raises(ValueError, match="an RNN has no gate"):
        time_scales(look(throughtime.RNN(2, 3), torch.randn(5, 2, 2)))


# ------------------------------------------------------------------ context


class Delay(nn.Module):
    """Return x[T-1-lag], or 0 if it does not exist."""

    def __init__(self, lag):
        super().__init__()
        self.lag = lag

    def forward(self, x):
        return x[:, -1 - self.lag] if self.lag < x.shape[1] else torch.zeros_like(x[:, 0])


def test_the_curve_jumps_exactly_where_the_answer_comes_into_sight():
    torch.manual_seed(0)
    x = torch.randn(50, 30, 1)
    curve = context_curve(
        Delay(11), x, lambda y: (y - x[:, 18]).square().mean(dim=-1), steps=range(31)
    )
    assert curve.steps == tuple(range(31))
    expected = (x[:, 18] - x.roll(25, dims=0)[:, 18]).double().square()  # another item's value
    for k, loss, error in zip(curve.steps, curve.loss, curve.error, strict=True):
        assert loss.item() == pytest.approx(0.0 if k >= 12 else expected.mean().item())
        sigma = expected.std().item() / math.sqrt(50)
        assert error.item() == pytest.approx(0.0 if k >= 12 else sigma)
    assert memory_horizon(curve) == 12
    assert curve.items.shape == (31, 50)


@pytest.mark.parametrize("lag", [0, 1, 4, 5, 6, 15, 17, 63, 64, 99])
@pytest.mark.parametrize("items", [40, 400])
def test_every_planted_lag_is_found_exactly(lag, items):
    torch.manual_seed(1)
    x = torch.randn(items, 100, 1)
    noise = 0.3 * torch.randn(items)
    curve = context_curve(Delay(lag), x, lambda y: (y[:, 0] - x[:, 99 - lag, 0] - noise).abs())
    assert memory_horizon(curve) == lag + 1
    assert len(curve.steps) < 60  # not every k is tried


def test_what_is_not_used_has_no_horizon():
    torch.manual_seed(0)
    x, target = torch.randn(200, 60, 1), torch.randn(200)
    unused = context_curve(lambda w: torch.zeros(len(w)), x, lambda y: (y - target).abs())
    assert memory_horizon(unused) == 0
    recent = context_curve(lambda w: w[:, -7:].sum(dim=(1, 2)), x, lambda y: y.abs())
    assert memory_horizon(recent) <= 7  # the sum of 7 of another item errs as much


def test_items_of_very_different_size_hide_no_memory():
    torch.manual_seed(0)
    size = torch.randn(256).mul(1.5).exp()
    x = torch.randn(256, 64, 1)
    target = x[:, -12, 0] + 0.3 * torch.randn(256)
    curve = context_curve(lambda w: w[:, -12, 0], x, lambda y: size * (y - target).abs())
    assert memory_horizon(curve) == 12


def test_older_steps_are_another_items_and_time_may_come_first():
    x = torch.arange(24.0).view(2, 12)
    seen = []

    def model(window):
        seen.append(window.clone())
        return window

    curve = context_curve(model, x, lambda y: y.sum(dim=1), steps=[4])
    assert curve.steps == (4, 12)
    assert seen[0].tolist()[0] == [12.0 + t for t in range(8)] + [8.0, 9.0, 10.0, 11.0]
    time_first = context_curve(lambda w: w, x.T, lambda y: y[-1], time_dim=0)
    assert time_first.loss.tolist() == [17.0] * len(time_first.steps)
    assert memory_horizon(time_first) <= 1


def test_the_horizon_by_hand():
    from throughtime.insight.memory import ContextCurve

    items = torch.tensor([[9.0, 9.0], [3.0, 2.8], [2.2, 2.0], [2.0, 2.0]], dtype=DOUBLE)
    curve = ContextCurve((0, 1, 4, 8), items.mean(dim=1), items.std(dim=1), items)
    # excess 7, 0.9, 0.1, 0; allowed: 5 % of 7, or the standard error of the differences
    assert memory_horizon(curve) == 4
    rising = items[[0, 2, 1, 3]]  # not monotone: a larger k that is too bad counts
    assert memory_horizon(curve._replace(items=rising, loss=rising.mean(dim=1))) == 8
    loose = items + torch.tensor([[0.0, 0.0], [-9.0, 9.0], [0.0, 0.0], [0.0, 0.0]])
    assert memory_horizon(curve._replace(items=loose, loss=loose.mean(dim=1))) == 1


@pytest.mark.parametrize(
    ("losses", "horizon"),
    [
        ([12.0, 2.4, 2.0, 2.0], 1),  # 0.4 is less than 5 % of the largest excess, 10
        ([12.0, 2.6, 2.0, 2.0], 4),  # 0.6 is more
        ([2.015, 2.01, 2.0, 2.0], 0),  # less than 1 % of the loss is no memory
        ([2.5, 2.03, 2.0, 2.0], 4),  # more than both
    ],
)
def test_small_excesses_are_no_memory(losses, horizon):
    """Every item has the same loss, so that the standard error of a difference is 0."""
    from throughtime.insight.memory import ContextCurve

    items = torch.tensor(losses, dtype=DOUBLE).unsqueeze(1).expand(4, 6)
    curve = ContextCurve((0, 1, 4, 8), items.mean(dim=1), items.std(dim=1), items)
    assert memory_horizon(curve) == horizon


def test_a_curve_that_cannot_be_is_told():
    x = torch.randn(3, 8, 1)
    for options, message in (
        ({"steps": [9]}, "steps must be between 0 and 8"),
        ({"steps": [-1]}, "steps must be between 0 and 8"),
    ):
        with pytest.raises(ValueError, match=message):
            context_curve(Delay(1), x, lambda y: y.mean(dim=-1), **options)
    with pytest.raises(ValueError, match=r"one number for each of 3 items; got \[\]"):
        context_curve(Delay(1), x, lambda y: y.mean())


def test_measures_that_cannot_be_are_told():
    view = look(throughtime.GRU(2, 3), torch.randn(5, 2, 2))
    for options in ({"lags": 0}, {"ends": 0}):
        with pytest.raises(ValueError, match="lags and ends must be 1 or more"):
            gradient_by_lag(view, **options)
    x = torch.randn(3, 8, 1)
    curve = context_curve(Delay(1), x, lambda y: y.mean(dim=-1) * math.nan)
    with pytest.raises(ValueError, match="the loss with the whole context is not finite"):
        memory_horizon(curve)


def test_a_module_is_measured_in_eval_mode_and_left_in_its_own():
    model = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Identity().eval())
    before = {n: v.clone() for n, v in model.state_dict().items()}
    x = torch.randn(5, 8)
    curve = context_curve(model, x, lambda y: y[:, -1], steps=[8])
    # no dropout, and running statistics of mean 0 and variance 1
    torch.testing.assert_close(curve.items[0], x[:, -1].double() / math.sqrt(1 + 1e-5))
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert [m.training for m in model] == [True, True, False] and model.training


@every_kind
def test_what_was_seen_in_inference_mode_can_be_measured_in_it(kind):
    layer = getattr(throughtime, kind)(2, 3, zoneout=0.2)
    with torch.inference_mode():
        x, lengths = torch.randn(6, 3, 2), torch.tensor([6, 2, 4])
        with observe(layer) as seen:
            layer(x, lengths=lengths)
        inside = gradient_by_lag(seen["l0"])
    assert_same(gradient_by_lag(seen["l0"]).norms, inside.norms)

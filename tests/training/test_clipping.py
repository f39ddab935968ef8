"""Clipping, on numbers worked out by hand."""

import json
import math

import pytest
import torch

from throughtime.training.clipping import (
    AGC,
    AutoClip,
    ByNorm,
    ByValue,
    ZClip,
    clipper_by_name,
)


def parameters(*gradients, dtype=torch.float64):
    made = []
    for values in gradients:
        gradient = torch.tensor(values, dtype=dtype)
        parameter = torch.nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient
        made.append(parameter)
    return [*made, torch.nn.Parameter(torch.zeros(3))]  # one without a gradient


def feed(clip, *norms):
    """One gradient of each norm in turn; what was done."""
    return [clip(parameters([float(n)])) for n in norms]


def test_a_long_gradient_keeps_its_direction_and_gets_the_norm():
    some = parameters([3.0, 0.0], [0.0, 4.0])  # norm 5
    assert ByNorm(1.0)(some) == (5.0, True, 1.0, 1.0, {})
    torch.testing.assert_close(some[0].grad.tolist(), [0.6, 0.0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(some[1].grad.tolist(), [0.0, 0.8], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("most", [5.0, 6.0])
def test_a_short_gradient_is_left_alone(most):
    some = parameters([3.0, 0.0], [0.0, 4.0])
    assert ByNorm(most)(some) == (5.0, False, 5.0, most, {})
    assert some[0].grad.tolist() == [3.0, 0.0]


@pytest.mark.parametrize("clip", [ByNorm(1.0), ByValue(1.0), AutoClip(), ZClip(), AGC()])
@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_what_is_not_finite_is_measured_and_left_alone(clip, bad):
    before = json.dumps(clip.state_dict())
    some = parameters([[bad, 1.0]])
    told = clip(some, {"all": some})
    assert not told.clipped and str(told.norm) == str(told.norm_after) == str(float(bad))
    assert some[0].grad[0, 1] == 1.0
    assert json.dumps(clip.state_dict()) == before  # and nothing is learned from it


def test_groups_are_measured_before_and_after():
    some = parameters([3.0, 0.0], [0.0, 4.0])
    told = ByNorm(1.0)(some, {"first": some[:1], "second": some[1:], "none": []})
    assert told.groups == {
        "first": pytest.approx((3.0, 0.6)), "second": pytest.approx((4.0, 0.8)), "none": (0.0, 0.0)
    }  # fmt: skip
    assert ByNorm(9.0)(some, {"first": some[:1]}).groups["first"] == pytest.approx((0.6, 0.6))


def test_by_value_cuts_each_entry():
    some = parameters([3.0, -0.2], [-4.0, 0.5])
    told = ByValue(0.5)(some)
    assert some[0].grad.tolist() == [0.5, -0.2] and some[1].grad.tolist() == [-0.5, 0.5]
    assert told.norm == pytest.approx(math.sqrt(9 + 0.04 + 16 + 0.25))
    assert told.clipped and told.norm_after == pytest.approx(math.sqrt(0.25 * 3 + 0.04))
    assert ByValue(4.0)(parameters([3.0, -3.0])) == (pytest.approx(18**0.5), False,
                                                      pytest.approx(18**0.5), None, {})  # fmt: skip


def test_autoclip_goes_to_a_quantile_of_the_history():
    """Of 1, 3, 5 the median is 3, of 1, 3, 5, 2 it is 2.5; the first is its own quantile."""
    told = feed(AutoClip(0.5), 1, 3, 5, 2)
    assert [t.bound for t in told] == pytest.approx([1, 2, 3, 2.5])
    assert [t.clipped for t in told] == [False, True, True, False]
    assert [t.norm_after for t in told] == pytest.approx([1, 2, 3, 2])
    assert [t.bound for t in feed(AutoClip(0.1), 1, 11)] == pytest.approx([1, 2])
    assert feed(AutoClip(0.5, history=2), 100, 1, 3)[-1].bound == pytest.approx(2)


@pytest.mark.parametrize("history", [None, 7])
def test_autoclips_bound_is_the_quantile_of_what_it_remembers(history):
    norms = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    norms[5] = norms[3]  # equal ones are forgotten one at a time
    told = feed(AutoClip(0.3, history), *norms.tolist())
    for n, one in enumerate(told, start=1):
        known = norms[max(0, n - (history or n)) : n]
        assert one.bound == pytest.approx(known.quantile(0.3).item())


def test_zclip_cuts_spikes_and_the_more_the_larger_they_are():
    """Warm-up over 1, 3, 1, 3: mean 2, deviation 1. A norm of 12 has z = 10: 2 + 2.5^2 / 10."""
    clip = ZClip(2.5, alpha=0.9, warmup=4)
    assert not any(t.clipped for t in feed(clip, 1, 3, 1, 3))
    (quiet,) = feed(clip, 4.4)  # z = 2.4
    assert not quiet.clipped and quiet.norm_after == 4.4
    clip = ZClip(2.5, alpha=0.9, warmup=4)
    assert feed(clip, 1, 3, 1, 3, 4.6)[-1].norm_after == pytest.approx(2 + 6.25 / 2.6)
    clip = ZClip(2.5, alpha=0.9, warmup=4)
    feed(clip, 1, 3, 1, 3)
    (spike,) = feed(clip, 12)
    assert spike.clipped and spike.bound == spike.norm_after == pytest.approx(2.625)
    # what was left enters the averages
    mean = 0.9 * 2 + 0.1 * 2.625
    variance = 0.9 * 1 + 0.1 * (2.625 - mean) ** 2
    assert clip.state_dict()["mean"] == pytest.approx(mean)
    assert clip.state_dict()["variance"] == pytest.approx(variance)
    (next_one,) = feed(clip, 30)
    z = (30 - mean) / math.sqrt(variance)
    assert next_one.bound == pytest.approx(mean + math.sqrt(variance) * 6.25 / z)


def test_zclip_stands_norms_that_never_move():
    clip = ZClip(warmup=2)
    told = feed(clip, 1, 1, 1, 2)
    assert [t.clipped for t in told] == [False, False, False, True]
    assert told[-1].norm_after == pytest.approx(1)


def test_agc_bounds_each_unit_by_its_own_weights():
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]))
    weight.grad = torch.tensor([[0.3, 0.4], [0.6, 0.8], [0.0, 0.9]])
    bias = torch.nn.Parameter(torch.ones(3))
    bias.grad = torch.full((3,), 100.0)
    told = AGC(0.1, smallest=0.1)([weight, bias])
    expected = torch.tensor([[0.3, 0.4], [0.006, 0.008], [0.0, 0.9]])  # at most 0.5, 0.01, 1
    torch.testing.assert_close(weight.grad, expected)
    assert bias.grad.tolist() == [100.0] * 3
    assert told.clipped and told.bound is None
    assert told.norm_after == pytest.approx(math.sqrt(0.25 + 1e-4 + 0.81 + 3e4), rel=1e-6)
    assert not AGC(0.1, smallest=0.1)([weight, bias]).clipped  # once is enough


@pytest.mark.parametrize("make", [lambda: AutoClip(0.3), lambda: ZClip(warmup=3)])
def test_a_clipper_goes_on_from_its_state_to_the_bit(make):
    norms = [1.0, 2.5, 1.5, 9.0, 2.0, 7.0]
    whole, first, second = make(), make(), make()
    expected = feed(whole, *norms)
    feed(first, *norms[:3])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert feed(second, *norms[3:]) == expected[3:]
    with pytest.raises(ValueError, match="ByNorm has no state"):
        ByNorm(1.0).load_state_dict(first.state_dict())
    ByNorm(1.0).load_state_dict({})


@pytest.mark.parametrize(
    "text, kind", [("norm:1", ByNorm), ("value:0.5", ByValue), ("auto:0.1", AutoClip),
                   ("z:2.5", ZClip), ("agc:0.01", AGC)]
)  # fmt: skip
def test_clippers_have_names(text, kind):
    assert type(clipper_by_name(text)) is kind


@pytest.mark.parametrize(
    "call, told",
    [
        (
            lambda: clipper_by_name("norm"),
            "one of none, norm:1, value:0.5, auto:0.1, z:2.5, agc:0.01",
        ),
        (lambda: clipper_by_name("l2:1"), "got 'l2:1'"),
        (lambda: clipper_by_name("norm:0"), "most must be a positive number; got 0.0"),
        (lambda: clipper_by_name("auto:2"), "quantile must be between 0 and 1; got 2.0"),
        (lambda: AutoClip(history=0), "history must be 1 or more norms; got 0"),
        (lambda: ZClip(alpha=1.0), "alpha must be between 0 and 1"),
        (lambda: ZClip(warmup=1), "warmup must be 2 steps or more"),
        (lambda: AGC(math.nan), "share must be a positive number"),
    ],
)
def test_what_cannot_be_is_told(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_no_gradient_at_all_is_a_norm_of_0():
    assert ByNorm(1.0)([torch.nn.Parameter(torch.zeros(3))]) == (0.0, False, 0.0, 1.0, {})


def test_norms_whose_squares_overflow_are_no_crash():
    clip = ZClip(warmup=2)
    parameter = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for norm in (1.0, 1e200, 1e200, 1.0):
        parameter.grad = torch.full((1,), norm, dtype=torch.float64)
        assert clip([parameter]).norm == norm

"""Optimizers by name, and the rate of every step."""

import math

import pytest
import torch
from torch import nn

from throughtime.training.optimizing import (
    OPTIMIZERS,
    SCHEDULES,
    Rate,
    optimizer_by_name,
    restore_exactly,
)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def step(network, optimizer):
    optimizer.zero_grad()
    network(torch.linspace(-1, 1, 6).view(2, 3)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_learns(name):
    network = model()
    before = [p.detach().clone() for p in network.parameters()]
    step(network, optimizer_by_name(name, network, learning_rate=0.01))
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "adagrad"])
def test_those_that_can_are_fused_and_say_the_same(name):
    ours, plain = model(), model()
    optimizer = optimizer_by_name(name, ours, learning_rate=0.01)
    assert optimizer.param_groups[0]["fused"] is True
    reference = getattr(torch.optim, type(optimizer).__name__)(
        plain.parameters(), lr=0.01, weight_decay=0.0
    )
    for _ in range(3):
        step(ours, optimizer)
        step(plain, reference)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_options_and_decay_on_matrices_alone():
    optimizer = optimizer_by_name(
        "sgd:momentum=0.9, nesterov=true", model(), learning_rate=0.1, weight_decay=0.5
    )
    groups = optimizer.param_groups
    assert [g["momentum"] for g in groups] == [0.9, 0.9] and groups[0]["nesterov"] is True
    assert [g["weight_decay"] for g in groups] == [0.5, 0.0]
    assert [{p.dim() for p in g["params"]} for g in groups] == [{2}, {1}]


@pytest.mark.parametrize(
    "text, told",
    [
        ("lbfgs", "optimizer must be one of adadelta, adafactor"),
        ("", "got ''"),
        (
            "sgd:speed=3",
            "no option 'speed'; expected one of d",
        ),
        ("sgd:momentum=fast", "momentum must be a number, true or false; got 'fast'"),
        ("adam:lr=1", "no option 'lr'"),
    ],
)
def test_what_is_none_is_told(text, told):
    with pytest.raises(ValueError, match=told):
        optimizer_by_name(text, model(), learning_rate=0.1)


def test_weight_decay_where_there_is_none_is_told():
    with pytest.raises(ValueError, match="rprop has no weight decay"):
        optimizer_by_name("rprop", model(), learning_rate=0.1, weight_decay=0.1)
    (group,) = optimizer_by_name("adamw", model(), learning_rate=0.1).param_groups
    assert group["weight_decay"] == 0.0  # and not torch's default


def test_what_goes_against_fusing_is_not_fused():
    for option in ("foreach=true", "differentiable=true"):
        optimizer = optimizer_by_name(f"adam:{option}", model(), learning_rate=0.1)
        assert not optimizer.param_groups[0]["fused"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_comes_back_to_the_bit(name):
    ours, again = model().double(), model().double()
    one = optimizer_by_name(name, ours, learning_rate=0.01)
    other = optimizer_by_name(name, again, learning_rate=0.01)
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3)

    def steps(network, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()

    steps(ours, one, 3)
    again.load_state_dict(ours.state_dict())
    restore_exactly(other, one.state_dict())
    steps(ours, one, 3)
    steps(again, other, 3)
    for a, b in zip(ours.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_with_nothing_to_learn_there_is_no_optimizer():
    with pytest.raises(ValueError, match="requires_grad=False"):
        optimizer_by_name("adam", model().requires_grad_(False), learning_rate=0.1)


def test_shapes_of_the_rate_by_hand():
    at = {name: [Rate(name).factor(10, d) for d in (0, 0.5, 1, 2)] for name in SCHEDULES}
    assert at["constant"] == [1, 1, 1, 1] and at["linear"] == [1, 0.5, 0, 0]
    assert at["cosine"] == pytest.approx([1, 0.5, 0, 0])
    assert Rate("cosine").factor(10, 0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    warm = Rate("constant", warmup=4)
    assert [warm.factor(s, 0) for s in (0, 1, 3, 4, 5)] == [0.2, 0.4, 0.8, 1, 1]


def test_the_plateau_halves_and_so_does_a_retreat():
    rate = Rate("plateau", patience=2)
    for better in (True, False, False, False, True, False):
        rate.validated(better)
    assert rate.factor(0, 0) == 0.5
    again = Rate("plateau", patience=2)
    again.load_state_dict(rate.state_dict())
    again.validated(False)
    assert again.factor(0, 0) == 0.25
    again.lower()
    assert again.factor(0, 0) == 0.125
    steady = Rate("constant")
    for _ in range(9):
        steady.validated(False)
    assert steady.factor(0, 0) == 1


@pytest.mark.parametrize("how", [{"name": "saw"}, {"name": "linear", "warmup": -1}])
def test_a_schedule_that_is_none_is_told(how):
    with pytest.raises(ValueError, match=r"schedule must be one of constant|warmup must be 0"):
        Rate(**how)

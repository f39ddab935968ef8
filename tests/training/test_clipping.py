"""Clipping by global norm, on numbers worked out by hand."""

import pytest
import torch

from throughtime.training.clipping import clip_by_global_norm


def parameters(*gradients):
    made = []
    for gradient in gradients:
        parameter = torch.nn.Parameter(torch.zeros(len(gradient)))
        parameter.grad = torch.tensor(gradient)
        made.append(parameter)
    return [*made, torch.nn.Parameter(torch.zeros(3))]  # one without a gradient


def test_a_long_gradient_keeps_its_direction_and_gets_the_norm():
    some = parameters([3.0, 0.0], [0.0, 4.0])  # norm 5
    assert clip_by_global_norm(some, 1.0) == (5.0, True)
    torch.testing.assert_close(some[0].grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(some[1].grad, torch.tensor([0.0, 0.8]))


@pytest.mark.parametrize("most", [5.0, 6.0])
def test_a_short_gradient_is_left_alone(most):
    some = parameters([3.0, 0.0], [0.0, 4.0])
    assert clip_by_global_norm(some, most) == (5.0, False)
    assert some[0].grad.tolist() == [3.0, 0.0]


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_what_is_not_finite_is_measured_and_left_alone(bad):
    some = parameters([bad, 1.0])
    norm, clipped = clip_by_global_norm(some, 1.0)
    assert not clipped
    assert str(norm) == str(float(bad))
    assert some[0].grad[1] == 1.0

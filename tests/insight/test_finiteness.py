import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import throughtime
from throughtime import diagnose
from throughtime.insight.finiteness import _earliest, locate

NAN, INF = math.nan, math.inf


def only(found):
    """The only finding of a diagnosis with the issue "not finite"."""
    assert found.verdict == "not finite"
    findings = [*found.others, *(f for layer in found.layers for f in layer.findings)]
    (finding,) = findings
    assert finding.issue == "not finite" and finding.advice
    return finding


class Two(nn.Module):
    def __init__(self, kind="GRU"):
        super().__init__()
        self.first = getattr(throughtime, kind)(2, 3)
        self.second = getattr(throughtime, kind)(3, 3, bidirectional=True)
        self.head = nn.Linear(6, 1)

    def forward(self, x, state=None):
        h = self.first(x, state)[0]
        return self.head(self.second(h)[0])


def squares(model, x):
    return model(x).square().mean()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_weight_is_found(kind):
    model, x = Two(kind), torch.randn(6, 2, 2)
    assert diagnose(model, x, loss=squares).verdict != "not finite"
    with torch.no_grad():
        model.second.weight_hh_l0[1, 2] = INF
    finding = only(diagnose(model, x, loss=squares))
    assert finding.where == "weight second.weight_hh_l0"
    assert finding.evidence == "inf in the weights, at second.weight_hh_l0[1, 2]"


def test_the_data_are_found_before_what_they_do():
    x = torch.randn(6, 2, 2)
    x[3, 1, 0] = NAN
    finding = only(diagnose(Two(), x, loss=squares))
    assert finding.evidence == (
        "nan in the batch, input 0[3, 1, 0]; from there: nan first in input of step 3, sample 1, "
        "unit 0; all values before it are finite"
    )
    state = torch.zeros(1, 2, 3)
    state[0, 1, 2] = INF
    finding = only(diagnose(Two(), torch.randn(6, 2, 2), state))
    assert finding.where == "input 1"


def linear(weight, bidirectional=False):
    layer = throughtime.RNN(1, 1, nonlinearity="relu", bias=False, bidirectional=bidirectional)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.fill_(weight if "hh" in name else 1.0)
    return layer


def test_the_first_step_that_overflows_is_found():
    """h_t = 1e10^t passes 3.4e38 at t = 4; backwards at 4 steps from the end."""
    x = torch.zeros(9, 3, 1)
    x[0, 2] = 1.0
    finding = only(diagnose(linear(1e10), x))
    assert finding.where == "l0, step 4, hidden"
    assert finding.evidence == (
        "inf first in hidden of step 4, sample 2, unit 0; all values before it are finite"
    )
    x = x.flip(0)
    finding = only(diagnose(linear(1e10, bidirectional=True), x))
    assert finding.where == "l0_reverse, step 4, hidden"


def test_what_lies_beyond_a_sample_is_not_looked_at():
    layer = linear(0.5)

    class Ragged(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x, lengths):
            return self.layer(x, lengths=lengths)

    x = torch.rand(6, 2, 1)
    x[2:, 1] = NAN  # padding, which has no effect
    found = diagnose(Ragged(), x, torch.tensor([6, 2]))
    assert found.verdict == "healthy"


def test_what_comes_between_layers_is_an_input():
    class Divides(Two):
        def forward(self, x):
            h = self.first(x)[0].clone()
            h[4, 1, 2] /= 0.0
            return self.head(self.second(h)[0])

    found = diagnose(Divides(), torch.randn(6, 2, 2))
    finding = only(found)
    assert finding.where == "second.l0, step 4, input" and "sample 1, unit 2" in finding.evidence
    assert {one.name: one.verdict for one in found.layers} == {
        "first.l0": "unknown", "second.l0": "not finite", "second.l0_reverse": "unknown"
    }  # fmt: skip


def test_of_the_first_bad_step_the_first_quantity_is_named():
    """Quantities are searched in the order of computation; padding is ignored."""
    inside = torch.ones(5, 2, dtype=torch.bool)
    inside[1, 0] = False
    gate, hidden = torch.zeros(5, 2, 3), torch.zeros(5, 2, 3)
    gate[1, 0] = hidden[1, 0] = NAN
    hidden[2, 1, 0] = NAN
    gate[2, 1, 2] = gate[3] = -INF
    view = SimpleNamespace(inside=inside)
    quantities = {"forget gate": gate, "hidden": hidden}
    finding = _earliest("l0", view, quantities, last_first=False)
    assert finding.where == "l0, step 2, forget gate"
    assert finding.evidence.startswith("-inf first in forget gate of step 2, sample 1, unit 2")
    assert _earliest("l0", view, quantities, last_first=True).where == "l0, step 3, forget gate"
    gate[2:] = 0.0
    assert _earliest("l0", view, quantities, last_first=True).where == "l0, step 2, hidden"
    hidden[2] = 0.0
    assert _earliest("l0", view, quantities, last_first=False) is None


def test_the_call_that_went_bad_is_named():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = linear(1e10)

        def forward(self, x):
            small = 1e-38 * self.body(x[:2])[0]
            return self.body(torch.cat([x[2:], small]))[0]

    x = torch.zeros(9, 3, 1)
    x[2] = 1.0
    finding = only(diagnose(Twice(), x))
    assert finding.where == "body.l0, call 1, step 4, hidden"


def test_a_state_that_was_carried_over_is_found():
    class Carries(Two):
        def forward(self, x):
            state = torch.zeros(1, x.shape[1], 3)
            state[0, 1, 2] = NAN
            return super().forward(x, state)

    finding = only(diagnose(Carries(), torch.randn(6, 2, 2)))
    assert finding.where == "first.l0, h_0"
    assert finding.evidence == "nan in the initial state, sample 1, unit 2"


def test_a_loss_is_found_where_everything_before_it_is_finite():
    finding = only(diagnose(Two(), torch.randn(6, 2, 2), loss=lambda m, x: m(x).mean() * INF))
    assert finding.where == "loss" and "every recurrent layer is finite" in finding.evidence


def test_a_gradient_is_followed_from_the_last_step_back():
    """h stays below 1e21; the gradient at step t is 1e10^(5-t): too large at t = 1."""
    x = torch.zeros(6, 2, 1)
    x[0] = 1e-30
    finding = only(diagnose(linear(1e10), x, loss=lambda m, x: m(x)[0][-1].sum()))
    assert finding.where == "l0, step 1, gradient of hidden"
    assert finding.evidence == "inf first in gradient of hidden of step 1, sample 0, unit 0"


def test_gradients_are_followed_from_the_last_layer_back():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = linear(1e10), linear(1e10)

        def forward(self, x):
            return self.second(1e-30 * self.first(x)[0])[0]

    x = torch.full((6, 2, 1), 1e-30)
    finding = only(diagnose(Stack(), x, loss=lambda m, x: m(x)[-1].sum()))
    assert finding.where == "second.l0, step 1, gradient of hidden"


def test_a_gradient_of_weights_alone_is_found():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = throughtime.GRU(2, 3)
            self.scale = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return self.body(x)[0].detach() + self.scale.sqrt()

    finding = only(diagnose(Root(), torch.randn(6, 2, 2), loss=lambda m, x: m(x).mean()))
    assert finding.where == "gradient of scale" and finding.evidence.startswith("inf in the grad")


def test_a_model_without_recurrent_layers_is_searched_too():
    model = torch.nn.Linear(2, 1)
    x = torch.ones(3, 2)

    def loss(model, x):
        return model(x).log().sum()

    torch.nn.init.constant_(model.weight, 1.0)
    torch.nn.init.constant_(model.bias, -2.0)
    found = locate(model, x, loss=loss)
    assert found is not None and found.where == "loss" and "-inf" in found.evidence
    assert locate(model, x, loss=lambda model, x: model(x).sum()) is None
    x[1, 0] = torch.nan
    assert locate(model, x, loss=loss).where == "input 0"
    assert model.weight.grad is None


def test_locating_finds_the_step_in_a_recurrent_layer():
    layer = throughtime.GRU(1, 2)
    x = torch.zeros(5, 1, 1)
    x[3] = torch.inf
    found = locate(layer, x, loss=lambda layer, x: layer(x)[0].sum())
    assert found.where == "input 0" and "step 3" in found.evidence

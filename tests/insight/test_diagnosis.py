import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import throughtime
from throughtime import diagnose
from throughtime.insight.diagnosis import ISSUES, THRESHOLDS
from throughtime.network_records import Diagnosis
from throughtime.serialization import from_plain, to_json

KINDS = ["RNN", "LSTM", "GRU"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def diagnoses():
    """The benchmark that builds networks with known issues."""
    path = Path(__file__).parents[2] / "benchmarks" / "diagnoses.py"
    spec = importlib.util.spec_from_file_location("diagnoses", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["diagnoses"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["diagnoses"]


@every_kind
def test_networks_built_to_be_ill_or_healthy_are_taken_for_what_they_are(diagnoses, kind):
    seen = set()
    for label, builder, _ in diagnoses.BUILDERS:
        if builder is diagnoses.trained:
            continue  # takes long; the benchmark has them
        for case in diagnoses.cases(label, builder, kind, 3, seed=5):
            assert diagnose(case.network, case.x).verdict == label, case.description
            seen.add(label)
    assert seen == {"healthy", *ISSUES} - {"not finite"}


def test_the_benchmarks_table_counts_what_was_said(diagnoses):
    results = [("healthy", "", "", "healthy", ""), ("healthy", "", "", "vanishing", "")]
    results += [("vanishing", "", "", "vanishing", "")] * 3
    rows = [line.split() for line in diagnoses.table(results).splitlines()]
    assert rows[1] == ["healthy", "1", *"." * 5, "1"]
    assert rows[-1] == ["vanishing", *"." * 6, "3"]


def test_a_finding_has_numbers_threshold_place_and_advice():
    """h = 0.25 h + x: 1.2e-7 of the gradient is left after 11.5 steps."""
    layer = throughtime.RNN(1, 1, nonlinearity="relu", bias=False)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(0.25), layer.weight_ih_l0.fill_(1.0)
    found = diagnose(layer, torch.rand(21, 4, 1) + 0.1)
    assert found.verdict == "vanishing" == found.layers[0].verdict
    (finding,) = found.layers[0].findings
    assert finding.evidence == (
        "only 9.1e-13 of the gradient of h_t reaches 20 steps back (0.25 per step); "
        "it is below 1.2e-07 from lag 12 on"
    )
    assert finding.value == pytest.approx(0.25**20)
    assert finding.threshold == torch.finfo(torch.float32).eps
    assert finding.where == "l0, lag 12" and "machine epsilon of float32" in finding.source
    assert finding.advice[0] == "use a GRU or an LSTM, whose gates can keep the state"
    assert finding.advice[-1].startswith("if the task needs at most 11 steps, set lag=11: then")
    by_lag = found.layers[0].gradient_by_lag
    assert by_lag == pytest.approx([0.25**k for k in range(21)])
    assert found.layers[0].measures["gradient at lag 1"] == pytest.approx(0.25)
    assert str(found).splitlines()[:2] == ["l0: vanishing", f"  {finding.evidence}"]
    # its own advice helps: a shorter lag, and a dtype with more precision
    assert diagnose(layer, torch.rand(21, 4, 1) + 0.1, lag=11).verdict == "healthy"
    assert diagnose(layer.double(), torch.rand(21, 4, 1).double() + 0.1).verdict == "healthy"


def test_growth_is_told_with_its_rate_and_where_it_passes_the_threshold():
    layer = throughtime.RNN(1, 1, nonlinearity="relu", bias=False)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(2.0), layer.weight_ih_l0.fill_(1.0)
    (finding,) = diagnose(layer, torch.rand(15, 4, 1)).layers[0].findings
    assert finding.issue == "exploding" and finding.where == "l0, lag 14"
    assert finding.evidence == (
        "the gradient of h_t grows by a factor of 1.6e+04 over 14 steps back in time "
        "(2 per step); it exceeds 1000 from lag 10 on"
    )
    assert finding.advice[0].startswith(
        "clip the gradient by its global norm (Pascanu et al. 2013)"
    )
    assert diagnose(layer, torch.rand(10, 4, 1)).verdict == "healthy"  # 2^9 = 512


def test_the_worst_comes_first_and_the_place_is_the_layer_and_direction():
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": throughtime.LSTM(2, 8, 2, bidirectional=True)})
    layer = model["encoder"]
    with torch.no_grad():
        layer.bias_ih_l1_reverse[8:16] = -30.0  # the forget gate: stuck, and nothing is kept
        layer.weight_hh_l1_reverse.zero_()
    found = diagnose(_Called(model), torch.randn(20, 6, 2))
    by_name = {one.name: one for one in found.layers}
    assert list(by_name) == [f"model.encoder.{n}" for n in ("l0", "l0_reverse", "l1", "l1_reverse")]
    ill = by_name["model.encoder.l1_reverse"]
    assert [f.issue for f in ill.findings] == ["saturated", "unused memory", "vanishing"]
    assert ill.findings[0].where == "model.encoder.l1_reverse, the forget gate"
    assert ill.measures["stuck units (share), forget gate"] == 1.0
    assert ill.measures["time scale (steps), forget gate"] < 0.1
    assert {n for n, one in by_name.items() if one.verdict != "healthy"} == {ill.name}
    assert found.verdict == "saturated"


class _Called(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model["encoder"](x)[0]


class Noisy(nn.Module):
    """Dropout, running statistics, and a head."""

    def __init__(self, kind="GRU", home=throughtime):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.body = getattr(home, kind)(3, 8, 2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.body(self.norm(x.transpose(1, 2)).transpose(1, 2))[0])


@every_kind
def test_examining_leaves_no_trace(kind):
    torch.manual_seed(0)
    model, x = Noisy(kind), torch.randn(4, 9, 3)
    model(x).square().sum().backward()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    state = torch.random.get_rng_state()
    with torch.no_grad():  # as in a validation loop
        found = diagnose(model, x, loss=lambda m, x: m(x).square().mean())
    assert {one.name for one in found.layers} == {"body.l0", "body.l1"}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert all(torch.equal(p.grad, gradients[n]) for n, p in model.named_parameters())
    assert model.training


def test_it_can_be_asked_in_inference_mode_and_of_frozen_weights():
    model, x = Noisy().eval().requires_grad_(False), torch.randn(4, 9, 3)
    expected = diagnose(model, x, loss=lambda m, x: m(x).mean())
    with torch.inference_mode():
        found = diagnose(model, x + 0, loss=lambda m, x: m(x).mean())
    assert found == expected and found.layers[1].gradient_by_lag[3]


def test_a_ragged_batch_is_examined_as_far_as_its_longest_sample_goes():
    layer = throughtime.GRU(2, 8)
    found = diagnose(_Ragged(layer), torch.randn(30, 3, 2), torch.tensor([5, 0, 9]))
    assert len(found.layers[0].gradient_by_lag) == 9
    found = diagnose(_Ragged(layer), torch.randn(30, 3, 2), torch.tensor([0, 0, 0]))
    assert found.layers == () and found.verdict == "unknown"


class _Ragged(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, lengths):
        return self.layer(x, lengths=lengths)


def test_torchs_layers_are_examined_and_cells_are_named():
    model = Noisy("LSTM", nn)
    model.cell = nn.LSTMCell(3, 3)
    found = diagnose(model, torch.randn(4, 60, 3))
    assert [one.verdict for one in found.layers] == ["vanishing", "vanishing"]
    assert found.notes == (
        "cell: a LSTMCell computes single steps, and the loop over time is in the model",
    )
    assert "note: cell: a LSTMCell" in str(found)


def test_nothing_to_examine_is_neither_health_nor_illness():
    layer = throughtime.LSTM(2, 5)
    for shape in ((0, 4, 2), (12, 0, 2)):
        found = diagnose(layer, torch.randn(shape))
        assert found == Diagnosis("unknown", (), (), ("no recurrent layer computed a step",))
    found = diagnose(layer, torch.randn(1, 4, 2))
    assert found.notes == ("l0: only one step, so its memory was not measured",)
    with pytest.raises(ValueError, match="lag must be 0 or more steps; got -1"):
        diagnose(layer, torch.randn(4, 4, 2), lag=-1)


class Stepping(nn.Module):
    """A stream with one call per step."""

    def __init__(self):
        super().__init__()
        self.body = throughtime.GRU(2, 3)

    def forward(self, x):
        state = None
        for x_t in x:
            h, state = self.body.step(x_t, state)
        return h


def test_a_layer_that_is_called_again_and_again_is_searched_in_every_call():
    model, x = Stepping(), torch.randn(8, 2, 2)
    assert "body.l0: called 8 times; only the last call was measured" in diagnose(model, x).notes
    x[3, 1, 0] = float("nan")
    (finding,) = diagnose(model, x).others
    assert "from there: nan first in input of step 0, sample 1" in finding.evidence
    assert finding.where == "input 0"
    with torch.no_grad():
        model.body.weight_hh_l0.fill_(float("inf"))
    assert diagnose(model, x).others[0].where == "weight body.weight_hh_l0"


def test_buffers_that_are_reassigned_and_backward_passes_that_wait_are_let_alone():
    class Averages(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = throughtime.GRU(2, 3)
            self.register_buffer("average", torch.zeros(2))

        def forward(self, x):
            self.average = 0.9 * self.average + x.mean(dim=(0, 1))
            return self.body(x * (1 + self.average))[0]

    model, x = Averages(), torch.randn(6, 2, 2)
    loss = model(x).sum()
    kept = model.average
    diagnose(model, x)
    assert model.average is kept
    loss.backward()


def test_tokens_and_batches_of_any_form_go_to_the_model_as_they_are():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.body = nn.Embedding(10, 3), throughtime.GRU(3, 4)

        def forward(self, batch):
            return self.body(self.embedding(batch["tokens"]))[0]

    found = diagnose(Words(), {"tokens": torch.randint(0, 10, (9, 4))})
    assert [one.verdict for one in found.layers] == ["healthy"]


def test_one_sample_or_one_step_proves_nothing_that_it_cannot():
    layer = throughtime.LSTM(2, 5)
    for shape in ((1, 1, 2), (1, 4, 2), (12, 1, 2)):
        found = diagnose(layer, torch.randn(shape))
        assert found.verdict == "healthy", found
    assert diagnose(layer, torch.ones(12, 4, 2)).verdict == "healthy"  # equal inputs, equal outputs


@every_kind
def test_a_diagnosis_is_a_record(kind):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(2, 5)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(30)
    found = diagnose(layer, torch.randn(200, 4, 2))
    assert from_plain(Diagnosis, json.loads(to_json(found))) == found


def test_what_is_told_of_a_stuck_gate_leaves_padding_out():
    layer = throughtime.GRU(2, 4)
    with torch.no_grad():
        layer.bias_ih_l0[0:4] = 30.0
    found = diagnose(_Ragged(layer), torch.randn(9, 3, 2), torch.tensor([9, 2, 5]))
    evidence = found.layers[0].findings[0].evidence
    assert evidence.startswith("100% of the units of the reset gate are stuck (mean 1): in 99%")


def test_gradients_that_overflow_at_once_are_an_explosion():
    layer, x = throughtime.GRU(1, 2), torch.ones(5, 1, 1)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(1e38), layer.weight_ih_l0.fill_(0.5)
        layer.weight_hh_l0[2:4] = torch.tensor([[3e38, 3e38], [-3e38, -3e38]])
        layer.weight_ih_l0[2:4] = torch.tensor([[-3e38], [3e38]])
        x[2] = 1e38
    found = diagnose(layer, x)
    assert "exploding" in [f.issue for f in found.layers[0].findings]
    assert from_plain(Diagnosis, json.loads(to_json(found))) == found


@pytest.mark.parametrize("how", ["forget-bias:8", "chrono:3000", "chrono:10000"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_that_keep_are_memory_and_no_illness(kind, how):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(3, 32, init=how)
    assert diagnose(layer, torch.randn(50, 8, 3)).verdict == "healthy"


def test_advice_can_be_followed():
    layer = nn.LSTM(2, 8, bias=False)
    (finding,) = diagnose(layer, torch.randn(60, 4, 2)).layers[0].findings
    assert finding.advice[0].startswith("use biases (bias=True)")
    rnn = throughtime.RNN(2, 8)
    with torch.no_grad():
        rnn.weight_hh_l0.mul_(1e-9)
    advice = [a for f in diagnose(rnn, torch.randn(9, 4, 2)).layers[0].findings for a in f.advice]
    assert not any("lag=0" in line for line in advice)


def test_every_threshold_is_an_illness_and_has_a_source():
    assert set(THRESHOLDS) | {"vanishing", "not finite"} == set(ISSUES)
    assert all(t.value > 0 and t.source for t in THRESHOLDS.values())


def test_a_loss_that_is_no_number_is_told():
    layer = throughtime.GRU(2, 3)
    for loss in (lambda m, x: m(x)[0], lambda m, x: 1.0):
        with pytest.raises(ValueError, match="loss must return one number"):
            diagnose(layer, torch.randn(4, 2, 2), loss=loss)

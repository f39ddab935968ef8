"""The guard: faults at every point, and none reaches the weights."""

import math

import pytest
import torch
from torch import nn

from throughtime import GRU
from throughtime.insight.finiteness import locate
from throughtime.network_records import Finding
from throughtime.training.clipping import AutoClip, ByNorm
from throughtime.training.guard import Guard
from throughtime.training.optimizing import Rate


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = GRU(2, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.norm(self.body(x)[0][-1]))


def loss_of(model, x, y):
    return (model(x) - y).square().mean()


class Bench:
    """A guarded training, a step at a time, with a fault where one is asked for."""

    def __init__(self, learning_rate=0.01, clip=None, optimizer=torch.optim.Adam):
        torch.manual_seed(0)
        self.model = Net()
        self.optimizer = optimizer(self.model.parameters(), lr=learning_rate)
        self.clip = clip or ByNorm(1.0)
        self.rate = Rate("constant")
        self.guard = Guard(self.model, self.optimizer, self.clip, self.rate)
        self.number = 0

    def batch(self):
        generator = torch.Generator().manual_seed(self.number)
        return torch.randn(6, 3, 2, generator=generator), torch.ones(3, 1)

    def step(self, fault=None):
        self.number += 1
        x, y = self.batch()
        if fault == "input":
            x[4, 1, 0] = math.nan
        self.optimizer.zero_grad()
        loss = loss_of(self.model, x, y)
        if fault == "loss":
            loss = loss * math.inf
        loss.backward()
        if fault == "buffer":
            self.model.norm.running_var[2] = math.inf
        if fault == "gradient":
            self.model.head.weight.grad[0, 2] = math.nan
        if fault == "weights":
            self.model.head.weight.grad.fill_(100.0)
        if fault == "optimizer":
            self.optimizer.state[self.model.head.weight]["exp_avg"][0, 1] = math.nan
        told = self.clip(self.model.parameters())
        return self.guard.step(
            self.number, loss.item(), told, (x, y), lambda: locate(self.model, x, y, loss=loss_of)
        )

    def state(self):
        return {name: value.clone() for name, value in self.model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("fault", ["input", "loss", "gradient"])
def test_a_bad_step_is_refused_counted_and_named(fault):
    bench = Bench()
    for _ in range(3):
        assert bench.step() is None
    before = bench.state()
    refused = bench.step(fault)
    assert equal(bench.state(), before)  # buffers of BatchNorm too
    assert (refused.step, refused.cause, refused.action) == (4, fault, "skipped")
    assert bench.guard.skipped == 1 and bench.guard.incidents == [refused]
    if fault == "input":
        assert refused.where == "input 0"
        assert "input 0[4, 1, 0]" in refused.evidence and "step 4, sample 1" in refused.evidence
    if fault == "gradient":
        assert refused.where == "head.weight"
    assert bench.step() is None and not equal(bench.state(), before)
    assert bench.guard.skipped == 1


def test_the_optimizers_memory_gone_bad_leads_back_to_the_last_good_weights():
    bench = Bench()
    for _ in range(100):
        bench.step()
    good = bench.state()
    for _ in range(5):
        bench.step()
    refused = bench.step("optimizer")
    assert (refused.cause, refused.where) == ("optimizer", "head.weight")
    assert refused.action == "restored the last good weights, learning rate x 0.5"
    assert {n: v for n, v in bench.state().items() if "num_batches" not in n}.keys() <= good.keys()
    assert equal(bench.state(), good)
    memory = bench.optimizer.state[bench.model.head.weight]
    assert memory["exp_avg"].isfinite().all() and float(memory["step"]) == 100
    assert bench.rate.lowered == 0.5 and bench.step() is None


def test_a_memory_that_hides_is_found_when_good_weights_are_kept():
    bench = Bench()
    bench.step()
    # an infinite second moment stops a weight for ever, and every weight stays finite
    bench.optimizer.state[bench.model.head.weight]["exp_avg_sq"][0, 1] = math.inf
    found = [bench.step() for _ in range(99)]
    assert found[:-1] == [None] * 98 and found[-1].cause == "optimizer"
    assert bench.guard.retreats == 1 and bench.step() is None


def test_a_step_beyond_all_numbers_is_undone():
    bench = Bench(learning_rate=3e38, clip=ByNorm(1e6), optimizer=torch.optim.SGD)
    before = bench.state()
    refused = bench.step("weights")
    assert refused.cause == "weights" and "the learning rate is too high" in refused.evidence
    assert equal(bench.state(), before)


def test_ten_in_a_row_lead_back_and_after_three_times_it_is_over():
    bench = Bench(clip=AutoClip())
    for _ in range(103):
        bench.step()
    remembered = bench.clip.state_dict()["norms"][:100]
    actions = [bench.step("loss").action for _ in range(40)]
    backs = [n for n, action in enumerate(actions, 1) if action != "skipped"]
    assert backs == [10, 20, 30, 40]
    assert actions[-1] == "restored the last good weights, learning rate x 0.0625"
    assert bench.guard.hopeless and bench.guard.skipped == 40
    assert len(bench.guard.incidents) == 10  # the first are kept, all are counted
    assert bench.clip.state_dict()["norms"][:100] == remembered
    assert not Bench().guard.hopeless


def test_bad_data_alone_never_lead_back():
    bench = Bench()
    assert {bench.step("input").action for _ in range(25)} == {"skipped"}
    assert bench.guard.retreats == 0


def test_a_buffer_that_overflows_is_put_back_and_named():
    bench = Bench()
    for _ in range(3):
        bench.step()
    before = bench.state()
    refused = bench.step("buffer")
    assert (refused.cause, refused.where) == ("buffer", "norm.running_var")
    assert refused.action == "skipped" and equal(bench.state(), before)
    assert bench.step() is None


def test_good_steps_between_end_a_row():
    bench = Bench()
    for _ in range(5):
        for _ in range(9):
            assert bench.step("loss").action == "skipped"
        assert bench.step() is None


def test_what_it_knows_can_be_kept_and_given_back():
    bench, again = Bench(), Bench()
    for number in range(104):
        bench.step("loss" if number > 98 else None)
    again.model.load_state_dict(bench.model.state_dict())
    again.optimizer.load_state_dict(bench.optimizer.state_dict())
    again.guard.load_state_dict(bench.guard.state_dict())
    again.number = bench.number
    for _ in range(5):  # the tenth in a row leads back, in both
        assert bench.step("loss") == again.step("loss")
    assert bench.guard.retreats == again.guard.retreats == 1
    assert equal(bench.state(), again.state())


def test_half_of_the_norms_of_numbers_overflow_and_are_told_from_nan():
    bench = Bench()
    for parameter in bench.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e30)
    told = bench.clip(bench.model.parameters())
    refused = bench.guard.step(1, 1.0, told, (), lambda: None)
    assert refused.cause == "gradient" and refused.where == ""
    assert "norm of the gradient is not finite" in refused.evidence


def test_where_it_came_from_is_asked_ten_times_at_most():
    bench, asked = Bench(), []

    def where():
        asked.append(1)
        return Finding("not finite", "told", None, None, "", "there", ())

    told = bench.clip(bench.model.parameters())
    for number in range(30):
        bench.guard.step(number, math.nan, told, (), where)
    assert len(asked) == 10
    assert {(i.where, i.evidence) for i in bench.guard.incidents} == {("there", "told")}

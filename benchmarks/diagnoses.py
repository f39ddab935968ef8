"""Accuracy of the verdicts of throughtime.diagnose on networks whose state is known.

    python benchmarks/diagnoses.py [--each 8] [--seed 0] [--jobs 2]

Networks of every cell, with 1 to 3 layers, 8 to 48 units and 24 to 80 steps, are built to have one
issue or to be healthy. Healthy networks are initialized so that gradients survive, or trained until
they solve a task that needs their memory (an echo of the input, or a sum of two marked numbers), to
a twentieth of the loss reached without memory. A network with an issue has it in its first layer;
the verdict is that of the whole model. Printed: the confusion matrix and the wrong verdicts. The
last line is JSON.
"""

import argparse
import json
import math
import multiprocessing
import zlib
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

import throughtime
from throughtime.insight.diagnosis import HEALTHY, ISSUES

SOLVED = 0.05  # of the loss without memory
KINDS = ("RNN", "LSTM", "GRU")
LABELS = (HEALTHY, *(issue for issue in ISSUES if issue != "not finite"))


@dataclass
class Case:
    """A network with a known state, and its input."""

    label: str
    description: str
    network: nn.Module
    x: torch.Tensor  # [T,B,I]
    lag: int | None = None  # lag that its task needs, if it has one


class Reader(nn.Module):
    """A recurrent stack with a linear head at every step."""

    def __init__(self, body, outputs=1):
        super().__init__()
        self.body = body
        self.head = nn.Linear(body.hidden_size, outputs)

    def forward(self, x):
        return self.head(self.body(x)[0])


def number(low, high):
    return int(torch.randint(low, high + 1, ()).item())


def sizes():
    """Hidden units, layers, steps, batch, inputs."""
    return number(8, 48), number(1, 3), number(24, 80), number(4, 16), number(2, 5)


def drawn(kind, hidden, layers, inputs, steps, **options):
    """A stack through which gradients survive."""
    how = "orthogonal" if kind == "RNN" else f"chrono:{steps}"
    return getattr(throughtime, kind)(inputs, hidden, layers, init=how, **options)


def gate(layer, name, suffix, place):
    """The rows of one gate in a parameter of the first layer."""
    size = layer.hidden_size
    return getattr(layer, f"{name}_{suffix}_l0").data[place * size : (place + 1) * size]


# ------------------------------------------------------------------ networks with an issue


def exploding(kind):
    """Large recurrent weights; None if the states saturate and nothing grows."""
    hidden, layers, steps, batch, inputs = sizes()
    steps = max(steps, 40)  # at least 1.3^39 = 28,000
    layer = drawn(kind, hidden, layers, inputs, steps)
    factor = 1.4 + 1.6 * torch.rand(()).item()
    if kind == "RNN" and torch.rand(()) < 0.5:
        layer = drawn(kind, hidden, layers, inputs, steps, nonlinearity="relu")
        layer.weight_hh_l0.data.copy_(factor * torch.eye(hidden))
        layer.bias_ih_l0.data.fill_(0.1)
    elif kind == "RNN":
        layer.weight_hh_l0.data.normal_(std=2 * factor / math.sqrt(hidden))
        layer.weight_ih_l0.data.mul_(0.1)
    else:  # all gates half open: h' = (h + tanh(W h / 2)) / 2, c' = (c + tanh(W h)) / 2
        for name, suffix in (("weight", "ih"), ("weight", "hh"), ("bias", "ih"), ("bias", "hh")):
            getattr(layer, f"{name}_{suffix}_l0").data.zero_()
        gate(layer, "weight", "hh", 2).normal_(std=12 * factor / math.sqrt(hidden))
        layer.weight_ih_l0.data.normal_(std=0.01)
    x = torch.randn(steps, batch, inputs)
    with throughtime.observe(layer) as seen, torch.no_grad():
        layer(x)
    growth = throughtime.lyapunov_spectrum(seen["l0"]).exponents[0].exp().item()
    return (f"grows {growth:.2f} times a step", layer, x) if growth > 1.3 else None


def vanishing(kind):
    hidden, layers, steps, batch, inputs = sizes()
    layer = drawn(kind, hidden, layers, inputs, steps)
    rate = 0.05 + 0.55 * torch.rand(()).item()  # per step, at most 0.6^35 = 2e-8
    steps = max(steps, 36)
    if kind == "RNN":
        layer.weight_hh_l0.data.mul_(rate)
    else:
        layer.weight_hh_l0.data.mul_(0.1)
        gate(layer, "bias", "hh", 1).zero_()
        gate(layer, "bias", "ih", 1).fill_(math.log(0.8 * rate / (1 - 0.8 * rate)))
    if kind == "LSTM":  # chrono closed the input gate; the next layer would get no signal
        gate(layer, "bias", "ih", 0).zero_()
    return f"shrinks to {rate:.2f} a step", layer, torch.randn(steps, batch, inputs)


def saturated(kind):
    hidden, layers, steps, batch, inputs = sizes()
    layer = drawn(kind, hidden, layers, inputs, steps)
    x = torch.randn(steps, batch, inputs)
    count = math.ceil((0.6 + 0.4 * torch.rand(()).item()) * hidden)
    if kind == "RNN":
        ends = torch.where(torch.rand(count) < 0.5, -12.0, 12.0)
        layer.bias_ih_l0.data[:count] = ends
        return f"{count} of {hidden} states at their ends", layer, x
    place = number(0, 1)
    # a forget or update gate at 1 is memory, not an issue
    end = 12.0 if place == 0 and torch.rand(()) < 0.5 else -12.0
    if kind == "LSTM":  # chrono closes the input gates of units whose forget gates are open
        gate(layer, "bias", "ih", 1)[:count] = 1.0
    gate(layer, "bias", "ih", place)[:count] = end
    return f"{count} of {hidden} units of gate {place} at {'1' if end > 0 else '0'}", layer, x


def dead(kind):
    hidden, layers, steps, batch, inputs = sizes()
    share = 0.3 + 0.6 * torch.rand(()).item()
    count = math.ceil(share * hidden)
    if kind == "RNN":
        layer = drawn(kind, hidden, layers, inputs, steps, nonlinearity="relu")
        layer.bias_ih_l0.data[:count] = -100.0
    else:  # the candidate for the state is 0
        layer = drawn(kind, hidden, layers, inputs, steps)
        for name, suffix in (("weight", "ih"), ("weight", "hh"), ("bias", "ih"), ("bias", "hh")):
            gate(layer, name, suffix, 2)[:count] = 0.0
    return f"{count} of {hidden} units", layer, torch.randn(steps, batch, inputs)


def flat(kind):
    hidden, layers, steps, batch, inputs = sizes()
    layer = drawn(kind, hidden, layers, inputs, steps)
    layer.weight_ih_l0.data.mul_(1e-6)
    layer.bias_hh_l0.data.add_(torch.randn_like(layer.bias_hh_l0) * 0.3)
    return "inputs a millionth of the biases", layer, torch.randn(steps, batch, inputs)


def unused(kind):
    hidden, layers, steps, batch, inputs = sizes()
    layer = drawn(kind, hidden, layers, inputs, steps)
    layer.weight_hh_l0.data.mul_(0.001)
    if kind != "RNN":
        gate(layer, "bias", "ih", 1).fill_(-5.5)  # keeps 0.4 %, and is not saturated
        gate(layer, "bias", "hh", 1).zero_()
        gate(layer, "weight", "ih", 1).mul_(0.1)
    if kind == "LSTM":  # as above
        gate(layer, "bias", "ih", 0).zero_()
    return "recurrent weights and gate closed", layer, torch.randn(steps, batch, inputs)


def torchs_default(kind):
    """With torch's initialization gradients shrink to about 0.6 per step: lost within 80 steps."""
    hidden, layers, _, batch, inputs = sizes()
    layer = getattr(throughtime, kind)(inputs, hidden, layers)
    return "torch's initialization, 80 steps", layer, torch.randn(80, batch, inputs)


# ------------------------------------------------------------------ healthy networks


def untrained(kind):
    hidden, layers, steps, batch, inputs = sizes()
    how, layer = "drawn to remember", drawn(kind, hidden, layers, inputs, steps)
    x = torch.randn(steps, batch, inputs)
    if kind == "RNN":  # tanh still reduces the gradient at every step
        x = 0.3 * x[:40]
    elif torch.rand(()) < 0.7:
        # units that keep longest write least, so a second layer would get little signal
        longest = ("forget-bias:3", "forget-bias:8", "chrono:3000")
        how = longest[number(0, 2) if layers == 1 else 0]
        throughtime.initialize(layer, how)
    return how, layer, x


def echo(steps, batch, lag):
    """The input of some steps ago; without memory the loss is 1."""
    x = torch.randn(steps, batch, 1)
    return x, x.roll(lag, dims=0), slice(lag, None)


def marked(steps, batch, _):
    """The sum of two marked numbers (Hochreiter and Schmidhuber 1997); without memory, about 1."""
    x = torch.zeros(steps, batch, 2)
    x[..., 0] = torch.randn(steps, batch) / math.sqrt(2)
    half, samples = steps // 2, torch.arange(batch)
    first, second = torch.randint(0, half, (batch,)), torch.randint(half, steps, (batch,))
    x[first, samples, 1] = x[second, samples, 1] = 1.0
    total = x[first, samples, 0] + x[second, samples, 0]
    return x, total.expand(steps, -1).unsqueeze(-1), slice(-1, None)


def trained(kind):
    """Train until the task is solved; None if it is not, as the network is not healthy then."""
    task, lag = (echo, number(2, 6)) if torch.rand(()) < 0.6 else (marked, 0)
    steps, hidden, layers = number(12, 40 if lag else 20), number(16, 40), number(1, 2)
    ways = ["torch", "orthogonal"] if kind == "RNN" else ["torch", "forget-bias", f"chrono:{steps}"]
    how = ways[number(0, len(ways) - 1)]
    inputs = 1 if lag else 2
    network = Reader(getattr(throughtime, kind)(inputs, hidden, layers, init=how))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(1500):
        x, y, where = task(steps, 32, lag)
        optimizer.zero_grad()
        loss = (network(x)[where] - y[where]).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) >= 20 and sum(losses[-20:]) < 20 * SOLVED:
            name = f"echo of {lag}" if lag else "sum of two marked"
            description = f"{name} in {steps} steps, {how}, {len(losses)} updates"
            return description, network, x, lag or steps - 1
    return None


BUILDERS = (  # label, builder, relative number of networks
    ("healthy", untrained, 1),
    ("healthy", trained, 3),
    ("exploding", exploding, 1),
    ("saturated", saturated, 1),
    ("dead units", dead, 1),
    ("flat output", flat, 1),
    ("unused memory", unused, 1),
    ("vanishing", vanishing, 1),
    ("vanishing", torchs_default, 1),
)


def cases(label, builder, kind, count, seed):
    """Build networks of one sort; builders that return None are tried again."""
    found, attempt = [], 0
    while len(found) < count:
        torch.manual_seed(hash_of(seed, label, builder.__name__, kind, attempt))
        attempt += 1
        built = builder(kind)
        if built is not None:
            found.append(Case(label, f"{kind}, {builder.__name__}: {built[0]}", *built[1:]))
    return found


def hash_of(*parts):
    """A hash that is equal on every machine."""
    return zlib.crc32(repr(parts).encode())


def examined(job):
    """Verdicts on the networks of one sort."""
    torch.set_num_threads(1)
    found = []
    for case in cases(*job):
        verdict = throughtime.diagnose(case.network, case.x).verdict
        with_lag = throughtime.diagnose(case.network, case.x, lag=case.lag).verdict
        found.append((case.label, job[1].__name__, case.description, verdict, with_lag))
    return found


def table(results):
    """The confusion matrix: a row for each true state, a column for each verdict."""
    counts = Counter((result[0], result[3]) for result in results)
    wide = max(map(len, LABELS)) + 2
    lines = [" " * wide + "".join(f"{label:>{wide}}" for label in LABELS)]
    lines += [
        f"{row:{wide}}" + "".join(f"{counts[row, column] or '.':>{wide}}" for column in LABELS)
        for row in LABELS
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--each", type=int, default=8, help="networks of each sort and cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    jobs = [
        (label, builder, kind, asked.each * times, asked.seed)
        for label, builder, times in BUILDERS
        for kind in KINDS
    ]
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        results = [r for found in pool.imap(examined, jobs) for r in found]
    print(f"{len(results)} networks; rows: what they are, columns: the verdict\n")
    print(table(results), "\n")
    wrong = [r for r in results if r[0] != r[3]]
    for label, _, description, verdict, _ in wrong:
        print(f"{label} taken for {verdict}: {description}")
    own = [r for r in results if r[1] == "trained"]
    false = sum(r[3] != "healthy" for r in own)
    print(f"\nright: {1 - len(wrong) / len(results):.1%}")
    print(f"false alarms on healthy trained networks: {false} of {len(own)}")
    with_lag = sum(r[4] != "healthy" for r in own)
    print(f"the same, told how far back the task looks (lag=): {with_lag}")
    print(json.dumps({"networks": len(results), "wrong": len(wrong), "trained": len(own),
                      "false_alarms": false, "told_lag": with_lag}))  # fmt: skip


if __name__ == "__main__":
    main()

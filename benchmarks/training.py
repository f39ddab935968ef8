"""The cost of the training loop compared with a bare loop, and the cost of clipping.

    python benchmarks/training.py [--rounds 7]

A GRU forecasts windows, at sizes whose bare step takes about 1 ms or more. The bare loop takes the
same windows in the same order: forward, backward, `torch.nn.utils.clip_grad_norm_` with the same
bound, the same fused Adam, reading the loss. Ours is `train`, which also guards every step, saves
good weights and keeps statistics. First verified: both end with the same weights, up to rounding.
Then both are timed alternately on one thread; printed are the median of each and the median of the
ratios with their quartiles. The last line is JSON.
"""

import argparse
import json
import time
from statistics import median, quantiles

import torch
from torch import nn

import throughtime  # noqa: F401 - imported before timing starts
from throughtime.data.tables.windows import WindowPlan, Windows
from throughtime.problems.forecasting.networks import ModelConfig, build_network
from throughtime.problems.forecasting.training import Forecasting
from throughtime.training.clipping import clipper_by_name
from throughtime.training.loop import TrainingSettings, train

SIZES = ((48, 24, 32), (64, 60, 32), (128, 100, 32))  # hidden, context, batch
CLIPS = ("none", "norm:1", "value:0.5", "auto:0.1", "z:2.5", "agc:0.01")
STEPS = 400


def task_of(hidden, context, batch):
    torch.manual_seed(0)
    values = torch.randn(STEPS * batch + context, 1, dtype=torch.float64).cumsum(0)
    plan = WindowPlan(context, 1, 1)
    windows = [Windows(values, torch.arange(count), plan, 1) for count in (STEPS * batch, 1)]
    config = ModelConfig("gru", context, 1, columns=1, hidden_size=hidden)
    one = torch.ones(1, dtype=torch.float64)
    return Forecasting(build_network(config), *windows, error_scale=one, batch_size=batch, seed=0)


def bare(task):
    """A hand-written loop."""
    model = task.model
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    model.train()
    for batch in task.batches():
        optimizer.zero_grad()
        loss = model.loss(*batch.tensors)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()


def ours(task):
    train(task, TrainingSettings(epochs=1))


def seconds(run, task):
    began = time.perf_counter()
    run(task)
    return time.perf_counter() - began


def clipping(network, rounds):
    """Microseconds of each clipper on the gradients of one step."""
    model = network.model
    model.loss(*next(network.batches()).tensors).backward()
    kept = [p.grad.clone() for p in model.parameters()]
    taken = {}
    for name in CLIPS:
        clip, times = clipper_by_name(name), []
        for _ in range(50 * rounds):
            for parameter, gradient in zip(model.parameters(), kept, strict=True):
                parameter.grad.copy_(gradient)
            began = time.perf_counter()
            clip(model.parameters())
            times.append(time.perf_counter() - began)
        taken[name] = 1e6 * median(times)
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for size in SIZES:
        one, other = task_of(*size), task_of(*size)
        bare(one)
        ours(other)
        for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    print("verified: the loop's weights are those of a bare one\n")
    print("| H, T, B | bare step | ours | ratio | its quartiles | clipping by norm, of a step |")
    print("|---|---|---|---|---|---|")
    rows = []
    for size in SIZES:
        pairs = [
            (seconds(bare, task_of(*size)), seconds(ours, task_of(*size)))
            for _ in range(asked.rounds)
        ]
        low, middle, high = quantiles([b / a for a, b in pairs], n=4)
        step, mine = (1e3 * median(p[which] for p in pairs) / STEPS for which in (0, 1))
        costs = clipping(task_of(*size), asked.rounds)
        share = costs["norm:1"] / 1e3 / step
        name = ", ".join(map(str, size))
        print(f"| {name} | {step:.2f} ms | {mine:.2f} ms | {middle:.3f} | {low:.3f} to {high:.3f} "
              f"| {share:.1%} |", flush=True)  # fmt: skip
        rows.append({"size": size, "bare_ms": step, "ratio": middle, "clip_us": costs})
    print("\nclipping and measuring, microseconds of a step:")
    print(f"| H | {' | '.join(CLIPS)} |\n|---|{'---|' * len(CLIPS)}")
    for size, found in zip(SIZES, rows, strict=True):
        costs = found["clip_us"].values()
        print(f"| {size[0]} | {' | '.join(f'{cost:.0f}' for cost in costs)} |")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

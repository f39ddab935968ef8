"""Our layers beside torch.nn's: verify, then time, side by side in one process.

    python benchmarks/layers.py [--threads 2] [--cells GRU,LSTM,RNN] [--repeats 15]

For each shape both layers get the same weights, input and cotangent. First their outputs and all
gradients must agree; then forward alone and forward with backward are timed in turns, so that both
see the same machine. Printed: medians, the middle half of the times as spread, and the ratio
torch's time / ours (above 1: ours is faster). The last line is JSON.
"""

import argparse
import json
import math
import platform
import time
from statistics import median, quantiles

import torch

import throughtime

GRID = [  # T, B, I, H
    (100, 1, 8, 32),
    (100, 32, 16, 32),
    (100, 32, 32, 64),
    (100, 32, 64, 128),
    (100, 64, 128, 256),
    (50, 64, 512, 512),
    (784, 64, 1, 128),
    (1000, 16, 64, 64),
]
AGREEMENT = 2e-4  # largest difference, relative to the largest value: float32 sums of many steps


def forward_and_backward(layer, x, cotangent):
    """Output, and the gradients of the input and of every weight."""
    output, _ = layer(x)
    return output, torch.autograd.grad(output, (x, *layer.parameters()), cotangent)


def verify(theirs, ours, x, cotangent):
    """Stop unless both layers say the same."""
    expected, expected_grads = forward_and_backward(theirs, x, cotangent)
    actual, actual_grads = forward_and_backward(ours, x, cotangent)
    for a, e in zip((actual, *actual_grads), (expected, *expected_grads), strict=True):
        difference = float((a - e).detach().abs().max() / e.detach().abs().max())
        if not difference < AGREEMENT:
            raise SystemExit(f"{ours} differs from torch.nn by {difference:.2g}")


def time_in_turns(one, other, repeats):
    """Milliseconds of both, measured alternately: [(median, spread), (median, spread)]."""
    taken = ([], [])
    for turn in range(repeats + 2):
        for call, times in zip((one, other), taken, strict=True):
            began = time.perf_counter()
            call()
            if turn >= 2:  # the first turns warm up
                times.append(1e3 * (time.perf_counter() - began))
    summaries = []
    for times in taken:
        low, _, high = quantiles(times, n=4)
        summaries.append((median(times), high - low))
    return summaries


def run(kind, shape, repeats):
    """One line of the table."""
    steps, batch, inputs, hidden = shape
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(inputs, hidden)
    ours = getattr(throughtime, kind)(inputs, hidden)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    cotangent = torch.randn(steps, batch, hidden)
    verify(theirs, ours, x, cotangent)
    line = {"cell": kind, "shape": shape, "path": throughtime.explain_path(ours, x).name}
    with torch.no_grad():
        alone = time_in_turns(lambda: theirs(x), lambda: ours(x), repeats)
    both = time_in_turns(
        lambda: forward_and_backward(theirs, x, cotangent),
        lambda: forward_and_backward(ours, x, cotangent),
        repeats,
    )
    for name, (torchs, mine) in (("forward", alone), ("forward_backward", both)):
        line[name] = {
            "torch_ms": torchs[0],
            "torch_spread_ms": torchs[1],
            "ours_ms": mine[0],
            "ours_spread_ms": mine[1],
            "ratio": torchs[0] / mine[0],
        }
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cells", default="GRU,LSTM,RNN")
    parser.add_argument("--repeats", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    lines = []
    head = f"{'cell':5} {'T':>5} {'B':>3} {'I':>4} {'H':>4} {'path':7}"
    part = f"{'torch ms':>10} {'ours ms':>10} {'spread':>8} {'ratio':>6}"
    print(f"{head} | forward {part} | forward+backward {part}")
    for kind in asked.cells.split(","):
        for shape in GRID:
            line = run(kind, shape, asked.repeats)
            lines.append(line)
            steps, batch, inputs, hidden = shape
            text = f"{kind:5} {steps:5} {batch:3} {inputs:4} {hidden:4} {line['path']:7}"
            for name, pad in (("forward", 7), ("forward_backward", 16)):
                n = line[name]
                text += (
                    f" | {'':{pad}} {n['torch_ms']:10.2f} {n['ours_ms']:10.2f} "
                    f"{n['ours_spread_ms']:8.2f} {n['ratio']:6.2f}"
                )
            print(text, flush=True)
        for name in ("forward", "forward_backward"):
            ratios = [line[name]["ratio"] for line in lines if line["cell"] == kind]
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            print(f"{kind} {name.replace('_', '+')}: geometric mean of the ratios {mean:.2f}")
    machine = {"cpu": platform.processor() or platform.machine(), "threads": asked.threads}
    print(json.dumps({"machine": machine, "torch": torch.__version__, "lines": lines}))


if __name__ == "__main__":
    main()

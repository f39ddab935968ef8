"""Our layers and those of torch.nn on a machine whose cores are all busy.

    python benchmarks/neighbours.py [--threads 2] [--repeats 40]

If threads synchronize at every time step by spinning, a step stalls for a scheduler time slice
whenever one of them is not running. Our threads synchronize a few times per sequence. Printed for
each shape: the time of forward and backward alone and beside one busy process per core (median and
maximum), and their ratio. A fair share of busy cores is half of them, which gives a ratio of 2.
"""

import argparse
import json
import multiprocessing
import os
import time
from functools import partial
from statistics import median

import torch

from layers import gradients, pair, verify

SHAPES = [(100, 1, 8, 32), (100, 32, 32, 64), (100, 64, 128, 256)]  # T, B, I, H


def spin():
    """Keep a core busy until killed."""
    while True:
        pass


def timed(call, repeats):
    for _ in range(3):
        call()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - began))
    return median(taken), max(taken)


def measure(repeats, lines, key):
    for kind in ("GRU", "LSTM"):
        for shape in SHAPES:
            steps, batch, inputs, hidden = shape
            theirs, ours = pair(kind, inputs, hidden)
            x = torch.randn(steps, batch, inputs, requires_grad=True)
            dy = torch.randn(steps, batch, hidden)
            (y, found), (expected, wanted) = gradients(ours, x, dy), gradients(theirs, x, dy)
            verify(f"{kind} {shape}", (y, *found), (expected, *wanted))
            line = lines.setdefault((kind, shape), {"cell": kind, "shape": shape})
            for name, layer in (("ours", ours), ("torch", theirs)):
                line[f"{name}_{key}"] = timed(partial(gradients, layer, x, dy), repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=40)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    lines = {}
    measure(asked.repeats, lines, "alone")
    busy = [
        multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
        for _ in range(os.cpu_count() or 1)
    ]
    for process in busy:
        process.start()
    try:
        measure(asked.repeats, lines, "beside")
    finally:
        for process in busy:
            process.kill()
    print(
        f"{asked.threads} threads beside {len(busy)} busy processes; milliseconds, median (slowest)"
    )
    for (kind, shape), line in lines.items():
        text = f"{kind:5}{', '.join(map(str, shape)):20}"
        for name in ("ours", "torch"):
            (alone, _), (beside, slowest) = line[f"{name}_alone"], line[f"{name}_beside"]
            line[f"{name}_times_longer"] = beside / alone
            text += f" | {name} alone {alone:7.2f}, beside {beside:7.2f} ({slowest:7.2f}): "
            text += f"{beside / alone:4.1f} times"
        print(text)
    print(json.dumps(list(lines.values())))


if __name__ == "__main__":
    main()

"""Which cells, initializations and clipping methods solve the classic tasks, and which diverge.

    python benchmarks/stability.py [--seeds 2] [--jobs 2] [--only adding]

The tasks are the adding problem and temporal order (Hochreiter and Schmidhuber 1997) and the copy
task (Arjovsky et al. 2016), each with its exact chance level, the loss that a network without
memory reaches. Every run draws new sequences; the test set of 1,000 is the same for all. A run has
solved its task if its squared error is below 1e-3 (adding), or 99 % of its predictions are correct;
a run that ends at chance level has failed, whatever its loss. Without clipping, nothing protects
the weights; runs whose weights become NaN are counted. With clipping, the global norm is at most 1.

Then the theory (Pascanu et al. 2013): a ReLU RNN whose recurrent matrix is r times the identity,
trained by plain gradient descent on the adding problem. Gradients over T steps grow as r^T: the RNN
diverges for r above 1, but not below. The table shows up to which r each clipping method prevents
that. The last line is JSON.
"""

import argparse
import json
import math
import multiprocessing
import sys
import time
from itertools import count
from statistics import median

import torch
from torch import nn

import throughtime
from throughtime.data.sequences.generated_tasks import task_by_name
from throughtime.training.clipping import clipper_by_name
from throughtime.training.guard import Guard
from throughtime.training.optimizing import Rate

EVERY = 100  # steps between evaluations on the test set
CELLS = {
    "RNN": ("torch", "orthogonal", "identity"),
    "LSTM": ("torch", "forget-bias:1", "chrono"),
    "GRU": ("torch", "orthogonal", "chrono"),
}
BOTH, CLIPPED = ("norm:1", "none"), ("norm:1",)
LONG = {"RNN": ("torch", "identity"), "LSTM": ("forget-bias:1", "chrono"), "GRU": ("torch",)}
# task, length, learning rate, maximum steps, cells, clipping
GRID = (
    ("adding", 600, 3e-3, 4000, LONG, CLIPPED),
    ("adding", 1000, 3e-3, 4000, {"GRU": ("torch",), "LSTM": ("chrono",)}, CLIPPED),
    ("adding", 100, 3e-3, 2000, CELLS, BOTH),
    ("temporal-order", 50, 1e-3, 1500, CELLS, BOTH),
    ("temporal-order", 100, 1e-3, 1500, CELLS, BOTH),
    ("copy", 10, 1e-2, 3000, CELLS, BOTH),
)
HIDDEN, BATCH = 64, 32
RADII = (0.9, 1.0, 1.1, 1.2, 1.5)
METHODS = (
    "none",
    "norm:1",
    "value:0.01",
    "auto:0.1",
    "z:2.5",
    "agc:0.01",
    "clip_hidden_grad=0.001",
    "norm:1 + guard",
)


class Reader(nn.Module):
    """A recurrent layer and a linear head, at every step or at the last."""

    def __init__(self, body, task):
        super().__init__()
        self.body = body
        self.head = nn.Linear(body.hidden_size, task.outputs)
        self.every_step = task.every_step

    def forward(self, x):
        output, _ = self.body(x)
        return self.head(output if self.every_step else output[-1])


def descend(network, task, optimizer, clip, steps, seed, guard=None):
    """Train on new sequences; return "solved", "nan" or "failed", score, step and seconds."""
    x, y = task.batch(1000, torch.Generator().manual_seed(10_000))
    fresh = torch.Generator().manual_seed(seed)
    began = time.perf_counter()
    score = math.nan
    for step in range(1, steps + 1):
        inputs, answers = task.batch(BATCH, fresh)
        optimizer.zero_grad()
        loss = task.loss(network(inputs), answers)
        loss.backward()
        clipping = clip(network.parameters())
        if guard is None:
            optimizer.step()
        else:
            guard.step(step, loss.item(), clipping, (inputs,), lambda: None)
        if step % EVERY and step < steps:
            continue
        if not all(bool(p.isfinite().all()) for p in network.parameters()):
            return "nan", math.nan, step, time.perf_counter() - began
        with torch.no_grad():
            score = task.score(network(x), y)
        if task.solved(score):
            return "solved", score, step, time.perf_counter() - began
    return "failed", score, steps, time.perf_counter() - began


def classic(job):
    """One run on a classic task."""
    name, length, rate, steps, kind, init, clipping, seed = job
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    task = task_by_name(name, length)
    how = f"chrono:{length}" if init == "chrono" else init
    network = Reader(getattr(throughtime, kind)(task.inputs, HIDDEN, init=how), task)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    ended = descend(network, task, optimizer, clipper_by_name(clipping), steps, seed)
    return (job, *ended)


def theory(job):
    """One run of the ReLU RNN whose gradients grow exponentially."""
    radius, method, seed = job
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    task = task_by_name("adding", 100)
    bound = {"clip_hidden_grad": 0.001} if method.startswith("clip_hidden_grad") else {}
    body = throughtime.RNN(task.inputs, HIDDEN, nonlinearity="relu", **bound)
    body.weight_hh_l0.data.copy_(radius * torch.eye(HIDDEN))
    network = Reader(body, task)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    clip = clipper_by_name("none" if bound else method.partition(" ")[0])
    guard = Guard(network, optimizer, clip, Rate("constant")) if "guard" in method else None
    ended = descend(network, task, optimizer, clip, 300, seed, guard)
    return (job, *ended)


def promise(method):
    """The effect of a clipping method on spikes: every fortieth batch has targets times 1,000."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = task_by_name("adding", 100)
    body = throughtime.RNN(task.inputs, HIDDEN, nonlinearity="relu")
    body.weight_hh_l0.data.copy_(0.9 * torch.eye(HIDDEN))
    network = Reader(body, task)
    fresh, drawn = task.batch, count()

    def spiked(size, generator):
        x, y = fresh(size, generator)
        return x, y * (1000.0 if next(drawn) % 40 == 39 else 1.0)

    task.batch = spiked
    clip, results = clipper_by_name(method), []
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)

    def recorded(parameters):
        results.append(clip(parameters))
        return results[-1]

    descend(network, task, optimizer, recorded, 200, 0)
    before, after = ([getattr(r, which) for r in results] for which in ("norm", "norm_after"))
    share = sum(r.clipped for r in results) / len(results)
    return method, share, max(before), max(after), median(after)


def summary(rows):
    """Counts of solved and NaN runs of one kind, median steps and seconds of solved ones, score."""
    solved = [r for r in rows if r[1] == "solved"]
    took = ""
    if solved:
        took = f"{median(r[3] for r in solved):.0f} / {median(r[4] for r in solved):.0f} s"
    scores = [r[2] for r in rows if not math.isnan(r[2])]
    return (
        f"{len(solved)}/{len(rows)}",
        f"{sum(r[1] == 'nan' for r in rows)}/{len(rows)}",
        took,
        f"{median(scores):.3g}" if scores else "",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="one task, 'theory' or 'promises'")
    asked = parser.parse_args()
    found = {"classics": [], "theory": []}
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        if asked.only in ("", "theory"):
            print("ReLU RNN, W = r I, adding T=100, SGD, 300 steps: runs whose weights became NaN")
            print(f"| clipping | {' | '.join(f'r = {r}' for r in RADII)} |")
            print(f"|---|{'---|' * len(RADII)}")
            seeds = range(asked.seeds)
            jobs = [(r, method, seed) for method in METHODS for r in RADII for seed in seeds]
            results = pool.map(theory, jobs, chunksize=1)
            for method in METHODS:
                cells = []
                for r in RADII:
                    ended = [x[1] for x in results if x[0][:2] == (r, method)]
                    cells.append(f"{ended.count('nan')}/{len(ended)}")
                print(f"| {method} | {' | '.join(cells)} |", flush=True)
            found["theory"] = [[*r[0], r[1]] for r in results]
        if asked.only in ("", "promises"):
            print("\nthe same at r = 0.9, learning rate 1e-4, a spike in every 40th batch: norms")
            print("| clipping | steps clipped | largest before | largest after | median after |")
            print("|---|---|---|---|---|")
            for method, share, *norms in map(promise, METHODS[:-2]):
                columns = " | ".join(f"{norm:.3g}" for norm in norms)
                print(f"| {method} | {share:.0%} | {columns} |", flush=True)
        for name, length, rate, steps, cells, clippings in GRID:
            if asked.only not in ("", name):
                continue
            task = task_by_name(name, length)
            measure = "squared error" if name == "adding" else "share right"
            print(f"\n{name}, T={length}: chance is a loss of {task.chance:.4f}; at most {steps} "
                  f"steps of {BATCH} sequences, H={HIDDEN}, Adam {rate:g}")  # fmt: skip
            print(f"| cell | initialization | clipping | solved | NaN | steps / time | {measure} |")
            print("|---|---|---|---|---|---|---|")
            kinds = [(k, i, c) for k, inits in cells.items() for i in inits for c in clippings]
            jobs = [
                (name, length, rate, steps, *kind, seed)
                for kind in kinds
                for seed in range(asked.seeds)
            ]
            results = []
            for result in pool.imap(classic, jobs):
                results.append(result)
                print(*result, file=sys.stderr, flush=True)
            for kind in kinds:
                rows = [r for r in results if r[0][4:7] == kind]
                print(f"| {' | '.join((*kind, *summary(rows)))} |", flush=True)
            found["classics"] += [
                [*r[0], r[1], None if math.isnan(r[2]) else r[2], r[3], round(r[4], 1)]
                for r in results
            ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()

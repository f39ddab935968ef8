"""Time of the input path per training step: ragged sequences, windows and text, B = 32, H = 32.

    python benchmarks/batches.py

A GRU is trained for one epoch as usual and for one epoch with prepared batches, alternately.
Printed are the medians of several epochs with their range, the share of a step spent in the input
path ("inside"), and the share by which a step with it is longer ("longer", which includes its
effect on caches). First verified: the batches contain every sequence exactly once. The last line is
JSON.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from throughtime.data.opening import open_problem
from throughtime.data_options import DataOptions
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.registry import experiment_of
from throughtime.training.loop import TrainingSettings, train

BATCH, HIDDEN, REPEATS = 32, 32, 7


def ragged(folder):
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 200, 2000)
    x = rng.normal(size=(lengths.sum(), 16)).astype(np.float32)
    np.savez(folder / "x.npz", x=x, lengths=lengths, y=np.arange(2000) % 4)
    return folder / "x.npz", DataOptions()


def windows(folder):
    values = np.cumsum(np.random.default_rng(0).normal(size=6000)).round(4)
    (folder / "x.csv").write_text("y\n" + "\n".join(map(str, values)) + "\n")
    return folder / "x.csv", DataOptions(("y",), context=100)


def text(folder):
    letters = np.random.default_rng(0).choice(list("abcdefgh "), 200_000)
    (folder / "x.txt").write_text("".join(letters))
    return folder / "x.txt", DataOptions(context=100)


def gru(experiment):
    """A GRU with 32 units."""
    low, high = 1, 10**6
    while high - low > 1:
        middle = (low + high) // 2
        config = experiment.config(
            "gru", Hyperparameters(normalize=experiment.normalizations[0]), middle
        )
        low, high = (low, middle) if config.hidden_size >= HIDDEN else (middle, high)
    config = experiment.config("gru", Hyperparameters(normalize=experiment.normalizations[0]), high)
    assert config.hidden_size == HIDDEN
    torch.manual_seed(0)
    return experiment.build(config)


def timed(make):
    """Seconds per step of usual epochs, of epochs with prepared batches, and of the input path."""
    experiment = experiment_of(open_problem(*make))
    model = gru(experiment)
    settings = TrainingSettings(epochs=1)
    whole, prepared, inside = [], [], []
    for _ in range(REPEATS):
        task = experiment.task(model, BATCH, 0)
        batches = list(task.batches())
        if hasattr(task, "buckets"):
            assert sum(batch.weight for batch in batches) == len(task.index)
        for into, made in ((whole, None), (prepared, batches)):
            task = experiment.task(model, BATCH, 0)
            spent = [0.0]
            if made is None:
                task.batches = watched(task.batches, spent)
            else:
                task.batches = lambda made=made: iter(made)
            record = train(task, settings).record
            into.append(record.evaluations[0].seconds / record.steps)
            if made is None:
                inside.append(spent[0] / record.steps)
    return whole, prepared, inside


def watched(batches, spent):
    """The same batches; adds up the seconds that they take."""

    def run():
        waiting = batches()
        while True:
            began = time.perf_counter()
            batch = next(waiting, None)
            spent[0] += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    return run


def spread(values):
    low, middle, high = (1e6 * v for v in (min(values), statistics.median(values), max(values)))
    return f"{middle:7.0f} ({low:.0f} to {high:.0f})"


def main():
    results = {}
    print(f"{'us a step':20} {'as always':26} {'batches made before':26} inside  longer")
    for make in (ragged, windows, text):
        with tempfile.TemporaryDirectory() as scratch:
            whole, prepared, inside = timed(make(Path(scratch)))
        step = statistics.median(whole)
        share = statistics.median(inside) / step
        longer = 1 - statistics.median(prepared) / step
        results[make.__name__] = {"inside": share, "longer": longer}
        times = f"{make.__name__:20} {spread(whole):26} {spread(prepared):26}"
        print(f"{times} {100 * share:4.1f} % {100 * longer:5.1f} %")
    print(json.dumps({"batch": BATCH, "hidden": HIDDEN, "share": results}))


if __name__ == "__main__":
    main()

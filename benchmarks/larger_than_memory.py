"""Memory and speed of training on a folder of Parquet files larger than memory.

    python benchmarks/larger_than_memory.py [--gigabytes 10] [--folder DIR]

Files of eight columns are generated, `throughtime fit` trains on them for half a minute, and its
peak resident memory is read from the system. Then the windows per second of the input path alone
are compared with those of training the smallest networks. The last line is JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from throughtime.data.tables.parquet_folder import shard_problem
from throughtime.data_options import DataOptions
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.registry import experiment_of
from throughtime.training.loop import TrainingSettings, train

COLUMNS, ROWS = 8, 2_000_000  # of a file: 128 MB in memory


def generate(folder, gigabytes):
    rng = np.random.default_rng(0)
    level = np.zeros(COLUMNS)
    for number in range(max(1, round(gigabytes * 1e9 / (8 * COLUMNS * ROWS)))):
        steps = rng.standard_normal((ROWS, COLUMNS))
        steps[:, 0] = np.sin(np.arange(ROWS) / 10) + 0.1 * steps[:, 0]
        values = np.cumsum(steps * 1e-3, axis=0) + level
        level = values[-1]
        frame = pl.DataFrame({f"c{k}": values[:, k] for k in range(COLUMNS)})
        frame.write_parquet(folder / f"part-{number:04}.parquet", compression="uncompressed")
    return sum(p.stat().st_size for p in folder.iterdir())


def resident(folder, scratch, seconds):
    """Peak resident memory of a training, in MB."""
    program = (
        "from throughtime.cli import main\n"
        "try: main()\n"
        # not getrusage, whose maximum is inherited from the parent process
        "finally:\n"
        "    lines = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "    print('peak', int(lines['VmHWM'].split()[0]) / 1024)"
    )
    arguments = ["fit", str(folder), "--target", "c0", "--horizon", "4", "--network", "gru"]
    arguments += ["--budget", f"{seconds}s", "--batch-size", "256", "-o", str(scratch / "model")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    print("\n".join(lines))
    return float(next(line for line in lines if line.startswith("peak")).split()[1])


def pace(problem):
    """Windows per second of the input path alone, and of training the smallest networks."""
    experiment = experiment_of(problem)
    found = {}
    config = experiment.config("dense", Hyperparameters(normalize="window"), 60)
    task = experiment.task(experiment.build(config), 256, 0)
    began, seen = time.perf_counter(), 0
    for batch in task.batches():
        seen += batch.weight
        if time.perf_counter() - began > 8:
            break
    found["input alone"] = seen / (time.perf_counter() - began)
    for kind in ("dense", "rnn"):
        torch.manual_seed(0)
        config = experiment.config(kind, Hyperparameters(normalize="window"), 60)
        task = experiment.task(experiment.build(config), 256, 0)
        settings = TrainingSettings(epochs=1, batch_size=256, budget=8.0)
        record = train(task, settings).record
        found[f"training {kind}, hidden size {config.hidden_size}"] = (
            256 * record.steps / record.seconds
        )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        folder = Path(scratch) / "data"
        folder.mkdir()
        size = generate(folder, asked.gigabytes)
        began = time.perf_counter()
        problem = shard_problem(folder, DataOptions(target=("c0",), horizon=4))
        opened = time.perf_counter() - began
        peak = resident(folder, Path(scratch), 30)
        speeds = pace(problem)
    print(f"{size / 1e9:.2f} GB in files; looked through once in {opened:.0f} s")
    print(f"most resident memory of the training: {peak:.0f} MB")
    for name, windows in speeds.items():
        print(f"{name:32} {windows:12,.0f} windows/s")
    slowest = max(v for k, v in speeds.items() if k != "input alone")
    ratio = speeds["input alone"] / slowest
    print(f"input path / training the fastest: {ratio:.1f}")
    print(json.dumps({"bytes": size, "peak_mb": peak, "opened_s": opened, "ratio": ratio} | speeds))


if __name__ == "__main__":
    main()

"""Memory of training on a stream, for a short stream and one a hundred times as long.

    python benchmarks/streams.py [--steps 100000000] [--folder DIR]

A series is written to a file, and a GRU learns to predict its next step by truncated
backpropagation, in a separate process for each stream. Printed: the peak anonymous memory of the
process, the pages of the file (which the system can reclaim at any time), and the speed. Then full
backpropagation through one long sequence, with and without ``checkpoint=True``. The last line is
JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

LANES, CUT, HIDDEN = 256, 100, 16


def own_memory():
    """MB of this process: anonymous memory and file pages."""
    status = Path("/proc/self/status").read_text()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return [int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")]


class Watcher(threading.Thread):
    """Record the peak memory, sampled twenty times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = [0.0, 0.0]
        self.start()

    def run(self):
        while True:
            self.most = [max(a, b) for a, b in zip(self.most, own_memory(), strict=True)]
            time.sleep(0.05)


def stream(path):
    """Train one pass over a file of float32."""
    import numpy as np
    from torch import nn

    import throughtime
    from throughtime.data.sequences.stream_batches import Streams
    from throughtime.training.loop import TrainingSettings, train
    from throughtime.training.streams import TruncatedBPTT

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = throughtime.GRU(1, HIDDEN)
            self.head = nn.Linear(HIDDEN, 1)

        def forward(self, x, state, *, reset):
            output, state = self.body(x, state, reset=reset)
            return self.head(output), state

    series = np.memmap(path, dtype=np.float32, mode="r").reshape(-1, 1)
    validation = Streams([np.array(series[-100_000:])], lanes=LANES)
    training = Streams([series[:-100_000]], lanes=LANES)
    task = TruncatedBPTT(Net(), training, validation, nn.functional.mse_loss, k1=CUT)
    before = own_memory()[0]
    watcher, began = Watcher(), time.perf_counter()
    record, _ = train(task, TrainingSettings(epochs=1, learning_rate=1e-2))
    seconds = time.perf_counter() - began
    loss = record.evaluations[0].validation_error
    variance = float(np.var(validation.documents[0]))
    print(json.dumps({"before": before, "own": watcher.most[0], "file": watcher.most[1],
                      "steps": len(series), "seconds": seconds, "loss": loss,
                      "variance": variance}))  # fmt: skip


def full(checkpoint):
    """Gradients through one long sequence."""
    import torch

    import throughtime

    layer = throughtime.GRU(8, 64, checkpoint=checkpoint)
    x = torch.randn(20_000, 8, 8)
    before, watcher = own_memory()[0], Watcher()
    began = time.perf_counter()
    layer(x)[0].square().mean().backward()
    print(json.dumps({"before": before, "own": watcher.most[0],
                      "seconds": time.perf_counter() - began}))  # fmt: skip


def written(path, steps):
    """Write a wave whose phase drifts, in blocks."""
    import numpy as np

    draw, phase = np.random.default_rng(0), 0.0
    with path.open("wb") as file:
        for begin in range(0, steps, 1_000_000):
            count = min(1_000_000, steps - begin)
            angle = phase + np.cumsum(0.2 + 0.05 * draw.standard_normal(count))
            phase = angle[-1] % (2 * np.pi)
            file.write(np.sin(angle).astype(np.float32).tobytes())


def alone(*arguments):
    """Run this program in a new process and return its JSON output."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--full", choices=("plain", "checkpoint"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stream:
        return stream(asked.stream)
    if asked.full:
        return full(asked.full == "checkpoint")
    record = {"streams": [], "full": {}}
    print("| steps | before | own memory, at most | the file's pages | seconds | steps / s | loss "
          "of the variance |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "series"
        for steps in (asked.steps // 100, asked.steps):
            written(path, steps)
            found = alone("--stream", path)
            record["streams"].append(found)
            print(f"| {steps:,} | {found['before']:.0f} MB | {found['own']:.0f} MB | "
                  f"{found['file']:.0f} MB | {found['seconds']:.0f} | "
                  f"{steps / found['seconds']:,.0f} | {found['loss'] / found['variance']:.4f} |",
                  flush=True)  # fmt: skip
    print("\nfull backpropagation, GRU H=64, T=20,000, B=8:")
    for how in ("plain", "checkpoint"):
        found = record["full"][how] = alone("--full", how)
        grown = found["own"] - found["before"]
        print(f"  {how}: {grown:.0f} MB beyond the start, {found['seconds']:.2f} s")
    print(json.dumps(record))
    return None


if __name__ == "__main__":
    main()

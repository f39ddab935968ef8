"""A small training that is killed: what tests start in processes of their own.

python survivor.py FOLDER plain              train to the end, write FOLDER/weights
python survivor.py FOLDER killed COUNT SEED  the same in children that are killed COUNT times
"""

import os
import random
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import torch

from throughtime.data.tables.windows import WindowPlan, Windows
from throughtime.problems.forecasting.networks import ModelConfig, build_network
from throughtime.problems.forecasting.training import Forecasting
from throughtime.training.checkpoints import Checkpoints
from throughtime.training.loop import TrainingSettings, train
from throughtime.training.packing import pack

CONTEXT, HORIZON = 8, 2


def task():
    torch.manual_seed(0)
    values = torch.sin(torch.arange(300, dtype=torch.float64) / 3).unsqueeze(1)
    values[100] = torch.nan  # steps that are skipped are a part of it
    plan = WindowPlan(CONTEXT, HORIZON, 1)
    parts = [
        Windows(values, torch.arange(start, stop - CONTEXT - HORIZON + 1), plan, 1)
        for start, stop in ((0, 200), (200, 300))
    ]
    model = build_network(ModelConfig("gru", CONTEXT, HORIZON, columns=1, hidden_size=6))
    model.normalizer.fit(values[:90])
    one = torch.ones(1, dtype=torch.float64)
    return Forecasting(model, *parts, error_scale=one, batch_size=8, seed=1)


SETTINGS = TrainingSettings(
    epochs=8, optimizer="adamw", weight_decay=0.01, schedule="cosine", warmup=9, clip="auto:0.5",
    accumulate=2, learning_rate=0.01,
)  # fmt: skip


class Told(Checkpoints):
    """Writes down from which step it went on."""

    def newest(self):
        state = super().newest()
        with (self.folder.parent / "resumed").open("a") as file:
            file.write(f"{state['step'] if state else 0}\n")
        return state


def run(folder):
    torch.set_num_threads(1)
    learned = task()
    with Told(folder / "run", "one", every=0) as kept:
        trained = train(learned, SETTINGS, kept=kept)
        (folder / "weights").write_bytes(
            pack({"best": learned.model.state_dict(), "last": trained.last})
        )
        kept.remove()


def slow_disk(told):
    """Writing takes time, so that some are killed in the midst of it; each is told as it begins."""
    sync = os.fsync

    def slow(descriptor):
        os.write(told, b".")
        time.sleep(0.004)
        sync(descriptor)

    os.fsync = slow


def killed(folder, count, seed):
    """Children are forked, so that a second life costs no second start of torch."""
    torch.set_num_threads(1)
    train(task(), replace(SETTINGS, epochs=1))  # loads what is loaded late
    draw = random.Random(seed)
    kills = halves = 0
    while not (folder / "weights").exists():
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                slow_disk(told)
                run(folder)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(told)
        if kills < count:
            for _ in range(draw.randrange(6)):  # by its own progress: a busy machine is slower
                os.read(heard, 1)
            time.sleep(draw.uniform(0.0, 0.008))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(heard)
        kills += os.WIFSIGNALED(status)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            sys.exit("a child failed")
        halves += any((folder / "run").glob(".checkpoint-*"))
    print(kills, halves)


if __name__ == "__main__":
    home = Path(sys.argv[1])
    if sys.argv[2] == "plain":
        run(home)
    else:
        killed(home, int(sys.argv[3]), int(sys.argv[4]))

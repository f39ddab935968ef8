"""Train models of darts and neuralforecast with torch.nn's layers and with ours.

    make bench-third-party
    python benchmarks/third_party.py [--threads 1] [--repeats 3] [--steps 200] [--only LSTM]

Each model is built and fitted by its own library, with the same seed, on the weekly CO2 record of
Mauna Loa: with torch.nn's layers, and within `throughtime.patched()` with ours. First verified:

- In float64, the loss of each of the first 100 steps agrees to a relative 1e-9: the same training.
- In float32, the losses of the first 50 steps agree to 1e-3, and later the mean loss of every 50
  steps to 0.1. Rounding differs, and most models stay within 1e-6 to the end. But the derivative of
  an absolute error or a ReLU is discontinuous. If rounding decides on which side a value falls,
  trainings diverge from each other; so do two trainings of torch.nn from weights that differ by one
  rounding.
- Our kernels computed every step of our fits, and none of those of torch.nn.

Then the whole fits are timed alternately. Printed: median, minimum and maximum, and the ratio
torch's time / ours (above 1: ours is faster). The default is one thread: if cores are shared,
torch's threads spin while they wait for each other, often much longer than they work, and the ratio
mainly depends on the machine. The last line is JSON.
"""

import argparse
import json
import logging
import platform
import time
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from statistics import median

import pandas
import pytorch_lightning as lightning
import torch
from darts import TimeSeries
from darts.models import BlockRNNModel, RNNModel
from neuralforecast import NeuralForecast
from neuralforecast import models as neural
from statsmodels.datasets import co2

import throughtime
from throughtime.nn.engines import kernels

WINDOW, HORIZON, HIDDEN, BATCH, SEED = 104, 12, 64, 32, 1
BLOCK, EXACT_STEPS = 50, 100
EXACT, FIRST, LATER = 1e-9, 1e-3, 0.1  # relative tolerances: float64; float32, see above


class Watch(lightning.Callback):
    """Record the loss of every step, and the engines that compute our layers."""

    def __init__(self):
        self.losses, self.paths = [], set()

    def __deepcopy__(self, memo):
        return self  # neuralforecast trains a copy of the model, including its callbacks

    def on_train_start(self, trainer, pl_module):
        for layer in pl_module.modules():
            if isinstance(layer, throughtime.RNN | throughtime.LSTM | throughtime.GRU):
                layer.register_forward_pre_hook(self.look)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))

    def look(self, layer, inputs):
        if not self.losses:  # in the first step
            self.paths.add(throughtime.explain_path(layer, *inputs).name)


def record(dtype):
    """The weekly CO2 record, standardized."""
    values = co2.load_pandas().data["co2"].interpolate()
    return ((values - values.mean()) / values.std()).astype(dtype)


def trainer(watch, steps):
    """Trainer options of both libraries: CPU, `steps` steps, no files and no progress bar."""
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    how = {"accelerator": "cpu", "max_steps": steps, "callbacks": [watch]}
    return how | dict.fromkeys(quiet, False)


def fit_darts(model, sizes, values, watch, steps):
    """Fit a model of darts, which builds its network in the dtype of the series."""
    built = model(
        **sizes,
        hidden_dim=HIDDEN,
        batch_size=BATCH,
        n_epochs=steps,  # max_steps ends the training first
        random_state=SEED,
        pl_trainer_kwargs=trainer(watch, steps),
    )
    built.fit(TimeSeries.from_series(values), verbose=False)


def fit_neuralforecast(model, values, watch, steps):
    """Fit a model of neuralforecast with its defaults: two layers, absolute error, ReLU decoder."""
    built = model(
        h=HORIZON,
        input_size=WINDOW,
        encoder_hidden_size=HIDDEN,
        windows_batch_size=BATCH,
        random_seed=SEED,
        precision="64-true" if values.dtype == "float64" else "32-true",
        **trainer(watch, steps),
    )
    table = pandas.DataFrame({"unique_id": "co2", "ds": values.index, "y": values.to_numpy()})
    NeuralForecast([built], freq=values.index.freqstr).fit(table)


def grid():
    """The models: name and a function (values, watch, steps) that fits it."""
    models = {}
    stepwise = {"input_chunk_length": WINDOW - 1, "training_length": WINDOW}
    for kind in ("RNN", "LSTM", "GRU"):
        sizes = {"model": kind, **stepwise}
        models[f"darts RNNModel {kind}"] = partial(fit_darts, RNNModel, sizes)
    for kind in ("LSTM", "GRU"):
        sizes = {"model": kind, "input_chunk_length": WINDOW, "output_chunk_length": HORIZON}
        models[f"darts BlockRNNModel {kind}"] = partial(fit_darts, BlockRNNModel, sizes)
    for kind in ("LSTM", "GRU"):
        models[f"neuralforecast {kind}"] = partial(fit_neuralforecast, getattr(neural, kind))
    return models


@dataclass
class Fit:
    """The result of one training."""

    losses: torch.Tensor  # [steps]
    seconds: float
    calls: int  # of our kernels' forward pass
    paths: set[str] = field(default_factory=set)


@contextmanager
def counted():
    """Count the forward calls of our kernels, in a list with one number."""
    calls, forward = [0], kernels.forward

    def counting(*arguments):
        calls[0] += 1
        return forward(*arguments)

    kernels.forward = counting
    try:
        yield calls
    finally:
        kernels.forward = forward


def fit(model, values, steps, ours):
    """Train once from new weights."""
    watch = Watch()
    with counted() as calls, throughtime.patched() if ours else nullcontext():
        began = time.perf_counter()
        model(values, watch, steps)
        seconds = time.perf_counter() - began
    return Fit(torch.tensor(watch.losses, dtype=torch.float64), seconds, calls[0], watch.paths)


def apart(one, other):
    """The largest relative difference."""
    return float(((one - other).abs() / other.abs()).max())


def verify_kernels(name, mine, theirs, steps):
    """Exit unless our kernels computed all of our training, and none of torch.nn's."""
    if mine.paths != {"native"} or mine.calls < steps or len(mine.losses) != steps:
        raise SystemExit(
            f"{name}: {len(mine.losses)} of {steps} steps on the paths {sorted(mine.paths)}, "
            f"with {mine.calls} calls of our kernels"
        )
    if theirs.calls or theirs.paths:
        raise SystemExit(f"{name}: our kernels were called {theirs.calls} times in torch.nn's fit")


def verify_exact(name, model, steps):
    """Return the largest difference of a step's loss in float64; exit if it is too large."""
    steps = min(steps, EXACT_STEPS)
    mine, theirs = (fit(model, record("float64"), steps, ours) for ours in (True, False))
    verify_kernels(name, mine, theirs, steps)
    difference = apart(mine.losses, theirs.losses)
    if not difference < EXACT:
        raise SystemExit(f"{name}: losses in float64 differ by {difference:.2g}")
    return difference


def verify_rounded(name, mine, theirs, steps):
    """Return float32 differences of first losses and of later means; exit if too large."""
    verify_kernels(name, mine, theirs, steps)
    first = apart(mine.losses[:BLOCK], theirs.losses[:BLOCK])
    means = [torch.stack([b.mean() for b in x.losses.split(BLOCK)]) for x in (mine, theirs)]
    later = apart(*means)
    if not (first < FIRST and later < LATER):
        raise SystemExit(
            f"{name}: losses in float32 differ by {first:.2g} in the first {BLOCK} steps and "
            f"by {later:.2g} in the mean of {BLOCK} steps"
        )
    return first, later


def summary(fits):
    """Median, minimum and maximum seconds of some fits."""
    seconds = [f.seconds for f in fits]
    return {"median_s": median(seconds), "least_s": min(seconds), "most_s": max(seconds)}


def run(name, model, steps, repeats):
    """One line of the table; the float64 fits are the warm-up, and timed fits are verified, too."""
    line = {"model": name, "float64": verify_exact(name, model, steps)}
    values = record("float32")
    pairs = [[fit(model, values, steps, ours) for ours in (True, False)] for _ in range(repeats)]
    differences = [verify_rounded(name, *pair, steps) for pair in pairs]
    line["float32_first"], line["float32_means"] = (max(d) for d in zip(*differences, strict=True))
    line["kernel_calls"] = pairs[0][0].calls
    line["ours"], line["torch"] = (summary(fits) for fits in zip(*pairs, strict=True))
    line["ratio"] = line["torch"]["median_s"] / line["ours"]["median_s"]
    return line


def text(line):
    def seconds(part):
        return f"{part['median_s']:8.2f} ({part['least_s']:5.2f} to {part['most_s']:5.2f})"

    return (
        f"{line['model']:24} {line['float64']:8.0e} {line['float32_first']:8.0e} "
        f"{line['float32_means']:8.0e} {line['kernel_calls']:6} {seconds(line['torch'])} "
        f"{seconds(line['ours'])} {line['ratio']:6.2f}"
    )


def hush():
    """Silence the libraries' messages about devices, seeds and columns."""
    warnings.filterwarnings("ignore", message=".*pin_memory")
    warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric|neuralforecast")
    for name in ("pytorch_lightning", "lightning_fabric", "darts"):
        for logger in (name, f"{name}.utilities.rank_zero", f"{name}.utilities.seed"):
            logging.getLogger(logger).setLevel(logging.ERROR)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", default="", help="the models whose name contains this")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    hush()
    print(f"{'':24} {'losses apart, relative':^26} {'kernel':>6} {'seconds of a whole fit':^48}")
    print(
        f"{'model':24} {'float64':>8} {'first':>8} {'means':>8} {'calls':>6} "
        f"{'torch.nn':>8} {'':16} {'ours':>8} {'':16} {'ratio':>6}"
    )
    lines = []
    for name, model in grid().items():
        if asked.only in name:
            lines.append(run(name, model, asked.steps, asked.repeats))
            print(text(lines[-1]), flush=True)
    machine = {"cpu": platform.processor() or platform.machine(), "threads": asked.threads}
    versions = {name: version(name) for name in ("torch", "darts", "neuralforecast")}
    print(json.dumps({"machine": machine, "versions": versions, "lines": lines}))


if __name__ == "__main__":
    main()

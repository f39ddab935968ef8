"""The effect of each initialization on the memory of an untrained network.

    python benchmarks/initializations.py [--hidden 64] [--steps 200] [--seeds 5]

Standard normal inputs, B = 16, I = 8; medians over seeds. For each cell and initialization: the
part of the gradient at h_t that reaches 10, 50 and 100 steps back, relative to lag 0; the first lag
at which it is below the machine epsilon of float32 ("lost"); the largest Lyapunov exponent, and the
number of directions that lose less than half within 10 steps ("slow"); the median time scale of the
gate that keeps the state.
"""

import argparse
import json
import math
from statistics import median

import torch

import throughtime

CASES = (
    ("RNN", "tanh", "torch"),
    ("RNN", "tanh", "orthogonal"),
    ("RNN", "relu", "torch"),
    ("RNN", "relu", "orthogonal"),
    ("RNN", "relu", "identity"),
    ("GRU", "", "torch"),
    ("GRU", "", "orthogonal"),
    ("GRU", "", "forget-bias"),
    ("GRU", "", "forget-bias:3"),
    ("GRU", "", "chrono:{steps}"),
    ("LSTM", "", "torch"),
    ("LSTM", "", "orthogonal"),
    ("LSTM", "", "forget-bias"),
    ("LSTM", "", "forget-bias:3"),
    ("LSTM", "", "chrono:{steps}"),
)
LAGS = (10, 50, 100)


def measured(kind, nonlinearity, how, hidden, steps, seed):
    torch.manual_seed(seed)
    options = {"nonlinearity": nonlinearity} if nonlinearity else {}
    layer = getattr(throughtime, kind)(8, hidden, init=how, **options)
    with throughtime.observe(layer) as seen, torch.no_grad():
        layer(torch.randn(steps, 16, 8))
    view = seen["l0"]
    norms = throughtime.gradient_by_lag(view).norms
    relative = norms / norms[0]
    lost = (relative < torch.finfo(torch.float32).eps).nonzero()
    with throughtime.observe(layer) as seen, torch.no_grad():
        layer(torch.randn(steps, 1, 8))
    exponents = throughtime.lyapunov_spectrum(seen["l0"]).exponents
    return {
        **{f"lag {lag}": float(relative[lag]) for lag in LAGS},
        "lost": int(lost[0]) if len(lost) else math.inf,
        "exponent": float(exponents[0]),
        "slow": int((exponents > math.log(0.5) / 10).sum()),
        "scale": math.nan if kind == "RNN" else throughtime.time_scales(view).median,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    print(f"H={asked.hidden}, T={asked.steps}, {asked.seeds} seeds")
    heads = [*(f"lag {lag}" for lag in LAGS), "lost", "exponent", "slow", "time scale"]
    print(f"{'':30}" + "".join(f"{head:>11}" for head in heads))
    lines = []
    for kind, nonlinearity, name in CASES:
        how = name.format(steps=asked.steps)
        found = [
            measured(kind, nonlinearity, how, asked.hidden, asked.steps, seed)
            for seed in range(asked.seeds)
        ]
        line = {key: median(one[key] for one in found) for key in found[0]}
        scale = "" if math.isnan(line["scale"]) else f"{line['scale']:.2f}"
        lost = "never" if math.isinf(line["lost"]) else f"{line['lost']:.0f}"
        print(
            f"{kind:5}{nonlinearity:6}{how:19}"
            + "".join(f"{line[f'lag {lag}']:11.1e}" for lag in LAGS)
            + f"{lost:>11}{line['exponent']:+11.3f}{line['slow']:11.0f}{scale:>11}".rstrip()
        )
        known = {k: v for k, v in line.items() if math.isfinite(v)}
        lines.append({"cell": kind, "nonlinearity": nonlinearity, "init": how, **known})
    print(json.dumps(lines))


if __name__ == "__main__":
    main()

"""Compare what `compare` trains with the best possible error and with a ten times longer training.

    python benchmarks/fair_chance.py [--draw SEED] [--sets ar1,early] [--out FILE]

Each set is generated, and the error of the best possible prediction is known or computed with the
rule that generated it. Each network is tuned and trained with the defaults of `compare`, but for 3
seeds; then the choices of its best trial are trained ten times longer. Printed for each network:
the mean test error over seeds, the error of the longer training, the best possible error, and if
the first is within 10 % of the second (or within 0.01 of it, for shares of wrong labels).

Results are added to --out as each set ends, and sets that it holds are not run again. The last line
is JSON.
"""

import argparse
import json
from dataclasses import fields
from pathlib import Path

import numpy as np

import throughtime as tt
from throughtime.hyperparameters import Hyperparameters

LONGER = 10  # times the steps and the patience of a usual training
LISTED = [f.name for f in fields(Hyperparameters) if f.metadata["listed"]]
NETWORKS = ("dense", "window-dense", "rnn", "lstm", "gru")


def ar1(rng):
    y = np.zeros(3000)
    noise = rng.normal(size=3000)
    for t in range(1, 3000):
        y[t] = 0.8 * y[t - 1] + noise[t]
    # the forecast k steps ahead misses the sum of 0.8^j noise, j < k
    spread = np.sqrt(np.cumsum(0.8 ** (2 * np.arange(6))))
    return {"source": y, "horizon": 6}, float(np.mean(spread) * np.sqrt(2 / np.pi))


def season(rng):
    t = np.arange(3000)
    y = 10 * np.sin(2 * np.pi * t / 24) + 6 * np.sin(2 * np.pi * t / 12 + 1)
    return {"source": y + 2 * rng.normal(size=3000), "horizon": 6, "season": 24}, float(
        2 * np.sqrt(2 / np.pi)
    )


def lag60(rng):
    y = rng.normal(size=3000)
    for t in range(60, 3000):
        y[t] = 0.9 * y[t - 60] + 0.44 * rng.normal()
    return {"source": y, "horizon": 6}, float(0.44 * np.sqrt(2 / np.pi))


def logistic(rng):
    y = np.full(3000, rng.uniform(0.2, 0.4))
    for t in range(1, 3000):
        y[t] = 3.9 * y[t - 1] * (1 - y[t - 1])
    return {"source": y, "horizon": 1}, 0.0


def plan(rng):
    known = rng.integers(0, 2, 2000).astype(float)
    y = 5 * known + rng.normal(size=2000)
    frame = {"y": y, "promotion": known}
    import polars as pl

    options = {"target": "y", "known": ["promotion"], "horizon": 24, "context": 24}
    return {"source": pl.DataFrame(frame), **options}, float(np.sqrt(2 / np.pi))


def first_of(length):
    def make(rng):
        x = rng.normal(size=(400, length, 1))
        return {"source": x, "answers": (x[:, 0, 0] > 0).astype(int)}, 0.0

    return make


def order(rng):
    x = 0.1 * rng.normal(size=(400, 30, 1))
    y = rng.integers(0, 2, 400)
    for item, answer in zip(x, y, strict=True):
        first, second = sorted(rng.choice(30, 2, replace=False))
        item[first, 0], item[second, 0] = (3, -3) if answer else (-3, 3)
    return {"source": x, "answers": y}, 0.0


def parity(rng):
    x = rng.integers(0, 2, (600, 10, 1)).astype(float)
    return {"source": x, "answers": x.sum(axis=(1, 2)).astype(int) % 2}, 0.0


SETS = {
    "ar1": ar1,
    "season": season,
    "lag60": lag60,
    "logistic": logistic,
    "plan": plan,
    "early": first_of(40),
    "order": order,
    "parity": parity,
}


def run(name, draw):
    """One line for each network of a set."""
    options, best = SETS[name](np.random.default_rng([draw, sorted(SETS).index(name)]))
    source, answers = options.pop("source"), options.pop("answers", None)
    data = tt.read(source, answers, progress=False, **options)
    result = tt.compare(data, networks=NETWORKS, seeds=3, progress=False)
    settings, lines = result.record.settings, []
    for candidate in result.verdict.candidates:
        if candidate.trivial:
            continue
        trial = next(t for t in result.record.trials if t.kind == candidate.kind)
        chosen = {k: v for k, v in vars(trial.chosen).items() if v is not None and k in LISTED}
        chosen.setdefault("hidden_size", trial.hidden_size)
        wide = {"context": trial.chosen.context or options.get("context")}
        longer = tt.fit(
            tt.read(source, answers, progress=False, **{**options, **wide}),
            network=candidate.kind,
            steps=LONGER * settings.steps,
            patience=LONGER * settings.patience,
            progress=False,
            **chosen,
        )
        share = data.kind == "sequences"
        near = candidate.error <= 1.1 * longer.test_error + (0.01 if share else 0.0)
        lines.append(
            {
                "set": name,
                "network": candidate.kind,
                "error": candidate.error,
                "longer": longer.test_error,
                "best_possible": best,
                "within_10_percent": bool(near),
                "not_converged": candidate.not_converged,
                "seconds": result.record.seconds,
            }
        )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    lines = json.loads(asked.out.read_text()) if asked.out and asked.out.exists() else []
    print(f"{'set':10}{'network':14}{'error':>10}{'longer':>10}{'best':>10}  within 10 %")
    for name in asked.sets.split(","):
        if name not in {line["set"] for line in lines}:
            lines += run(name, asked.draw)
            if asked.out:
                asked.out.write_text(json.dumps(lines, indent=1))
        for line in lines:
            if line["set"] == name:
                print(
                    f"{name:10}{line['network']:14}{line['error']:10.4g}{line['longer']:10.4g}"
                    f"{line['best_possible']:10.4g}  {'yes' if line['within_10_percent'] else 'no'}"
                )
    near = sum(line["within_10_percent"] for line in lines)
    print(f"{near} of {len(lines)} within 10 % of the longer training")
    print(json.dumps({"draw": asked.draw, "within": near, "of": len(lines), "lines": lines}))


if __name__ == "__main__":
    main()

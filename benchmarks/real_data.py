"""Run `fit` and `predict` on real data of every kind, and compare with published results.

    python benchmarks/real_data.py [--from FOLDER] [--only NAME]

Downloads public data sets with `throughtime data get` (or takes them from a folder), trains one
network on each, predicts, and prints errors, times and the commands. The last line is JSON.
"""

import argparse
import csv
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# name: options of fit; published figures with their sources
SETS = {
    "japanese-vowels": (
        "--network lstm --parameters 20000 --epochs 150 --learning-rate 0.005",
        "share wrong: 0.059 (Kudo et al. 1999), 0.051 (DTW, Bagnall et al. 2018)",
    ),
    "spoken-digits": (
        "--file file --label digit --part part --network gru --parameters 60000 --epochs 40",
        "none known for this test set",
    ),
    "tiny-shakespeare": (
        "--network gru --parameters 400000 --epochs 25 --split 85/5/10 --context 100 "
        "--batch-size 32 --schedule cosine",
        "2.12 bits (1.4697 nats, a transformer of 10.65 million parameters, nanoGPT's README)",
    ),
    "jsb-chorales": (
        "--network gru --parameters 60000 --epochs 100 --batch-size 8 --learning-rate 0.002",
        "nats a step: GRU 8.54, LSTM 8.67 (Chung et al. 2014)",
    ),
    "etth1": (
        "--target OT --inputs none --horizon 24 --context 48 --split 60/20/20 --network gru "
        "--parameters 8000 --epochs 12",
        "standardized MAE: Informer 0.247, LSTMa 0.272 (Zhou et al. 2021)",
    ),
}
USUAL_ROWS = 14_400  # of ETTh1: 12, 4 and 4 months of 30 days, as Zhou et al. split it


def run(*arguments):
    """Run a throughtime command and return its JSON output."""
    command = [sys.executable, "-m", "throughtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def of_test_part(name, path, scratch):
    """The data to predict: the test file of an archive, otherwise the training data."""
    if name == "japanese-vowels":
        return path.with_name(path.name.replace("TRAIN", "TEST"))
    if name == "tiny-shakespeare":
        text = path.read_text()
        (scratch / "new.txt").write_text(text[-2000:])
        return scratch / "new.txt"
    return path


def measured(name, given, scratch):
    options, published = SETS[name]
    where = [] if given is None else ["--from", str(given)]
    path = Path(run("data", "get", name, *where, "-o", str(scratch), "--json")["path"])
    scale = 1.0
    if name == "etth1":
        rows = path.read_text().splitlines()[: 1 + USUAL_ROWS]
        path = scratch / "ETTh1-20-months.csv"
        path.write_text("\n".join(rows) + "\n")
        column = rows[0].split(",").index("OT")
        known = [float(r.split(",")[column]) for r in rows[1 : 1 + USUAL_ROWS * 6 // 10]]
        scale = statistics.pstdev(known)
    model = scratch / f"{name}-model"
    began = time.perf_counter()
    arguments = ["fit", str(path), *shlex.split(options), "-o", str(model)]
    found = run(*arguments, "--json")
    trained = time.perf_counter() - began
    began = time.perf_counter()
    new = of_test_part(name, path, scratch)
    answers = run("predict", str(model), str(new), "--json", "-o", str(scratch / "out.csv"))
    predicted = time.perf_counter() - began
    checked = None
    if name == "japanese-vowels":  # compare the predictions with the labels in the file
        lines = [line for line in new.read_text().splitlines() if line and line[0] not in "#@"]
        truth = [line.rpartition(":")[2] for line in lines]
        checked = statistics.mean(a["label"] != t for a, t in zip(answers, truth, strict=True))
        assert abs(checked - found["test_error"]) < 1e-9, "predict and fit disagree"
    if name == "spoken-digits":
        rows = list(csv.DictReader(path.open()))
        pairs = zip(answers, rows, strict=True)
        tested = [a["digit"] != r["digit"] for a, r in pairs if r["part"] == "test"]
        checked = statistics.mean(tested)
        assert abs(checked - found["test_error"]) < 1e-9, "predict and fit disagree"
    return {
        "name": name,
        "error": found["test_error"] / scale,
        "unit": "standardized MAE" if name == "etth1" else found["unit"],
        "published": published,
        "fit_s": round(trained, 1),
        "predict_s": round(predicted, 1),
        "answers": len(answers),
        "command": f"throughtime fit {path.name} {options} -o model",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="given", type=Path, default=None)
    parser.add_argument("--only", choices=SETS, default=None)
    asked = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in [asked.only] if asked.only else SETS:
            result = measured(name, asked.given, Path(scratch))
            results.append(result)
            print(f"{name}: {result['error']:.4g} ({result['unit']})")
            print(f"  published: {result['published']}")
            print(
                f"  fit {result['fit_s']} s, predict {result['predict_s']} s, "
                f"{result['answers']} answers"
            )
            print(f"  {result['command']}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()

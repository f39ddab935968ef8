"""Compare the time of a comparison with the --budget it was given.

    python benchmarks/budget.py [--budgets 1m,3m]

Runs `compare` on the CO2 record of Mauna Loa with each budget, all networks and 5 seeds. Printed:
the trials and steps that were chosen, the time that was expected of them, and the time taken. Other
work on the machine makes it longer. The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import throughtime as tt
from throughtime.training.settings import seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", default="1m,3m")
    asked = parser.parse_args()
    path = Path(str(files("statsmodels.datasets.co2") / "co2.csv"))
    data = tt.read(path, time="date", target="co2", horizon=4, missing="interpolate")
    lines = []
    print(f"{'budget':>8}{'trials':>8}{'steps':>8}{'taken':>9}{'taken/budget':>14}")
    for budget in asked.budgets.split(","):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            result = tt.compare(data, budget=budget, folder=Path(folder) / "run", progress=False)
            taken = time.perf_counter() - began
        settings = result.record.settings
        share = taken / seconds("--budget", budget)
        print(f"{budget:>8}{settings.trials:8}{settings.steps:8}{taken:8.1f}s{share:14.2f}")
        lines.append({"budget": budget, "taken": taken, "share": share})
    print(json.dumps(lines))


if __name__ == "__main__":
    main()

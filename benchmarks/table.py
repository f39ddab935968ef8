"""Print the README's table from the last recorded benchmark, or with --roofline the limits.

python benchmarks/table.py [--roofline] [benchmarks/results/layers.json]
"""

import json
import math
import sys
from pathlib import Path


def table(record):
    """Ratios of torch's time to ours in the last run, forward and backward with all gradients."""
    run = record["runs"][-1]
    by_cell = {}
    for line in run["grid"]:
        by_cell.setdefault(line["cell"], []).append(line)
    rows = [("T, B, I, H", *by_cell)]
    for lines in zip(*by_cell.values(), strict=True):
        shape = ", ".join(map(str, lines[0]["shape"]))
        rows.append((shape, *(f"{line['forward_backward']['ratio']:.2f}" for line in lines)))
    for name, key in (("geometric mean", "ratio"), ("its bound here", "bound")):
        means = [
            math.exp(sum(math.log(n["forward_backward"][key]) for n in lines) / len(lines))
            for lines in by_cell.values()
        ]
        rows.append((name, *(f"{mean:.2f}" for mean in means)))
    ragged = {line["cell"]: line["ratio"] for line in run["ragged"]}
    rows.append(
        ("ragged, 1000, 16, 64, 64", *(f"{ragged[c]:.1f}" if c in ragged else "" for c in by_cell))
    )
    for hidden in sorted({line["hidden"] for line in record["streams"]}):
        own = {s["cell"]: s for s in record["streams"] if s["hidden"] == hidden}
        rows.append(
            (
                f"one step of a stream, H={hidden}",
                *(f"{own[c]['torch_us'] / own[c]['ours_us']:.1f}" if c in own else ""
                  for c in by_cell),
            )
        )  # fmt: skip
    lines = [f"{row[0]:30}" + "".join(f"{cell:>8}" for cell in row[1:]) for row in rows]
    machine = record["machine"]
    lines.append(
        f"{machine['cpu']}, {run['threads']} threads, {machine['instruction_set']}, "
        f"torch {machine['torch']}, commit {machine['commit']}"
    )
    return "\n".join(line.rstrip() for line in lines)


KEPT = {"RNN": 0, "GRU": 4, "LSTM": 5}  # values saved for backward per unit and step
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FLOORS = {"GRU": 7, "RNN": 5, "LSTM": 2}  # targets for the geometric means


def roofline(record):
    """Arithmetic and memory traffic of each shape, forward and backward, and our times."""
    run = record["runs"][-1]
    peak, memory = run["peak_ours"], run["bandwidth"]
    lines = [
        f"{run['threads']} threads: {peak:.0f} GFLOP/s, {memory:.1f} GB/s to memory",
        f"{'':5}{'T, B, I, H':19}{'GFLOP':>7}{'MB':>7}{'products':>10}{'memory':>9}{'ours':>9}",
    ]
    for line in run["grid"]:
        cell, (steps, batch, inputs, hidden) = line["cell"], line["shape"]
        work = 6e-9 * steps * batch * GATES[cell] * hidden * (inputs + hidden)
        # x twice and dx; y written and read, dy; saved values written and read
        values = 3 * inputs + (3 + 2 * KEPT[cell]) * hidden
        size = 4e-6 * steps * batch * values
        times = (1e3 * work / peak, size / memory, line["forward_backward"]["ours_ms"])
        shape = f"{steps}, {batch}, {inputs}, {hidden}"
        lines.append(
            f"{cell:5}{shape:19}{work:7.2f}{size:7.1f}"
            + "".join(f"{t:{w}.2f}" for t, w in zip(times, (10, 9, 9), strict=True))
        )
    lines.append("")
    for cell, floor in FLOORS.items():
        own = [line for line in run["grid"] if line["cell"] == cell]
        small = [n["forward_backward"]["ratio"] for n in own if n["shape"][3] < 64]
        bounds = [n["forward_backward"]["bound"] for n in own if n["shape"][3] >= 64]
        needed = (floor ** len(own) / math.prod(bounds)) ** (1 / len(small))
        reached = math.prod(small) ** (1 / len(small))
        lines.append(
            f"{cell}, mean {floor}: were the {len(bounds)} shapes from H=64 on at the peak, the "
            f"{len(small)} smallest would need {needed:.1f}; they reach {reached:.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    files = [word for word in sys.argv[1:] if word != "--roofline"]
    default = Path(__file__).parent / "results" / "layers.json"
    record = json.loads(Path(files[0] if files else default).read_text())
    print(roofline(record) if "--roofline" in sys.argv else table(record))

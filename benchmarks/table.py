"""The README's table, from the last benchmark on record.

python benchmarks/table.py [benchmarks/results/layers.json]
"""

import json
import math
import sys
from pathlib import Path


def table(record):
    """Ratios of torch's time to ours, two threads, forward and backward with all gradients."""
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


if __name__ == "__main__":
    default = Path(__file__).parent / "results" / "layers.json"
    print(table(json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else default).read_text())))

"""The figure in README.md: the cell state of an LSTM after two symbols that it saw long ago.

    python benchmarks/picture.py -o docs/inside.svg

Trains an LSTM to predict the order of two rare symbols (Hochreiter and Schmidhuber 1997, task 6a),
observes it on a new sequence, and draws its cell state for each unit and step, with the gradient at
each step. Takes a minute on one core and is deterministic.
"""

import argparse
from pathlib import Path

import torch

import throughtime
from throughtime.data.sequences.generated_tasks import TemporalOrder

UNITS, LENGTH = 16, 60
CELL, GAP, LEFT, TOP = 10, 12, 74, 46
LINE = 60  # height of the gradient


def trained(steps: int) -> tuple[torch.nn.ModuleDict, TemporalOrder, float]:
    """The model, its task, and its accuracy on new sequences."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    task, generator = TemporalOrder(LENGTH), torch.Generator().manual_seed(0)
    inputs = task.batch(1, generator)[0].shape[-1]
    model = torch.nn.ModuleDict(
        {
            "lstm": throughtime.LSTM(inputs, UNITS, init=f"chrono:{2 * LENGTH}"),
            "head": torch.nn.Linear(UNITS, 4),
        }
    )
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        x, answer = task.batch(64, generator)
        loss = task.loss(model["head"](model["lstm"](x)[0][-1]), answer)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    x, answer = task.batch(500, generator)
    return model, task, task.score(model["head"](model["lstm"](x)[0][-1]), answer)


def main() -> None:
    """Train, observe, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/inside.svg"))
    parser.add_argument("--steps", type=int, default=1500)
    asked = parser.parse_args()
    model, task, right = trained(asked.steps)
    x, answer = task.batch(1, torch.Generator().manual_seed(2))
    with throughtime.observe(model) as seen:
        task.loss(model["head"](model["lstm"](x)[0][-1]), answer).backward()
    view = seen["lstm.l0"]
    cell, gradient = view.cell[:, 0].tanh(), view.cell_grad[:, 0].norm(dim=-1)
    asked.out.write_text(drawn(cell, gradient, x[:, 0], right), encoding="utf-8")
    print(f"{right:.1%} of 500 new sequences right after {asked.steps} steps; {asked.out}")


def drawn(cell: torch.Tensor, gradient: torch.Tensor, x: torch.Tensor, right: float) -> str:
    """The figure as SVG; cell [T,H], gradient [T], x [T,I]."""
    steps, units = cell.shape
    symbols = [t for t in range(steps) if float(x[t, :2].sum()) > 0]
    order = cell[-1].argsort(descending=True)
    below = TOP + units * CELL + GAP
    parts = [
        f'<text x="{LEFT}" y="18">An LSTM told of two symbols long ago: its cell state c, '
        f"{units} units, {steps} steps</text>",
        f'<text x="{LEFT - 8}" y="{TOP + units * CELL / 2}" text-anchor="end">units</text>',
        f'<text x="{LEFT - 8}" y="{below + LINE / 2}" text-anchor="end">|dL/dc|</text>',
        f'<text x="{LEFT}" y="{below + LINE + 20}">step 1</text>',
        f'<text x="{LEFT + steps * CELL}" y="{below + LINE + 20}" text-anchor="end">the answer: '
        f"{right:.0%} of new sequences right</text>",
    ]
    for row, unit in enumerate(order.tolist()):
        for t in range(steps):
            parts.append(
                f'<rect x="{LEFT + t * CELL}" y="{TOP + row * CELL}" width="{CELL}" '
                f'height="{CELL}" fill="{color(float(cell[t, unit]))}"/>'
            )
    for t in symbols:
        name = "X" if float(x[t, 0]) > 0 else "Y"
        at = LEFT + (t + 0.5) * CELL
        parts.append(f'<text x="{at}" y="{TOP - 6}" text-anchor="middle">{name}</text>')
        parts.append(f'<path d="M{at} {TOP} V{below + LINE}" class="cue"/>')
    scaled = gradient / gradient.max()
    points = " ".join(
        f"{LEFT + (t + 0.5) * CELL:.0f},{below + LINE * (1 - float(v)):.1f}"
        for t, v in enumerate(scaled)
    )
    parts.append(f'<polyline points="{points}" class="line"/>')
    width, height = LEFT + steps * CELL + 16, below + LINE + 32
    style = (
        "text{font:13px sans-serif;fill:#777}.cue{stroke:#777;stroke-dasharray:3 3}"
        ".line{fill:none;stroke:#D55E00;stroke-width:2}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
        f"<style>{style}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def color(value: float) -> str:
    """Blue for -1, white for 0, orange for 1."""
    end = (213, 94, 0) if value > 0 else (0, 114, 178)
    share = min(1.0, abs(value))
    return "#" + "".join(f"{round(255 + share * (c - 255)):02x}" for c in end)


if __name__ == "__main__":
    main()

"""What looking inside costs: observe(), beside the usual way, a loop over torch.nn's cell.

    python benchmarks/observing.py [--threads 2] [--repeats 30]

The loop keeps every h_t (and c_t) and asks autograd for their gradients. First both must say the
same, states and gradients; then a step (forward and backward with all gradients) is timed in turns:
torch.nn's layer and the loop, ours and ours observed, the block's entering and leaving included.
"""

import argparse
import json

import torch

import throughtime
from layers import AGREEMENT, pair, time_in_turns, verify

SHAPES = [(100, 1, 8, 32), (100, 32, 32, 64), (100, 32, 64, 128), (1000, 16, 64, 64)]  # T, B, I, H


def by_the_loop(kind, layer):
    """The usual way: states and gradients of every step, from a cell in a loop."""
    cell = getattr(torch.nn, f"{kind}Cell")(layer.input_size, layer.hidden_size)
    for name, parameter in layer.named_parameters():
        setattr(cell, name.removesuffix("_l0"), parameter)

    def run(x, dy):
        state, states = None, []
        for x_t in x:
            state = cell(x_t, state)
            for s in state if kind == "LSTM" else (state,):
                s.retain_grad()
            states.append(state if kind == "LSTM" else (state,))
        hidden = torch.stack([s[0] for s in states])
        (hidden * dy).sum().backward()
        return [(torch.stack(s), torch.stack([t.grad for t in s])) for s in zip(*states)]  # noqa: B905

    return run


def line_of(kind, shape, repeats):
    steps, batch, inputs, hidden = shape
    theirs, ours = pair(kind, inputs, hidden)
    loop = by_the_loop(kind, ours)
    x, dy = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)

    def step(layer):
        (layer(x)[0] * dy).sum().backward()

    def observed():
        with throughtime.observe(ours) as seen:
            step(ours)
        return seen["l0"]

    view = observed()
    shown = [(view.hidden, view.hidden_grad)]
    shown += [(view.cell, view.cell_grad)] if kind == "LSTM" else []
    for (state, gradient), (wanted, wanted_gradient) in zip(shown, loop(x, dy), strict=True):
        verify(f"{kind} {shape}", (state, gradient), (wanted, wanted_gradient))
    times = [t for t, _ in time_in_turns([lambda: step(theirs), lambda: loop(x, dy)], repeats)]
    # apart from the others, so that neither of the two comes upon a colder cache
    times += [t for t, _ in time_in_turns([lambda: step(ours), observed], 3 * repeats)]
    names = ("torch_ms", "loop_ms", "plain_ms", "observed_ms")
    line = {"cell": kind, "shape": shape, **dict(zip(names, times, strict=True))}
    line["cost"] = times[3] / times[2] - 1
    print(
        f"{kind:5}{', '.join(map(str, shape)):20}" + "".join(f"{t:10.2f}" for t in times)
        + f"{line['cost']:+9.1%}{times[1] / times[3]:9.1f}"
    )  # fmt: skip
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"milliseconds of a step, {asked.threads} threads; all agree within {AGREEMENT:g}")
    print(f"{'':5}{'T, B, I, H':20}{'torch.nn':>10}{'loop':>10}{'ours':>10}{'observed':>10}"
          f"{'cost':>9}{'loop/obs.':>9}")  # fmt: skip
    lines = [line_of(kind, s, asked.repeats) for kind in ("LSTM", "GRU") for s in SHAPES]
    print(json.dumps(lines))


if __name__ == "__main__":
    main()

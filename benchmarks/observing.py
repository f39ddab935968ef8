"""The cost of observe(), compared with the usual way, a loop over torch.nn's cell.

    python benchmarks/observing.py [--threads 2] [--repeats 30]

The loop keeps every h_t (and c_t) and retains their gradients. First, states and gradients of both
must agree; then a step (forward and backward with all gradients) is timed alternately: torch.nn's
layer and the loop, our layer and our observed layer, including entering and leaving the block. Then
the two slow measures are timed, and the share of the QR decompositions in a Lyapunov spectrum.
"""

import argparse
import json
import time

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
    # separately from the others, so that both find the caches in the same state
    times += [t for t, _ in time_in_turns([lambda: step(ours), observed], 3 * repeats)]
    names = ("torch_ms", "loop_ms", "plain_ms", "observed_ms")
    line = {"cell": kind, "shape": shape, **dict(zip(names, times, strict=True))}
    line["cost"] = times[3] / times[2] - 1
    print(
        f"{kind:5}{', '.join(map(str, shape)):20}" + "".join(f"{t:10.2f}" for t in times)
        + f"{line['cost']:+9.1%}{times[1] / times[3]:9.1f}"
    )  # fmt: skip
    return line


def measures():
    """Time the gradient by lag, and the Lyapunov spectrum with its QR decompositions."""

    def seconds(call):
        call()
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    found = {}
    x = torch.randn(200, 32, 64)
    with throughtime.observe(layer := throughtime.LSTM(64, 128)) as seen, torch.no_grad():
        layer(x)
    found["gradient_by_lag"] = seconds(lambda: throughtime.gradient_by_lag(seen["l0"]))
    print(f"gradient by lag, LSTM T=200, B=32, H=128: {found['gradient_by_lag']:.2f} s")
    for kind in ("RNN", "GRU", "LSTM"):
        layer = getattr(throughtime, kind)(8, 64)
        with throughtime.observe(layer) as seen, torch.no_grad():
            layer(torch.randn(2000, 1, 8))
        whole = seconds(lambda seen=seen: throughtime.lyapunov_spectrum(seen["l0"]))
        size = 128 if kind == "LSTM" else 64
        matrix = torch.randn(1, size, size, dtype=torch.float64)
        qr = seconds(lambda matrix=matrix: [torch.linalg.qr(matrix) for _ in range(2000)])
        found[f"lyapunov_{kind}"] = (whole, qr)
        print(
            f"Lyapunov spectrum, {kind} T=2000, H=64: {whole:.2f} s; its 2000 QR alone {qr:.2f} s"
        )
    return found


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
    print(json.dumps({"steps": lines, "measures": measures()}))


if __name__ == "__main__":
    main()

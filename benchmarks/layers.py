"""Verify our layers against torch.nn's, then time both in one process.

    python benchmarks/layers.py [--threads 1,2] [--cells GRU,LSTM,RNN] [--repeats 15] [--out FILE]

For each shape, both layers get the same weights, input and cotangent. First, outputs and all
gradients must agree; then forward alone and forward with backward are timed alternately, so that
both run under the same conditions. The same follows for ragged batches against torch's
PackedSequence, for one step of a stream against torch's cells and ONNX Runtime (if installed), and
for the cost of observation.

Printed: median milliseconds, the interquartile range as spread, and the ratio torch's time / ours
(above 1: ours is faster). `peak` is the speed of a large square product with our micro-kernel or
torch in this run, in GFLOP/s; `of peak` is our speed relative to it; `bound` is the ratio of a
layer whose only cost is its products at the peak, which no layer that does all of the arithmetic
can exceed. The last line is JSON; --out writes it to a file.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import time
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime
from throughtime.nn.calls import CallOptions, LayerCall, Trace
from throughtime.nn.engines import kernels
from throughtime.nn.engines.autograd import sequence
from throughtime.runtime import Stream

GRID = [  # T, B, I, H
    (100, 1, 8, 32),
    (100, 32, 16, 32),
    (100, 32, 32, 64),
    (100, 32, 64, 128),
    (100, 64, 128, 256),
    (50, 64, 512, 512),
    (784, 64, 1, 128),
    (1000, 16, 64, 64),
]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
AGREEMENT = 2e-4  # tolerance relative to the largest value, for float32 sums over many steps


def gradients(layer, x, cotangent, *given, **options):
    """Output, and the gradients of the input and of every weight."""
    output, _ = layer(*(given or (x,)), **options)
    output = output.data if hasattr(output, "batch_sizes") else output
    return output, torch.autograd.grad(output, (x, *layer.parameters()), cotangent)


def verify(name, actual, expected):
    """Exit unless both agree."""
    for a, e in zip(actual, expected, strict=True):
        difference = float((a - e).detach().abs().max() / e.detach().abs().max())
        if not difference < AGREEMENT:
            raise SystemExit(f"{name} differs by {difference:.2g}")


def time_in_turns(calls, repeats):
    """Milliseconds of each call, measured alternately: [(median, spread), ...]."""
    taken = [[] for _ in calls]
    for turn in range(repeats + 2):
        for call, times in zip(calls, taken, strict=True):
            began = time.perf_counter()
            call()
            if turn >= 2:  # the first turns warm up
                times.append(1e3 * (time.perf_counter() - began))
    summaries = []
    for times in taken:
        low, _, high = quantiles(times, n=4)
        summaries.append((median(times), high - low))
    return summaries


def peak_of(threads, size=1536):
    """GFLOP/s of a large square product with our micro-kernel and with torch."""
    a, b, c = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    kernels.kernels.product(a, b, c, threads)
    verify("the product", [c], [a @ b.T])
    times = ([], [])
    for _ in range(8):
        for call, taken in (
            (lambda: kernels.kernels.product(a, b, c, threads), times[0]),
            (lambda: torch.mm(a, b.T, out=c), times[1]),
        ):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
    return [2 * size**3 / min(taken) / 1e9 for taken in times]


def bandwidth():
    """GB/s read and written by a copy too large for any cache."""
    a, b = torch.ones(2**26), torch.empty(2**26)
    taken = []
    for _ in range(8):
        began = time.perf_counter()
        b.copy_(a)
        taken.append(time.perf_counter() - began)
    return 2 * 4 * 2**26 / min(taken) / 1e9


def pair(kind, inputs, hidden):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(inputs, hidden)
    ours = getattr(throughtime, kind)(inputs, hidden)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def compared(torchs, mine):
    return {
        "torch_ms": torchs[0],
        "torch_spread_ms": torchs[1],
        "ours_ms": mine[0],
        "ours_spread_ms": mine[1],
        "ratio": torchs[0] / mine[0],
    }


def grid_line(kind, shape, repeats, peak):
    steps, batch, inputs, hidden = shape
    theirs, ours = pair(kind, inputs, hidden)
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    dy = torch.randn(steps, batch, hidden)
    (y, dx), (expected, dx_expected) = gradients(ours, x, dy), gradients(theirs, x, dy)
    verify(f"{kind} {shape}", (y, *dx), (expected, *dx_expected))
    line = {"cell": kind, "shape": shape, "path": throughtime.explain_path(ours, x).name}
    with torch.no_grad():
        alone = time_in_turns([lambda: theirs(x), lambda: ours(x)], repeats)
    both = time_in_turns(
        [lambda: gradients(theirs, x, dy), lambda: gradients(ours, x, dy)], repeats
    )
    products = 2e-9 * steps * batch * GATES[kind] * hidden * (inputs + hidden)  # GFLOP
    for name, times, work in (
        ("forward", alone, products),
        ("forward_backward", both, 3 * products),
    ):
        line[name] = compared(*times)
        rate = work / (times[1][0] / 1e3)
        line[name] |= {"gflops": rate, "of_peak": rate / peak}
        line[name]["bound"] = times[0][0] / 1e3 * peak / work
    return line


def grid(kinds, repeats, peak):
    part = f"{'torch':>8} {'ours':>8} {'spread':>6} {'ratio':>6} {'bound':>6} {'of peak':>7}"
    print(f"{'':25} | forward: {part[9:]:>37} | forward and backward")
    print(f"{'cell':5}{'T':>5}{'B':>4}{'I':>5}{'H':>5} | {part} | {part}")
    lines = []
    for kind in kinds:
        for shape in GRID:
            line = grid_line(kind, shape, repeats, peak)
            lines.append(line)
            text = f"{kind:5}" + "".join(
                f"{n:{w}}" for n, w in zip(shape, (5, 4, 5, 5), strict=True)
            )
            for name in ("forward", "forward_backward"):
                n = line[name]
                text += (
                    f" | {n['torch_ms']:8.2f} {n['ours_ms']:8.2f} {n['ours_spread_ms']:6.2f} "
                    f"{n['ratio']:6.2f} {n['bound']:6.2f} {n['of_peak']:7.0%}"
                )
            print(text, flush=True)
        for name in ("forward", "forward_backward"):
            own = [line[name] for line in lines if line["cell"] == kind]
            ratio, bound = (
                math.exp(sum(math.log(n[key]) for n in own) / len(own))
                for key in ("ratio", "bound")
            )
            print(f"{kind} {name}: geometric means: ratio {ratio:.2f}, bound {bound:.2f}")
    return lines


def ragged(kind, repeats, steps=1000, batch=16, hidden=64):
    """Lengths uniform in [T/2, T], against torch's PackedSequence and our own padded batch."""
    theirs, ours = pair(kind, hidden, hidden)
    lengths = torch.randint(steps // 2, steps + 1, (batch,))
    lengths[0] = steps
    x = torch.randn(steps, batch, hidden, requires_grad=True)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    dy = torch.randn(steps, batch, hidden)
    dy[torch.arange(steps).unsqueeze(1) >= lengths] = 0
    dy_packed = pack_padded_sequence(dy, lengths, enforce_sorted=False).data

    def torchs():
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return gradients(theirs, x, dy_packed, packed)

    def mine():
        return gradients(ours, x, dy, x, lengths=lengths)

    y, found = mine()
    expected = pad_packed_sequence(theirs(packed)[0])[0]
    verify(f"ragged {kind}", (y, *found), (expected, *torchs()[1]))
    times = time_in_turns([torchs, mine, lambda: gradients(ours, x, dy)], repeats)
    line = {"cell": kind, "shape": (steps, batch, hidden, hidden)} | compared(*times[:2])
    line["of_padded"] = times[1][0] / times[2][0]
    print(
        f"ragged {kind}: PackedSequence {line['torch_ms']:.1f} ms, ours {line['ours_ms']:.1f} ms, "
        f"ratio {line['ratio']:.1f}; {line['of_padded']:.2f} of our padded time"
    )
    return line


def onnx_step(kind, cell, inputs, hidden):
    """The same step in ONNX Runtime on one thread; None if it is not installed."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    from onnx import TensorProto, helper

    order = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}[kind]  # iofc; zrh

    def ordered(parameter):
        parts = np.split(parameter.detach().numpy(), len(order))
        return np.concatenate([parts[k] for k in order])

    weights = {
        "W": ordered(cell.weight_ih)[None],
        "R": ordered(cell.weight_hh)[None],
        "B": np.concatenate([ordered(cell.bias_ih), ordered(cell.bias_hh)])[None],
    }
    states = ["h", "c"] if kind == "LSTM" else ["h"]
    node = helper.make_node(
        kind,
        ["x", "W", "R", "B", "", *states],
        ["", *(s + "_next" for s in states)],
        hidden_size=hidden,
        **({"linear_before_reset": 1} if kind == "GRU" else {}),
    )

    def value(name, size):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, size])

    graph = helper.make_graph(
        [node],
        "step",
        [value("x", inputs), *(value(s, hidden) for s in states)],
        [value(s + "_next", hidden) for s in states],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda x, *state: session.run(
        None, {"x": x[None], **{s: v[None] for s, v in zip(states, state, strict=True)}}
    )


def streaming(kind, hidden, inputs=32, steps=400):
    """One step, B=1: torch's cell, ONNX Runtime, and throughtime.runtime, in microseconds."""
    torch.manual_seed(0)
    cell = getattr(torch.nn, f"{kind}Cell")(inputs, hidden)
    stream = Stream(kind, {f"{n}_l0": p.detach().numpy() for n, p in cell.named_parameters()})
    x = torch.randn(1, inputs)
    x_row, x_array = x[0].numpy(), x.numpy()
    zero = torch.zeros(1, hidden)
    state = (zero, zero) if kind == "LSTM" else zero
    session = onnx_step(kind, cell, inputs, hidden)
    states = [zero.numpy()] * (2 if kind == "LSTM" else 1)
    expected = cell(x, state)
    h = expected[0] if kind == "LSTM" else expected
    verify(f"stream {kind}", [torch.from_numpy(stream.step(x_row).copy())], [h[0]])
    if session:
        verify(f"ONNX {kind}", [torch.from_numpy(session(x_array, *states)[0][0])], [h])

    def loop(call):
        def run():
            for _ in range(steps):
                call()

        return run

    calls = [lambda: cell(x, state), lambda: stream.step(x_row)]
    calls += [lambda: session(x_array, *states)] if session else []
    with torch.no_grad():
        times = [1e3 * t / steps for t, _ in time_in_turns([loop(c) for c in calls], 9)]
    line = {"cell": kind, "hidden": hidden, "inputs": inputs, "torch_us": times[0],
            "ours_us": times[1], "onnx_us": times[2] if session else None}  # fmt: skip
    text = f"step {kind} H={hidden}: ours {times[1]:.2f} us; torch's cell {times[0]:.1f} us, "
    text += f"ratio {times[0] / times[1]:.1f}"
    if session:
        text += f"; ONNX Runtime {times[2]:.1f} us, ratio {times[2] / times[1]:.1f}"
    print(text)
    return line


def looking(kind, repeats, shape=(100, 32, 64, 128)):
    """The cost of returning gates, cell states and dL/dh_t."""
    steps, batch, inputs, hidden = shape
    _, ours = pair(kind, inputs, hidden)
    x, dy = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)
    cell, weights = ours.cell_type, ours.weights()
    state = tuple(torch.zeros(1, batch, hidden) for _ in cell.states)

    def run(trace):
        call = LayerCall(cell, x, state, weights[:1], options=CallOptions(trace=trace))
        torch.autograd.grad(sequence(call)[0], list(ours.parameters()), dy)

    trace = Trace()
    run(trace)
    assert trace.gradients is not None
    assert trace.gradients[0].shape == (1, steps, batch, hidden)
    plain, looked = time_in_turns([lambda: run(None), lambda: run(Trace())], 3 * repeats)
    line = {"cell": kind, "shape": shape, "plain_ms": plain[0], "seen_ms": looked[0]}
    print(f"looking inside {kind}: {looked[0] / plain[0] - 1:+.1%} of the step")
    return line


def machine():
    model = next(
        (
            text.split(":")[1].strip()
            for text in Path("/proc/cpuinfo").read_text().splitlines()
            if text.startswith("model name")
        ),
        platform.processor(),
    )
    here = Path(__file__).parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "instruction_set": kernels.kernels.instruction_set_in_use(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--cells", default="GRU,LSTM,RNN")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    kinds = asked.cells.split(",")
    record = {"machine": machine(), "runs": []}
    print(json.dumps(record["machine"]))
    for threads in map(int, asked.threads.split(",")):
        torch.set_num_threads(threads)
        peaks = peak_of(threads)
        print(f"\n{threads} thread(s); peak: ours {peaks[0]:.0f}, torch {peaks[1]:.0f} GFLOP/s")
        run = {"threads": threads, "peak_ours": peaks[0], "peak_torch": peaks[1]}
        run["bandwidth"] = bandwidth()
        print(f"memory: {run['bandwidth']:.1f} GB/s")
        run["grid"] = grid(kinds, asked.repeats, peaks[0])
        gated = [kind for kind in kinds if kind != "RNN"]
        run["ragged"] = [ragged(kind, max(3, asked.repeats // 3)) for kind in gated]
        run["looking"] = [looking(kind, asked.repeats) for kind in gated]
        record["runs"].append(run)
    torch.set_num_threads(1)
    print()
    record["streams"] = [streaming(kind, h) for kind in ("LSTM", "GRU") for h in (32, 64, 128)]
    if asked.out:
        asked.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()

"""Streams without torch: the bits of the whole sequence, and no torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import throughtime
from throughtime import forced_path
from throughtime.nn.engines import kernels
from throughtime.runtime import Stream

CASES = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {"bias": False})]


@pytest.mark.parametrize("isa", kernels.instruction_sets())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "options"), CASES)
@pytest.mark.parametrize(("inputs", "hidden", "layers"), [(1, 1, 1), (5, 19, 2), (8, 64, 1)])
def test_steps_are_the_whole_sequence_to_the_bit(kind, options, dtype, inputs, hidden, layers, isa):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(inputs, hidden, layers, dtype=dtype, **options)
    x = torch.randn(7, 1, inputs, dtype=dtype)
    with kernels.instruction_set(isa):
        stream = Stream(
            kind,
            {n: p.numpy() for n, p in layer.state_dict().items()},
            options.get("nonlinearity", "tanh"),
        )
        with forced_path("native"), torch.no_grad():
            y, last = layer(x)
        for _ in range(2):
            for t in range(7):
                assert np.array_equal(stream.step(x[t, 0].numpy()), y[t, 0].numpy())
            parts = last if kind == "LSTM" else (last,)
            for index, part in enumerate(parts):
                assert np.array_equal(stream.state[-1][index], part[-1, 0].numpy())
            stream.reset()


def test_it_needs_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from throughtime.runtime import Stream\n"
        "s = Stream('RNN', {'weight_ih_l0': np.ones((2, 3)), 'weight_hh_l0': np.eye(2)})\n"
        "print(s.step(np.ones(3))[0], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(np.tanh(3.0)), "False"]


def test_wrong_weights_and_inputs_are_named():
    good = {"weight_ih_l0": np.ones((6, 3)), "weight_hh_l0": np.ones((6, 2))}
    stream = Stream("GRU", good)
    for wrong, text in [
        (("CNN", good), "kind is one of RNN, LSTM, GRU; got 'CNN'"),
        (("GRU", {}), "got none"),
        (("GRU", {**good, "weight_hr_l0": np.ones(1)}), "weight_hr_l0"),
        (("GRU", {"weight_ih_l0": np.ones((6, 3))}), "weight_hh_l0 is missing"),
        (("GRU", {**good, "bias_ih_l0": np.ones(6)}), "b_hh is missing"),
        (("LSTM", good), r"w_.h has shape \[6,[23]\], expected \[8,[23]\]"),
        (("GRU", {**good, "weight_ih_l1": np.ones((6, 3)), "weight_hh_l1": np.ones((6, 2))}),
         "takes 3 inputs, but the layer below has 2 units"),
        (("RNN", good, "cos"), "nonlinearity is tanh or relu"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=text):
            Stream(*wrong)
    with pytest.raises(TypeError, match="x is float32, expected float64"):
        stream.step(np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"x has shape \[4\], expected \[3\]"):
        stream.step(np.ones(4))

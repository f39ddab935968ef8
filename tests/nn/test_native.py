"""The C++ module: built, honest about the processor, and in agreement with the equations."""

import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import assert_same
from throughtime.nn import cells, native

CELLS = ["ELMAN_TANH", "ELMAN_RELU", "LSTM", "GRU"]
GATES = {"ELMAN_TANH": 1, "ELMAN_RELU": 1, "LSTM": 4, "GRU": 3}
every_cell = pytest.mark.parametrize("name", CELLS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def equations(name, x, r, state):
    if name == "LSTM":
        return cells.lstm(x, r, state)
    if name == "GRU":
        return cells.gru(x, r, state)
    return cells.elman(x, r, state, name.removeprefix("ELMAN_").lower())


def stacked(parts):  # (h, c) each [B,H] -> [B,S,H]
    return torch.stack(parts, dim=1)


def test_the_module_is_built():
    assert native.kernels is not None, native.unavailable


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the kernel lists no CPU flags")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="flag names are those of x86-64")
def test_cpu_features_are_those_the_kernel_reports():
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    asked = {"sse2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl"}
    assert set(native.cpu_features()) == flags & asked


@every_dtype
@settings(max_examples=30)
@given(sizes=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)))
def test_the_naive_product_is_a_product(dtype, sizes):
    rows, columns, inner = sizes
    a, b = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    c = torch.full((rows, columns), torch.nan, dtype=dtype)
    native.kernels.product(a, b, c)
    assert_same(c, a @ b.T)


@every_cell
@every_dtype
@pytest.mark.parametrize(("batch", "hidden"), [(1, 1), (3, 7), (4, 16)])
def test_steps_agree_with_the_equations(name, dtype, batch, hidden):
    torch.manual_seed(0)
    cell, gates = getattr(native.kernels.Cell, name), GATES[name]
    x, r = (2 * torch.randn(batch, gates * hidden, dtype=dtype) for _ in range(2))
    state = tuple(torch.randn(batch, hidden, dtype=dtype) for _ in range(1 + (name == "LSTM")))
    leaves = [tensor.requires_grad_() for tensor in (x, r, *state)]
    expected = equations(name, x, r, state)
    dnew = torch.randn(batch, len(state), hidden, dtype=dtype)
    dx, dr, *dstate = torch.autograd.grad(
        stacked(expected), leaves, dnew, allow_unused=True, materialize_grads=True
    )

    by_gate = (batch, gates, hidden)
    given = [tensor.detach().reshape(by_gate) for tensor in (x, r)]
    given.append(stacked([s.detach() for s in state]))
    gate = torch.full(by_gate, torch.nan, dtype=dtype)
    new_state = torch.full_like(given[2], torch.nan)
    native.kernels.step_forward(cell, *given, gate, new_state)
    assert_same(new_state, stacked(expected))

    found = [torch.full_like(t, torch.nan) for t in (gate, gate, new_state)]
    native.kernels.step_backward(cell, given[1], gate, given[2], new_state, dnew, *found)
    assert_same(found[0], dx.reshape(by_gate))
    assert_same(found[1], dr.reshape(by_gate))
    assert_same(found[2], stacked(dstate))


@every_cell
def test_saturation_and_nan_pass_through(name):
    cell, gates = getattr(native.kernels.Cell, name), GATES[name]
    values = torch.tensor([-torch.inf, -1e30, -100.0, 0.0, 100.0, 1e30, torch.nan])
    x = values.expand(1, gates, -1).contiguous()
    r = torch.zeros_like(x)
    state = torch.full((1, 1 + (name == "LSTM"), len(values)), 0.5)
    gate, new_state = torch.empty_like(x), torch.empty_like(state)
    native.kernels.step_forward(cell, x, r, state, gate, new_state)
    expected = stacked(equations(name, x.reshape(1, -1), r.reshape(1, -1), tuple(state.unbind(1))))
    torch.testing.assert_close(new_state, expected, equal_nan=True)
    assert new_state[0, :, -1].isnan().all()


def test_a_wrong_array_is_refused_and_never_copied():
    product = native.kernels.product
    a, b = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    for wrong in (
        (a, b, np.zeros((2, 4), np.float64)),  # dtype
        (a, b, np.zeros((4, 2), np.float32).T),  # strides
        (a, b.astype(np.float64), np.zeros((2, 4), np.float32)),
        (a, None, np.zeros((2, 4), np.float32)),
        (a[0], b, np.zeros((2, 4), np.float32)),  # dimensions
    ):
        with pytest.raises(TypeError):
            product(*wrong)
    frozen = np.zeros((2, 4), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(TypeError):
        product(a, b, frozen)
    with pytest.raises(ValueError, match=r"c has shape \[4,2\], expected \[2,4\]"):
        product(a, b, np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match=r"b has shape \[4,2\], expected \[4,3\]"):
        product(a, np.ones((4, 2), np.float32), np.zeros((2, 4), np.float32))


def test_steps_refuse_wrong_shapes():
    gru = native.kernels.Cell.GRU
    x, state = torch.zeros(2, 3, 5), torch.zeros(2, 1, 5)
    with pytest.raises(ValueError, match=r"x has shape \[2,4,5\], expected \[2,3,5\]"):
        native.kernels.step_forward(gru, torch.zeros(2, 4, 5), x, state, x.clone(), state.clone())
    with pytest.raises(ValueError, match=r"state has shape \[2,2,5\], expected \[2,1,5\]"):
        native.kernels.step_forward(gru, x, x, torch.zeros(2, 2, 5), x.clone(), state.clone())

"""Tests of the C++ module: build, processor features, and agreement with the equations."""

import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import assert_same
from throughtime.nn import cells
from throughtime.nn.engines import kernels

CELLS = ["RNN_TANH", "RNN_RELU", "LSTM", "GRU"]
GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}
every_cell = pytest.mark.parametrize("name", CELLS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def equations(name, x, r, state):
    if name == "LSTM":
        return cells.lstm(x, r, state)[0]
    if name == "GRU":
        return cells.gru(x, r, state)[0]
    return cells.elman_relu(x, r, state)[0] if "RELU" in name else cells.elman_tanh(x, r, state)[0]


def stacked(parts):  # (h, c) each [B,H] -> [B,S,H]
    return torch.stack(parts, dim=1)


def test_the_module_is_built_with_the_best_instruction_set_first():
    assert kernels.kernels is not None, kernels.unavailable
    found = kernels.instruction_sets()
    assert found == [n for n in ("avx512", "avx2", "baseline") if n in found]
    assert ("avx2" in found) == ({"avx2", "fma"} <= set(kernels.cpu_features()))


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the kernel lists no CPU flags")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="flag names are those of x86-64")
def test_cpu_features_are_those_the_kernel_reports():
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    asked = {"sse2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl"}
    assert set(kernels.cpu_features()) == flags & asked


@pytest.fixture(params=kernels.instruction_sets(), autouse=True)
def isa(request):
    """Run every test of this file on every available instruction set."""
    with kernels.instruction_set(request.param):
        assert kernels.kernels.instruction_set_in_use() == request.param
        yield request.param


@every_dtype
@pytest.mark.parametrize("threads", [0, 1, 2])  # 0: naive product
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.tuples(st.integers(0, 240), st.integers(0, 70), st.integers(0, 20)))
def test_products_are_products(isa, dtype, threads, sizes):
    rows, columns, inner = sizes
    a, b = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    # a border of NaN: memory beyond the array must be neither read nor written
    around = torch.full((rows * columns + 64,), torch.nan, dtype=dtype)
    c = around[32 : 32 + rows * columns].reshape(rows, columns)
    kernels.kernels.product(a, b, c, threads)
    torch.testing.assert_close(c, a @ b.T)
    assert around[:32].isnan().all()
    assert around[32 + rows * columns :].isnan().all()


# Largest error in units in the last place, against float128 or float64: a stated bound, tested
ULPS = {
    ("exp", torch.float32): 2,
    ("exp", torch.float64): 2,
    ("tanh", torch.float32): 3,
    ("tanh", torch.float64): 3,
    ("sigmoid", torch.float32): 4,
    ("sigmoid", torch.float64): 4,
}
EXACT = {
    "exp": ([-torch.inf, torch.inf, 0.0], [0.0, torch.inf, 1.0]),
    "tanh": ([-torch.inf, torch.inf, 0.0], [-1.0, 1.0, 0.0]),
    "sigmoid": ([-torch.inf, torch.inf, 0.0], [0.0, 1.0, 0.5]),
}


def true_value(function, x):
    wide = x.astype(np.longdouble)
    if function == "exp":
        return np.exp(wide)
    return np.tanh(wide) if function == "tanh" else 1 / (1 + np.exp(-wide))


@every_dtype
@pytest.mark.parametrize("function", ["exp", "tanh", "sigmoid"])
def test_functions_keep_their_bound_over_the_whole_range(function, dtype):
    kind = np.float32 if dtype == torch.float32 else np.float64
    random = np.random.default_rng(0)
    # all magnitudes, both signs, with a dense grid where the functions change
    exponents = random.uniform(-40, 10, 100_000)
    x = np.concatenate(
        [random.choice([-1, 1], 100_000) * 2.0**exponents, random.uniform(-20, 20, 200_003)]
    )
    x = x.astype(kind)
    truth = true_value(function, x)
    with np.errstate(over="ignore", under="ignore"):
        rounded = truth.astype(kind)
    inside = np.isfinite(rounded) & (np.abs(truth) >= np.finfo(kind).tiny)
    y = np.empty_like(x)
    kernels.kernels.elementwise(function, x, y)
    ulps = np.abs(y[inside] - truth[inside]) / np.spacing(np.abs(truth[inside]).astype(kind))
    assert ulps.max() <= ULPS[function, dtype]
    # beyond: 0 or infinity like the true value, within the smallest subnormal numbers
    np.testing.assert_allclose(
        y[~inside], rounded[~inside], rtol=1e-5, atol=4 * np.finfo(kind).tiny
    )
    special, expected = EXACT[function]
    found = torch.empty(4, dtype=dtype)
    kernels.kernels.elementwise(function, torch.tensor([*special, torch.nan], dtype=dtype), found)
    assert found[:3].tolist() == expected
    assert found[3].isnan()


def test_an_unknown_function_or_instruction_set_is_refused():
    with pytest.raises(ValueError, match="exp, tanh or sigmoid"):
        kernels.kernels.elementwise("cos", torch.ones(1), torch.ones(1))
    text = r"instruction set must be one of .*; got 'mmx'"
    with pytest.raises(ValueError, match=text), kernels.instruction_set("mmx"):
        pass


@every_cell
@every_dtype
@pytest.mark.parametrize(("batch", "hidden"), [(1, 1), (3, 7), (4, 16), (2, 37)])
def test_steps_agree_with_the_equations(name, dtype, batch, hidden):
    torch.manual_seed(1)
    cell, gates = getattr(kernels.kernels.Cell, name), GATES[name]
    x, r = (2 * torch.randn(batch, gates * hidden, dtype=dtype) for _ in range(2))
    state = tuple(torch.randn(batch, hidden, dtype=dtype) for _ in range(1 + (name == "LSTM")))
    leaves = [tensor.requires_grad_() for tensor in (x, r, *state)]
    expected = equations(name, x, r, state)
    dnew = torch.randn(batch, len(state), hidden, dtype=dtype)
    dx, dr, *dstate = torch.autograd.grad(
        stacked(expected), leaves, dnew, allow_unused=True, materialize_grads=True
    )

    # the kernels take the sum of both parts, except for the last gate of the GRU
    by_gate = (batch, gates, hidden)
    a, parts = x.detach().reshape(by_gate).clone(), r.detach().reshape(by_gate)
    shared = gates - 1 if name == "GRU" else gates
    a[:, :shared] += parts[:, :shared]
    last = parts[:, -1].contiguous()
    given = stacked([s.detach() for s in state])
    gate = torch.full(by_gate, torch.nan, dtype=dtype)
    new_state = torch.full_like(given, torch.nan)
    kernels.kernels.step_forward(cell, a, last, given, gate, new_state)
    assert_same(new_state, stacked(expected))

    found = [torch.full_like(t, torch.nan) for t in (gate, last, given)]
    kernels.kernels.step_backward(cell, last, gate, given, dnew, *found)
    assert_same(found[0], dx.reshape(by_gate))
    assert_same(found[1], dr.reshape(by_gate)[:, -1])
    assert_same(found[2], stacked(dstate))


@every_cell
def test_saturation_and_nan_pass_through(name):
    cell, gates = getattr(kernels.kernels.Cell, name), GATES[name]
    values = torch.tensor([-torch.inf, -1e30, -100.0, 0.0, 100.0, 1e30, torch.nan])
    x = values.expand(1, gates, -1).contiguous()
    r = torch.zeros(1, len(values))
    state = torch.full((1, 1 + (name == "LSTM"), len(values)), 0.5)
    gate, new_state = torch.empty_like(x), torch.empty_like(state)
    kernels.kernels.step_forward(cell, x, r, state, gate, new_state)
    flat = x.reshape(1, -1)
    expected = stacked(equations(name, flat, torch.zeros_like(flat), tuple(state.unbind(1))))
    torch.testing.assert_close(new_state, expected, equal_nan=True)
    assert new_state[0, :, -1].isnan().all()


def test_a_wrong_array_is_refused_and_never_copied():
    def product(a, b, c):
        kernels.kernels.product(a, b, c, 1)

    a, b = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    c = np.zeros((2, 4), np.float32)
    frozen = c.copy()
    frozen.flags.writeable = False
    for wrong, text in {
        "c is float64, expected float32": (a, b, np.zeros((2, 4), np.float64)),
        "c has gaps; give a contiguous array": (a, b, np.zeros((4, 2), np.float32).T),
        "b is float64, expected float32": (a, b.astype(np.float64), c),
        "b is no array on the CPU": (a, "text", c),
        r"a has shape \[3\], expected \[3,0\]": (a[0], b, c),
        "a is int32, expected float32": (a.astype(np.int32), b, c),
        "c cannot be written to": (a, b, frozen),
        r"c has shape \[4,2\], expected \[2,4\]": (a, b, np.zeros((4, 2), np.float32)),
        r"b has shape \[4,2\], expected \[4,3\]": (a, np.ones((4, 2), np.float32), c),
        "a has more than 4 dimensions": (np.ones((1,) * 5, np.float32), b, c),
    }.items():
        for convert in (lambda array: array, torch.from_numpy):
            if wrong == "c cannot be written to" and convert is torch.from_numpy:
                continue  # torch has no such type
            arrays = [t if isinstance(t, str) else convert(t) for t in text]
            with pytest.raises((TypeError, ValueError), match=wrong):
                product(*arrays)
    assert not c.any()
    with pytest.raises(TypeError, match="a is no array on the CPU"):
        product(torch.ones(2, 3, device="meta"), torch.from_numpy(b), torch.from_numpy(c))


def test_steps_refuse_wrong_shapes():
    gru = kernels.kernels.Cell.GRU
    a, r, state = torch.zeros(2, 3, 5), torch.zeros(2, 5), torch.zeros(2, 1, 5)
    with pytest.raises(ValueError, match=r"a has shape \[2,4,5\], expected \[2,3,5\]"):
        kernels.kernels.step_forward(gru, torch.zeros(2, 4, 5), r, state, a.clone(), state.clone())
    with pytest.raises(ValueError, match=r"state has shape \[2,2,5\], expected \[2,1,5\]"):
        kernels.kernels.step_forward(gru, a, r, torch.zeros(2, 2, 5), a.clone(), state.clone())

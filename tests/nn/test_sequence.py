"""Tests of the kernels: determinism, special numbers, threads, forks and argument checks."""

import multiprocessing
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import throughtime
from helpers import assert_same, flat, gradients
from throughtime import forced_path
from throughtime.nn.engines import kernels

KINDS = ["RNN", "LSTM", "GRU"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=kernels.instruction_sets(), autouse=True)
def isa(request):
    """Run every test of this file on every available instruction set."""
    with kernels.instruction_set(request.param):
        yield request.param


@pytest.fixture
def threads():
    """Restore the thread count of torch, which the kernels use."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def pair(kind, *args, seed=0, **options):
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, kind)(*args, **options)
    ours = getattr(throughtime, kind)(*args, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def everything(layer, x, seed=0):
    """Outputs, last states and all gradients of one call of the kernels."""
    with forced_path("native"):
        results = layer(x)
    wanted = {"x": x, **dict(layer.named_parameters())}
    return results, gradients(results, wanted, torch.Generator().manual_seed(seed))


def assert_bitwise(actual, expected):
    """Check that nested tensors are bitwise equal."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(actual, expected)
    elif isinstance(expected, dict):
        assert_bitwise([actual[k] for k in expected], list(expected.values()))
    else:
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_bitwise(a, e)


def test_bitwise_means_bitwise():
    one = torch.ones(3)
    assert_bitwise((one, [one]), (one.clone(), [one.clone()]))
    with pytest.raises(AssertionError):
        assert_bitwise(one, torch.nextafter(one, 2 * one))


shapes = st.tuples(st.integers(1, 9), st.integers(1, 30), st.integers(1, 40), st.integers(1, 70))
on_each_isa = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def torchs(layer, x):
    """Outputs, last states and all gradients of torch.nn."""
    results = layer(x)
    wanted = {"x": x, **dict(layer.named_parameters())}
    return results, gradients(results, wanted, torch.Generator().manual_seed(0))


@every_kind
@on_each_isa
@given(
    shape=shapes, bidirectional=st.booleans(), batch_first=st.booleans(), seed=st.integers(0, 99)
)
def test_odd_sizes_agree_with_torch(isa, kind, shape, bidirectional, batch_first, seed):
    steps, batch, inputs, hidden = shape
    options = {"bidirectional": bidirectional, "batch_first": batch_first, "dtype": torch.float64}
    theirs, ours = pair(kind, inputs, hidden, seed=seed, **options)
    size = (batch, steps) if batch_first else (steps, batch)
    x = torch.randn(*size, inputs, dtype=torch.float64, requires_grad=True)
    assert_same(everything(ours, x), torchs(theirs, x))


@every_kind
@on_each_isa
@given(shape=shapes, seed=st.integers(0, 99))
def test_single_precision_errs_no_more_than_torch_does(isa, kind, shape, seed):
    """Compare errors against torch.nn in float64, with a minimum of a few roundings."""
    steps, batch, inputs, hidden = shape
    theirs, ours = pair(kind, inputs, hidden, seed=seed)
    exact, _ = pair(kind, inputs, hidden, seed=seed, dtype=torch.float64)
    exact.load_state_dict({name: p.double() for name, p in theirs.state_dict().items()})
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    cotangents = [torch.randn(o.shape, generator=generator) for o in flat(theirs(x))]

    def all_of(layer, x):
        outputs = flat(layer(x))
        loss = sum((o * c.to(o.dtype)).sum() for o, c in zip(outputs, cotangents, strict=True))
        found = [*outputs, *torch.autograd.grad(loss, (x, *layer.parameters()))]
        return [tensor.detach().double() for tensor in found]

    truth = all_of(exact, x.detach().double().requires_grad_())
    largest = max(float(t.abs().max()) for t in truth)
    with forced_path("native"):
        mine = all_of(ours, x)
    for actual, reference, value in zip(mine, all_of(theirs, x), truth, strict=True):
        error = float((actual - value).abs().max())
        torchs_error = float((reference - value).abs().max())
        assert error <= 2 * torchs_error + 3e-7 * largest


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_cannot_change_a_bit(threads, kind, dtype):
    _, layer = pair(kind, 17, 45, dtype=dtype)
    x = torch.randn(30, 23, 17, dtype=dtype, requires_grad=True)  # enough work for threads
    results = []
    for count in (1, 2, 3, 5):
        threads(count)
        results.append(everything(layer, x))
    for other in results[1:]:
        assert_bitwise(other, results[0])


@every_kind
def test_the_split_of_the_batch_cannot_change_a_bit(kind):
    _, layer = pair(kind, 17, 45)
    x = torch.randn(30, 23, 17)
    whole = layer(x)[0]
    for cuts in ((1, 22), (11, 12), (5, 13, 5)):
        parts = [layer(part)[0] for part in x.split(cuts, dim=1)]
        assert_bitwise(torch.cat(parts, dim=1), whole)


@every_kind
def test_keeping_nothing_gives_the_same_bits(kind):
    _, layer = pair(kind, 5, 19)
    x = torch.randn(9, 4, 5)
    with torch.no_grad():
        alone = layer(x)
    assert_bitwise(alone, layer(x))


@every_kind
def test_gradients_of_gradients(kind):
    _, layer = pair(kind, 2, 3, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def call(x, *weights):
        parameters = dict(zip(names, weights, strict=True))
        with forced_path("native"):
            output, state = torch.func.functional_call(layer, parameters, (x,))
        return (output, *state) if kind == "LSTM" else (output, state)

    inputs = (x, *layer.parameters())
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@every_kind
def test_a_backward_pass_may_be_repeated_and_done_in_eval(kind):
    _, layer = pair(kind, 3, 4)
    layer.eval()
    x = torch.randn(5, 2, 3, requires_grad=True)
    loss = layer(x)[0].square().sum()
    first = torch.autograd.grad(loss, (x, *layer.parameters()), retain_graph=True)
    assert_bitwise(torch.autograd.grad(loss, (x, *layer.parameters())), first)


@every_kind
@pytest.mark.parametrize("used", ["output", "last state"])
def test_gradients_where_only_a_part_is_used(kind, used):
    theirs, ours = pair(kind, 3, 4, bidirectional=True)
    x = torch.randn(5, 2, 3, requires_grad=True)
    found = []
    for layer in (theirs, ours):
        output, state = layer(x)
        state = state[0] if kind == "LSTM" else state
        loss = (output if used == "output" else state).square().sum()
        found.append(torch.autograd.grad(loss, (x, *layer.parameters())))
    assert_same(found[1], found[0])


def test_frozen_weights_and_inputs_get_no_gradient():
    _, layer = pair("GRU", 3, 4)
    layer.weight_hh_l0.requires_grad_(False)
    x = torch.randn(5, 2, 3)
    layer(x)[0].sum().backward()
    assert x.grad is None
    assert layer.weight_hh_l0.grad is None
    assert layer.weight_ih_l0.grad is not None


@every_kind
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e-42, 3e38])
@pytest.mark.parametrize("where", ["input", "weight"])
def test_hard_numbers_come_out_as_torchs_do(kind, bad, where):
    theirs, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    if where == "input":
        x[2, 1, 0] = bad
    else:
        for layer in (theirs, ours):
            layer.weight_hh_l0.data[1, 2] = bad
    with forced_path("native"):
        actual = ours(x)[0]
    torch.testing.assert_close(actual, theirs(x)[0], equal_nan=True, rtol=1e-4, atol=1e-6)


def test_strides_of_every_kind_are_read_right():
    theirs, ours = pair("LSTM", 3, 4)
    wide = torch.randn(12, 8, 9)
    views = {
        "every other step": wide[::2, :, :3],
        "every other sample": wide[:, ::2, 3:6],
        "every third feature": wide[:, :, ::3],
        "one row for all": wide[:1, :1, :3].expand(5, 6, 3),
        "one sample": wide[:, 3:4, 2:5],
        "one step": wide[4:5, :, 2:5],
        "transposed": wide[:, :, :3].transpose(0, 1),
        "features first": torch.randn(3, 5, 4).permute(1, 2, 0),
    }
    for name, view in views.items():
        x = view.detach().requires_grad_()
        found = []
        for layer in (theirs, ours):
            output, _ = layer(x)
            found.append((output, torch.autograd.grad(output.square().sum(), x)))
        assert_same(found[1], found[0], name)


def test_an_input_changed_in_place_before_backward_is_told():
    _, layer = pair("GRU", 3, 4)
    x = torch.randn(5, 2, 3)
    output, _ = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_several_python_threads_at_once():
    _, layer = pair("GRU", 16, 64)
    inputs = [torch.randn(40, 16, 16) for _ in range(8)]
    with torch.no_grad():
        expected = [layer(x)[0] for x in inputs]
    found = [None] * 8

    def work(i):
        for _ in range(5):
            with torch.no_grad():
                found[i] = layer(inputs[i])[0]

    # a new thread does not inherit the overrides of its creator
    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert_bitwise(found, expected)


def _in_child(queue, layer, x):
    with torch.no_grad():
        queue.put(layer(x)[0].numpy())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_too():
    _, layer = pair("LSTM", 16, 64)
    x = torch.randn(40, 16, 16)
    with torch.no_grad():
        expected = layer(x)[0]  # the thread pool runs before the fork
    torch.set_num_threads(2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, layer, x))
    child.start()
    found = torch.from_numpy(queue.get(timeout=60))
    child.join(timeout=60)
    assert child.exitcode == 0
    assert_bitwise(found, expected)


FIRST_IN_CHILD = """
import multiprocessing, torch, throughtime
from throughtime.nn.engines import kernels
torch.set_num_threads(2)
torch.mm(torch.ones(500, 500), torch.ones(500, 500))  # starts torch's threads, not the kernels'
layer, x = throughtime.GRU(16, 64), torch.randn(40, 16, 16)
def work(queue):
    with torch.no_grad():
        queue.put(layer(x)[0].numpy())  # torch's threads would hang here
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=work, args=(queue,))
child.start()
found = queue.get(timeout=60)
child.join(timeout=60)
with torch.no_grad():
    assert (found == layer(x)[0].numpy()).all()
"""


def test_the_first_to_compute_may_be_a_forked_child():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FIRST_IN_CHILD], check=True, timeout=120)


# ------------------------------------------------------------------ direct calls of the kernels


def arguments(cell="LSTM", steps=5, batch=2, inputs=3, hidden=4):
    gates = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1}[cell]
    lstm = cell == "LSTM"
    width = kernels.facts(cell).saved
    z = torch.zeros
    return {
        "cell": getattr(kernels.kernels.Cell, cell),
        "backwards": False,
        "x": z(steps, batch, inputs),
        "w_ih": z(gates * hidden, inputs),
        "w_hh": z(gates * hidden, hidden),
        "b_ih": z(gates * hidden),
        "b_hh": z(gates * hidden),
        "w_hr": None,
        "h_0": z(batch, hidden),
        "c_0": z(batch, hidden) if lstm else None,
        "y": z(steps, batch, hidden),
        "kept": z(steps, batch, width, hidden) if width else None,
        "h_n": z(batch, hidden),
        "c_n": z(batch, hidden) if lstm else None,
        "lengths": torch.tensor([5, 2]),
        "reset": torch.zeros(steps, batch, dtype=torch.bool),
        "h_mask": z(batch, hidden),
        "zone_h": z(steps, batch, hidden) if cell == "GRU" else None,
    }


def gradient_arguments(cell="LSTM", steps=5, batch=2, inputs=3, hidden=4):
    layer = arguments(cell, steps, batch, inputs, hidden)
    z, lstm = torch.zeros, cell == "LSTM"
    return {
        "layer": kernels.kernels.layer(**layer),
        "dy": z(steps, batch, hidden),
        "dh_n": z(batch, hidden),
        "dc_n": z(batch, hidden) if lstm else None,
        "clip": 0.0,
        "dx": z(steps, batch, inputs),
        "dw_ih": z(layer["w_ih"].shape),
        "dw_hh": z(layer["w_hh"].shape),
        "dw_hr": None,
        "db_ih": z(layer["b_ih"].shape),
        "db_hh": z(layer["b_hh"].shape),
        "dh_0": z(batch, hidden),
        "dc_0": z(batch, hidden) if lstm else None,
        "dh_seen": z(steps, batch, hidden),
        "dc_seen": z(steps, batch, hidden) if lstm else None,
    }


every_raw_cell = pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN_TANH"])
MAY_MISS = {"lengths", "reset", "h_mask", "zone_h", "kept", "dy", "dh_n", "dc_n", "dx", "b_ih",
            "db_ih", "dh_seen", "dc_seen"}  # fmt: skip
STRIDED = {"x", "y", "zone_h", "dy", "dx"}  # rows may have any stride


def wrong_ones(name, array):
    yield array.to(torch.float64 if array.is_floating_point() else torch.float32)
    yield array.to(torch.int32)
    yield array.flatten()[0]
    yield torch.zeros([n + 1 for n in array.shape], dtype=array.dtype)
    yield "text"
    yield array.to("meta")
    gaps = torch.zeros([*array.shape[:-1], 2 * array.shape[-1]], dtype=array.dtype)[..., ::2]
    yield gaps
    if name not in STRIDED and array.dim() > 1:
        yield torch.zeros([2 * array.shape[0], *array.shape[1:]], dtype=array.dtype)[::2]


@every_raw_cell
@pytest.mark.parametrize("of", [arguments, gradient_arguments])
def test_a_wrong_array_raises_before_anything_is_read(cell, of):
    good = of(cell)
    call = kernels.kernels.layer if of is arguments else kernels.kernels.gradient
    call(**good)
    for name, array in good.items():
        if isinstance(array, torch.Tensor):
            for bad in wrong_ones(name, array):
                with pytest.raises((TypeError, ValueError)) as error:
                    call(**{**good, name: bad})
                # x determines the type of all arrays, and w_hh determines the sizes
                assert name in str(error.value) or name in ("x", "w_hh"), str(error.value)
            if name not in MAY_MISS:
                with pytest.raises((TypeError, ValueError)):
                    call(**{**good, name: None})
        elif array is None and name != "zone_h":
            shape = (5, 2, 1, 4) if name == "kept" else (2, 4)
            with pytest.raises(ValueError, match=name):
                call(**{**good, name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"lengths": torch.tensor([6, 0])}, "lengths must lie in 0..T"),
        ({"lengths": torch.tensor([-1, 0])}, "lengths must lie in 0..T"),
        ({"batch_sizes": torch.tensor([2, 2])}, "lengths or batch_sizes, not both"),
        ({"lengths": None, "batch_sizes": torch.tensor([2, 2])}, r"shape \[1, all rows, I\]"),
        ({"mark_every": 2}, "marks is missing"),
        ({"mark_every": 2, "marks": torch.zeros(3, 2, 4)}, "kept or marks, not both"),
    ],
)
def test_steps_that_do_not_fit_are_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        kernels.kernels.layer(**{**arguments(), **wrong})


@pytest.mark.parametrize("sizes", [[], [0], [2, 3], [2, 0], [2, 1], [3, 2, 1], [-1], [2**62, 2]])
def test_batch_sizes_that_do_not_fit_are_refused(sizes):
    good = arguments("RNN_TANH", steps=1, batch=4)
    good |= {"lengths": None, "reset": None, "h_mask": None}
    with pytest.raises(ValueError, match="batch_sizes"):
        kernels.kernels.layer(**{**good, "batch_sizes": torch.tensor(sizes, dtype=torch.int64)})


def test_layers_that_are_not_alike_are_not_computed_together():
    one, other = (kernels.kernels.layer(**arguments(hidden=h)) for h in (4, 5))
    with pytest.raises(ValueError, match="the same cell, sizes and lengths"):
        kernels.kernels.forward([one, other], 1)
    with pytest.raises(ValueError, match="no layers"):
        kernels.kernels.forward([], 1)
    without = gradient_arguments("GRU")
    without["layer"] = kernels.kernels.layer(**{**arguments("GRU"), "kept": None})
    with pytest.raises(ValueError, match="nothing was kept"):
        kernels.kernels.gradient(**without)

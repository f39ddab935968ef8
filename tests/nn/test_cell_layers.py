"""Tests of the cells against those of torch.nn, on every path."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime
from helpers import assert_same, gradients, outcome
from throughtime import forced_path

KINDS = ["RNNCell", "LSTMCell", "GRUCell"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("path", ["torch", "equations"])
@settings(max_examples=100)
@given(
    kind=st.sampled_from(KINDS),
    relu=st.booleans(),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    batched=st.booleans(),
    with_state=st.booleans(),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 9)),
    seed=st.integers(0, 10**6),
)
def test_values_and_all_gradients_are_torchs(
    path, kind, relu, bias, dtype, batched, with_state, sizes, seed
):
    batch, inputs, hidden = sizes
    options = {"bias": bias, "dtype": dtype}
    if kind == "RNNCell" and relu:
        options["nonlinearity"] = "relu"
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, kind)(inputs, hidden, **options)
    ours = getattr(throughtime, kind)(inputs, hidden, **options)
    ours.load_state_dict(theirs.state_dict())
    front = (batch,) if batched else ()
    leaves = {"x": torch.randn(*front, inputs, dtype=dtype).requires_grad_()}
    hx = None
    if with_state:
        leaves["h"] = torch.randn(*front, hidden, dtype=dtype).requires_grad_()
        hx = leaves["h"]
        if kind == "LSTMCell":
            leaves["c"] = torch.randn(*front, hidden, dtype=dtype).requires_grad_()
            hx = (leaves["h"], leaves["c"])
    results = []
    for cell in (theirs, ours):
        with forced_path(path):
            output = cell(leaves["x"], hx)
        wanted = {**leaves, **dict(cell.named_parameters())}
        results.append((output, gradients(output, wanted, torch.Generator().manual_seed(seed))))
    assert type(results[1][0]) is type(results[0][0])
    assert_same(results[1], results[0])


@every_kind
def test_same_seed_same_weights_and_repr(kind):
    cells = []
    for home in (torch.nn, throughtime):
        torch.manual_seed(1)
        cells.append(getattr(home, kind)(3, 5, bias=False))
    theirs, ours = cells
    assert_same(ours.state_dict(), theirs.state_dict())
    assert repr(ours) == repr(theirs)
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert_same(other.state_dict(), ours.state_dict())


@every_kind
@pytest.mark.parametrize("shape", [(2, 2, 3), ()])
def test_misuse_raises_what_torch_raises(kind, shape):
    for home in (torch.nn, throughtime):
        with pytest.raises(ValueError, match="to be 1D or 2D"):
            getattr(home, kind)(3, 5)(torch.zeros(shape))


def test_a_layer_is_its_cell_repeated():
    torch.manual_seed(0)
    layer, cell = throughtime.GRU(3, 4), throughtime.GRUCell(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
    x, h, outputs = torch.randn(5, 2, 3), None, []
    for x_t in x:
        h = cell(x_t, h)
        outputs.append(h)
    assert_same(torch.stack(outputs), layer(x)[0])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("form", ["tensor", "pair", "list", "triple", "3D", "double"])
def test_states_of_every_form_are_taken_or_refused_as_torch_does(kind, form):
    torch.manual_seed(0)
    h = torch.randn(2, 4)
    hx = {
        "tensor": h,
        "pair": (h, h),
        "list": [h, h],
        "triple": (h, h, h),
        "3D": h.unsqueeze(0) if kind != "LSTM" else (h.unsqueeze(0), h),
        "double": h.double() if kind != "LSTM" else (h.double(), h.double()),
    }[form]
    cells = [getattr(home, f"{kind}Cell")(3, 4) for home in (torch.nn, throughtime)]
    cells[1].load_state_dict(cells[0].state_dict())
    expected, found = (outcome(lambda c=c: c(torch.ones(2, 3), hx)) for c in cells)
    assert_same(found, expected)
    for wrong in ("LSTMCell", "GRUCell"):
        with pytest.raises(TypeError):
            getattr(throughtime, wrong)(3, 4, nonlinearity="relu")

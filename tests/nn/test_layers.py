"""Tests of the layers against those of torch.nn: generated configurations, all paths."""

import copy
import io
import pickle
import warnings
from contextlib import contextmanager, nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

import throughtime
from helpers import assert_same, gradients, outcome
from throughtime import explain_path, forced_path
from throughtime.nn.engines.kernels import instruction_set, instruction_sets

KINDS = ["RNN", "LSTM", "GRU"]
PATHS = ["torch", "equations", *(f"native {name}" for name in instruction_sets())]
every_path = pytest.mark.parametrize("path", PATHS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@contextmanager
def taking(path):
    """Force a path, and for the kernels also an instruction set: 'native avx2'."""
    name, *isa = path.split()
    with forced_path(name), instruction_set(isa[0]) if isa else nullcontext():
        yield


def pair(kind, *args, seed=0, **options):
    """A layer of torch.nn and one of throughtime with the same weights."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dropout with one layer
        theirs = getattr(torch.nn, kind)(*args, **options)
        ours = getattr(throughtime, kind)(*args, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@st.composite
def configurations(draw):
    kind = draw(st.sampled_from(KINDS))
    hidden = draw(st.integers(2, 9))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        "dropout": draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        "dtype": draw(st.sampled_from([torch.float32, torch.float64])),
    }
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind == "LSTM":
        options["proj_size"] = draw(st.integers(0, hidden - 1))
    return kind, draw(st.integers(1, 7)), hidden, options


def inputs_for(layer, form, steps, batch, with_state, generator):
    """The leaves to differentiate, and call arguments in one of the forms of torch."""

    def leaf(*shape):
        values = torch.randn(*shape, generator=generator, dtype=layer.weight_ih_l0.dtype)
        return values.requires_grad_()

    middle = () if form == "unbatched" else (batch,)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    leaves = {}
    hx = None
    if with_state:
        leaves["h0"] = leaf(rows, *middle, getattr(layer, "proj_size", 0) or layer.hidden_size)
        hx = leaves["h0"]
        if isinstance(layer, torch.nn.LSTM):
            leaves["c0"] = leaf(rows, *middle, layer.hidden_size)
            hx = (leaves["h0"], leaves["c0"])
    if form in ("packed", "packed sorted"):
        lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
        if form == "packed sorted":
            lengths = lengths.sort(descending=True).values
        leaves["x"] = leaf(steps, batch, layer.input_size)
        packed = pack_padded_sequence(
            leaves["x"], lengths, enforce_sorted=form == "packed sorted", batch_first=False
        )
        return leaves, (packed, hx)
    if form == "unbatched":
        shape = (steps, layer.input_size)
    else:
        shape = (batch, steps) if layer.batch_first else (steps, batch)
        shape = (*shape, layer.input_size)
    if form == "strided":  # every second feature of a wider tensor
        wide = leaf(*shape[:-1], 2 * layer.input_size)
        leaves["x"] = wide
        return leaves, (wide[..., ::2], hx)
    leaves["x"] = leaf(*shape)
    return leaves, (leaves["x"], hx)


@every_path
@settings(max_examples=150)
@given(
    configuration=configurations(),
    form=st.sampled_from(["batched", "unbatched", "packed", "packed sorted", "strided"]),
    steps=st.integers(1, 6),
    batch=st.integers(1, 5),
    with_state=st.booleans(),
    training=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_values_and_all_gradients_are_torchs(
    path, configuration, form, steps, batch, with_state, training, seed
):
    kind, input_size, hidden, options = configuration
    if path == "equations" and form.startswith("packed") and options["dropout"] == 0.5:
        options |= {"dropout": 1.0}  # the equations pad, so they draw masks in another order
    theirs, ours = pair(kind, input_size, hidden, seed=seed, **options)
    theirs.train(training), ours.train(training)
    generator = torch.Generator().manual_seed(seed)
    leaves, arguments = inputs_for(theirs, form, steps, batch, with_state, generator)
    results = []
    for layer in (theirs, ours):
        torch.manual_seed(seed)  # the same dropout masks
        with taking(path):
            output = layer(*arguments)
        wanted = {**leaves, **dict(layer.named_parameters())}
        results.append((output, gradients(output, wanted, torch.Generator().manual_seed(seed))))
    (expected, expected_grads), (actual, actual_grads) = results
    assert type(actual[0]) is type(expected[0])
    if form.startswith("packed"):
        # all four parts: data, batch sizes and both permutations
        assert_same(tuple(actual[0]), tuple(expected[0]))
    else:
        assert_same(actual[0], expected[0])
    assert type(actual[1]) is type(expected[1])
    assert_same(actual[1], expected[1])
    assert_same(actual_grads, expected_grads)


@every_kind
def test_same_seed_same_initial_weights_and_names(kind):
    options = {"num_layers": 2, "bidirectional": True}
    layers = []
    for home in (torch.nn, throughtime):
        torch.manual_seed(3)
        layers.append(getattr(home, kind)(3, 5, **options))
    theirs, ours = layers
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same(ours.state_dict(), theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())  # and back
    assert_same(ours.all_weights, theirs.all_weights)
    assert ours.mode == theirs.mode
    ours.flatten_parameters()


@every_kind
def test_pickle_deepcopy_torch_save_and_to(kind):
    layer = getattr(throughtime, kind)(3, 4, num_layers=2)
    x = torch.randn(5, 2, 3)
    expected = layer(x)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for other in (
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
        torch.load(buffer, weights_only=False),
    ):
        assert other.weight_ih_l0 is not layer.weight_ih_l0
        assert_same(other(x), expected)
    double = copy.deepcopy(layer).to(torch.float64)
    assert double(x.double())[0].dtype == torch.float64
    assert getattr(throughtime, kind)(3, 4, device="meta").weight_ih_l0.is_meta


@every_kind
def test_replaced_weights_are_used(kind):
    """torch.func.functional_call and weight normalization swap parameters under the layer."""
    theirs, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    other = {name: torch.randn_like(p) for name, p in ours.named_parameters()}
    expected = torch.func.functional_call(theirs, other, x)
    assert_same(torch.func.functional_call(ours, other, x), expected)
    with pytest.raises(AssertionError):
        assert_same(ours(x), expected)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: throughtime.GRU(3, 4), "GRU(3, 4)"),
        (lambda: throughtime.RNN(3, 4, 2, "relu"), "RNN(3, 4, num_layers=2, nonlinearity='relu')"),
        (
            lambda: throughtime.LSTM(3, 4, 2, False, True, 0.5, True, 2),
            "LSTM(3, 4, proj_size=2, num_layers=2, bias=False, batch_first=True, "
            "dropout=0.5, bidirectional=True)",
        ),
    ],
)
def test_repr_shows_what_differs_from_the_default(build, text):
    assert repr(build()) == text


def refusal(call):
    """The type of the exception of a call, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except Exception as error:
            return type(error)
    return None


CONSTRUCTIONS = [
    ((0, 4), {}),
    ((3, 0), {}),
    ((3, -1), {}),
    ((3.0, 4), {}),
    ((3, 4.0), {}),
    ((3, 4), {"num_layers": 0}),
    ((3, 4), {"dropout": 1.5}),
    ((3, 4), {"dropout": -0.1}),
    ((3, 4), {"dropout": True}),
    ((3, 4), {"bias": 1}),
    ((3, 4), {"batch_first": "yes"}),
    ((3, 4), {"proj_size": 4}),
    ((3, 4), {"proj_size": -1}),
    ((3, 4), {"proj_size": 2}),
    ((3, 4), {"nonlinearity": "cube"}),
    ((3, 4), {"unknown": 1}),
    ((3, 4), {}),
]


@every_kind
@pytest.mark.parametrize(("args", "options"), CONSTRUCTIONS)
def test_constructor_misuse_raises_what_torch_raises(kind, args, options):
    expected = refusal(lambda: getattr(torch.nn, kind)(*args, **options))
    assert refusal(lambda: getattr(throughtime, kind)(*args, **options)) is expected


CALLS = {
    "1-D input": lambda z: ((z(3),), None),
    "4-D input": lambda z: ((z(2, 2, 2, 3),), None),
    "wrong features": lambda z: ((z(5, 2, 4),), None),
    "wrong dtype": lambda z: ((z(5, 2, 3).double(),), None),
    "batched state, unbatched input": lambda z: ((z(5, 3),), (1, 2, 4)),
    "unbatched state, batched input": lambda z: ((z(5, 2, 3),), (1, 4)),
    "wrong batch": lambda z: ((z(5, 2, 3),), (1, 3, 4)),
    "wrong hidden": lambda z: ((z(5, 2, 3),), (1, 2, 5)),
    "wrong layers": lambda z: ((z(5, 2, 3),), (2, 2, 4)),
    "packed, wrong features": lambda z: ((pack_sequence([z(3, 4), z(2, 4)]),), None),
    "packed, wrong batch": lambda z: ((pack_sequence([z(3, 3), z(2, 3)]),), (1, 3, 4)),
    "right": lambda z: ((z(5, 2, 3),), (1, 2, 4)),
}


@every_kind
@pytest.mark.parametrize("misuse", CALLS.values(), ids=CALLS.keys())
def test_call_misuse_raises_what_torch_raises(kind, misuse):
    (x,), state_shape = misuse(torch.zeros)
    hx = None if state_shape is None else torch.zeros(state_shape)
    if kind == "LSTM" and hx is not None:
        hx = (hx, hx)
    theirs, ours = pair(kind, 3, 4)
    assert refusal(lambda: ours(x, hx)) is refusal(lambda: theirs(x, hx))


def test_error_texts_say_what_was_expected():
    layer = throughtime.LSTM(3, 4)
    with pytest.raises(RuntimeError, match=r"Expected 3, got 7"):
        layer(torch.zeros(5, 2, 7))
    with pytest.raises(ValueError, match=r"input\.to\(torch\.float32\)"):
        layer(torch.zeros(5, 2, 3).double())
    h = torch.zeros(1, 2, 4)
    wanted = r"LSTM: hx must be 2 tensors, \(hidden_0, cell_0\); got "
    with pytest.raises(IndexError, match=wanted + "a tensor"):
        layer(torch.zeros(5, 2, 3), h)
    with pytest.raises(RuntimeError, match=wanted + "3 items"):
        layer(torch.zeros(5, 2, 3), (h, h, h))
    with pytest.raises(RuntimeError, match=r"hidden\[1\] size \(1, 2, 4\), got \[1, 2, 5\]"):
        layer(torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 5)))


@every_kind
def test_dropout_with_one_layer_warns_where_the_layer_is_made(kind):
    with pytest.warns(UserWarning, match="num_layers greater than 1") as caught:
        getattr(throughtime, kind)(3, 4, dropout=0.5)
    assert caught[0].filename == __file__


@every_kind
@pytest.mark.parametrize("form", ["list", "pair", "tensor", "one", "double", "2D"])
def test_states_of_every_form_are_taken_or_refused_as_torch_does(kind, form):
    h = torch.randn(1, 2, 4)
    hx = {"list": [h, h], "pair": (h, h), "tensor": h, "one": (h,)}.get(form)
    if form in ("double", "2D"):
        wrong = h.double() if form == "double" else h[0]
        hx = (wrong, wrong) if kind == "LSTM" else wrong
    theirs, ours = pair(kind, 3, 4)
    x = torch.ones(5, 2, 3)
    assert_same(outcome(lambda: ours(x, hx)), outcome(lambda: theirs(x, hx)))


def test_autocast_is_allowed_mixed_dtypes():
    theirs, ours = pair("LSTM", 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert refusal(lambda: ours(x)) is refusal(lambda: theirs(x))


# ------------------------------------------------------------------ beyond torch.nn


@every_kind
@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_lengths_equal_each_sequence_alone(kind, lengths, bidirectional, batch_first, seed):
    torch.manual_seed(seed)
    layer = getattr(throughtime, kind)(
        3, 4, 2, bidirectional=bidirectional, batch_first=batch_first, dtype=torch.float64
    )
    x = torch.randn(5, len(lengths), 3, dtype=torch.float64)
    shaped = x.transpose(0, 1) if batch_first else x
    output, state = layer(shaped, lengths=torch.tensor(lengths))
    output = output.transpose(0, 1) if batch_first else output
    state = state if kind == "LSTM" else (state,)
    for b, length in enumerate(lengths):
        alone, alone_state = layer(x[:length, b])
        assert_same(output[:length, b], alone)
        assert not output[length:, b].any()
        alone_state = alone_state if kind == "LSTM" else (alone_state,)
        assert_same(tuple(s[:, b] for s in state), alone_state)


@every_kind
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_reset_equals_separate_sequences(kind, bidirectional, batch_first):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(3, 4, 2, bidirectional=bidirectional, dtype=torch.float64)
    x = torch.randn(7, 1, 3, dtype=torch.float64)
    reset = torch.zeros(7, 1, dtype=torch.bool)
    reset[[3, 4]] = True
    expected = torch.cat([layer(part)[0] for part in (x[:3], x[3:4], x[4:])])
    layer.batch_first = batch_first
    if batch_first:
        output = layer(x.transpose(0, 1), reset=reset.transpose(0, 1))[0].transpose(0, 1)
    else:
        output = layer(x, reset=reset)[0]
    assert_same(output, expected)


def test_reset_at_the_first_step_clears_the_given_state():
    layer = throughtime.GRU(3, 4)
    x, h0 = torch.randn(5, 2, 3), torch.randn(1, 2, 4)
    reset = torch.zeros(5, 2, dtype=torch.bool)
    reset[0, 1] = True
    output, _ = layer(x, h0, reset=reset)
    assert_same(output[:, 0], layer(x[:, 0], h0[:, 0])[0])
    assert_same(output[:, 1], layer(x[:, 1])[0])


@every_kind
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("unbatched", [False, True])
def test_step_by_step_equals_the_whole_sequence(kind, batch_first, unbatched):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(3, 4, 2, batch_first=batch_first, dtype=torch.float64)
    x = torch.randn(6, 3, dtype=torch.float64) if unbatched else torch.randn(6, 2, 3).double()
    state, outputs = None, []
    for x_t in x:
        output, state = layer.step(x_t, state)
        outputs.append(output)
    whole = x.transpose(0, 1) if batch_first and not unbatched else x
    expected, expected_state = layer(whole)
    expected = expected.transpose(0, 1) if batch_first and not unbatched else expected
    assert_same(torch.stack(outputs), expected)
    assert_same(state, expected_state)


def test_misused_additions_say_so():
    layer = throughtime.GRU(3, 4)
    x = torch.zeros(5, 2, 3)
    with pytest.raises(ValueError, match="needs the whole sequence: no single steps"):
        throughtime.GRU(3, 4, bidirectional=True).step(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="1D or 2D, got 3D"):
        layer.step(x)
    with pytest.raises(RuntimeError, match=r"shape \[2\], one per sample"):
        layer(x, lengths=torch.tensor([5]))
    with pytest.raises(RuntimeError, match=r"integers"):
        layer(x, lengths=torch.tensor([5.0, 5.0]))
    with pytest.raises(RuntimeError, match=r"between 0 and 5, .* got values from -1 to 6"):
        layer(x, lengths=torch.tensor([-1, 6]))
    with pytest.raises(RuntimeError, match=r"reset must be bool"):
        layer(x, reset=torch.zeros(5, 2))
    with pytest.raises(ValueError, match="PackedSequence already has its lengths"):
        layer(pack_sequence([x[:, 0]]), lengths=torch.tensor([5]))


@every_kind
def test_no_steps_leave_the_state_alone(kind):
    layer = getattr(throughtime, kind)(3, 4, bidirectional=True)
    h0 = torch.randn(2, 5, 4)
    hx = (h0, 2 * h0) if kind == "LSTM" else h0
    output, state = layer(torch.zeros(0, 5, 3), hx)
    assert output.shape == (0, 5, 8)
    assert_same(state, hx)


@every_path
@every_kind
def test_no_samples_give_no_outputs(kind, path):
    with taking(path):
        output, state = getattr(throughtime, kind)(3, 4)(torch.zeros(5, 0, 3))
    assert output.shape == (5, 0, 4)
    assert (state[0] if kind == "LSTM" else state).shape == (1, 0, 4)


def test_explain_path_says_what_runs_and_why():
    layer, x = throughtime.LSTM(3, 4), torch.zeros(5, 2, 3)
    assert explain_path(layer, x) == ("native", "the native kernels")
    assert explain_path(layer, x, lengths=torch.tensor([5, 2])).name == "native"
    assert explain_path(layer, pack_sequence([x[:, 0]])).name == "native"
    normed = throughtime.LSTM(3, 4, layer_norm=True)
    reason = "the plain equations; the native kernels do not support layer_norm"
    assert explain_path(normed, x) == ("equations", reason)
    zoned = throughtime.LSTM(3, 4, proj_size=2, zoneout=0.1)
    assert explain_path(zoned, x).reason.endswith("zoneout with proj_size")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert explain_path(layer, x).reason.endswith("do not support autocast")
    half = throughtime.GRU(3, 4, dtype=torch.bfloat16)
    assert explain_path(half, x.bfloat16()).reason.endswith("do not support dtype torch.bfloat16")
    with forced_path("equations"):
        assert explain_path(layer, x) == ("equations", "forced by forced_path()")
    with (
        forced_path("torch"),
        pytest.raises(ValueError, match="does not support lengths"),
    ):
        layer(x, lengths=torch.tensor([5, 2]))
    with (
        forced_path("native"),
        pytest.raises(ValueError, match="'native' does not support layer_norm"),
    ):
        normed(x)
    text = "path must be one of native, torch, equations; got 'gpu'"
    with pytest.raises(ValueError, match=text), forced_path("gpu"):
        pass
    assert explain_path(layer, x).name == "native"  # the override ends with its block

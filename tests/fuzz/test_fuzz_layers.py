"""The layers in every form of a call, against a loop that knows neither batches nor kernels.

make fuzz                                    # thousands of cases
pytest tests/fuzz --fuzz-seed 7 -k layers    # others
"""

import random

import loop
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime
from helpers import gradients
from throughtime import explain_path

# largest error, relative to the largest expected value, of sums of some dozen products; twenty
# times as much behind a layer normalization, whose division makes rounding larger
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}
pytestmark = pytest.mark.filterwarnings("ignore:dropout acts between layers")
FORMS = ("batched", "batch first", "strided", "transposed", "unbatched", "lengths", "reset")
FORMS += ("lengths and reset", "packed", "packed sorted", "steps", "cell", "no state")


def drawn(seed):
    """A layer of ours in evaluation mode, a form, and sizes, all from a seed."""
    rng = random.Random(seed)
    kind = rng.choice(["RNN", "LSTM", "GRU"])
    form = rng.choice(FORMS)
    hidden = rng.choice([1, 2, 3, 5, 8, 16, 17, 33])
    options = {
        "num_layers": rng.choice([1, 1, 2, 3]),
        "bidirectional": rng.random() < 0.4 and form != "steps",
        "bias": rng.random() < 0.8,
        "batch_first": form == "batch first",
        "dtype": rng.choice([torch.float32, torch.float64]),
        "dropout": rng.choice([0.0, 0.5]),
        "recurrent_dropout": rng.choice([0.0, 0.0, 0.3]),
        "zoneout": rng.choice([0.0, 0.0, 0.3]),
        # of a few numbers it divides by next to nothing, and rounding with it
        "layer_norm": rng.random() < 0.2 and hidden >= 5,
        "clip_hidden_grad": rng.choice([0.0, 0.0, 0.1, 2.0]),
        "checkpoint": rng.random() < 0.2,
    }
    if kind == "RNN":
        options["nonlinearity"] = rng.choice(["tanh", "relu"])
    if kind == "LSTM" and hidden > 1 and rng.random() < 0.3:
        options["proj_size"] = rng.randrange(1, hidden)
    if form == "cell":
        taken = {"bias", "dtype", "nonlinearity"}
        options = {name: value for name, value in options.items() if name in taken}
    steps = 1 if form == "cell" else rng.choice([1, 2, 3, 7, 7, 12])
    batch = 1 if form == "unbatched" else rng.choice([1, 2, 3, 5, 9])
    if form == "batched" and rng.random() < 0.05:
        steps = 0
    return kind, form, rng.choice([1, 3, 8, 11]), hidden, options, steps, batch


def check_case(seed, harm=lambda outputs: outputs):
    """Hold one case to the loop; ``harm`` changes what ours gives."""
    kind, form, inputs, hidden, options, steps, batch = drawn(seed)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    name = f"{kind}Cell" if form == "cell" else kind
    layer = getattr(throughtime, name)(inputs, hidden, **options).eval()
    whole = layer if form != "cell" else _as_layer(layer, kind, inputs, hidden, options)
    double = _doubled(whole)

    def leaf(*shape):
        return torch.randn(*shape, generator=generator, dtype=options["dtype"]).requires_grad_()

    rows = whole.num_layers * (2 if whole.bidirectional else 1)
    leaves = {"x": leaf(steps, batch, inputs)}
    leaves["h0"] = leaf(rows, batch, whole.proj_size or hidden)
    if kind == "LSTM":
        leaves["c0"] = leaf(rows, batch, hidden)
    rng = random.Random(seed + 1)
    lengths = resets = None
    if "lengths" in form or form.startswith("packed"):
        least = 0 if "lengths" in form else 1
        lengths = [rng.randint(least, steps) for _ in range(batch)]
        if form == "packed sorted":
            lengths.sort(reverse=True)
    if "reset" in form:
        resets = {(t, b) for t in range(steps) for b in range(batch) if rng.random() < 0.3}
    ours = harm(_called(layer, form, leaves, lengths, resets))
    wanted = {**leaves, **dict(layer.named_parameters())}
    wanted = {n: t for n, t in wanted.items() if form != "no state" or n not in ("h0", "c0")}
    begin = {n: torch.zeros_like(t) if form == "no state" else t for n, t in leaves.items()}
    begin["x"] = leaves["x"]
    copies = {n: t.detach().double().requires_grad_() for n, t in begin.items()}
    expected = loop.run(double, copies["x"], copies["h0"], copies.get("c0"), lengths, resets)
    if form == "cell":
        expected = (None, *expected[1:])
    pairs = [
        (a, e)
        for a, e in zip(ours, expected, strict=True)
        if e is not None and a is not None and e.numel()
    ]
    what = f"case {seed}: {name} {form} I={inputs} T={steps} B={batch} {options}"
    for number, (actual, right) in enumerate(pairs):
        _compare(actual, right, options["dtype"], f"{what}, output {number}")
    suffix = "_l0" if form == "cell" else ""
    doubles = {n.removesuffix(suffix): p for n, p in double.named_parameters()} | copies
    found = gradients([a for a, _ in pairs], wanted, torch.Generator().manual_seed(seed))
    # the same random cotangents: drawn in the layer's dtype, then widened
    cotangents = torch.Generator().manual_seed(seed)
    total = 0
    for actual, right in pairs:
        draw = torch.randn(actual.shape, generator=cotangents, dtype=actual.dtype)
        total = total + (right * draw.double()).sum()
    right = torch.autograd.grad(total, [doubles[n] for n in wanted], allow_unused=True)
    largest = max([r.abs().max().item() for r in right if r is not None and r.numel()], default=0)
    for (where, gradient), expected_gradient in zip(found.items(), right, strict=True):
        given = torch.zeros_like(wanted[where]) if gradient is None else gradient
        if expected_gradient is None:
            expected_gradient = torch.zeros_like(doubles[where])  # noqa: PLW2901
        at = f"{what}, gradient of {where}"
        _compare(given, expected_gradient, options["dtype"], at, 1e-2 * largest)


def _compare(actual, expected, dtype, where, least=1e-3):
    """``least``: what is smaller is compared as if it were as large."""
    assert actual.shape == expected.shape, f"{where}: {actual.shape}, expected {expected.shape}"
    assert actual.dtype == dtype, f"{where}: {actual.dtype}"
    if not expected.numel():
        return
    error = (actual.detach().double() - expected.detach()).abs().max().item()
    allowed = (
        TOLERANCE[dtype]
        * (20 if "'layer_norm': True" in where else 1)
        * max(expected.detach().abs().max().item(), least)
    )
    assert error <= allowed, f"{where}: error {error:.3g}, allowed {allowed:.3g}"


def _doubled(layer):
    """The layer's numbers in float64, for the loop."""
    options = {
        name: getattr(layer, name)
        for name in ("num_layers", "bidirectional", "bias", "zoneout", "layer_norm")
    }
    options["clip_hidden_grad"] = layer.clip_hidden_grad
    if layer.cell_type.name == "RNN":
        options["nonlinearity"] = layer.nonlinearity
    if layer.proj_size:
        options["proj_size"] = layer.proj_size
    kind = getattr(throughtime, layer.cell_type.name)
    double = kind(layer.input_size, layer.hidden_size, dtype=torch.float64, **options)
    double.load_state_dict(layer.state_dict())
    return double


def _as_layer(cell, kind, inputs, hidden, options):
    """A cell's weights as a layer of one step."""
    layer = getattr(throughtime, kind)(inputs, hidden, **options)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    return layer


def _called(layer, form, leaves, lengths, resets):
    """Output [T,B,*], h and c, by one form of a call."""
    state = [leaves[name] for name in ("h0", "c0") if name in leaves]
    if form == "cell":
        found = layer(leaves["x"][0], _joined([s[0] for s in state]))
        h, c = found if isinstance(found, tuple) else (found, None)
        return None, h.unsqueeze(0), None if c is None else c.unsqueeze(0)
    if form == "unbatched":
        state = [s[:, 0] for s in state]
    state = None if form == "no state" else _joined(state)
    if form == "steps":
        outputs = []
        for x_t in leaves["x"]:
            output, state = layer.step(x_t, state)
            outputs.append(output)
        output = torch.stack(outputs)
    else:
        x, extras = leaves["x"], _extras(form, leaves["x"], lengths, resets)
        output, state = layer(_shaped(form, x, lengths), state, **extras)
    if form.startswith("packed"):
        output, _ = pad_packed_sequence(output, total_length=leaves["x"].shape[0])
    h, c = state if isinstance(state, tuple) else (state, None)
    if form == "batch first":
        output = output.transpose(0, 1)
    if form == "unbatched":
        output, h, c = output.unsqueeze(1), h.unsqueeze(1), None if c is None else c.unsqueeze(1)
    return output, h, c


def _joined(state):
    return tuple(state) if len(state) > 1 else state[0]


def _shaped(form, x, lengths):
    """The input [T,B,I] as this form of a call has it."""
    if form == "strided":
        return torch.stack([x, torch.full_like(x, 7)], dim=-1)[..., 0]
    if form.startswith("packed"):
        sizes = torch.tensor(lengths)
        return pack_padded_sequence(x, sizes, enforce_sorted=form == "packed sorted")
    forms = {
        "batch first": lambda: x.transpose(0, 1),
        "transposed": lambda: x.transpose(0, 2).contiguous().transpose(0, 2),
        "unbatched": lambda: x[:, 0],
    }
    return forms.get(form, lambda: x)()


def _extras(form, x, lengths, resets):
    given = {"lengths": torch.tensor(lengths)} if "lengths" in form else {}
    if resets is not None:
        given["reset"] = torch.zeros(x.shape[:2], dtype=torch.bool)
        for t, b in resets:
            given["reset"][t, b] = True
    return given


def test_layers_against_an_independent_loop(thorough, fuzz_seed):
    for seed in range(fuzz_seed, fuzz_seed + (20_000 if thorough else 600)):
        check_case(seed)


def test_the_cases_reach_every_path_form_and_option():
    seen = {"form": set(), "path": set(), "kind": set(), "dtype": set()}
    for seed in range(200):
        kind, form, inputs, hidden, options, *_ = drawn(seed)
        seen["form"].add(form)
        seen["kind"].add(kind)
        seen["dtype"].add(options["dtype"])
        if form != "cell":
            layer = getattr(throughtime, kind)(inputs, hidden, **options).eval()
            x = torch.zeros(2, 2, inputs, dtype=options["dtype"])
            seen["path"].add(explain_path(layer, x).name)
    assert seen["form"] == {*FORMS}
    assert len(seen["kind"]) == 3 and len(seen["dtype"]) == 2
    assert {"native", "equations"} <= seen["path"]


WRONG = {
    "a value": lambda y: (y[0] + 1e-3, *y[1:]) if y[0] is not None else (None, y[1] + 1e-3, y[2]),
    "a sign": lambda y: (y[0], -y[1], y[2]),
    "a state of zeros": lambda y: (y[0], y[1] * 0, y[2]),
    "a gradient that is cut": lambda y: (y[0], y[1].detach() + 0 * y[1], y[2]),
}


@pytest.mark.parametrize("harm", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_check_fails_on_wrong_answers(harm, seed):
    check_case(seed)
    with pytest.raises(AssertionError, match=f"case {seed}"):
        check_case(seed, harm)

"""Tests of the kernels under transforms, compilation, export and tracing."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

import throughtime
from helpers import assert_same
from throughtime import forced_path
from throughtime.nn.engines import kernels

# torch's exporters and tracers use functions that torch has deprecated
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
KINDS = ["RNN", "LSTM", "GRU"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind, **options):
    torch.manual_seed(0)
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64} | options
    return getattr(throughtime, kind)(3, 5, **options)


def functions(layer):
    """The functions to transform: outputs and a loss, of parameters and input."""
    parameters = dict(layer.named_parameters())
    lengths = torch.tensor([6, 2])

    def output(p, x):
        return functional_call(layer, p, (x,))[0]

    def state(p, x):
        return functional_call(layer, p, (x,))[1]

    def ragged(p, x):
        return functional_call(layer, p, (x,), {"lengths": lengths})[0]

    def loss(p, x):
        return output(p, x).square().sum()

    return parameters, output, state, ragged, loss


TRANSFORMS = {
    "vmap over inputs": lambda p, ps, xs, f: vmap(lambda x: f["output"](p, x))(xs),
    "vmap over inputs, states": lambda p, ps, xs, f: vmap(lambda x: f["state"](p, x))(xs),
    "vmap over weights": lambda p, ps, xs, f: vmap(f["output"], in_dims=(0, None))(ps, xs[0]),
    "vmap over both": lambda p, ps, xs, f: vmap(f["output"])(ps, xs),
    "vmap, other axes": lambda p, ps, xs, f: vmap(
        lambda x: f["output"](p, x), in_dims=2, out_dims=1
    )(xs),
    "vmap with lengths": lambda p, ps, xs, f: vmap(lambda x: f["ragged"](p, x))(xs),
    "vmap in vmap": lambda p, ps, xs, f: vmap(lambda q: vmap(lambda x: f["output"](q, x))(xs))(ps),
    "grad": lambda p, ps, xs, f: grad(f["loss"])(p, xs[0]),
    "per-sample gradients": lambda p, ps, xs, f: vmap(grad(f["loss"]), in_dims=(None, 0))(p, xs),
    "jacrev": lambda p, ps, xs, f: jacrev(lambda x: f["output"](p, x))(xs[0]),
    "hessian": lambda p, ps, xs, f: jacrev(grad(lambda x: f["loss"](p, x)))(xs[0]),
    "jvp": lambda p, ps, xs, f: jvp(lambda x: f["output"](p, x), (xs[0],), (xs[1],)),
    "jacfwd": lambda p, ps, xs, f: jacfwd(lambda x: f["output"](p, x))(xs[0]),
}


@every_kind
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_give_what_they_give_of_the_equations(kind, name):
    layer = make(kind)
    parameters, *each = functions(layer)
    f = dict(zip(("output", "state", "ragged", "loss"), each, strict=True))
    xs = torch.randn(4, 6, 2, 3, dtype=torch.float64)
    stacked = {
        k: torch.stack([p.detach() * s for s in (1, 2, 0.5, 3)]) for k, p in parameters.items()
    }
    found = TRANSFORMS[name](parameters, stacked, xs, f)
    with forced_path("equations"):
        expected = TRANSFORMS[name](parameters, stacked, xs, f)
    assert_same(found, expected)


@every_kind
def test_transforms_take_the_kernels(kind, monkeypatch):
    calls = []
    real = kernels.forward
    monkeypatch.setattr(kernels, "forward", lambda *a: (calls.append(1), real(*a))[1])
    layer = make(kind, num_layers=1, bidirectional=False)
    parameters, output, *_ = functions(layer)
    vmap(lambda x: output(parameters, x))(torch.randn(4, 6, 2, 3, dtype=torch.float64))
    assert len(calls) == 1  # only inputs vary: one call with a larger batch
    with forced_path("equations"):
        vmap(lambda x: output(parameters, x))(torch.randn(4, 6, 2, 3, dtype=torch.float64))
    assert len(calls) == 1


def test_forward_mode_is_computed_by_the_equations_and_said_so():
    layer, x = make("GRU"), torch.randn(4, 2, 3, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        path = throughtime.explain_path(layer, dual)
        assert path.name == "equations"
        assert path.reason.endswith("not support forward-mode derivatives")


def test_a_clipped_gradient_is_not_differentiated_again():
    layer = make("GRU", clip_hidden_grad=0.1)
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    (dx,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="clip_hidden_grad has no second derivative"):
        dx.sum().backward()


@every_kind
def test_the_operators_pass_torchs_own_checks(kind):
    layer = make(kind, num_layers=1, bidirectional=False, dtype=torch.float32)
    weights = [p.detach() for p in layer.parameters()]
    x, h = torch.randn(6, 2, 3), torch.zeros(1, 2, 5)
    c = h.clone() if kind == "LSTM" else None
    # without lengths, because saved values beyond a length are uninitialized
    given = (x, h, c, None, None, torch.rand(6, 2) < 0.3, None, None, None, weights)
    forward, backward = torch.ops.throughtime.forward, torch.ops.throughtime.backward
    torch.library.opcheck(forward.default, (layer.mode, True, False, *given))
    kept = forward(layer.mode, True, False, *given)
    cotangents = (torch.randn(6, 2, 5), torch.randn(1, 2, 5), None)
    arguments = (layer.mode, False, 0.0, True, *cotangents, *given, *kept)
    torch.library.opcheck(backward.default, arguments)


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@every_kind
@pytest.mark.parametrize("options", [{}, {"checkpoint": True}], ids=["plain", "checkpoint"])
def test_one_compilation_serves_many_lengths_and_batches(kind, options, fresh_compiler):
    layer = make(kind, dtype=torch.float32, **options)
    counter = CompileCounter()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=counter)
    for steps, batch in ((6, 2), (7, 3), (11, 5), (4, 9)):
        x = torch.randn(steps, batch, 3, requires_grad=True)
        (y, _), (expected, _) = compiled(x), layer(x)
        assert torch.equal(y, expected)
        dy = torch.randn_like(y)
        wanted = (x, *layer.parameters())
        assert_same(torch.autograd.grad(y, wanted, dy), torch.autograd.grad(expected, wanted, dy))
    assert counter.frame_count == 1


@every_kind
def test_compiling_through_the_autograd_tracer(kind, fresh_compiler):
    layer = make(kind, dtype=torch.float32)

    def ragged(x, lengths):
        return layer(x, lengths=lengths)[0]

    compiled = torch.compile(ragged, fullgraph=True, dynamic=True, backend="aot_eager")
    for steps, batch in ((6, 2), (7, 3)):
        x, lengths = torch.randn(steps, batch, 3), torch.randint(0, steps + 1, (batch,))
        dy = torch.randn(steps, batch, 10)
        results = []
        for call in (compiled, ragged):
            y = call(x, lengths)
            results.append((y, torch.autograd.grad(y, list(layer.parameters()), dy)))
        assert_same(*results)
        with torch.no_grad():
            assert torch.equal(compiled(x, lengths), ragged(x, lengths))


class Model(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


@every_kind
@pytest.mark.parametrize("strict", [False, True])
def test_exported_models_take_any_length_and_batch(kind, strict, fresh_compiler):
    model = Model(make(kind, dtype=torch.float32))
    steps, batch = torch.export.Dim("T", min=2, max=1000), torch.export.Dim("B", min=2, max=1000)
    exported = torch.export.export(
        model, (torch.randn(6, 3, 3),), dynamic_shapes=({0: steps, 1: batch},), strict=strict
    ).module()
    for shape in ((6, 3, 3), (9, 5, 3)):
        x = torch.randn(*shape)
        assert torch.equal(exported(x), model(x))


@every_kind
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # torch.nn's layers warn, too
def test_traced_models_compute_the_same(kind):
    model = Model(make(kind, dtype=torch.float32))
    x = torch.randn(6, 2, 3)
    with torch.no_grad():
        traced = torch.jit.trace(model, x)
        assert_same(traced(x), model(x))
        made = torch.fx.experimental.proxy_tensor.make_fx(model)(x)
        assert_same(made(x), model(x))

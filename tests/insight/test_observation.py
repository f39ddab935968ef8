import copy
import gc
import threading
import weakref

import pytest
import torch
from hypothesis import given, settings
from test_views import every_kind, quantities, without_padding
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import throughtime
from helpers import assert_same
from strategies import layer_cases
from throughtime import forced_path, observe

KINDS = ["RNN", "LSTM", "GRU"]


@settings(max_examples=150)
@given(case=layer_cases(20, ((1, 9), (1, 7), (1, 5))))
def test_the_kernels_show_what_the_equations_show(case):
    """Autograd computes the gradients of the equations for the tensors h_t and c_t themselves."""
    kind, hidden, options, (steps, batch, inputs), which, seed = case
    torch.manual_seed(seed)
    layer = getattr(throughtime, kind)(inputs, hidden, dtype=torch.float64, **options)
    x = torch.randn(steps, batch, inputs, dtype=torch.float64)
    given, call = x, {}
    if which in ("lengths", "both"):
        call["lengths"] = torch.randint(0, steps + 1, (batch,))
    if which in ("reset", "both"):
        call["reset"] = torch.rand(steps, batch) < 0.3
    if which == "packed":
        lengths = torch.randint(1, steps + 1, (batch,))
        given = pack_padded_sequence(x, lengths, enforce_sorted=False)
    cotangent = torch.randn(1000, dtype=torch.float64)
    found = {}
    for path in ("equations", "native"):
        torch.manual_seed(seed)  # the same masks
        with forced_path(path), observe(layer) as seen:
            output, last = layer(given, **call)
            output = output.data if which == "packed" else output
            last = last[0] if kind == "LSTM" else last
            loss = (output.flatten() * cotangent.repeat(100)[: output.numel()]).sum()
            (loss + last.square().sum()).backward()
        found[path] = {
            name: {n: without_padding(view, v) for n, v in quantities(view).items()}
            for name, view in seen.items()
        }
    assert len(found["native"]) == options["num_layers"] * (2 if options["bidirectional"] else 1)
    assert_same(found["native"], found["equations"])


@every_kind
def test_looking_changes_no_bit(kind):
    torch.manual_seed(0)
    layer = getattr(throughtime, kind)(5, 9, 2, bidirectional=True)
    x = torch.randn(11, 6, 5, requires_grad=True)

    def run():
        output = layer(x)[0]
        gradients = torch.autograd.grad(output.square().sum(), (x, *layer.parameters()))
        return (output, *gradients)

    plain = run()
    with observe(layer):
        looked = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, looked, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, run(), strict=True))
    assert "observer" not in vars(layer)


def test_the_gradient_of_a_linear_network_is_a_power_of_its_weight():
    """A hook on the output reads 0 at every step but the last; the gradient of h_t is w^k."""
    layer = throughtime.RNN(1, 1, nonlinearity="relu", bias=False)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(0.5), layer.weight_ih_l0.fill_(1.0)
    with observe(layer) as seen:
        output, _ = layer(torch.ones(6, 1, 1))
        output.retain_grad()
        output[-1].sum().backward()
    assert output.grad.flatten().tolist() == [0, 0, 0, 0, 0, 1]
    assert seen["l0"].hidden_grad.flatten().tolist() == [0.5**k for k in (5, 4, 3, 2, 1, 0)]


@every_kind
@pytest.mark.parametrize("packed", [False, True])
def test_torchs_layers_are_shown_too(kind, packed):
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(3, 4, 2, bidirectional=True, dtype=torch.float64)
    model = nn.ModuleDict({"encoder": nn.ModuleDict({"rnn": theirs})})
    ours = getattr(throughtime, kind)(3, 4, 2, bidirectional=True, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    given = pack_padded_sequence(x, [2, 5, 3], enforce_sorted=False) if packed else x

    def run(layer):
        output, _ = layer(given)
        output = output.data if packed else output
        (output * torch.arange(output.numel()).view(output.shape)).sum().backward()
        return output

    plain = run(theirs)
    expected = {n: p.grad.clone() for n, p in theirs.named_parameters()}
    theirs.zero_grad()
    with observe(model) as seen:
        looked = run(theirs)
    assert_same(looked, plain)
    assert_same({n: p.grad for n, p in theirs.named_parameters()}, expected)
    assert list(seen) == [f"encoder.rnn.l{n}{way}" for n in (0, 1) for way in ("", "_reverse")]
    with observe(ours) as reference:
        run(ours)
    for name in reference:
        for n, value in quantities(reference[name]).items():
            shown = quantities(seen[f"encoder.rnn.{name}"])[n]
            assert_same(without_padding(reference[name], shown), value.nan_to_num(0.0))
    assert "forward" not in vars(theirs)
    assert type(theirs) is getattr(nn, kind)
    assert [n for n, _ in model.named_modules()] == ["", "encoder", "encoder.rnn"]


def test_dropout_in_torchs_layers_follows_their_mode():
    torch.manual_seed(0)
    theirs = nn.GRU(3, 4, 2, dropout=0.5)
    x = torch.randn(5, 2, 3)
    with observe(theirs):
        assert not torch.equal(theirs(x)[0], theirs(x)[0])
        theirs.eval()
        assert torch.equal(theirs(x)[0], theirs(x)[0])


class Two(nn.Module):
    """Layers of throughtime, one of them shared, a torch layer, and a cell that is not observed."""

    def __init__(self, last=nn.RNN):
        super().__init__()
        self.encoder = throughtime.GRU(3, 3)
        self.again = self.encoder
        self.layers = nn.ModuleList([throughtime.LSTM(3, 3), last(3, 3)])
        self.cell = throughtime.GRUCell(3, 3)

    def forward(self, x):
        for layer in (self.encoder, self.again, *self.layers):
            x = layer(x)[0]
        return x


def test_names_are_paths_and_every_pass_is_there():
    torch.manual_seed(0)
    model, x = Two(), torch.randn(4, 2, 3)
    with observe(model) as seen:
        first, second = model(x), model(2 * x)
        (first.sum() + second.sum()).backward()
    assert list(seen) == ["encoder.l0", "layers.0.l0", "layers.1.l0"]
    assert len(seen) == 3 and "cell.l0" not in seen
    passes = seen.passes("encoder.l0")
    assert len(passes) == 4 and seen["encoder.l0"] is passes[-1]
    assert torch.equal(passes[0].input, x) and torch.equal(passes[2].input, 2 * x)
    assert all(p.has_gradients for p in passes)
    assert seen.unseen == {
        "cell": "a GRUCell computes single steps, and the loop over time is in the model"
    }
    with pytest.raises(KeyError, match=r"'cell\.l0' cannot be observed: a GRUCell"):
        _ = seen["cell.l0"]
    with pytest.raises(KeyError, match=r"'l0' was not observed; observed: encoder\.l0, layers"):
        _ = seen["l0"]
    assert "encoder.l0: View(GRU, T=4, B=2, H=3, with gradients)" in repr(seen)
    assert "cell: not observed, a GRUCell" in repr(seen)
    seen.clear()
    assert repr(seen).startswith("cell: not observed") and not list(seen)


def test_of_every_few_calls_one_is_looked_at():
    model = Two()
    with observe(model, every=3) as seen:
        for n in range(7):
            model(torch.full((4, 2, 3), float(n)))
    shown = [int(view.input[0, 0, 0]) for view in seen.passes("encoder.l0")[::2]]
    assert shown == [0, 3, 6]
    assert len(seen.passes("layers.1.l0")) == 3
    assert not model._forward_pre_hooks


def test_eval_mode_has_gradients_and_no_grad_says_that_there_are_none():
    layer = throughtime.GRU(3, 4).eval()
    with observe(layer) as seen:
        layer(torch.randn(5, 2, 3))[0].sum().backward()
    assert seen["l0"].hidden_grad.isfinite().all()
    with observe(layer) as seen, torch.inference_mode():
        layer(torch.randn(5, 2, 3))
    assert seen["l0"].hidden.isfinite().all()
    assert not seen["l0"].has_gradients
    with pytest.raises(RuntimeError, match="no hidden_grad yet: no backward pass has reached"):
        _ = seen["l0"].hidden_grad
    with pytest.raises(AttributeError, match="a GRU has no cell state"):
        _ = seen["l0"].cell


def test_gradients_that_are_differentiated_again_are_seen():
    torch.manual_seed(0)
    layer = throughtime.GRU(3, 4, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for create_graph in (False, True):
        with observe(layer) as seen:
            torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=create_graph)
        found.append(seen["l0"].hidden_grad.detach())
    assert_same(found[1], found[0])


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch"
)  # warnings of torch while it compiles
def test_a_compiled_model_is_looked_into():
    torch.manual_seed(0)
    model = Two(throughtime.RNN)  # torch.compile rejects torch.nn's RNN
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    x = torch.randn(4, 2, 3)
    plain = compiled(x)
    for every in (1, 2):
        with observe(compiled, every=every) as seen:
            looked = compiled(x)
            looked.sum().backward()
        assert list(seen) == ["encoder.l0", "layers.0.l0", "layers.1.l0"]
        assert seen["layers.0.l0"].hidden_grad.isfinite().all()
        assert_same(looked, plain)
    torch._dynamo.reset()
    compiled(x)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled(x)
        with observe(compiled):
            compiled(x)
        compiled(x)  # uses the earlier graph


def test_what_is_transformed_is_not_seen_and_is_right():
    layer = throughtime.GRU(3, 4)
    x = torch.randn(6, 5, 2, 3)
    expected = torch.stack([layer(part)[0] for part in x])
    with observe(layer) as seen, torch.no_grad():
        found = torch.func.vmap(lambda part: layer(part)[0])(x)
    assert_same(found, expected.detach())
    assert not list(seen)
    assert seen.unseen == {"": "it was called under torch.func or vmap"}


def test_whatever_happens_in_the_block_the_model_is_as_before():
    model = Two()
    before = {n: dict(vars(m)) for n, m in model.named_modules()}
    with pytest.raises(KeyError, match="no forward pass in the block"), observe(model) as seen:
        _ = seen["encoder.l0"]
    with pytest.raises(ZeroDivisionError), observe(model):
        _ = 1 / 0
    with observe(model), pytest.raises(RuntimeError, match="must be equal to input_size"):
        model(torch.randn(4, 2, 5))
    after = {n: dict(vars(m)) for n, m in model.named_modules()}
    assert before == after
    assert copy.deepcopy(model).encoder.observer is None


def test_what_cannot_be_observed_is_told():
    normed = nn.utils.parametrizations.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")
    layer = throughtime.GRU(2, 3)
    for model, options, message in (
        (nn.Linear(2, 2), {}, "no recurrent layer to observe in Linear: expected"),
        (nn.ModuleDict({"rnn": nn.LSTMCell(2, 2)}), {}, "rnn: a LSTMCell computes single steps"),
        (normed, {}, "a subclass of LSTM"),
        (layer, {"keep": "some"}, "keep must be one of all, norms; got 'some'"),
        (layer, {"every": 0}, "every must be 1 or more; got 0"),
    ):
        with pytest.raises(ValueError, match=message), observe(model, **options):
            pass
    with (
        observe(layer),
        pytest.raises(RuntimeError, match="already being observed"),
        observe(layer),
    ):
        pass
    assert "observer" not in vars(layer)


def test_the_path_of_an_observed_layer_is_told():
    layer = throughtime.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    assert throughtime.explain_path(layer, x).name == "native"
    with observe(layer), forced_path("torch"), pytest.raises(ValueError, match="observation"):
        layer(x)


@every_kind
@pytest.mark.parametrize("keep", ["all", "norms"])
def test_no_graph_outlives_what_was_seen(kind, keep):
    """With the kernels and with the equations, whose hooks must not hold tensors of the graph."""
    for options in ({}, {"layer_norm": True}):
        layer = getattr(throughtime, kind)(3, 4, 2, bidirectional=True, **options)
        alive = []

        class Probe(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, alive=alive):
                marker = torch.zeros(3)
                alive.append(weakref.ref(marker))
                ctx.marker = marker
                return x.clone()

            @staticmethod
            def backward(ctx, dx):
                return dx

        x = torch.randn(5, 2, 3, requires_grad=True)
        for backward in (False, True):
            with observe(layer, keep=keep) as seen:
                output = layer(Probe.apply(x))[0]
                if backward:
                    output.sum().backward()
            del output
            gc.collect()
            assert alive[-1]() is None
            assert seen["l0"].inside.all()
            del seen


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_layer_shows_its_gradients(reentrant):
    torch.manual_seed(0)
    layer = throughtime.GRU(3, 4, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    with observe(layer) as seen:
        layer(x)[0].square().sum().backward()
    expected = seen["l0"].hidden_grad
    with observe(layer) as seen:
        output = checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant)
        output.square().sum().backward()
    assert_same(seen["l0"].hidden_grad, expected)
    assert [v.recomputed for v in seen.passes("l0")] == [False, True]


@pytest.mark.parametrize("home", [throughtime, nn], ids=["ours", "torchs"])
def test_a_copy_made_in_the_block_is_a_layer_of_its_own(home):
    layer, x = home.LSTM(3, 4), torch.randn(5, 2, 3)
    with observe(layer) as seen:
        twin = copy.deepcopy(layer)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        assert not twin(x)[0].any()
        assert not list(seen)
    with observe(twin) as seen:
        twin(x)
    assert list(seen) == ["l0"]


def test_what_a_gradient_penalty_sends_back_does_not_replace_the_gradient():
    layer, x = throughtime.GRU(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    with observe(layer) as seen:
        (dx,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
        before = seen["l0"].hidden_grad.clone()
        dx.square().sum().backward()
    assert before.any() and torch.equal(seen["l0"].hidden_grad, before)


@every_kind
def test_weights_that_are_put_in_their_place_count(kind):
    layer, x = getattr(nn, kind)(3, 4), torch.randn(5, 2, 3)
    zeros = {n: torch.zeros_like(p) for n, p in layer.named_parameters()}
    with observe(layer):
        assert not torch.func.functional_call(layer, zeros, (x,))[0].any()
        layer.weight_hh_l0 = nn.Parameter(torch.zeros_like(layer.weight_hh_l0))
        looked = layer(x)[0]
    assert_same(looked, layer(x)[0])


def test_between_the_steps_that_are_looked_at_layers_take_their_own_path():
    layer, x = throughtime.GRU(3, 4).to(torch.bfloat16), torch.randn(5, 2, 3).to(torch.bfloat16)
    with observe(layer, every=2):
        assert throughtime.explain_path(layer, x).name == "equations"
        layer(x), layer(x)
        assert throughtime.explain_path(layer, x).name == "torch"


def test_threads_may_share_a_layer_that_is_looked_into():
    layer = throughtime.GRU(3, 8)
    failed = []

    def train():
        try:
            for _ in range(60):
                layer(torch.randn(6, 4, 3))[0].sum().backward()
        except RuntimeError as error:
            failed.append(error)

    with observe(layer, keep="norms") as seen:
        threads = [threading.Thread(target=train) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed
    assert len(seen.passes("l0")) == 240
    assert all(view.norms["hidden_grad"].isfinite().all() for view in seen.passes("l0"))

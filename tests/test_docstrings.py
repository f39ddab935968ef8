"""What `help` shows of every public name: an example that runs, arguments, results and errors."""

import doctest
import functools
import inspect

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from throughtime import catalogue
from throughtime.nn import outputs

FUNCTIONS = [n for n in tt.__all__ if inspect.isfunction(getattr(tt, n))]
CLASSES = [n for n in tt.__all__ if inspect.isclass(getattr(tt, n))]
METHODS = [(tt.Model, "predict"), (tt.Model, "save"), (tt.Result, "report"), (tt.Result, "table")]
NO_RESULT = ("forced_path", "patched", "load")
BEYOND_TORCH = [
    "recurrent_dropout",
    "zoneout",
    "layer_norm",
    "clip_hidden_grad",
    "checkpoint",
    "init",
]


def min_gru_step(x_part, h_part, state, norms=None):
    a_z, a_h = x_part.chunk(2, dim=-1)
    z = torch.sigmoid(a_z)
    return ((1 - z) * state[0] + z * a_h,), (z, a_h)


class Writer:
    def add_scalar(self, *_):
        pass

    add_text = add_scalar


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """What the examples take for granted."""
    folder = tmp_path_factory.mktemp("examples")
    torch.manual_seed(0)
    hours = np.arange(400)
    when = np.datetime64("2024-01-01", "ms") + hours.astype("timedelta64[h]")
    frame = pl.DataFrame({"when": when, "load": np.sin(hours / 4) + 0.1 * np.cos(hours * hours)})
    frame.rename({"load": "co2"}).write_csv(folder / "co2.csv")
    frame = frame.with_columns(machine=pl.lit(hours // 10), fault=pl.lit(hours // 10 % 2))
    frame.write_csv(folder / "new.csv")
    data = tt.read(frame, target="load", time="when", horizon=4, context=24)
    model = tt.fit(data, network="gru", epochs=1, parameters=200)
    model.save(folder / "model")
    layer = torch.nn.LSTM(8, 8)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.LSTM(8, 8)

        def forward(self, x):
            return self.encoder(x)[0]

    class MyLayer(tt.GRU):
        pass

    x = torch.randn(60, 4, 8)
    net = Encoder()
    with tt.observe(net) as seen:
        net(x).sum().backward()
    with tt.observe(layer) as bare:
        layer(x)
    curve = tt.context_curve(
        lambda x: x.sum(-1), torch.randn(6, 9, 2), lambda y: y[:, -1].square(), steps=[1, 4]
    )
    common = {
        "torch": torch, "np": np, "throughtime": tt, **{n: getattr(tt, n) for n in tt.__all__},
        "frame": frame, "new_frame": frame, "data": data, "model": net, "x": x,
        "y": torch.zeros(60, 4, 8), "seen": {**dict(seen.items()), "l0": bare["l0"]},
        "layer": layer, "curve": curve, "stream": list(torch.randn(3, 4, 8)), "MyLayer": MyLayer,
        "MinGRU": MyLayer, "criterion": torch.nn.MSELoss(), "target": torch.zeros(60, 8),
        "SummaryWriter": lambda _: Writer(), "batches": [(x, None)],
        "min_gru_step": min_gru_step, "trained": model,
        "library": type("library", (), {"Model": staticmethod(lambda *_: Encoder())}),
        "small": {"epochs": 1, "parameters": 200},
    }  # fmt: skip
    return folder, common


def example_of(thing):
    text = inspect.getdoc(thing) or ""
    return "".join(e.source for e in doctest.DocTestParser().get_examples(text))


THINGS = [(n, getattr(tt, n)) for n in [*FUNCTIONS, *CLASSES]]
THINGS += [(f"{home.__name__}.{name}", getattr(home, name)) for home, name in METHODS]


@pytest.mark.parametrize(("name", "thing"), THINGS, ids=[n for n, _ in THINGS])
def test_its_example_runs(name, thing, objects, monkeypatch):
    folder, common = objects
    monkeypatch.chdir(folder)
    code = example_of(thing)
    assert code, f"{name} has no example"
    # what an example leaves to its default takes minutes
    small = functools.partial(tt.compare, trials=1, epochs=1, parameters=200, jobs=1)
    here = {**common, "compare": small}
    if name.startswith("Model"):
        here["model"] = common["trained"]
    if "result." in code:
        here["result"] = small(common["data"], networks=["gru"], seeds=1)
    if name == "lightning_callback":
        pytest.importorskip("pytorch_lightning")
        from pytorch_lightning import Trainer

        here["Trainer"] = lambda callbacks: Trainer(
            callbacks=callbacks, logger=False, enable_checkpointing=False, accelerator="cpu"
        )
    try:
        exec(compile(code, name, "exec"), here)
    finally:
        for kind in catalogue.registered():
            catalogue.forget(kind.name)
        for output in outputs.registered_outputs():
            outputs.forget_output(output.name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_and_returns(name):
    function = getattr(tt, name)
    text = inspect.getdoc(function) or ""
    given = inspect.signature(function.__wrapped__ if name in ("read",) else function).parameters
    assert not given or "\nArgs:\n" in text
    own = [p for p in given if p not in ("options", "training")]
    for parameter in own:
        assert f"{parameter}: " in text or f"*{parameter}: " in text, parameter
    assert (
        "\nReturns:\n" in text
        or "\nYields:\n" in text
        or name in ("forced_path", "patched", "load")
    )


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_help_explains_every_option_that_torch_lacks(name):
    text = inspect.getdoc(getattr(tt, name)) or ""
    for option in BEYOND_TORCH:
        assert f"{option}: " in text, option
    for word in ("eval", "training", "Krueger", "Gal and Ghahramani", "Ba et al.", "Raises:"):
        assert word in text

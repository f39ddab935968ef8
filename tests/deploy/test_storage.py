"""Tests of model folders: bitwise equal after loading; invalid folders raise clear errors."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from helpers import assert_same
from throughtime.api import read
from throughtime.catalogue import FORECASTER, is_trivial, names
from throughtime.data_options import DataOptions
from throughtime.deploy.storage import load, save
from throughtime.errors import InputError
from throughtime.problems.forecasting.networks import ModelConfig, build
from throughtime.problems.registry import experiment_of
from throughtime.specs import DataSpec

OPTIONS = DataOptions(target=("y",), inputs=("x",), time="t")
SPEC = DataSpec(OPTIONS, ("date", 7, "microsecond"))


def model_of(kind="gru", **options):
    torch.manual_seed(0)
    return build(ModelConfig(kind, 10, 3, columns=2, season=4, hidden_size=5, **options))


def test_simple_predictions_of_texts_come_back_whatever_the_number_of_words(tmp_path):
    texts = [f"word{k} word{k + 1} word{k + 2}" for k in range(60)]
    data = read(texts, [k % 2 for k in range(60)], tokens="words", progress=False)
    experiment = experiment_of(data.problem)
    x, lengths, _ = data.problem.batch(data.problem.test)
    for kind, model in experiment.simple_models.items():
        experiment.save(model, tmp_path / kind, "")
        loaded, _ = load(tmp_path / kind)
        assert torch.equal(loaded.answer(x, lengths), model.answer(x, lengths))


@pytest.fixture
def folder(tmp_path):
    save(model_of(), tmp_path / "model", SPEC, "# card\n")
    return tmp_path / "model"


@pytest.mark.parametrize("kind", names(FORECASTER))
def test_a_model_comes_back_to_the_bit(tmp_path, kind):
    model = model_of(kind)
    if not is_trivial(kind):
        model.normalizer.fit(torch.randn(20, 2, dtype=torch.float64))
    save(model, tmp_path / "model", SPEC, "# card\n")
    loaded, spec = load(tmp_path / "model")
    window = torch.randn(4, 10, 2, dtype=torch.float64)
    assert torch.equal(loaded(window), model(window))
    assert loaded.config == model.config
    assert spec == SPEC
    assert not loaded.training
    assert (tmp_path / "model" / "README.md").read_text() == "# card\n"


def edit(folder, **changes):
    described = json.loads((folder / "config.json").read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = described
        for name in parents:
            part = part[name]
        part[last] = value
    (folder / "config.json").write_text(json.dumps(described))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


BAD = {
    "no folder": (shutil.rmtree, "no model here"),
    "no config": (lambda f: (f / "config.json").unlink(), "no model here"),
    "no tensors": (lambda f: (f / "model.safetensors").unlink(), "no such file"),
    "config cut": (
        lambda f: (f / "config.json").write_bytes((f / "config.json").read_bytes()[:-20]),
        "not JSON, or truncated",
    ),
    "config binary": (lambda f: (f / "config.json").write_bytes(b"\x80\x04\x95"), "not JSON"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "format None, expected 3"),
    "config deep": (lambda f: (f / "config.json").write_text("[" * 10**5), "not JSON"),
    "later format": (lambda f: edit(f, format=4), "format 4, expected 3"),
    "unknown kind": (lambda f: edit(f, model__kind="os.system"), "kind is one of"),
    "unknown field": (lambda f: edit(f, model__code="print(1)"), "unknown fields: code"),
    "text for a number": (lambda f: edit(f, model__context="10"), "model.context is '10'"),
    "no data": (lambda f: edit(f, data=None), "data is NoneType"),
    "other size": (lambda f: edit(f, model__hidden_size=6), "belong to different models"),
    "absurd size": (lambda f: edit(f, model__hidden_size=10**6), "hidden_size is 1000000, more"),
    "overflowing size": (
        lambda f: edit(f, model__hidden_size=10**30),
        r"not a model's configuration \(hidden_size is 10+, more than model.safetensors can hold",
    ),
    "a float for a size": (
        lambda f: edit(f, model__hidden_size=1e30),
        r"model.hidden_size is 1e\+30, expected int",
    ),
    "endless layers": (lambda f: edit(f, model__num_layers=10**8), "num_layers is 100000000, more"),
    "endless horizon": (lambda f: edit(f, model__horizon=10**12), "horizon is 10+, more than"),
    "a wide horizon": (
        lambda f: edit(f, model__horizon=10**6, model__columns=10**4),
        "1000000 steps of 10000 columns are too many",
    ),
    "endless season": (lambda f: edit(f, model__season=10**30), "season is 10+, more than"),
    "a column more": (
        lambda f: edit(f, data__options__inputs=["x", "z"]),
        "data has 1 targets among 3 columns, the model 1 among 2",
    ),
    "a target more": (
        lambda f: edit(f, data__options__target=["y", "x"], data__options__inputs=[]),
        "data has 2 targets among 2 columns, the model 1 among 2",
    ),
    "a column twice": (
        lambda f: edit(f, data__options__inputs=["y"]),
        "duplicate or empty column names",
    ),
    "a nameless column": (
        lambda f: edit(f, data__options__inputs=[""]),
        "duplicate or empty column names",
    ),
    "no columns": (
        lambda f: edit(f, data__options__target=[], data__options__inputs=[]),
        "has 0 targets among 0",
    ),
    "the path of a table": (
        lambda f: edit(f, data__options__static="/etc/passwd"),
        "data.options has missing or unknown fields: static",
    ),
    "the path of a tokenizer": (
        lambda f: edit(f, data__options__tokens="/tmp/tokenizer.json"),
        "tokens must be one of bytes, characters, words, tokenizer",
    ),
    "columns left to the reader": (
        lambda f: edit(f, data__options__inputs=None),
        "target, inputs and time must be set",
    ),
    "a gap without unit": (lambda f: edit(f, data__options__gaps=True), "gap_unit must be set if"),
    "a negative rate": (lambda f: edit(f, data__options__rate=-1), "rate must be positive"),
    "time as input": (lambda f: edit(f, data__options__time="x"), "time or group and values"),
    "negative size": (lambda f: edit(f, model__hidden_size=-1), "must be 1 or more"),
    "other kind": (lambda f: edit(f, model__kind="lstm"), "belong to different models"),
    "tensors cut": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-4]
        ),
        "not a safetensors file, or truncated",
    ),
    "tensors a pickle": (
        lambda f: (f / "model.safetensors").write_bytes(pickle.dumps({"a": 1})),
        "not a safetensors file, or truncated",
    ),
    "a tensor missing": (
        lambda f: edit_tensors(f, lambda t: t.pop("head.bias")),
        r"'head.bias' is missing, expected \(\(3,\), torch.float32\)",
    ),
    "a tensor more": (
        lambda f: edit_tensors(f, lambda t: t.update(more=torch.zeros(1))),
        "'more' is .* expected none",
    ),
    "another dtype": (
        lambda f: edit_tensors(f, lambda t: t.update({"head.bias": t["head.bias"].double()})),
        "expected .*float32",
    ),
    "NaN": (
        lambda f: edit_tensors(f, lambda t: t["head.bias"].fill_(torch.nan)),
        "'head.bias' is not finite",
    ),
}


@pytest.mark.parametrize(("harm", "text"), BAD.values(), ids=BAD.keys())
def test_bad_folders_get_one_line(folder, harm, text):
    harm(folder)
    with pytest.raises(InputError, match=text) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@settings(max_examples=60)
@given(data=st.data())
def test_a_flipped_or_cut_file_is_refused_or_a_model(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    save(model_of(), folder, SPEC, "")
    path = folder / data.draw(st.sampled_from(["config.json", "model.safetensors"]))
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        raw = raw[:at]
    path.write_bytes(raw)
    try:
        loaded, _ = load(folder)
    except InputError:
        return
    assert loaded(torch.zeros(1, loaded.config.context, 2, dtype=torch.float64)).ndim == 3


def test_only_a_model_is_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for name, text in (
        ("mine", "holds other files"),
        ("file", "is a file"),
        ("file/m", "is not a folder"),
    ):
        with pytest.raises(InputError, match=text):
            save(model_of(), tmp_path / name, SPEC, "")
    with pytest.raises(InputError, match="not a name"):
        save(model_of(), Path(), SPEC, "")
    assert (tmp_path / "mine" / "precious.txt").read_text() == "x"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "mine"]


def test_saving_over_a_model_replaces_it_whole(folder):
    other = model_of("lstm")
    save(other, folder, SPEC, "# other\n")
    loaded, _ = load(folder)
    assert_same(loaded.state_dict(), other.state_dict())


@pytest.mark.parametrize("kind", [*filter(is_trivial, names(FORECASTER))])
@pytest.mark.parametrize("name", ["horizon", "context", "season"])
@pytest.mark.parametrize("size", [10**9, 2**63, 10**30])
def test_models_without_tensors_take_no_memory_either(tmp_path, kind, name, size):
    """Such files have a few bytes but declare huge sizes."""
    save(model_of(kind), tmp_path / "model", SPEC, "")
    edit(tmp_path / "model", **{f"model__{name}": size})
    with pytest.raises(InputError, match=f"{name} is {size}, more than 1,000,000"):
        load(tmp_path / "model")

"""Choices about a network: given ones win, and every option reaches the network."""

import json

import numpy as np
import pytest

import throughtime as tt
from helpers import throughtime
from throughtime.errors import InputError
from throughtime.hyperparameters import Hyperparameters


def test_what_is_given_stands_over_the_rest():
    usual = Hyperparameters(learning_rate=0.003, layers=1, dropout=0.0, init="torch")
    given = Hyperparameters(dropout=0.2, layers=2)
    assert given.over(usual) == Hyperparameters(
        learning_rate=0.003, layers=2, dropout=0.2, init="torch"
    )
    assert given.described() == "layers 2, dropout 0.2"
    assert Hyperparameters(bidirectional=True).described() == "bidirectional true"


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "x.csv"
    rows = [f"s{i},{t},{(i * 7 + t) % 5},{'ab'[i % 2]}" for i in range(60) for t in range(6)]
    path.write_text("id,t,v,y\n" + "\n".join(rows) + "\n")
    return path


OPTIONS = {
    "--hidden-size": ("9", "hidden_size", 9),
    "--layers": ("2", "num_layers", 2),
    "--dropout": ("0.2", "dropout", 0.2),
    "--recurrent-dropout": ("0.1", "recurrent_dropout", 0.1),
    "--init": ("forget-bias:2", "init", "forget-bias:2"),
    "--pooling": ("mean", "pooling", "mean"),
    "--embedding": ("3", "embedding", 3),
}
COMMON = ["--label", "y", "--group", "id", "--time", "t", "--categorical", "v", "--epochs", "1"]


def config_of(folder):
    return json.loads((folder / "config.json").read_text())["model"]


def test_every_option_of_fit_reaches_the_model(labels, tmp_path):
    given = [part for option, (text, _, _) in OPTIONS.items() for part in (option, text)]
    throughtime("fit", labels, *COMMON, *given, "--bidirectional", "-o", tmp_path / "m")
    config = config_of(tmp_path / "m")
    for _, field, value in OPTIONS.values():
        assert config[field] == value, field
    assert config["bidirectional"] is True
    predicted = throughtime("predict", tmp_path / "m", labels).stdout
    assert predicted.count("\n") == 61


def test_every_option_of_compare_reaches_every_trial(labels, tmp_path):
    given = [part for option, (text, _, _) in OPTIONS.items() for part in (option, text)]
    given += ["--learning-rate", "0.02", "--batch-size", "8", "--clip", "value:1"]
    given += ["--optimizer", "adamw", "--weight-decay", "0.1", "--patience", "50"]
    small = ["--networks", "gru,dense", "--seeds", "1", "--trials", "3", "--jobs", "1"]
    throughtime("compare", labels, *COMMON, *given, *small, "--out", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "comparison.json").read_text())
    settings = record["settings"]
    assert (settings["clip"], settings["optimizer"], settings["weight_decay"]) == (
        "value:1",
        "adamw",
        0.1,
    )
    assert settings["patience"] == 50
    folders = list(tmp_path.glob("run/trials/gru-*"))
    assert folders
    for folder in folders:
        config = config_of(folder / "model")
        for _, field, value in OPTIONS.values():
            assert config[field] == value, field
    for trial in record["trials"]:
        if trial["kind"] == "gru":
            assert (trial["chosen"]["learning_rate"], trial["chosen"]["batch_size"]) == (0.02, 8)
    dense = config_of(tmp_path / "run" / "trials" / "dense-0-seed0" / "model")
    assert (dense["hidden_size"], dense["dropout"], dense["embedding"]) == (9, 0.2, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"init": "chrono"}, "^init: chrono needs a number"),
        ({"init": "chrono:9", "network": "rnn"}, "no gate whose bias controls its memory"),
        ({"dropout": 1.0}, r"^dropout: 1.0; give 0 or more, below 1"),
        ({"layers": 0}, "^layers: 0; give a whole number"),
        ({"pooling": "max"}, "^pooling: 'max'"),
        ({"learning_rate": 0.0}, "^learning_rate: 0.0; give a number above 0"),
        ({"normalize": "window"}, "^normalize: 'window'"),
        ({"steps": 5, "epochs": 5}, "^steps and epochs: both limit the training"),
    ],
)
def test_what_cannot_be_is_refused_by_name(labels, options, words):
    data = tt.read(labels, label="y", group="id", time="t", categorical=["v"])
    with pytest.raises(InputError, match=words):
        tt.fit(data, **{"epochs": 1, **options})


def test_the_advice_of_a_training_that_had_not_converged_works(tmp_path):
    rng = np.random.default_rng(0)
    t = np.arange(700)
    wave = np.sin(t / 4) + np.sin(t / 9) + 0.1 * rng.normal(size=700)
    (tmp_path / "x.csv").write_text("y\n" + "\n".join(f"{v:.4f}" for v in wave) + "\n")
    command = ["fit", tmp_path / "x.csv", "--time", "none", "--parameters", "600", "--force"]
    command += ["-o", tmp_path / "m", "--learning-rate", "0.01"]
    for few, advice, more in (
        (("--steps", "30"), "; raise --steps and --patience.", ()),
        (("--epochs", "2"), "; raise --epochs.", ("--epochs", "150")),
    ):
        told = throughtime(*command, *few).stdout
        assert "Not trained enough: " in told and advice in told
        assert "Not trained enough" not in throughtime(*command, *more).stdout


def test_a_forecast_is_not_read_backwards_and_a_text_not_either(tmp_path):
    (tmp_path / "x.txt").write_text("to be or not to be " * 200)
    text = tt.read(tmp_path / "x.txt")
    with pytest.raises(InputError, match="would read the token that is to be predicted"):
        tt.fit(text, bidirectional=True, epochs=1)
    series = tt.read(np.arange(200.0) % 7, horizon=2)
    for option in ({"bidirectional": True}, {"pooling": "mean"}):
        with pytest.raises(InputError, match="does not apply to this problem"):
            tt.fit(series, epochs=1, **option)

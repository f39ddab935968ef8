"""A saved network and new sequences: every answer beside what it answers to."""

import numpy as np
import polars as pl
import pytest
import torch

from throughtime.data.opening import open_problem
from throughtime.data_options import DataOptions
from throughtime.deploy.prediction import use
from throughtime.deploy.storage import load
from throughtime.errors import InputError
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.language.prediction import sample
from throughtime.problems.registry import experiment_of


def saved(path, asked, folder, kind="gru", seed=0):
    """A network as it was built, saved, and read back."""
    problem = open_problem(path, DataOptions(**asked))
    experiment = experiment_of(problem)
    torch.manual_seed(seed)
    config = experiment.config(kind, Hyperparameters(normalize=experiment.normalizations[0]), 600)
    experiment.save(experiment.build(config), folder / "model", "")
    return (*load(folder / "model"), problem)


def ragged(path, name="x.npz", every=False):
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 40, 50)
    x = rng.normal(size=(lengths.sum(), 2))
    y = np.repeat(np.arange(50) % 3, lengths) if every else np.arange(50) % 3
    np.savez(path / name, x=x, y=y, lengths=lengths)
    return path / name, x, lengths


@pytest.mark.parametrize("every", [False, True])
def test_answers_lie_beside_their_sequences(tmp_path, every):
    path, x, lengths = ragged(tmp_path, every=every)
    model, spec, _ = saved(path, {}, tmp_path)
    rows = use(model, spec, path).rows
    begins = np.cumsum([0, *lengths])
    for k in (0, 7, 49):
        steps = torch.from_numpy(x[begins[k] : begins[k + 1]]).unsqueeze(1)
        with torch.no_grad():
            shares = model.answer(steps, torch.tensor([len(steps)])).double().softmax(-1)
        mine = rows.filter(pl.col("sequence") == str(k + 1))
        if every:
            assert mine["step"].to_list() == list(range(1, len(steps) + 1))
            shares = shares[:, 0]
        assert mine["label"].to_list() == [spec.classes[c] for c in shares.argmax(-1).tolist()]
        expected = shares.max(-1).values.numpy()
        np.testing.assert_allclose(mine["probability"].to_numpy(), expected, atol=1e-5)


def test_a_table_is_answered_row_by_row(tmp_path):
    lines = [f"{w},{t},{w * t % 7},{(w + t) % 2}" for w in range(30) for t in range(5)]
    head = "who,t,x,y\n"
    (tmp_path / "x.csv").write_text(head + "\n".join(lines) + "\n")
    asked = {"label": "y", "group": "who", "time": "none", "inputs": ("x",)}
    model, spec, _ = saved(tmp_path / "x.csv", asked, tmp_path)
    shuffled = [lines[k] for k in np.random.default_rng(0).permutation(150)]
    (tmp_path / "new.csv").write_text(head + "\n".join(shuffled) + "\n")
    rows = use(model, spec, tmp_path / "new.csv").rows
    assert sorted(rows["row"].to_list()) == list(range(2, 152))
    for row, who in zip(rows["row"].to_list(), rows["who"].to_list(), strict=True):
        assert shuffled[row - 2].split(",")[0] == who
    assert rows.columns == ["who", "row", "y", "probability"]


def test_texts_are_answered_by_the_models_own_vocabulary(tmp_path):
    rows = "".join(f"{'good' if k % 2 else 'bad'} {k % 5},{k % 2}\n" for k in range(60))
    (tmp_path / "x.csv").write_text("body,kind\n" + rows)
    asked = {"label": "kind", "text": "body", "tokens": "words"}
    model, spec, _ = saved(tmp_path / "x.csv", asked, tmp_path)
    (tmp_path / "new.csv").write_text("body\nstrange words\ngood 1\n")
    found = use(model, spec, tmp_path / "new.csv").rows
    assert found["row"].to_list() == ["2", "3"]
    codes = [spec.categories[0].index(w) for w in ("good", "1")]
    with torch.no_grad():
        x = torch.tensor(codes).view(2, 1, 1)
        share = model.answer(x, torch.tensor([2])).double().softmax(-1).max()
    assert found["probability"][1] == pytest.approx(float(share), abs=1e-5)


def test_recordings_are_answered_by_name(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    for k in range(12):
        folder = tmp_path / "r" / ("low" if k % 2 else "high")
        folder.mkdir(parents=True, exist_ok=True)
        wave = np.sin(np.arange(900 + 50 * k) * (0.1 if k % 2 else 1.0))
        soundfile.write(folder / f"{k}.wav", wave, 8000)
    model, spec, _ = saved(tmp_path / "r", {}, tmp_path)
    rows = use(model, spec, tmp_path / "r").rows
    assert len(rows) == 12 and rows["file"][0].endswith("high/0.wav")
    assert set(rows["folder"].to_list()) <= {"low", "high"}
    alone = use(model, spec, tmp_path / "r" / "low" / "3.wav").rows
    same = rows.filter(pl.col("file").str.ends_with("low/3.wav"))
    assert alone["probability"][0] == pytest.approx(same["probability"][0], abs=1e-5)


def test_what_does_not_fit_is_told(tmp_path):
    path, _, _ = ragged(tmp_path)
    model, spec, _ = saved(path, {}, tmp_path)
    np.savez(tmp_path / "other.npz", x=np.zeros((3, 4, 5)))
    with pytest.raises(InputError, match=r"5 columns .*, but the model has 2"):
        use(model, spec, tmp_path / "other.npz")
    holes = np.zeros((3, 4, 2))
    holes[1, 2, 0] = np.nan
    np.savez(tmp_path / "holes.npz", x=holes)
    with pytest.raises(InputError, match="line 2, column 1, step 3: a missing value"):
        use(model, spec, tmp_path / "holes.npz")
    assert len(use(model, spec, tmp_path / "holes.npz", missing="interpolate").rows) == 3


def letters(tmp_path, kind="gru"):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "x.txt").write_text("abc " * 800)
    return saved(tmp_path / "x.txt", {}, tmp_path, kind)


def test_the_costs_of_a_text_are_those_of_the_model(tmp_path):
    model, spec, _ = letters(tmp_path)
    (tmp_path / "new.txt").write_text("cab?")
    found = use(model, spec, tmp_path / "new.txt")
    assert found.rows["token"].to_list() == ["a", "b", "\ufffd"]
    assert found.rows["step"].to_list() == [2, 3, 4]
    codes = torch.tensor([spec.vocabulary.index(c) for c in "cab"] + [0])
    with torch.no_grad():
        output, _ = model(codes[:-1].view(-1, 1, 1))
    bits = -output[:, 0].double().log_softmax(-1)[torch.arange(3), codes[1:]] / np.log(2)
    np.testing.assert_allclose(found.rows["bits"].to_numpy(), bits.numpy(), atol=1e-3)


def test_a_text_is_gone_on_with(tmp_path):
    """A table of what follows what can be said by heart."""
    model, spec, _ = letters(tmp_path, "bigram")
    said = "".join(sample(model, spec, "ab", length=9, temperature=0))
    assert said == "c abc abc"
    one, same, other = (
        "".join(sample(model, spec, "a", length=200, temperature=3.0, seed=seed))
        for seed in (1, 1, 2)
    )
    assert one == same != other and len(one) == 200
    few = "".join(sample(model, spec, "a", length=200, temperature=50.0, top_k=1))
    assert few == ("bc a" * 50)
    pieces = sample(model, spec, "a", length=5)
    assert len(next(pieces)) == 1  # as it is drawn


@pytest.mark.parametrize("prompt", ["", "???"])
def test_prompts_that_say_nothing_are_told(tmp_path, prompt):
    model, spec, _ = letters(tmp_path)
    with pytest.raises(InputError, match="--prompt"):
        sample(model, spec, prompt, length=3)


def test_what_is_left_out_leaves_the_others_their_names(tmp_path):
    path, x, lengths = ragged(tmp_path)
    model, spec, _ = saved(path, {}, tmp_path)
    x[lengths[0]] = np.nan
    np.savez(tmp_path / "new.npz", x=x, lengths=lengths)
    found = use(model, spec, tmp_path / "new.npz", missing="drop")
    assert found.rows["sequence"].to_list() == [str(k) for k in range(1, 51) if k != 2]
    assert any("1 sequences with missing values are left out" in c.reason for c in found.choices)
    (tmp_path / "t.csv").write_text(
        "body,kind\n" + "".join(f"{'' if k == 1 else f'w{k}'},{k % 2}\n" for k in range(40))
    )
    asked = {"label": "kind", "text": "body"}
    model, spec, _ = saved(tmp_path / "t.csv", asked, tmp_path / "two")
    rows = use(model, spec, tmp_path / "t.csv").rows["row"].to_list()
    assert rows == [str(k) for k in range(2, 42) if k != 3]


@pytest.mark.parametrize("kind", ["majority", "dense", "window-dense", "rnn", "lstm"])
def test_every_kind_is_saved_and_answers(tmp_path, kind):
    path, _, _ = ragged(tmp_path)
    model, spec, _ = saved(path, {}, tmp_path, kind)
    assert len(use(model, spec, path).rows) == 50


def test_a_mean_and_a_unigram_are_saved_too(tmp_path):
    path, x, lengths = ragged(tmp_path)
    np.savez(path, x=x, lengths=lengths, y=np.arange(50) + 0.5)
    model, spec, _ = saved(path, {}, tmp_path, "average")
    assert len(set(use(model, spec, path).rows["label"].to_list())) == 1
    model, spec, _ = letters(tmp_path / "two", "unigram")
    assert model.config.kind == "unigram"

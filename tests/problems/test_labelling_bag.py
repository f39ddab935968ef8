"""A bag of values: its features by hand, its fit, and data whose order matters or not."""

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from throughtime.problems.labelling.bag import Bag
from throughtime.problems.labelling.networks import SequenceConfig
from throughtime.problems.registry import experiment_of

CONFIG = SequenceConfig(
    "bag", columns=2, outputs=2, classes=True, every_step=False, categories=(3,)
)


def test_features_by_hand():
    x = torch.tensor([[1.0, 0], [3.0, 2], [torch.nan, 2], [9.0, 1]]).unsqueeze(1)
    found = Bag(CONFIG).summary(x, torch.tensor([3]))  # the fourth step is padding
    expected = [2.0, 1.0, 1.0, 3.0, 1 / 3, 0.0, 2 / 3]  # mean, deviation, least, most; shares
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64))


def test_order_does_not_matter_to_it():
    model = Bag(CONFIG)
    model.weight.normal_()
    x = torch.cat([torch.randn(7, 4, 1), torch.randint(0, 3, (7, 4, 1)).float()], dim=-1)
    shuffled = x[torch.randperm(7)]
    torch.testing.assert_close(model.answer(x), model.answer(shuffled))
    steps, _ = model(x)
    torch.testing.assert_close(steps[-1], model.answer(x))


def data_of(rule, count=300, seed=0, **options):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 20, 1))
    return tt.read(x, answers=rule(x[..., 0]), **options)


def test_it_finds_what_does_not_depend_on_order():
    experiment = experiment_of(data_of(lambda x: (x.max(axis=1) > 1.8).astype(int)).problem)
    found = {k: experiment.measured(m).test_error for k, m in experiment.simple_models.items()}
    assert found["bag"] < 0.05 and found["majority"] > 0.3
    early = experiment_of(data_of(lambda x: (x[:, 0] > 0).astype(int)).problem)
    assert early.measured(early.simple_models["bag"]).test_error > 0.25


def test_numbers_are_fitted_like_by_numpy():
    experiment = experiment_of(data_of(lambda x: 3 * x.mean(axis=1) + 7).problem)
    assert experiment.measured(experiment.simple_models["bag"]).test_error < 0.02


def test_it_is_not_for_steps():
    x = np.random.default_rng(0).normal(size=(60, 7, 1))
    y = (x[..., 0] > 0).astype(int)
    assert "bag" not in experiment_of(tt.read(x, answers=y).problem).trivial_kinds()
    with pytest.raises(ValueError, match="bag is for one label or number of a whole sequence"):
        Bag(SequenceConfig("bag", 1, 2, classes=True, every_step=True))


def test_a_bag_of_words_is_recommended_saved_and_used(tmp_path):
    rng = np.random.default_rng(0)
    words = [["the", "a", "cat", "dog", mood] for mood in ("good", "bad")]
    moods = rng.integers(0, 2, 300)
    texts = [" ".join(rng.permutation(words[m])) for m in moods]
    frame = pl.DataFrame({"text": texts, "mood": np.array(["up", "down"])[moods]})
    data = tt.read(frame, text="text", label="mood", tokens="words")
    options = {"networks": ["dense"], "seeds": 1, "trials": 1, "steps": 60, "jobs": 1}
    found = tt.compare(data, **options, folder=tmp_path / "run")
    assert found.verdict.recommended == "bag"
    model = tt.load(tmp_path / "run" / "model")
    assert model.predict(["a dog the good cat", "bad the a dog cat"])["mood"].to_list() == [
        "up",
        "down",
    ]

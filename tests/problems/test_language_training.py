"""The next token as a task: its cost by hand, bigrams at their bound, a memory below it."""

import math

import numpy as np
import pytest
import torch

from throughtime.data.text.documents import text_problem
from throughtime.data_options import DataOptions
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.language.training import NextToken, lanes_of, token_nats
from throughtime.problems.registry import experiment_of
from throughtime.training.loop import TrainingSettings, train

WORDS = ("aba ", "abc ", "cab ")


def write(path, count=1500, seed=0):
    rng = np.random.default_rng(seed)
    (path / "x.txt").write_text("".join(rng.choice(WORDS, count)))
    return text_problem(path / "x.txt", DataOptions(context=16))


def built(problem, kind="gru", parameters=800, seed=0):
    torch.manual_seed(seed)
    experiment = experiment_of(problem)
    return experiment.build(experiment.config(kind, Hyperparameters(normalize="none"), parameters))


def test_costs_are_of_each_token_in_order_and_none_of_a_first(tmp_path):
    problem = write(tmp_path)
    model = built(problem)
    text = problem.training[0]
    documents = [text[:700], text[100:102], text[5:400], text[:3500]]
    found = token_nats(model, documents)
    expected = []
    for document in documents:
        codes = torch.from_numpy(document.astype(np.int64))
        with torch.no_grad():
            output, _ = model(codes[:-1, None, None])
        expected.append(
            torch.nn.functional.cross_entropy(output[:, 0].double(), codes[1:], reduction="none")
        )
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_measures_are_bits_and_perplexity(tmp_path):
    problem = write(tmp_path)
    model = built(problem)
    task = NextToken(model, problem, lanes=1)
    measures = task.measure()
    nats = float(token_nats(model, problem.validation).mean())
    assert measures["bits"] == pytest.approx(nats / math.log(2), rel=1e-2)
    assert measures["perplexity"] == pytest.approx(2 ** measures["bits"])
    assert next(iter(NextToken(model, problem, lanes=1, decided_by="perplexity").measure())) == (
        "perplexity"
    )


def test_trivial_answers_are_at_their_bounds(tmp_path):
    """Unigram: the entropy of the letters; bigram: of a letter after another."""
    problem = write(tmp_path, 20_000)
    experiment = experiment_of(problem)
    text = problem.test[0]
    pairs = np.bincount(text[:-1] * 10 + text[1:], minlength=100).reshape(10, 10) / (len(text) - 1)
    letters = pairs.sum(axis=1)

    def entropy(p):
        p = p[p > 0]
        return -float((p * np.log2(p)).sum())

    unigram = experiment.measured(built(problem, "unigram")).test_error
    bigram = experiment.measured(built(problem, "bigram")).test_error
    assert unigram == pytest.approx(entropy(letters), rel=0.01)
    assert bigram == pytest.approx(entropy(pairs) - entropy(letters), rel=0.01)


def test_a_memory_goes_below_the_bigram(tmp_path):
    """What follows "ab" depends on the letter before; log2(3) bits for four letters is the best."""
    problem = write(tmp_path, 4000)
    model = built(problem)
    task = NextToken(model, problem, lanes=16)
    train(task, TrainingSettings(epochs=25, patience=25, learning_rate=0.02))
    experiment = experiment_of(problem)
    found = experiment.measured(model)
    assert math.log2(3) / 4 < found.test_error < 1.08 * math.log2(3) / 4
    assert found.test_error < 0.8 * experiment.measured(built(problem, "bigram")).test_error
    assert found.measures["perplexity"] == pytest.approx(2 ** found.measures["bits per token"])
    context = experiment.context(model)
    assert context.error[-1] < context.error[0] and context.horizon <= 8


def test_bits_are_of_characters_but_for_words(tmp_path):
    (tmp_path / "x.txt").write_text("ein wort und noch eins " * 400)
    for tokens in ("characters", "words", "bytes"):
        problem = text_problem(tmp_path / "x.txt", DataOptions(tokens=tokens))
        experiment = experiment_of(problem)
        found = experiment.measured(built(problem, "unigram"))
        total = found.measures["bits per token"] * sum(map(len, problem.test))
        of = problem.test_characters if tokens != "words" else sum(map(len, problem.test))
        assert found.test_error == pytest.approx(total / of)
        # unknown words cost too little to be spread over all their letters
        assert experiment.unit == ("bits per word" if tokens == "words" else "bits per character")


def test_lanes_are_no_shorter_than_two_pieces():
    from throughtime.training.processes import Team

    documents = [np.zeros(1001, dtype=np.int32)]
    assert len(lanes_of(documents, 64, 100, Team()).lanes) == 5
    assert len(lanes_of(documents, 3, 100, Team()).lanes) == 3
    assert lanes_of(documents, 64, 10, Team(1, 2)).lanes == list(range(1, 50, 2))

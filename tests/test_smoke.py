"""The tour: what throughtime is for, in the order one would try it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import throughtime
from throughtime.catalogue import forget, registered
from throughtime.comparison.trials import compare
from throughtime.data.sequences.stream_batches import Streams
from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data_options import DataOptions
from throughtime.deploy.storage import load
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.forecasting.prediction import predict
from throughtime.problems.registry import experiment_of
from throughtime.report.page import write_page
from throughtime.training.loop import TrainingSettings, train


def test_swap_a_layer_of_torch_and_get_the_same_numbers():
    theirs = torch.nn.LSTM(8, 32, num_layers=2, batch_first=True)
    ours = throughtime.LSTM(8, 32, num_layers=2, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(16, 100, 8)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])


def test_stream_one_step_at_a_time():
    layer = throughtime.GRU(8, 32)
    x = torch.randn(100, 16, 8)
    state = None
    for x_t in x:
        output, state = layer.step(x_t, state)
    torch.testing.assert_close(output, layer(x)[0][-1])


def test_ask_which_path_computes_a_layer():
    path = throughtime.explain_path(throughtime.GRU(8, 32), torch.randn(100, 16, 8))
    assert path.name
    assert path.reason


def test_from_a_csv_to_a_verdict_a_report_and_forecasts(co2_cut, small_settings, tmp_path):
    columns = DataOptions(target=("co2",), time="date", missing="interpolate", horizon=4)
    problem = read_problem(co2_cut, columns)
    record = compare(experiment_of(problem), small_settings, tmp_path / "run")
    assert record.verdict.headline
    assert write_page(record).startswith("<!doctype html>")
    model, spec = load(tmp_path / "run" / "model")
    assert len(predict(model, spec, co2_cut).rows) == 4


def test_look_inside_and_ask_whether_it_is_healthy():
    model = torch.nn.LSTM(8, 16)
    with throughtime.observe(model) as seen:
        model(torch.randn(60, 4, 8))[0][-1].sum().backward()
    assert seen["l0"].gates["forget"].shape == seen["l0"].hidden_grad.shape == (60, 4, 16)
    assert throughtime.gradient_by_lag(seen["l0"]).norms.shape == (60,)
    assert throughtime.diagnose(model, torch.randn(60, 4, 8)).verdict == "vanishing"
    throughtime.initialize(model, "chrono:60")
    assert throughtime.diagnose(model, torch.randn(60, 4, 8)).verdict == "healthy"


class Streamed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = throughtime.GRU(3, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x, state=None, *, reset=None):
        output, state = self.body(x, state, reset=reset)
        return self.head(output), state


def names_of_training(problem):
    """What the reader of docs/training.md has: a task's parts; a model of streams and a file."""
    experiment = experiment_of(problem)
    parts = problem.parts
    np.save("series.npy", np.random.default_rng(0).normal(size=(20_000, 3)).astype("float32"))
    forecaster = {
        "model": experiment.build(
            experiment.config("gru", Hyperparameters(normalize="window"), 300)
        ),
        "training": parts.training,
        "validation": parts.validation,
        "scale": problem.error_scale(),
    }
    streamed = {
        "model": Streamed(),
        "held_out": Streams([torch.randn(200, 3)], lanes=2),
        "train": train,
        "TrainingSettings": TrainingSettings,
    }
    return [forecaster, streamed]


def names_of_looking(problem):
    """What the reader of docs/memory.md and docs/diagnosis.md has: a model, a batch, a loss."""
    model = nn.Sequential()
    model.encoder = throughtime.LSTM(3, 8)
    model.forward = lambda x: model.encoder(x)[0][-1]
    x, y = torch.randn(20, 4, 3), torch.randn(4, 8)
    return [{"model": model, "x": x, "y": y, "criterion": nn.functional.mse_loss}]


ROOT = Path(__file__).parents[1]
PAGES = {  # page: number of its blocks, and what each assumes
    "README.md": (2, None),
    "docs/python.md": (6, None),
    "docs/training.md": (2, names_of_training),
    "docs/memory.md": (1, names_of_looking),
    "docs/diagnosis.md": (1, names_of_looking),
}
BLOCKS = [
    (page, number, block.split("```")[0])
    for page in PAGES
    for number, block in enumerate((ROOT / page).read_text().split("```python\n")[1:])
]


@pytest.mark.parametrize(("page", "number", "code"), BLOCKS, ids=[f"{p}-{n}" for p, n, _ in BLOCKS])
def test_the_python_of_the_documents_runs(page, number, code, problem, tmp_path, monkeypatch):
    if "pandas" in code:
        pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    names = PAGES[page][1]
    shared = (
        {"throughtime": throughtime, "np": np, "nn": nn} | names(problem)[number] if names else {}
    )
    try:
        exec(compile(code, page, "exec"), {"__name__": "document", **shared})
    finally:
        for kind in registered():
            forget(kind.name)


def test_the_documents_have_their_python():
    found = {str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
    for page in found:
        count = (ROOT / page).read_text().count("```python\n")
        assert count == PAGES.get(page, (0,))[0], page
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_tables_of_figures_are_those_of_the_benchmark_on_record():
    root = Path(__file__).parents[1]
    for page, words in (("README.md", []), ("docs/kernels.md", ["--roofline"])):
        command = [sys.executable, str(root / "benchmarks" / "table.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout in (root / page).read_text()

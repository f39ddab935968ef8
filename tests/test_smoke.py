"""The tour: what throughtime is for, in the order one would try it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import throughtime
from throughtime.comparison.trials import compare
from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data.tables.tables import Columns
from throughtime.deploy.storage import load
from throughtime.problems.forecasting.prediction import predict
from throughtime.problems.registry import experiment_of
from throughtime.report.page import write_page


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
    columns = Columns(targets=("co2",), time="date")
    problem = read_problem(co2_cut, columns, missing="interpolate", horizon=4)
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


ROOT = Path(__file__).parents[1]
BLOCKS = [
    (page, number, block.split("```")[0])
    for page in ("README.md", "docs/python.md")
    for number, block in enumerate((ROOT / page).read_text().split("```python\n")[1:])
]


@pytest.mark.parametrize(("page", "number", "code"), BLOCKS, ids=[f"{p}-{n}" for p, n, _ in BLOCKS])
def test_the_python_of_the_documents_runs(page, number, code, tmp_path, monkeypatch):
    if "pandas" in code:
        pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {"__name__": "document"})


def test_the_documents_have_their_python():
    assert [page for page, _, _ in BLOCKS].count("README.md") == 2
    assert [page for page, _, _ in BLOCKS].count("docs/python.md") == 6
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_tables_of_figures_are_those_of_the_benchmark_on_record():
    root = Path(__file__).parents[1]
    for page, words in (("README.md", []), ("docs/kernels.md", ["--roofline"])):
        command = [sys.executable, str(root / "benchmarks" / "table.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout in (root / page).read_text()

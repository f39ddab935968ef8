"""The Python functions: whatever data are given as, and cells, networks and errors of one's own."""

import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from helpers import throughtime
from throughtime import catalogue
from throughtime.errors import InputError
from throughtime.problems.forecasting.networks import Network
from throughtime.runs import ComparisonRecord, read_record

T = np.arange(300)
WAVE = np.sin(T / 5) + 0.1 * np.random.default_rng(0).normal(size=300)
FRAME = pl.DataFrame({"t": T, "y": WAVE})
HOW = {"target": "y", "time": "t", "horizon": 2, "context": 12}
SMALL = {"epochs": 2, "parameters": 200}


@pytest.fixture(autouse=True)
def only_the_projects_own():
    yield
    for kind in catalogue.registered():
        catalogue.forget(kind.name)


@pytest.fixture(scope="module")
def model():
    return tt.fit(tt.read(FRAME, **HOW), network="gru", **SMALL)


def written(path):
    FRAME.write_csv(path)
    return path


def test_a_file_its_bytes_and_its_frame_are_the_same_data(tmp_path, model):
    path = written(tmp_path / "wave.csv")
    pandas = pytest.importorskip("pandas")
    indexed = pandas.DataFrame({"y": WAVE}, index=pandas.Index(T, name="t"))
    sources = [path, str(path), path.read_bytes(), FRAME, FRAME.lazy(), indexed]
    found = [tt.read(source, **HOW) for source in sources]
    for data in found:
        assert (data.kind, data.record.rows, data.record.windows) == (
            "forecasting",
            300,
            found[0].record.windows,
        )
        assert {c.name: c.value for c in data.choices}["time"] == "t"
    errors = [tt.fit(data, network="gru", **SMALL).test_error for data in found]
    assert errors == [model.test_error] * len(found)
    assert found[3].record.fingerprint == tt.read(FRAME, **HOW).record.fingerprint
    assert found[3].record.fingerprint != tt.read(FRAME[:-1], **HOW).record.fingerprint


def test_forecasts_come_as_the_library_that_was_given_has_them(model):
    found = model.predict(FRAME)
    assert isinstance(found, pl.DataFrame)
    assert found.schema == {"t": pl.Int64, "step": pl.Int64, "y": pl.Float64}
    assert found["t"].to_list() == [300, 301]
    pandas = pytest.importorskip("pandas")
    times = pandas.date_range("2024-01-01", periods=300, freq="h", name="when")
    frame = pandas.DataFrame({"y": WAVE}, index=times)
    hourly = tt.fit(tt.read(frame, **HOW | {"time": "when"}), **SMALL)
    ahead = hourly.predict(frame)
    assert isinstance(ahead, pandas.DataFrame) and list(ahead.columns) == ["step", "y"]
    assert list(ahead.index) == list(pandas.date_range(times[-1], periods=3, freq="h")[1:])
    assert np.allclose(ahead["y"], found["y"])


def test_arrays_and_texts_with_answers_and_without():
    x = np.random.default_rng(0).normal(size=(90, 20, 2))
    y = (x[:, 0, 0] > 0).astype(int)
    whole = tt.read(x, y)
    assert (whole.kind, whole.record.series) == ("sequences", 90)
    answers = tt.fit(whole, **SMALL).predict(x[:3])
    assert answers.columns == ["sequence", "label", "probability"] and len(answers) == 3
    ragged = [s[: 5 + k % 9] for k, s in enumerate(x)]
    data = tt.read(ragged, y)
    assert data.record.rows == sum(map(len, ragged))
    assert len(tt.fit(data, **SMALL).predict(ragged[:2])) == 2
    each = tt.read(ragged, [(s[:, 0] > 0).astype(int) for s in ragged])
    assert each.kind == "steps"
    many = tt.read(x[:4].repeat(5, axis=1), target=["x1"], horizon=1, context=5)
    assert (many.kind, many.record.series, many.record.group) == ("forecasting", 4, "series")
    assert tt.read(torch.tensor(WAVE), horizon=1, context=5).record.targets == ("x1",)
    texts = tt.read(["good day", "bad day"] * 60, answers=["yes", "no"] * 60, tokens="words")
    assert texts.kind == "sequences"
    told = tt.fit(texts, epochs=1).predict(["good", "bad", "day"])
    assert set(told["label"]) <= {"yes", "no"} and len(told) == 3
    tokens = tt.read(["the cat sat on the mat. " * 40] * 3)
    assert tokens.kind == "tokens"
    assert tt.fit(tokens, epochs=1).predict(["the cat"])["token"].to_list() == list("he cat")


def test_a_saved_model_says_the_same_and_is_not_overwritten(tmp_path, model):
    place = model.save(tmp_path / "m")
    again = tt.load(place)
    assert (again.kind, again.spec, again.card) == ("gru", model.spec, model.card)
    assert again.predict(FRAME).equals(model.predict(FRAME))
    assert "GRU" in repr(again) and f"{model.test_error:.4g}" in repr(model)
    with pytest.raises(InputError, match=r"holds a model already; .*or replace it by force"):
        model.save(place)
    model.save(place, force=True)


class Bold(HTMLParser):
    text = ""

    def handle_data(self, data):
        self.text += data


def test_a_comparison_is_the_command_lines(tmp_path):
    path = written(tmp_path / "wave.csv")
    data = tt.read(path, **HOW)
    chosen = {"networks": ["gru", "dense"], "seeds": 2, "epochs": 2, "parameters": 200}
    result = tt.compare(data, **chosen, folder=tmp_path / "python")
    options = [f"--{n}={v}" for n, v in HOW.items()] + ["--networks=dense,gru", "--seeds=2"]
    throughtime(
        "compare", path, *options, "--epochs=2", "--parameters=200", "--out", tmp_path / "run"
    )
    throughtime("report", tmp_path / "python")  # its folder is like any run's
    one, other = (
        read_record(tmp_path / f / "comparison.json", ComparisonRecord).verdict
        for f in ("python", "run")
    )
    assert one.headline == other.headline == result.verdict.headline
    assert [c.error for c in one.candidates] == [c.error for c in other.candidates]
    table = result.table()
    assert table["network"].to_list() == [catalogue.label_of(c.kind) for c in one.candidates]
    page = result.report(tmp_path / "page.html")
    assert result.verdict.headline in repr(result)
    shown = Bold()
    shown.feed(result._repr_html_())
    assert result.verdict.headline in shown.text
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(InputError, match="report"):
        result.report(tmp_path / "python" / "comparison.json")
    assert tt.compare(data, **chosen, folder=tmp_path / "python").record == result.record
    assert result.model.kind == one.recommended


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: tt.read(FRAME, target="x"), InputError, "no column 'x'"),
        (lambda: tt.read(FRAME, targt="y"), TypeError, "'targt'; did you mean 'target'"),
        (lambda: tt.read(3), TypeError, "arrays or texts; got int"),
        (lambda: tt.read(np.zeros((2, 2, 2, 2))), InputError, r"shape \(2, 2, 2, 2\)"),
        (lambda: tt.read(FRAME, missing="guess"), InputError, "^missing: 'guess'; take one of"),
        (lambda: tt.read(FRAME, horizon=0, target="y"), InputError, "^horizon: 0; give"),
        (lambda: tt.read(FRAME, label="y", horizon=3), InputError, "^horizon: .* takes label, "),
        (lambda: tt.fit(tt.read(FRAME, **HOW), network="cnn"), InputError, "^network: 'cnn'; take"),
        (lambda: tt.fit(tt.read(FRAME, **HOW), epoch=3), TypeError, "argument 'epoch'"),
        (lambda: tt.compare(tt.read(FRAME, **HOW), networks=[]), InputError, "^networks: "),
        (lambda: tt.compare(tt.read(FRAME, **HOW), seeds=0), InputError, "^seeds, epochs, param"),
        (lambda: tt.load("nowhere"), InputError, "no model here"),
    ],
)
def test_errors_speak_of_arguments(call, kind, text):
    with pytest.raises(kind, match=text) as error:
        call()
    assert "--" not in str(error.value)


def test_the_command_line_keeps_its_own_words(tmp_path):
    path = written(tmp_path / "wave.csv")
    told = throughtime("compare", path, "--target", "y", "--missing", "guess", code=2).stderr
    assert "--missing: 'guess'" in told


def test_every_option_is_in_the_signature_and_the_help():
    import inspect

    from throughtime.data_options import DataOptions

    shown = inspect.signature(tt.read).parameters
    for name in DataOptions().__dataclass_fields__:
        assert name in shown and f"{name}: " in (tt.read.__doc__ or "")


SCRIPT = '''
import numpy as np, polars as pl, torch
import throughtime as tt

def step(x_part, h_part, state, norms=None):
    a_z, a_h = x_part.chunk(2, -1)
    z = torch.sigmoid(a_z)
    return ((1 - z) * state[0] + z * a_h,), (z, a_h)

class MinGRU(tt.RecurrentLayer):
    """A GRU whose gates read the input alone."""
    cell_type = tt.CellType(
        "MinGRU", step, gates=(tt.Gate("update"), tt.Gate("candidate", "linear")),
        recurrent_weights=False, keeps="update", keeps_when_open=False,
    )

print("once")
frame = pl.DataFrame({"y": np.sin(np.arange(200) / 5)})
data = tt.read(frame, target="y", horizon=1, context=8)
result = tt.compare(data, networks=[MinGRU, "gru"], seeds=1, epochs=1, parameters=100, jobs=2)
print(sorted(result.table()["network"].to_list()))
result.report("page.html")
tt.fit(data, network=MinGRU, epochs=1, parameters=100).save("model")
'''


@pytest.mark.parametrize("how", ["file", "standard input"])
def test_a_cell_of_a_script_without_a_guard_reaches_workers_report_and_model(tmp_path, how):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, *(["script.py"] if how == "file" else ["-"])]
    done = subprocess.run(
        command,
        input=SCRIPT if how != "file" else "",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = ["GRU", "MinGRU", "mean of the window", "persistence"]
    assert done.stdout.splitlines() == ["once", str(names)]  # the library prints nothing
    assert done.stderr == ""
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "MinGRU" in page and "update gate" not in done.stderr
    told = throughtime("predict", "model", "model", cwd=tmp_path, code=2).stderr
    assert "got 'mingru' (import what registers a kind of your own first)" in told


class Line(Network):
    """The last value, and a line through the window."""

    def __init__(self, config):
        super().__init__(config)
        self.body = torch.nn.Linear(config.context * self.width, self.outputs)

    def compute(self, seen, ahead=None):
        return self.body(seen.flatten(1))


def test_a_network_of_ones_own_is_compared_reported_saved_and_used(tmp_path):
    line = tt.NetworkKind(
        "line", "Line", "A line.", builders={"forecaster": Line}, memory="window", color="#112233"
    )
    data = tt.read(FRAME, **HOW)
    how = {"seeds": 2, "epochs": 4, "parameters": 60, "folder": tmp_path / "run"}
    result = tt.compare(data, networks=["dense", line, "gru"], **how)
    assert "Line" in result.table()["network"].to_list()
    page = result.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert ">Line<" in page and "#112233" in page
    model = tt.fit(data, network="line", epochs=2, parameters=60)
    assert len(tt.load(model.save(tmp_path / "m")).predict(FRAME)) == 2

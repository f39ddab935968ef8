"""The Python functions: whatever data are given as, and cells, networks and errors of one's own."""

import copy
import gc
import multiprocessing
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from helpers import throughtime
from throughtime import catalogue
from throughtime.data import frames
from throughtime.errors import InputError
from throughtime.printing import Reporter
from throughtime.problems.forecasting.networks import Network
from throughtime.result import Result, TemporaryFolder
from throughtime.runs import ComparisonRecord, read_record

RECORD = Path(__file__).parent / "older_files" / "0.1.0" / "comparison.json"
T = np.arange(300)
WAVE = np.sin(T / 5) + 0.1 * np.random.default_rng(0).normal(size=300)
FRAME = pl.DataFrame({"t": T, "y": WAVE})
HOW = {"target": "y", "time": "t", "horizon": 2, "context": 12}


def wait():
    time.sleep(600)


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
    index = pandas.MultiIndex.from_product([["a", "b"], times[:150]], names=["shop", "when"])
    shops = tt.fit(
        tt.read(
            pandas.DataFrame({"y": WAVE}, index=index), **HOW | {"time": "when", "group": "shop"}
        ),
        **SMALL,
    )
    ahead = shops.predict(pandas.DataFrame({"y": WAVE}, index=index))
    assert ahead.index.names == ["shop", "when"] and list(ahead.columns) == ["step", "y"]
    assert list(ahead.loc["a"].index) == list(times[150:152])


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
    with pytest.raises(InputError, match=r"already holds a model; .*or replace it with force"):
        model.save(place)
    model.save(place, force=True)


class Bold(HTMLParser):
    text = ""

    def handle_data(self, data):
        self.text += data


def test_a_comparison_is_the_command_lines(tmp_path):
    path = written(tmp_path / "wave.csv")
    data = tt.read(path, **HOW)
    chosen = {"networks": ["gru", "dense"], "seeds": 2, "trials": 2, "epochs": 2, "parameters": 200}
    chosen["jobs"] = 1  # the numbers are the same; processes take their time to start
    result = tt.compare(data, **chosen, folder=tmp_path / "python")
    options = [f"--{n}={v}" for n, v in HOW.items()]
    options += [
        "--networks=dense,gru",
        "--seeds=2",
        "--trials=2",
        "--epochs=2",
        "--parameters=200",
        "--jobs=1",
    ]
    throughtime("compare", path, *options, "--out", tmp_path / "run")
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
        (lambda: tt.read(np.zeros((2, 2, 2, 2))), InputError, r"shape is \(2, 2, 2, 2\)"),
        (lambda: tt.read(FRAME, missing="guess"), InputError, "^missing: 'guess'; take one of"),
        (lambda: tt.read(FRAME, horizon=0, target="y"), InputError, "^horizon: 0; give"),
        (
            lambda: tt.read(FRAME, label="y", horizon=3),
            InputError,
            "^horizon: .* options are label, ",
        ),
        (lambda: tt.fit(tt.read(FRAME, **HOW), network="cnn"), InputError, "^network: 'cnn'; take"),
        (lambda: tt.fit(tt.read(FRAME, **HOW), epoch=3), TypeError, "argument 'epoch'"),
        (lambda: tt.compare(tt.read(FRAME, **HOW), networks=[]), InputError, "^networks: "),
        (lambda: tt.compare(tt.read(FRAME, **HOW), seeds=0), InputError, "^seeds: 0; give a whole"),
        (lambda: tt.load("nowhere"), InputError, "no model here"),
        (lambda: tt.read(""), InputError, "the path: it is empty"),
        (lambda: tt.read([]), InputError, "the list: it is empty"),
        (
            lambda: tt.read(FRAME, answers=[1]),
            InputError,
            "^answers: they apply to arrays and texts",
        ),
        (lambda: tt.read(["a", "b"], answers=["x"]), InputError, "^answers: 1 answers for 2 items"),
        (lambda: tt.read(["a", "b"], answers=["x", None]), InputError, "^answers: an answer is N"),
        (
            lambda: tt.read(np.zeros((4, 9, 1)), [1, 2]),
            InputError,
            "^answers: 2 answers for an array",
        ),
        (
            lambda: tt.read([np.zeros((4, 1)), np.zeros((6, 1))], [[0] * 6, [1] * 4]),
            InputError,
            "answers of item 1: 6 answers for 4 steps",
        ),
        (lambda: tt.read([np.zeros((4, 1)), np.zeros((6, 2))]), InputError, "others 2; give all"),
        (lambda: tt.read(np.zeros(9, dtype=complex)), InputError, "complex128; give real"),
        (lambda: tt.read(FRAME, horizon=2.5), InputError, "^horizon: 2.5; give a whole number"),
        (lambda: tt.read(FRAME, target=0), InputError, "^target: 0; give a name, or a list"),
        (
            lambda: tt.read(FRAME.with_columns(o=pl.lit({1}, pl.Object))),
            InputError,
            "'o': Python objects",
        ),
        (
            lambda: tt.compare(FRAME),
            TypeError,
            "data is DataFrame; expected the result of throughtime.read",
        ),
        (lambda: tt.fit(tt.read(FRAME, **HOW), network=None), InputError, "^network: None is no"),
        (
            lambda: tt.fit(tt.read(FRAME, **HOW), network=torch.nn.LSTM),
            InputError,
            "is not a network",
        ),
        (lambda: tt.fit(tt.read(FRAME, **HOW), batch_size=0), InputError, "^batch_size: 0; give"),
        (lambda: tt.fit(tt.read(FRAME, **HOW), epochs=1.5), InputError, "^epochs: 1.5; give"),
        (lambda: tt.fit(tt.read(FRAME, **HOW), weight_decay=-1), InputError, "^weight_decay: -1"),
        (lambda: tt.fit(tt.read(FRAME, **HOW), clip=-1), InputError, "^clip: "),
        (
            lambda: tt.fit(tt.read(FRAME, **HOW), device="tpu"),
            InputError,
            "^device: 'tpu'; use one of",
        ),
        (lambda: tt.fit(tt.read(FRAME, **HOW), parameters=0), InputError, "^parameters: 0; give"),
        (
            lambda: tt.fit(tt.read(FRAME, **HOW), output=5),
            InputError,
            "^output: an output must be an",
        ),
        (lambda: tt.compare(tt.read(FRAME, **HOW), jobs=0), InputError, "^jobs: 0; give"),
        (
            lambda: tt.compare(tt.read(FRAME, **HOW), worth="much"),
            InputError,
            "^worth: 'much'; give",
        ),
        (lambda: tt.compare(tt.read(FRAME, **HOW), worth=1.5), InputError, "^worth: 1.5; give"),
        (lambda: tt.compare(tt.read(FRAME, **HOW), save="all"), InputError, "^save: 'all'"),
    ],
)
def test_errors_speak_of_arguments(call, kind, text):
    with pytest.raises(kind, match=text) as error:
        call()
    assert "--" not in str(error.value)


def test_a_class_of_ones_own_is_never_taken_for_another():
    own = type("GRU", (tt.GRU,), {"__doc__": "Mine."})
    other = type("Same", (tt.GRU,), {"__doc__": "One."})
    data = tt.read(FRAME, **HOW)
    with pytest.raises(InputError, match=r"^network: 'gru' is one of throughtime's own kinds"):
        tt.fit(data, network=own, **SMALL)
    with pytest.raises(InputError, match=r"^networks: 'same' is named twice"):
        tt.compare(data, networks=[other, type("Same", (tt.LSTM,), {})], seeds=1, trials=2, **SMALL)
    assert tt.fit(data, network=tt.LSTM, **SMALL).kind == "lstm"  # the project's own class
    with pytest.raises(ValueError, match="expected lower case letters, digits, - and _"):
        tt.NetworkKind("../../evil", "Evil", "Bad.", layer=tt.GRU)


def test_values_of_other_libraries_keep_what_they_say():
    pandas = pytest.importorskip("pandas")
    masked = np.ma.masked_array(np.ones((30, 5, 1)), mask=False)
    masked.mask[0, 0, 0] = True
    with pytest.raises(InputError, match="missing"):  # never the 1 behind the mask
        tt.read(masked, np.arange(30) % 2)
    x = torch.randn(40, 6, 2, requires_grad=True)
    assert tt.read(x, np.arange(40) % 2).record.series == 40
    assert tt.read(pandas.Series(WAVE), horizon=1, context=5).record.targets == ("x1",)
    assert tt.read(np.array(["the cat sat. " * 60] * 3)).kind == "tokens"
    big = pandas.DataFrame({"id": np.array([2**63 + 5, 1], dtype=np.uint64)})
    assert frames.to_polars(big)["id"].to_list() == [2**63 + 5, 1]
    twice = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(InputError, match="two columns are named 'a'"):
        tt.read(twice)
    zoned = pandas.date_range("2024-01-01", periods=300, freq="h", tz="Europe/Berlin", name="when")
    frame = pandas.DataFrame({"y": WAVE}, index=zoned)
    ahead = tt.fit(tt.read(frame, **HOW | {"time": "when"}), **SMALL).predict(frame)
    assert list(ahead.index) == list(pandas.date_range(zoned[-1], periods=3, freq="h")[1:])


def test_nothing_of_the_callers_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data, child = tt.read(FRAME, **HOW), multiprocessing.get_context("spawn").Process(target=wait)
    child.start()
    torch.manual_seed(3)
    before = torch.get_rng_state()

    class Broken(tt.GRU):
        """Raises."""

        def forward(self, *_, **__):
            raise RuntimeError("broken")

    try:
        with pytest.raises(RuntimeError, match="broken"):
            tt.compare(data, networks=[Broken, "gru"], seeds=1, trials=2, jobs=2, **SMALL)
        child.join(timeout=1)
        assert child.is_alive()  # it is no worker
    finally:
        child.kill()
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(tmp_path.glob("throughtime-*"))


def test_threads_get_what_they_would_alone(model):
    data, before = tt.read(FRAME, **HOW), torch.get_rng_state()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: tt.fit(data, network="gru", **SMALL), range(6)))
    assert [one.test_error for one in found] == [model.test_error] * 6
    assert torch.equal(torch.get_rng_state(), before)


class _StopError(Exception):
    pass


def test_a_fit_into_a_folder_resumes_and_is_the_command_line_s(tmp_path):
    """The same weights as by the command, and by a call that was interrupted and repeated."""
    path, out = written(tmp_path / "wave.csv"), tmp_path / "model"
    data = tt.read(path, **HOW)
    options = {"network": "gru", "steps": 60, "parameters": 200, "folder": out, "checkpoint": 0.0}

    class Interrupt(Reporter):
        @contextmanager
        def training(self, name):
            def watch(evaluation):
                if evaluation.step >= 30:
                    raise _StopError

            yield watch

    with pytest.raises(_StopError):
        tt.fit(data, **options, progress=Interrupt(quiet=True))
    assert list((tmp_path / "model.training").glob("checkpoint-*"))
    with ThreadPoolExecutor(1) as pool:  # signals are for the main thread alone
        model = pool.submit(lambda: tt.fit(data, **options)).result()
    assert model.folder == out and not (tmp_path / "model.training").exists()
    columns = ("--target", "y", "--time", "t", "--horizon", "2", "--context", "12")
    given = ("--network", "gru", "--steps", "60", "--parameters", "200", "-q", "-o", tmp_path / "c")
    throughtime("fit", path, *columns, *given)
    ours, commands = (
        tt.load(folder).network.state_dict() for folder in (model.folder, tmp_path / "c")
    )
    assert all(torch.equal(ours[name], commands[name]) for name in ours)
    for wrong, words in (
        ({"folder": out}, "already holds a model"),
        ({"folder": path}, "is a file"),
        ({"folder": tmp_path}, "holds other files"),
        ({"folder": tmp_path / "n", "log": out}, "^log .*is a folder of a model"),
        ({"folder": tmp_path / "n", "checkpoint": "soon"}, "^checkpoint: 'soon'"),
        ({"budget": "soon"}, "^budget: 'soon'"),
    ):
        with pytest.raises(InputError, match=words):
            tt.fit(data, **{**options, **wrong})
    stopped = tt.fit(data, network="gru", steps=10**6, patience=10**6, budget="0.5s").training
    assert "budget" in stopped.stopped
    assert tt.fit(data, **options, force=True).folder == out


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
how = {"seeds": 1, "trials": 2, "epochs": 1, "parameters": 100, "jobs": 2, "folder": "run"}
result = tt.compare(data, networks=[MinGRU, "gru"], **how)
print(sorted(result.table()["network"].to_list()))
result.report("page.html")
tt.fit(data, network=MinGRU, epochs=1, parameters=100).save("model")
'''


def test_a_temporary_folder_lives_as_long_as_any_copy_of_its_result(tmp_path):
    result = Result(read_record(RECORD, ComparisonRecord), tmp_path, TemporaryFolder())
    folder = result._temporary.path
    copied = copy.deepcopy(result)
    del result
    gc.collect()
    assert folder.is_dir()
    del copied
    gc.collect()
    assert not folder.exists()


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
    once, names = done.stdout.splitlines()  # the library prints nothing
    assert once == "once" and "'GRU', 'MinGRU'" in names and "'persistence'" in names
    assert done.stderr == ""
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "MinGRU" in page and "update gate" not in done.stderr
    run = throughtime("report", "run", "-o", "again.html", cwd=tmp_path)  # without its code
    assert "MinGRU" in run.stdout and "MinGRU" in (tmp_path / "again.html").read_text()
    told = throughtime("predict", "model", "model", cwd=tmp_path, code=2).stderr
    assert (
        "got 'mingru' (for a kind of your own: in Python, import what registers it first)" in told
    )


def test_other_code_of_the_same_name_is_another_comparison(tmp_path):
    def layer(factor):
        class Scaled(tt.GRU):
            """A GRU of scaled inputs."""

            def forward(self, input, hx=None, **how):
                return super().forward(input * self.factor, hx, **how)

        Scaled.factor = factor
        return Scaled

    data, how = tt.read(FRAME, **HOW), {"seeds": 1, "trials": 2, "jobs": 1, **SMALL}
    first = tt.compare(data, networks=[layer(1.0)], folder=tmp_path / "run", **how)
    assert (
        tt.compare(data, networks=[layer(1.0)], folder=tmp_path / "run", **how).record
        == first.record
    )
    with pytest.raises(InputError, match="holds another comparison"):
        tt.compare(data, networks=[layer(2.0)], folder=tmp_path / "run", **how)


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
    how = {
        "seeds": 2,
        "trials": 2,
        "epochs": 4,
        "parameters": 60,
        "jobs": 1,
        "folder": tmp_path / "run",
    }
    result = tt.compare(data, networks=["dense", line, "gru"], **how)
    assert "Line" in result.table()["network"].to_list()
    page = result.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert ">Line<" in page and "#112233" in page
    model = tt.fit(data, network="line", epochs=2, parameters=60)
    assert len(tt.load(model.save(tmp_path / "m")).predict(FRAME)) == 2

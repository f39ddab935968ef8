"""The command line as people and machines use it: as a process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

COMMANDS = ["compare", "fit", "predict", "report", "info"]


def throughtime(*arguments, code=0, cwd=None, **options):
    done = subprocess.run(
        [sys.executable, "-m", "throughtime", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", **options},
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_help_names_every_command_and_loads_nothing_heavy():
    text = throughtime("--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in text
        page = throughtime(command, "--help").stdout
        assert "Example: throughtime " + command in page
        assert "--json" in page
        assert "--quiet" in page
    code = "import sys; sys.argv = ['throughtime', '--help']\nfrom throughtime.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "polars", "plotly"} & set(done.stderr.split())


def test_info_says_what_runs():
    facts = json.loads(throughtime("info", "--json").stdout)
    assert facts["native module"] == "built"
    assert facts["path of GRU"].startswith("native: ")
    assert "cpu features" in throughtime("info", "--quiet").stdout


def test_the_demos_road_on_a_cut_of_its_data(co2_cut, tmp_path):
    """compare, report, predict, as in the README, but with little of everything."""
    what = ["--time", "date", "--target", "co2", "--horizon", "4", "--missing", "interpolate"]
    small = ["--context", "54", "--epochs", "2", "--seeds", "2", "--parameters", "200"]
    command = ["compare", co2_cut, *what, *small, "--networks", "window-dense,gru"]
    done = throughtime(*command, cwd=tmp_path)
    for name in ("WindowDense", "GRU", "persistence", "seasonal naive with drift"):
        assert name in done.stdout
    assert re.search(r"^(Use|A tie|None beats)", done.stdout, re.MULTILINE)
    assert "season         52 (steps in a year; --season)" in done.stderr
    assert "normalization" in done.stderr
    cramped = "WindowDense is no fair match: hidden size 3, 193 parameters where 200 were asked for"
    assert f"  note: {cramped} (4 % fewer)" in done.stderr  # before the work
    assert f"- {cramped} (4 % fewer)" in done.stdout  # and with its result
    assert "With 2 seeds" in done.stdout
    page = tmp_path / re.search(r"report: (.*)", done.stdout)[1]
    model = tmp_path / re.search(r"model:  (.*)", done.stdout)[1]
    assert page.read_text().startswith("<!doctype html>")

    again = throughtime(*command, "--json", cwd=tmp_path)  # done already: read back at once
    result = json.loads(again.stdout)
    assert again.stderr == ""
    assert Path(tmp_path / result["record"]).exists()
    assert result["data"]["step"] == "7 days"

    run = page.parent
    page.unlink()
    told = throughtime("report", run)
    assert page.exists()
    assert result["verdict"]["headline"] in told.stdout

    out = tmp_path / "out.csv"
    throughtime("predict", model, co2_cut, "-o", out)
    rows = pl.read_csv(out)
    assert rows.columns == ["date", "step", "co2"]
    assert rows["date"].to_list() == [19910309, 19910316, 19910323, 19910330]
    printed = throughtime("predict", model, co2_cut).stdout
    assert printed == out.read_text()
    assert (
        json.loads(throughtime("predict", model, co2_cut, "--json").stdout)
        == rows.cast({"date": pl.String}).to_dicts()
    )


def test_fit_then_predict_for_groups(tmp_path):
    days = np.datetime64("2000-01-01") + np.arange(120)
    lines = [
        f"{g},{d},{np.sin(i / 3) * k}" for g, k in (("a", 1), ("b", 50)) for i, d in enumerate(days)
    ]
    data = tmp_path / "data.csv"
    data.write_text("site,day,load\n" + "\n".join(lines) + "\n")
    model = tmp_path / "model"
    command = [
        "fit",
        data,
        "--group",
        "site",
        "--target",
        "load",
        "--horizon",
        "3",
        "--epochs",
        "4",
    ]
    told = throughtime(*command, "--network", "lstm", "-o", model)
    assert re.search(r"Test error [\d.]+ \(load, in its own unit\)", told.stdout)
    result = json.loads(throughtime(*command, "-o", model, "--json").stdout)
    assert result["test_error"] > 0
    rows = pl.read_csv(throughtime("predict", model, data).stdout.encode())
    assert rows.columns == ["site", "day", "step", "load"]
    assert rows["site"].to_list() == ["a"] * 3 + ["b"] * 3
    assert rows["day"].to_list() == ["2000-04-30", "2000-05-01", "2000-05-02"] * 2


def test_the_same_seed_gives_the_same_model(co2_cut, tmp_path):
    models = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        what = ["--missing", "interpolate", "--time", "date", "--epochs", "1", "--seed", seed]
        throughtime("fit", co2_cut, "--network", "rnn", *what, "-q", "-o", tmp_path / name)
        models.append((tmp_path / name / "model.safetensors").read_bytes())
    assert models[0] == models[1] != models[2]


MISTAKES = {
    "missing file": (["compare", "nowhere.csv"], r"nowhere.csv: no such file"),
    "missing values": (
        ["compare", "{co2}"],
        r"row \d+, column 'co2': \d+ missing values .*--missing",
    ),
    "no such column": (["compare", "{co2}", "--target", "c02"], "did you mean 'co2'"),
    "bad choice": (
        ["compare", "{co2}", "--missing", "interpolate", "--normalize", "batch"],
        "--normalize: 'batch'; take one of window, global, none",
    ),
    "bad network": (["fit", "{co2}", "--network", "cnn", "-o", "m"], "--network: 'cnn'; take one"),
    "no networks": (["compare", "{co2}", "--networks", ","], "--networks: none named"),
    "bad horizon": (
        ["fit", "{co2}", "--missing", "interpolate", "--horizon", "0", "-o", "m"],
        "--horizon: 0; give a whole number",
    ),
    "no model": (["predict", "nowhere", "{co2}"], "nowhere: no model here"),
    "no target": (["compare", "{co2}", "--target", ","], "--target: names no column"),
    "no data": (["compare"], "Missing argument 'DATA'"),
    "no such option": (["compare", "x.csv", "--horizn", "3"], "No such option"),
    "no number": (["compare", "x.csv", "--horizon", "abc"], "Invalid value for '--horizon'"),
    "huge context": (["compare", "{co2}", "--missing", "drop", "--context", "9" * 25], "too short"),
    "precious folder": (["fit", "{co2}", "-o", "{mine}"], "holds other files"),
    "no place": (
        ["predict", "{model}", "{co2}", "-o", "{co2}/x.csv"],
        "co2.csv: .*; name another place",
    ),
    "no run": (["report", "nowhere"], "comparison.json: cannot be read"),
    "another run": (
        ["compare", "{co2}", "--missing", "interpolate", "--out", "{taken}"],
        "holds another comparison",
    ),
}


@pytest.mark.parametrize(("arguments", "text"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_one_line_and_exit_code_2(co2_cut, comparison, tmp_path, arguments, text):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "identity").write_text("another")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    places = {"co2": co2_cut, "taken": tmp_path / "taken", "mine": tmp_path / "mine"}
    places["model"] = comparison[1] / "model"
    done = throughtime(*(a.format(**places) for a in arguments), "--quiet", code=2, cwd=tmp_path)
    assert re.search(text, done.stderr)
    assert done.stderr.startswith("throughtime: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_interrupt_says_how_to_go_on(co2_cut, tmp_path):
    command = [sys.executable, "-m", "throughtime", "compare", str(co2_cut), "--time", "date"]
    command += ["--missing", "interpolate", "--epochs", "1000", "--jobs", "1", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/trials/*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "throughtime: interrupted; what is done is kept" in told
    assert "Traceback" not in told


def test_a_reader_that_goes_away_is_no_error(co2_cut, comparison):
    command = f"{sys.executable} -m throughtime predict {comparison[1] / 'model'} {co2_cut} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""

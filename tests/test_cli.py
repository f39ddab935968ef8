"""The command line as people and machines use it: as a process."""

import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helpers import throughtime
from throughtime.data_options import PANELS

COMMANDS = ["compare", "fit", "predict", "sample", "inspect", "report", "info"]
COMMANDS += ["data list", "data get"]


def test_help_names_every_command_and_loads_nothing_heavy():
    text = throughtime("--help").stdout
    for command in COMMANDS:
        assert f"  {command.split()[0]} " in text
        page = throughtime(*command.split(), "--help").stdout
        assert "Example: throughtime " + command in page
        for option in ("--json", "--quiet", "--seed"):
            assert option in page
    loads = "import sys\n{}\nprint(*sys.modules, file=sys.stderr)"
    helped = "sys.argv = ['throughtime', '--help']\nfrom throughtime.cli import main\n"
    helped += "try: main()\nexcept SystemExit: pass"
    nothing, help_page = (
        set(
            subprocess.run(
                [sys.executable, "-c", loads.format(what)],
                capture_output=True,
                text=True,
                check=True,
            ).stderr.split()
        )
        for what in ("pass", helped)
    )
    assert not {"torch", "numpy", "polars", "plotly", "rich", "asyncio"} & help_page
    assert len(help_page - nothing) < 200  # what it takes beyond `python -c pass`: typer and itself


def test_info_says_what_runs():
    facts = json.loads(throughtime("info", "--json", "--seed", "7").stdout)
    assert facts["native module"] == "built"
    assert facts["path of GRU"].startswith("native: ")
    assert "cpu features" in throughtime("info", "--quiet").stdout


def test_the_demos_road_on_a_cut_of_its_data(co2_cut, tmp_path):
    """compare, report, predict, as in the README, but with little of everything."""
    what = ["--time", "date", "--target", "co2", "--horizon", "4", "--missing", "interpolate"]
    small = ["--context", "54", "--epochs", "2", "--seeds", "2", "--parameters", "200"]
    small += ["--trials", "2"]
    command = ["compare", co2_cut, *what, *small, "--networks", "window-dense,gru"]
    done = throughtime(*command, cwd=tmp_path)
    for name in ("WindowDense", "GRU", "persistence", "seasonal naive with drift"):
        assert name in done.stdout
    assert re.search(r"^(Use|A tie|No network beats|Not trained enough)", done.stdout, re.MULTILINE)
    assert choices_of(done.stderr)["season"] == ("52", "--season")
    assert choices_of(done.stderr)["trials"] == ("2", "--trials")
    large = "WindowDense has [0-9]+ parameters with 8 units, more than the 200"
    assert re.search(f"  note: {large}", done.stderr)  # before the work
    assert re.search(f"- {large}", done.stdout)  # and with its result
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
    told = throughtime("report", run, "--seed", "7")
    assert page.exists()
    assert result["verdict"]["headline"] in told.stdout

    out = tmp_path / "out.csv"
    throughtime("predict", model, co2_cut, "-o", out)
    rows = pl.read_csv(out)
    assert rows.columns == ["date", "step", "co2"]
    assert rows["date"].to_list() == [19910309, 19910316, 19910323, 19910330]
    printed = throughtime("predict", model, co2_cut, "--seed", "7").stdout  # nothing is drawn
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
    assert re.search(
        r"Test error [\d.]+ \(mean absolute error, load, in mean changes from step to step of each "
        r"series\)",
        told.stdout,
    )
    refused = throughtime(*command, "-o", model, code=2).stderr
    assert "already holds a model; name a new folder, or replace it with --force" in refused
    result = json.loads(throughtime(*command, "-o", model, "--json", "--force").stdout)
    assert result["test_error"] > 0
    rows = pl.read_csv(throughtime("predict", model, data).stdout.encode())
    assert rows.columns == ["site", "day", "step", "load"]
    assert rows["site"].to_list() == ["a"] * 3 + ["b"] * 3
    assert rows["day"].to_list() == ["2000-04-30", "2000-05-01", "2000-05-02"] * 2


def test_groups_go_through_compare_and_short_ones_are_told(tmp_path):
    days = np.datetime64("2000-01-01") + np.arange(90)
    sizes = {"EU": 90, "NA": 90, "c": 3}
    rows = [
        f"{g},{d},{np.sin(i / 3) + k}"
        for k, (g, count) in enumerate(sizes.items())
        for i, d in enumerate(days[:count])
    ]
    data = tmp_path / "data.csv"
    data.write_text("site,day,load\n" + "\n".join(rows) + "\n")
    what = ["--group", "site", "--horizon", "2", "--context", "5", "--season", "1"]
    small = [
        "--networks",
        "window-dense",
        "--epochs",
        "2",
        "--seeds",
        "2",
        "--trials",
        "2",
        "--parameters",
        "100",
    ]
    done = throughtime("compare", data, *what, *small, "--jobs", "1", "--out", tmp_path / "run")
    assert "group            site (3 series; --group)" in done.stderr
    assert (
        "series left out  c: 3 rows (too short for context 5 plus horizon 2; --context)"
        in done.stderr
    )
    told = throughtime("predict", tmp_path / "run" / "model", data)
    rows = pl.read_csv(told.stdout.encode())
    assert rows["site"].to_list() == ["EU"] * 2 + ["NA"] * 2
    assert "c: 3 rows, but the model looks back 5 (no forecast for them)" in told.stderr
    quiet = throughtime("predict", tmp_path / "run" / "model", data, "--quiet")
    assert (quiet.stdout, quiet.stderr) == (told.stdout, "")


def test_forecasts_do_not_begin_inside_the_file_in_silence(tmp_path):
    days = np.datetime64("2020-01-01") + np.arange(200)
    data = tmp_path / "data.csv"
    data.write_text(
        "date,co2\n" + "".join(f"{d},{np.sin(i) if i < 190 else ''}\n" for i, d in enumerate(days))
    )
    given = ["--missing", "interpolate", "--epochs", "1", "-o", tmp_path / "m"]
    fitted = throughtime("fit", data, *given).stderr
    told = throughtime("predict", tmp_path / "m", data, "-o", tmp_path / "out.csv").stderr
    for text in (fitted, told):
        assert f"{data}: 200 rows, 1 series\n" in text
        assert "10 of 200 rows have missing values" in text
        assert "the last 10 rows of co2 have no value: forecasts begin at 2020-07-09" in text
    assert re.search(r"forecasts +begin at 2020-07-09 ", told)
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("2020-07-09,1,")


TOLD = {  # every choice that fit prints, the option that sets it, and another value for it
    "delimiter": ("--delimiter", ";", "semicolon"),
    "time": ("--time", "none", "none"),
    "target": ("--target", "x", "x"),
    "inputs": ("--inputs", "none", None),
    "missing": ("--missing", "drop", None),
    "ends": ("--missing", None, None),
    "horizon": ("--horizon", "2", None),
    "season": ("--season", "3", None),
    "context": ("--context", "9", None),
    "split": ("--split", "60/20/20", "60/20/20"),
    "network": ("--network", "lstm", "LSTM"),
    "normalization": ("--normalize", "global", "global"),
    "parameters": ("--parameters", "300", None),
    "epochs": ("--epochs", "2", "2"),
    "learning rate": ("--optimizer, --learning-rate", None, None),
    "initialization": ("--init", "orthogonal", "orthogonal"),
    "clipping": ("--clip", "value:0.5", "value:0.5"),
    "seed": ("--seed", "5", "5"),
}


def choices_of(stderr):
    lines = re.findall(r"^  (\S.*?)  +(.*) \((.*)\)$", stderr, re.MULTILINE)
    return {name: (value, reason.rpartition("; ")[2]) for name, value, reason in lines}


def test_every_choice_of_fit_is_printed_and_can_be_set(tmp_path):
    days = np.datetime64("2020-01-01") + np.arange(120)
    cells = [["d", "y", "x"]] + [
        [str(d), f"{np.sin(i):.3f}" if i not in (50, 119) else "", f"{i % 7}"]
        for i, d in enumerate(days)
    ]
    data = tmp_path / "data.csv"
    data.write_text("".join(",".join(row) + "\n" for row in cells))
    command = ["fit", data, "-o", tmp_path / "m", "--force"]
    few = ["--target", "y", "--missing", "interpolate", "--epochs", "1"]
    told = choices_of(throughtime(*command, *few).stderr)
    unset = {"time step", "windows"}  # found and counted, not decided
    assert set(told) - unset == set(TOLD)
    for name, (option, _, _) in TOLD.items():
        assert told[name][1] == option, name

    data.write_text("".join(";".join(row) + "\n" for row in cells))
    other = [part for option, value, _ in TOLD.values() if value for part in (option, value)]
    changed = choices_of(throughtime(*command, *other).stderr)
    for name, (_, _, value) in TOLD.items():
        if value is not None and name != "delimiter":
            assert changed[name][0] == value, name
    # what was set is not told again as a choice, and what it was set to holds
    assert not {"delimiter", "inputs", "horizon", "season", "context"} & set(changed)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (config["model"]["horizon"], config["model"]["context"]) == (2, 9)


def test_inspect_writes_a_page_and_tells_the_verdict(co2_cut, comparison, tmp_path):
    model = comparison[1] / "model"
    page = tmp_path / "page.html"
    done = throughtime("inspect", model, co2_cut, "-o", page)
    assert done.stdout.splitlines()[-1] == f"page: {page}"
    assert "steps" in done.stdout.splitlines()[0]
    assert "Step by step" in page.read_text() or "No recurrent layer" in done.stdout
    quiet = throughtime("inspect", model, co2_cut, "-q", "-o", page)
    assert len(quiet.stdout.splitlines()) == 2 and not quiet.stderr
    told = json.loads(throughtime("inspect", model, co2_cut, "--json", "-o", page).stdout)
    assert told["page"] == str(page) and told["inspection"]["windows"] > 100
    missing = throughtime("inspect", tmp_path / "none", co2_cut, code=2)
    assert "no model here" in missing.stderr
    assert throughtime("inspect", model, co2_cut, cwd=tmp_path).stdout.endswith("inspection.html\n")
    assert (tmp_path / "inspection.html").exists()


def test_every_choice_of_predict_is_printed_and_can_be_set(co2_cut, comparison):
    model = comparison[1] / "model"
    told = choices_of(throughtime("predict", model, co2_cut).stderr)
    assert set(told) == {"delimiter", "time", "target", "time step", "missing", "forecasts"}
    assert (told["missing"], told["delimiter"][1]) == (("interpolate", "--missing"), "--delimiter")
    changed = throughtime("predict", model, co2_cut, "--missing", "drop", "--delimiter", ",")
    told = choices_of(changed.stderr)
    assert told["missing"][0] == "drop"
    assert "delimiter" not in told


def test_the_split_is_taken_and_told(co2_cut, tmp_path):
    what = ["--time", "date", "--missing", "interpolate", "--epochs", "1", "--split", "50/20/30"]
    small = [
        "--networks",
        "dense",
        "--seeds",
        "1",
        "--trials",
        "2",
        "--parameters",
        "50",
        "--jobs",
        "1",
    ]
    done = throughtime("compare", co2_cut, *what, *small, "--out", tmp_path / "run")
    assert choices_of(done.stderr)["split"] == ("50/20/30", "--split")
    assert choices_of(done.stderr)["epochs"] == ("1", "--epochs")
    record = json.loads((tmp_path / "run" / "comparison.json").read_text())
    training, validation, test = record["data"]["windows"]
    assert training == pytest.approx(235 - 60, abs=10)
    assert (validation, test) == pytest.approx((94, 141), abs=8)


def test_the_same_seed_gives_the_same_model(co2_cut, tmp_path):
    models = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        what = ["--missing", "interpolate", "--time", "date", "--epochs", "1", "--seed", seed]
        throughtime("fit", co2_cut, "--network", "rnn", *what, "-q", "-o", tmp_path / name)
        models.append((tmp_path / name / "model.safetensors").read_bytes())
    assert models[0] == models[1] != models[2]


WAVE = "y\n" + "\n".join(f"{np.sin(i / 5):.5f}" for i in range(300)) + "\n"


def test_fit_trains_as_it_is_told(tmp_path):
    data = tmp_path / "wave.csv"
    data.write_text(WAVE)
    told = throughtime(
        *("fit", data, "-o", tmp_path / "m", "--epochs", "4", "--parameters", "100", "--json"),
        *("--optimizer", "sgd:momentum=0.9", "--learning-rate", "0.3", "--weight-decay", "0.001"),
        *("--schedule", "cosine", "--warmup", "3", "--clip", "agc:0.01", "--accumulate", "2"),
        *("--metric", "rmse", "--keep", "last", "--patience", "1", "--budget", "5m"),
        *("--batch-size", "16", "--log", tmp_path / "log"),
    )
    training = json.loads(told.stdout)["training"]
    first = training["evaluations"][0]
    assert first["validation_error"] == first["measures"]["rmse"] > first["measures"]["mae"]
    windows = 300 * 70 // 100 - 16  # context 16, one step ahead
    assert training["steps"] == len(training["evaluations"]) * math.ceil(
        math.ceil(windows / 16) / 2
    )
    assert list((tmp_path / "log").glob("events.out.tfevents.*"))
    assert (tmp_path / "m" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "options, told",
    [
        (("--optimizer", "lion"), "--optimizer: optimizer must be one of adadelta"),
        (("--clip", "norm"), "--clip: clipping is one of none, norm:1"),
        (("--schedule", "saw"), "--schedule: schedule must be one of constant"),
        (("--budget", "soon"), "--budget: 'soon'; give a time such as"),
        (("--metric", "r2"), "--metric: 'r2'; take one of mae, rmse, mase, mse, error"),
        (("--keep", "all"), "--keep: 'all'; take one of best, last"),
        (("--device", "cuda"), "--device: no GPU that torch can use; use cpu"),
        (("--device", "abacus"), "--device: 'abacus'; use one of cpu, cuda"),
    ],
)
def test_fit_refuses_what_it_cannot_do_before_it_reads(tmp_path, monkeypatch, options, told):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = throughtime("fit", tmp_path / "none.csv", "-o", tmp_path / "m", *options, code=2)
    assert told in done.stderr and len(done.stderr.splitlines()) == 1


def test_fit_says_what_it_skipped(tmp_path):
    data = tmp_path / "jump.csv"
    data.write_text(WAVE + "1e100\n" * 3 + WAVE[2:])
    done = throughtime(
        *("fit", data, "-o", tmp_path / "m", "--epochs", "1", "--normalize", "none"),
        *("--parameters", "100", "--batch-size", "4", "--network", "dense"),
    )
    assert "steps were not taken:" in done.stderr
    assert "not finite" in done.stderr


def test_a_text_is_learned_gone_on_with_and_measured(tmp_path):
    (tmp_path / "x.txt").write_text("abc def " * 600)
    model = tmp_path / "model"
    done = throughtime(
        *("fit", tmp_path / "x.txt", "--network", "gru", "--parameters", 600, "--epochs", 8),
        *(
            "--learning-rate",
            0.02,
            "--context",
            16,
            "-o",
            model,
            "--metric",
            "perplexity",
            "--json",
        ),
    )
    told = json.loads(done.stdout)
    assert told["unit"] == "bits per character" and told["test_error"] < 0.5
    said = throughtime("sample", model, "--prompt", "abc", "--temperature", 0, "--length", 9)
    assert said.stdout == "abc def abc \n"
    quiet = throughtime("sample", model, "--prompt", "abc", "--temperature", 0, "--length", 4, "-q")
    assert quiet.stdout == " def\n"
    machine = throughtime("sample", model, "--prompt", "a", "--length", 5, "--seed", 3, "--json")
    again = throughtime("sample", model, "--prompt", "a", "--length", 5, "--seed", 3, "--top-k", 9)
    assert "a" + json.loads(machine.stdout)["text"] + "\n" == again.stdout
    costs = throughtime("predict", model, tmp_path / "x.txt", "-o", tmp_path / "out.csv")
    assert "bits" in costs.stderr and len(pl.read_csv(tmp_path / "out.csv")) == 4799
    no = throughtime("inspect", model, tmp_path / "x.txt", code=2)
    assert "a model of sequences" in no.stderr


def test_sequences_are_learned_compared_and_answered(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6, 1))
    np.savez(tmp_path / "x.npz", x=x, y=(x[:, 0, 0] > 0).astype(int))
    run = tmp_path / "run"
    done = throughtime(
        *("compare", tmp_path / "x.npz", "--networks", "dense,gru", "--parameters", 300),
        *("--epochs", 15, "--seeds", 1, "--trials", 3, "--context", 2, "--out", run, "--jobs", 1),
    )
    assert "share of wrong answers, label" in done.stdout and "most frequent class" in done.stdout
    assert (run / "report.html").read_text().count("share of wrong answers")
    rows = json.loads(throughtime("predict", run / "model", tmp_path / "x.npz", "--json").stdout)
    assert [r["sequence"] for r in rows] == [str(k + 1) for k in range(300)]
    refused = throughtime("fit", tmp_path / "x.npz", "--horizon", 3, "-o", tmp_path / "m", code=2)
    assert "--horizon: does not apply to an archive of sequences" in refused.stderr
    wrong = throughtime("fit", tmp_path / "x.npz", "--metric", "mae", "-o", tmp_path / "m", code=2)
    assert "--metric: 'mae'; take one of error, balanced-error, f1, auc" in wrong.stderr


def test_a_killed_training_of_sequences_goes_on_to_the_bit(tmp_path):
    """The same order of buckets, the same weights: paused after some steps, against in one go."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 30, 400)
    x = rng.normal(size=(lengths.sum(), 2))
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(400) % 3, lengths=lengths)
    arguments = ["fit", tmp_path / "x.npz", "--parameters", 300, "--epochs", 20]
    arguments += ["--batch-size", 4, "--checkpoint", "0.05s"]
    whole, paused = tmp_path / "whole", tmp_path / "paused"
    throughtime(*arguments, "-o", whole)
    command = [sys.executable, "-m", "throughtime", *map(str, [*arguments, "-o", paused, "-q"])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    folder = paused.with_name("paused.training")
    deadline = time.monotonic() + 60
    while not list(folder.glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not paused.exists(), "it was done before it could be killed"
    throughtime(*arguments, "-o", paused)
    for name in ("model.safetensors", "config.json"):
        assert (paused / name).read_bytes() == (whole / name).read_bytes()


def test_data_sets_are_listed_and_pointed_at(tmp_path):
    listed = json.loads(throughtime("data", "list", "--json").stdout)
    assert {"japanese-vowels", "tiny-shakespeare"} <= {d["name"] for d in listed}
    assert "CC BY-SA 4.0" in throughtime("data", "list").stdout
    no = throughtime("data", "get", "lynx", "--from", tmp_path, "-o", tmp_path / "o", code=2)
    assert "no file Lynx.csv" in no.stderr
    assert "did you mean 'lynx'" in throughtime("data", "get", "lynxx", code=2).stderr


@pytest.mark.parametrize("command", ["compare", "fit"])
def test_help_shows_the_usual_options_first_and_all_in_groups(command):
    page = throughtime(command, "--help").stdout
    groups = re.findall(r"^(\S[^\n]*):\n((?:  .*\n)+)", page, flags=re.MULTILINE)
    names = [name for name, _ in groups if name != "Usage"]
    assert names == [
        "Arguments",
        "Options",
        *[n for n, _ in PANELS],
        "Network",
        "Training",
        "Output",
    ]
    usual = re.findall(r"^  (?:-\w, )?--([a-z-]+)", dict(groups)["Options"], flags=re.MULTILINE)
    assert usual[:6] == ["target", "label", "time", "group", "horizon", "missing"]
    assert usual[-1] == "help" and len(usual) in (11, 12)

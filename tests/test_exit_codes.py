"""How commands end: one line and an exit code for whatever goes wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from helpers import throughtime
from kinds import KINDS, SMALL

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
    "huge context": (["compare", "{co2}", "--missing", "drop", "--context", "999999"], "too short"),
    "precious folder": (["fit", "{co2}", "-o", "{mine}"], "holds other files"),
    "no place": (
        ["predict", "{model}", "{co2}", "-o", "{co2}/x.csv"],
        "co2.csv is not a folder; use another path",
    ),
    "no place for forecasts": (
        ["predict", "{model}", "{co2}", "-o", "/proc/nowhere/x.csv"],
        r"throughtime: /proc/nowhere(/x.csv)?: [^;]*; use another path",
    ),
    "bad split": (
        ["fit", "{co2}", "--missing", "drop", "--split", "70/30", "-o", "m"],
        "--split: '70/30' is not three percentages that add up to 100",
    ),
    "no run": (["report", "nowhere"], "comparison.json: no such file"),
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


def rows(*values):
    return "time,y\n" + "".join(f"{t},{v}\n" for t, v in enumerate(values, 1))


BAD_DATA = {
    "infinity": (rows(*range(50), "inf", 3), "row 52, column 'y': an infinite value, 1 in total"),
    "too large": (rows(*range(50), "-5e307"), "row 52, column 'y': -5e+307 is beyond 1e+150"),
    "too small": (
        rows(*[f"{i % 7}e-310" for i in range(99)]),
        "'y': the target is within a range of 6e-310",
    ),
    "unsorted": (
        "time,y\n1,1\n3,2\n2,3\n",
        "row 4, column 'time': an earlier time than in row 3; sort",
    ),
    "duplicate": (
        "time,y\n1,1\n2,2\n2,3\n",
        "row 4, column 'time': the same time as in row 3; remove",
    ),
    "irregular": (
        "time,y\n2,1\n4,2\n6,3\n9,1\n",
        "row 5, column 'time': irregular times: 9 follows 6",
    ),
    "constant": (rows(*[7] * 99), "column 'y': the target is constant (7) in the training part"),
    "not UTF-8": (b"time,y\n1,1\n2,\xe9\n", "row 3, column 'y': byte 0xe9 is not UTF-8; save the"),
    "cut": (
        "time,y\n1,1\n2",
        "row 3: the file is truncated in its last row (1 of 2 fields)",
    ),
    "cut before a field": (
        "time,y\n1,1\n2,",
        "row 3, column 'y': the file ends with an empty field",
    ),
    "no header": (
        "2020-01-01,1.5\n2020-01-02,2\n",
        "row 1: '2020-01-01' in the header is a value",
    ),
    "two-digit years": (
        "time,y\n20-01-01,1\n20-01-02,2\n",
        "row 2, column 'time': the year of '20-01-",
    ),
    "a far date": (
        "time,y\n2020-01-01,1\n2020-01-02,1\n2020-01-03,1\n9999-01-01,2\n",
        "row 5, column 'time': 2914267 of 2914271 steps of 1 day have no row, most of them where",
    ),
    "decimal commas": ("time;y\n1;1,5\n2;2,5\n", "row 2, column 'y': '1,5' is not a number"),
    "empty": ("", "the file is empty; give a file with a header and rows"),
    "short": (rows(1, 2, 3), "the longest series has 3 rows, too short for context"),
}


@pytest.mark.parametrize(("content", "text"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_data_gets_one_line_and_exit_code_2(tmp_path, content, text):
    data = tmp_path / "data.csv"
    data.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = throughtime("compare", data, "--missing", "interpolate", code=2, cwd=tmp_path)
    assert text in done.stderr
    assert done.stderr.startswith(f"throughtime: {data}")
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
    assert [p.name for p in tmp_path.iterdir()] == ["data.csv"]


def test_a_fault_of_ours_gets_one_line_and_exit_code_1():
    code = "from throughtime.exit_codes import run_to_the_end\n"
    code += "def app(*_, **__):\n    raise RuntimeError('first\\nsecond')\n"
    code += "run_to_the_end(app, keeps=False)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    expected = (
        r"throughtime: internal error in throughtime \S+: RuntimeError in \S+, line 3: first "
        r"second; "
    )
    assert re.match(expected, done.stderr)
    assert done.stderr.count("\n") == 1


RAISED = {
    "MemoryError()": "out of memory; use less data, or a machine with more memory",
    'RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can\'t allocate memory")': (
        "out of memory; use less data"
    ),
    "type('PanicException', (BaseException,), {})('index out of bounds')": (
        r"internal error in throughtime \S+: PanicException in \S+, line 3: index out of "
        r"bounds; please"
    ),
    "LostWorkerError('a worker died')": "a worker died",
    "RecursionError('too deep')": "internal error in throughtime .*: too deep; please report",
}


@pytest.mark.parametrize(("error", "told"), RAISED.items())
def test_what_is_no_mistake_of_the_users_gets_one_line_and_exit_code_1(error, told):
    code = "from throughtime.exit_codes import run_to_the_end, LostWorkerError\n"
    code += f"def app(*_, **__):\n    raise {error}\nrun_to_the_end(app, keeps=False)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.match(f"throughtime: {told}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_tokenizer_that_backtracks_without_end_gets_one_line(tmp_path):
    """It panics: no `Exception`, and a page of its own on standard error."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="?"))
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex("(?:(?:a|aa|aaa)+)+b"), "isolated")
    tokenizer.pre_tokenizer = split
    tokenizer.save(str(tmp_path / "t.json"))
    (tmp_path / "x.txt").write_text("a" * 40_000 + "c")
    command = ("fit", "x.txt", "--tokens", "t.json", "-o", "m", "-q")
    done = throughtime(*command, code=2, cwd=tmp_path)
    told = "throughtime: --tokens: the tokenizer cannot read the text (Onig: Regex search error"
    assert done.stderr.startswith(told) and done.stderr.count("\n") == 1


def test_whatever_is_named_a_message_is_one_line_and_no_terminal_obeys_it(tmp_path):
    data = KINDS["csv"].make(tmp_path)
    small = (*KINDS["csv"].options, *SMALL)
    for evil in ("a\nthroughtime: fake", "\x1b[31mred", "[red]x[*y]", "\u202egpj"):
        told = throughtime("fit", data, *small, "-o", evil, cwd=tmp_path)
        assert "\x1b" not in told.stdout and "\u202e" not in told.stdout
        assert told.stdout.count("\n") == 4  # error, weights kept, a warning, the model's folder
        for command in (("predict", evil), ("inspect", evil)):
            throughtime(*command, data, "-o", tmp_path / f"{evil}.out", cwd=tmp_path)
        for command in (
            ("predict", evil, f"{evil}.csv"),
            ("predict", evil, data, "-o", f"{data}/{evil}"),
            ("fit", data, "--target", evil, "-o", "m"),
            ("report", evil),
        ):
            told = throughtime(*command, code=2, cwd=tmp_path).stderr
            assert told.count("\n") == 1 and "\x1b" not in told and "\u202e" not in told


def strange_tables(folder):
    """Tables whose column of file names holds what no file can be called."""
    for name, files in (
        ("nul", ["a\0b", "c"]),
        ("lists", [[1], [2]]),
        ("bytes", [b"\xff\xfe", b"a"]),
    ):
        path = folder / f"{name}.parquet"
        pl.DataFrame({"file": files, "word": ["a", "b"]}).write_parquet(path)
    (folder / "nul.csv").write_text("file,word\n" + "a,b\n" * 2000 + "a\0b,c\n")
    return ["nul.parquet", "lists.parquet", "bytes.parquet", "nul.csv"]


def test_names_of_files_that_are_none(tmp_path):
    for name in strange_tables(tmp_path):
        command = ("fit", name, "--file", "file", "--label", "word", "-o", "m")
        told = throughtime(*command, code=2, cwd=tmp_path).stderr
        assert told.count("\n") == 1, told


def test_a_text_goes_on_from_any_prompt_at_any_temperature(tmp_path):
    data = KINDS["text"].make(tmp_path)
    for tokens in ("bytes", "characters"):
        small = (*KINDS["text"].options, *SMALL, "--tokens", tokens, "-o", tokens)
        throughtime("fit", data, *small, cwd=tmp_path)
        for temperature in ("1e-320", "1e-300", "1e300", "0"):
            told = throughtime(
                *("sample", tokens, "--temperature", temperature, "--length", 3),
                *("--prompt", "abc" if tokens == "characters" else os.fsdecode(b"a\xff")),
                cwd=tmp_path,
            )
            assert told.stdout
    told = throughtime("sample", "bytes", "--length", "9" * 25, code=2, cwd=tmp_path)
    assert "Invalid value for '--length'" in told.stderr


def test_ctrl_c_while_everything_loads_gets_a_line_too():
    """Sent as soon as a library is asked for."""
    script = (
        "import os, signal, sys\n"
        "class Loading:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Loading())\n"
        "from throughtime.start import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stderr == "throughtime: interrupted; nothing was written\n"


NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "task"])
def test_names_that_are_not_utf8_are_names(tmp_path, kind):
    """A path that no text can hold: learned from, saved, compared, answered."""
    if KINDS[kind].needs:
        pytest.importorskip(KINDS[kind].needs)
    made, folder = tmp_path / "made", tmp_path / NOT_UTF8
    made.mkdir()
    data = folder / KINDS[kind].make(made).relative_to(made)
    made.rename(folder)
    named = data.with_name(NOT_UTF8 + "".join(data.suffixes))
    data.rename(named)
    if named.is_dir():
        for path in [*named.rglob("*.*")]:
            path.rename(path.with_name(NOT_UTF8 + path.name))
        for path in [p for p in named.iterdir() if p.is_dir()]:
            path.rename(path.with_name(NOT_UTF8 + path.name))
    small = (*KINDS[kind].options, *SMALL)
    model = tmp_path / f"m{NOT_UTF8}"
    throughtime("fit", named, *small, "-o", model)
    (model / "README.md").read_text(encoding="utf-8")
    throughtime("predict", model, named, "-o", tmp_path / NOT_UTF8 / "out.csv")
    (tmp_path / NOT_UTF8 / "out.csv").read_text(encoding="utf-8")
    json.loads(throughtime("predict", model, named, "--json").stdout)
    run = tmp_path / f"r{NOT_UTF8}"
    one = ("--networks", "gru", "--seeds", 1, "--trials", 2, "--jobs", 1, "--out", run)
    throughtime("compare", named, *small, *one)
    throughtime("report", run)
    (run / "report.html").read_text(encoding="utf-8")


def interrupted(command, cwd, ready):
    """What a command says to Ctrl-C, sent to it once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "throughtime", *map(str, command)],
        cwd=cwd,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    ready(process)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    return told


def test_an_interrupt_says_how_to_go_on(co2_cut, tmp_path):
    command = ["compare", co2_cut, "--time", "date", "--missing", "interpolate"]
    command += ["--epochs", "1000", "--jobs", "1", "--out", "run"]

    def a_trial_is_done(_):
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("run/trials/*/record.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    told = interrupted(command, tmp_path, a_trial_is_done)
    assert told.endswith(
        "throughtime: interrupted; finished work is kept, run the same command to resume\n"
    )


def test_an_interrupt_inside_generated_code_ends_as_any_other(tmp_path):
    (tmp_path / "probe.py").write_text(
        "from throughtime.exit_codes import run_to_the_end\n"
        "def app(*_, **__):\n"
        "    exec('raise KeyboardInterrupt')\n"
        "run_to_the_end(app, keeps=False)\n"
    )
    probe = [sys.executable, "-m", "probe"]
    ended = subprocess.run(probe, cwd=tmp_path, capture_output=True, check=False)
    assert ended.returncode == 130
    assert ended.stderr == b"throughtime: interrupted; nothing was written\n"


def test_an_interrupted_fit_claims_to_have_kept_what_it_has_kept(co2_cut, tmp_path):
    command = ["fit", co2_cut, "--time", "date", "--missing", "interpolate", "-o", "model"]
    command += ["--epochs", "1000", "--parameters", "100000"]

    def it_trains(process):
        for line in process.stderr:
            if line.startswith("  seed "):  # the last of its choices
                return

    told = interrupted(command, tmp_path, it_trains)
    assert not (tmp_path / "model").exists()
    # before its first step, or after some: what it claims is what is there
    kept = list(tmp_path.glob("model.training/checkpoint-*"))
    if kept:
        assert told.startswith("throughtime: interrupted after step ")
        assert told.endswith("run the same command again to continue\n")
    else:
        assert told == "throughtime: interrupted; nothing was written\n"


def test_a_reader_that_goes_away_is_no_error(co2_cut, comparison):
    command = (
        f"{sys.executable} -m throughtime predict {comparison[1] / 'model'} {co2_cut} -q | true"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""

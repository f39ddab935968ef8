"""No command, and no process that it starts, runs a module that lies in the current folder."""

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from kinds import KINDS, SMALL
from throughtime.comparison.workers import safe_path, side_by_side
from throughtime.data.tables.reading import read_frame

# what the command line, its workers and its trial readers import, as a hostile folder would name it
POISON = (
    *("multiprocessing", "struct", "socket", "pickle", "json", "random", "logging", "tempfile"),
    *("csv", "gzip", "zipfile", "subprocess", "threading", "queue", "typing", "dataclasses"),
    *("ctypes", "signal", "inspect", "platform", "hashlib", "string", "secrets", "selectors"),
    *("numpy", "polars", "torch", "rich", "typer", "plotly", "safetensors", "soundfile", "soxr"),
    *("librosa", "scipy", "tokenizers", "pooch", "requests", "numba", "pandas", "tensorboard"),
)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """A folder of such modules, each of which leaves a mark when it is run."""
    folder = tmp_path_factory.mktemp("poisoned")
    mark = folder / "mark"
    for name in POISON:
        text = f"open({str(mark)!r}, 'a').write('{name} ')\nraise SystemExit('poisoned')\n"
        (folder / f"{name}.py").write_text(text)
    return folder


def check(poisoned, done):
    mark = poisoned / "mark"
    told = mark.read_text() if mark.exists() else ""
    mark.unlink(missing_ok=True)
    assert not told, f"ran {told}"
    assert done.returncode == 0, done


def test_the_poison_works(poisoned):
    """What a child process did before it was given a safe path."""
    done = subprocess.run(
        [sys.executable, "-c", "import struct, polars"],
        cwd=poisoned,
        capture_output=True,
        check=False,
    )
    with pytest.raises(AssertionError, match="ran struct"):
        check(poisoned, done)


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_on_every_kind_of_data(poisoned, warm, thorough, kind):
    if KINDS[kind].needs:
        pytest.importorskip(KINDS[kind].needs)
    folder = poisoned / kind.replace(" ", "-")
    folder.mkdir()
    data = KINDS[kind].make(folder)
    run, model = folder / "run", folder / "m"
    small = (*KINDS[kind].options, *SMALL)
    jobs = 2 if thorough or kind in ("csv", "shards") else 1  # two: with processes of their own
    two = ("--networks", "dense,rnn", "--seeds", "1", "--trials", "2", "--jobs", jobs, "--out", run)
    check(poisoned, warm.run("fit", data, *small, "-o", model, cwd=poisoned))
    check(poisoned, warm.run("compare", data, *small, *two, cwd=poisoned))
    check(poisoned, warm.run("report", run, cwd=poisoned))
    if kind != "task":
        check(poisoned, warm.run("predict", model, data, "-q", cwd=poisoned))
    if "y" in KINDS[kind].options:  # a forecast
        check(poisoned, warm.run("inspect", model, data, "-o", folder / "i.html", cwd=poisoned))
    if kind in ("text", "texts"):
        check(poisoned, warm.run("sample", model, "--length", 3, cwd=poisoned))


SCRIPT = Path(sys.executable).with_name("throughtime")


@pytest.mark.parametrize("program", [[SCRIPT], [sys.executable, "-m", "throughtime"]])
def test_the_command_itself(poisoned, tmp_path, program):
    """As a process of its own: by its script, and by `python -m`."""
    data, table = KINDS["csv"].make(tmp_path), KINDS["parquet"].make(tmp_path)
    sets = files("statsmodels.datasets.co2")
    model = tmp_path / "m"
    for command in (
        ("info", "-q"),
        ("data", "get", "co2", "--from", sets, "-o", tmp_path / "sets"),
        ("fit", table, *KINDS["csv"].options, *SMALL, "-o", model),
        ("predict", model, data),
    ):
        done = subprocess.run(
            [*program, *command], cwd=poisoned, capture_output=True, text=True, check=False
        )
        check(poisoned, done)


def test_numba_takes_no_settings_from_the_current_folder(poisoned, tmp_path):
    """They may name a folder of compiled code, which it would run."""
    pytest.importorskip("soundfile")
    evil = tmp_path / "evil"
    (poisoned / ".numba_config.yaml").write_text(f"cache_dir: {evil}\nopt: 0\n")
    script = (
        "import sys; sys.path.pop(0)\n"  # the current folder, which `-c` puts there
        "from throughtime.data.audio.feature_library import load_librosa\n"
        "load_librosa().feature\n"
        "from numba.core import config\n"
        "print(config.CACHE_DIR, config.OPT)\n"
        "config.reload_config()\n"  # as it does whenever it compiles
        "print(config.CACHE_DIR, config.OPT)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=poisoned,
        capture_output=True,
        text=True,
        check=False,
    )
    (poisoned / ".numba_config.yaml").unlink()
    check(poisoned, done)
    assert str(evil) not in done.stdout and done.stdout.count("(3)") == 2, done
    assert not evil.exists() and not done.stderr


def test_the_library_alone_runs_nothing_there_either(poisoned, tmp_path, monkeypatch):
    """Without the command line, which hands the safe path down by the environment."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.chdir(poisoned)
    frame, _ = read_frame(KINDS["parquet"].make(tmp_path))
    assert len(frame) == 80
    with side_by_side(doubled, 1, 2, tmp_path, 2, lambda *_: None) as run_all:
        assert sorted(run_all([3, 4])) == [(3, 6), (4, 8)]
    check(poisoned, subprocess.CompletedProcess([], 0))


def doubled(_problem, _settings, _folder, spec, _watch):
    return 2 * spec


def test_the_environment_is_as_before(monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with safe_path():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert "PYTHONSAFEPATH" not in os.environ
    monkeypatch.setenv("PYTHONSAFEPATH", "x")
    with safe_path():
        pass
    assert os.environ["PYTHONSAFEPATH"] == "x"

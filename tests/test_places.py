"""Every command where things are not as they should be: one line, a known exit code, nothing half.

A disk without room, a folder that may not be written to or read, closed streams, no home, another
user.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinds import KINDS, SMALL
from throughtime.output_guard import kept_kind
from warm import Warm

ROOT = os.geteuid() == 0
# another user, who may read all (the interpreter too) and write nothing of root's
CAN_READ = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
USER = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", *CAN_READ)
# root without what makes root root: what permissions say holds
BOUND = ("setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")


@pytest.fixture(scope="module")
def made(tmp_path_factory, warm):
    """Data, its model and its run, which anybody may read."""
    folder = tmp_path_factory.mktemp("made")
    for name, kind in (("m", "csv"), ("words", "text")):
        data = KINDS[kind].make(folder)
        small = (*KINDS[kind].options, *SMALL)
        assert not warm.run("fit", data, *small, "-o", name, cwd=folder).returncode
    two = ("--networks", "gru", "--seeds", 1, "--jobs", 1, "--out", "run")
    small = (*KINDS["csv"].options, *SMALL)
    assert not warm.run("compare", folder / "a.csv", *small, *two, cwd=folder).returncode
    (folder / "given").mkdir()
    for number in range(30):
        (folder / "given" / f"{number}.txt").write_text("x")
    for path in (folder, *folder.parents):
        if ROOT and path.stat().st_mode & 0o077 == 0:
            path.chmod(0o755)
    return folder


def commands(made, out):
    """Every command, with its outputs below `out`."""
    small = (*KINDS["csv"].options, *SMALL)
    compare = ("--networks", "dense", "--seeds", 1, "--jobs", 1, "--out", out / "r")
    return {
        "info": ("info",),
        "data list": ("data", "list"),
        "data get": ("data", "get", "lynx", "--from", made / "given", "-o", out),
        "fit": ("fit", made / "a.csv", *small, "-o", out / "f"),
        "fit --log": ("fit", made / "a.csv", *small, "-o", out / "g", "--log", out / "log"),
        "compare": ("compare", made / "a.csv", *small, *compare),
        "predict": ("predict", made / "m", made / "a.csv"),
        "predict -o": ("predict", made / "m", made / "a.csv", "-o", out / "p.csv"),
        "inspect": ("inspect", made / "m", made / "a.csv", "-o", out / "i.html"),
        "report": ("report", made / "run", "-o", out / "r.html"),
        "sample": ("sample", made / "words", "--length", 5),
    }


NAMES = list(commands(Path(), Path()))
PRINTS_ALONE = {"info", "data list", "predict", "sample"}  # they write nothing


def check_ending(done, codes=(0, 1, 2)):
    assert done.returncode in codes, done
    assert "Traceback" not in done.stderr and "internal error in throughtime" not in done.stderr, (
        done
    )
    if done.returncode:
        assert re.search(r"^throughtime: .*\n\Z", done.stderr, re.MULTILINE), done


def check_whole(out):
    """What lies below `out` is whole: no temporary file, no half model."""
    for path in out.rglob("*"):
        assert not path.name.startswith("."), path
        if path.name == "config.json":
            assert kept_kind(path.parent) == "model"
        if path.suffix == ".html":
            assert path.read_text().endswith("</html>\n")
        if path.suffix == ".csv":
            assert path.read_text().count("\n") == 3


def marks(folder):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


# --------------------------------------------------------------------------- closed streams


@pytest.mark.parametrize("name", NAMES)
def test_standard_output_that_is_closed_or_full(made, warm, tmp_path, name):
    """Exit code 1 and a line: the result is lost; what was written stays."""
    for number, output in enumerate((None, "/dev/full")):
        out = tmp_path / str(number)
        out.mkdir()
        errors = tmp_path / "errors"
        command = commands(made, out)[name]
        code = warm.run(*command, cwd=tmp_path, streams=(output, str(errors))).returncode
        told = errors.read_text().splitlines()[-1]
        if name == "data get":  # whose input is wrong here
            assert code == 2
            continue
        assert code == 1, errors.read_text()
        assert re.fullmatch(r"throughtime: standard output: .*; the output was not printed", told)
        check_whole(out)
        if name == "predict -o":
            assert (out / "p.csv").exists()


@pytest.mark.parametrize("error", [None, "/dev/full"])
@pytest.mark.parametrize("name", NAMES)
def test_standard_error_that_is_closed_or_full(made, warm, tmp_path, name, error):
    """The work goes on, and nothing of what belongs there gets into the result."""
    printed = tmp_path / "printed"
    done = warm.run(*commands(made, tmp_path)[name], cwd=tmp_path, streams=(str(printed), error))
    assert done.returncode == (2 if name == "data get" else 0)
    if name == "predict":
        expected = warm.run(*commands(made, tmp_path)[name], cwd=tmp_path)
        assert printed.read_text() == expected.stdout
    if name == "data get":
        assert printed.read_text() == ""


def test_no_stream_at_all(made, tmp_path):
    """A file that is opened must not become standard output: all three are closed here."""
    words = " ".join(map(str, commands(made, tmp_path)["predict -o"]))
    command = f"{sys.executable} -m throughtime {words} <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False)
    assert done.returncode == 1  # it could not say that it was done
    assert (tmp_path / "p.csv").read_text().startswith("t,step,y\n")
    check_whole(tmp_path)


# ------------------------------------------------------------------------------- full disk


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A process whose folder `full` lies on a disk of 1 MB, with room for 12 kB."""
    folder = tmp_path_factory.mktemp("disk")
    (folder / "full").mkdir()
    mount = 'mount -t tmpfs -o size=1m none "$0" && head -c 1036288 /dev/zero > "$0/filler"'
    share = ("unshare", "--mount") if ROOT else ("unshare", "--mount", "--map-root-user")
    start = (*share, "sh", "-c", f'{mount} && exec "$@"', str(folder / "full"))
    with Warm(start) as running:
        yield running, folder / "full"


@pytest.mark.parametrize("name", [n for n in NAMES if n not in PRINTS_ALONE])
def test_a_full_disk(made, small_disk, tmp_path, name):
    warm, full = small_disk
    out = full / name.replace(" ", "")
    done = warm.run(*commands(made, out)[name], cwd=tmp_path)
    check_ending(done)
    if name in ("inspect", "report", "compare"):  # a page has 5 MB
        assert done.returncode == 2, done
        assert "No space left on device; use another path, or free disk space" in done.stderr
    check_whole(warm.seen(out))
    if name == "fit" and done.returncode:
        assert kept_kind(warm.seen(out / "f.training")) in ("training", "")


# ------------------------------------------------------------------- folders of somebody else


@pytest.fixture(scope="module")
def stranger():
    """Another user, without a home and without a name."""
    with Warm(USER if ROOT else (), HOME="/nonexistent", XDG_CACHE_HOME=None) as running:
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_another_user_in_a_folder_that_is_not_theirs(made, stranger, tmp_path, name):
    tmp_path.chmod(0o555)
    before = marks(made)
    try:
        done = stranger.run(*commands(made, tmp_path)[name], cwd=tmp_path)
        check_ending(done)
        assert done.returncode == (0 if name in PRINTS_ALONE else 2), done
        assert not list(tmp_path.iterdir())
        if name not in PRINTS_ALONE:
            assert "cannot be written to; use another path" in done.stderr
        assert marks(made) == before
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_without_a_home(made, stranger, tmp_path, name):
    """In a folder that this user may write to, nothing is missed."""
    tmp_path.chmod(0o777)
    for home in ("/nonexistent", None):
        out = tmp_path / str(home).strip("/")
        done = stranger.run(*commands(made, out)[name], cwd=tmp_path, HOME=home)
        assert done.returncode == (2 if name == "data get" else 0), done
        check_whole(out)


def test_another_user_cannot_write_into_a_run_and_says_so(made, stranger, tmp_path):
    before = marks(made)
    for command in (("report", made / "run"), ("compare", made / "a.csv", "--out", made / "run")):
        options = (*KINDS["csv"].options, *SMALL) if command[0] == "compare" else ()
        done = stranger.run(*command, *options, cwd=tmp_path)
        check_ending(done, (2,))
    assert marks(made) == before


HOMELESS = [
    # numba compiles anew in each process where it can keep nothing: half a minute
    pytest.param(kind, marks=[pytest.mark.thorough] if KINDS[kind].needs else [])
    for kind in KINDS
    if kind != "task"
]


@pytest.mark.parametrize("kind", HOMELESS)
def test_without_a_home_every_kind_is_learned_and_answered(made, tmp_path, stranger, kind):
    """The caches of features and data sets, and those of other libraries, have no place."""
    if KINDS[kind].needs:
        pytest.importorskip(KINDS[kind].needs)
    tmp_path.chmod(0o777)
    data = KINDS[kind].make(tmp_path)
    small = (*KINDS[kind].options, *SMALL)
    done = stranger.run("fit", data, *small, "-o", tmp_path / "m", cwd=tmp_path)
    assert done.returncode == 0, done
    done = stranger.run("predict", tmp_path / "m", data, "-q", cwd=tmp_path)
    assert done.returncode == 0, done


def test_numba_is_given_a_place_where_it_has_none(tmp_path, monkeypatch):
    """By the name that numba knows, in a folder that is its user's alone, and gone at the end."""
    from throughtime.data.audio import feature_library

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(feature_library, "can_be_written", lambda path: False)
    feature_library.give_numba_a_place(tmp_path)
    place = Path(os.environ["NUMBA_CACHE_DIR"])
    assert place.stat().st_mode & 0o777 == 0o700 and place.is_dir()
    feature_library.give_numba_a_place(tmp_path)
    assert os.environ["NUMBA_CACHE_DIR"] == str(place)
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(feature_library, "can_be_written", lambda path: True)
    feature_library.give_numba_a_place(tmp_path)
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_a_data_set_without_a_home_needs_a_place(stranger):
    done = stranger.run("data", "get", "lynx", "--from", "/tmp", cwd=Path("/tmp"), HOME=None)
    check_ending(done, (2,))
    if ROOT:  # whose number has no name in the system's list, and so no home
        assert "there is no home folder to save to; give a folder with --out" in done.stderr


@pytest.fixture(scope="module")
def bound():
    """This user, without what lets root read and write everything."""
    with Warm(BOUND if ROOT else ()) as running:
        yield running


@pytest.mark.parametrize("what", ["data", "model", "run", "folder of texts"])
def test_what_may_not_be_read_is_said_to_be_so(made, bound, tmp_path, what):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    texts = KINDS["texts"].make(tmp_path)
    (texts / "sub").mkdir()
    closed = {
        "data": copy / "a.csv",
        "model": copy / "m" / "model.safetensors",
        "run": copy / "run",
        "folder of texts": texts / "sub",
    }[what]
    command = {
        "data": ("predict", copy / "m", copy / "a.csv"),
        "model": ("predict", copy / "m", copy / "a.csv"),
        "run": ("report", copy / "run"),
        "folder of texts": ("fit", texts, "-o", tmp_path / "m"),
    }[what]
    closed.chmod(0)
    try:
        done = bound.run(*command, cwd=tmp_path)
    finally:
        closed.chmod(0o755)
    check_ending(done, (2,))
    assert "Permission denied" in done.stderr or "is not readable" in done.stderr
    assert str(closed) in done.stderr

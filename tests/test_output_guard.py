"""No output destroys an input, a model, a run or a training, however it is named."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinds import KINDS, SMALL
from throughtime.errors import InputError
from throughtime.files import alone_in
from throughtime.output_guard import check_output_file, check_output_folder, kept_kind


@pytest.fixture(scope="module")
def place(tmp_path_factory, warm):
    """A table, its model, a finished run, and a training that was not finished."""
    folder = tmp_path_factory.mktemp("guard")
    kind = KINDS["csv"]
    data = kind.make(folder)
    small = (*kind.options, *SMALL)
    assert not warm.run("fit", data, *small, "-o", "model", cwd=folder).returncode
    networks = ("--networks", "gru", "--seeds", 1, "--trials", 2, "--jobs", 1, "--out", "run")
    assert not warm.run("compare", data, *small, *networks, cwd=folder).returncode
    (folder / "half.training").mkdir()
    (folder / "half.training" / "checkpoint-000000000001").write_text("x")
    (folder / "static.csv").write_text("t,z\n1,2\n")
    (folder / "link.csv").symlink_to(data)
    (folder / "deep").mkdir()
    (folder / "deep" / "linked").symlink_to(folder / "model")
    os.link(data, folder / "hard.csv")
    return folder


def contents(folder):
    """Every file below a folder with its hash; links by where they lead."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


INPUTS = ["a.csv", "./a.csv", "deep/../a.csv", "link.csv", "hard.csv"]
KEPT = [
    *("model/config.json", "model/model.safetensors", "model/README.md", "deep/linked/config.json"),
    *("run/comparison.json", "run/identity", "run/lock", "run/model/config.json"),
    *("run/trials/gru-0-seed0/record.json", "run/trials/new", "run/model"),
    *("half.training/checkpoint-000000000001", "half.training/checkpoint-000000000002"),
    *("half.training/lock", "model", "run", ".", "a.csv/x"),
]
FILE_COMMANDS = {
    "predict": ("predict", "model", "a.csv"),
    "predict with the run's model": ("predict", "run/model", "a.csv"),
    "inspect": ("inspect", "model", "a.csv"),
    "report": ("report", "run"),
}


REFUSED = [
    (command, out)
    for command in FILE_COMMANDS.values()
    for out in (
        KEPT if command[0] == "report" else [*INPUTS, *KEPT, "{here}/a.csv", "run/report.html"]
    )
]


@pytest.mark.parametrize(("command", "out"), REFUSED)
def test_files_that_are_read_or_kept_are_refused_as_outputs(place, warm, command, out):
    before = contents(place)
    given = out.format(here=place)
    done = warm.run(*command, "-o", given, cwd=place)
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"throughtime: --out {Path(given)}: ")
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
    assert contents(place) == before


FOLDERS = [
    "a.csv",
    "link.csv",
    "model",
    "model/new",
    "run/model",
    "run/new",
    "run",
    "half.training",
]


@pytest.mark.parametrize("out", FOLDERS)
@pytest.mark.parametrize("command", ["fit", "fit --log", "compare"])
def test_folders_that_are_kept_are_refused_as_outputs(place, warm, command, out):
    before = contents(place)
    options = (*KINDS["csv"].options, "--parameters", 61, "--epochs", 1)
    name, *log = command.split()
    outs = ("-o", "fresh", "--log", out) if log else ("--out", out)
    done = warm.run(name, "a.csv", *options, *outs, cwd=place)
    assert done.returncode == 2, done
    assert done.stderr.splitlines()[-1].startswith("throughtime: ")
    assert not done.stdout
    assert contents(place) == before


def test_a_new_file_beside_what_is_kept_is_written(place, warm):
    for out in ("forecast.csv", "run/forecast.csv", "deep/new/forecast.csv"):
        assert not warm.run("predict", "model", "a.csv", "-o", out, cwd=place).returncode
        again = warm.run("predict", "model", "a.csv", "-o", out, cwd=place)
        assert again.returncode == (2 if out.startswith("run/") else 0)  # it could be anybody's
        assert (place / out).read_text().startswith("t,step,y\n")
        (place / out).unlink()
    for page in ("page.html", "run/report.html", "run/report.html"):  # the last is its own
        assert not warm.run("report", "run", "-o", page, cwd=place).returncode
    (place / "page.html").unlink()


@pytest.mark.parametrize("kind", ["ts", "texts", "shards", "listed recordings"])
def test_every_file_that_is_read_is_guarded(tmp_path, warm, kind):
    """Files of a folder, the test part beside a training part, recordings that a table names."""
    if KINDS[kind].needs:
        pytest.importorskip(KINDS[kind].needs)
    data = KINDS[kind].make(tmp_path)
    small = (*KINDS[kind].options, *SMALL, "-o", "m")
    assert not warm.run("fit", data, *small, cwd=tmp_path).returncode
    before = contents(tmp_path)
    read = [p for p in tmp_path.rglob("*") if p.is_file() and "m" not in p.parts[-2:-1]]
    if kind == "ts":
        read = [data]  # a model answers to the file it is given, alone
    assert read
    for path in read[:3]:
        done = warm.run("predict", "m", data, "-o", path, cwd=tmp_path)
        assert done.returncode == 2 and "is the same file as the input" in done.stderr, done
    partner = tmp_path / "s_TEST.ts"
    if kind == "ts":
        done = warm.run("fit", data, *SMALL, "-o", partner, cwd=tmp_path)
        assert done.returncode == 2
    assert contents(tmp_path) == before


def test_a_static_table_and_a_tokenizer_are_inputs_too(tmp_path, warm):
    KINDS["csv"].make(tmp_path)
    for option, name in (("--static", "s.csv"), ("--tokens", "t.json")):
        (tmp_path / name).write_text("{}")
        done = warm.run("fit", "a.csv", option, name, "-o", name, cwd=tmp_path)
        assert done.returncode == 2, done
        done = warm.run("compare", "a.csv", option, name, "--out", name, cwd=tmp_path)
        assert done.returncode == 2 and (tmp_path / name).read_text() == "{}", done


def test_a_report_through_a_link_does_not_replace_what_was_read(place, warm):
    page = place / "run" / "report.html"
    page.unlink(missing_ok=True)
    page.symlink_to(place / "run" / "comparison.json")
    before = contents(place)
    assert warm.run("report", "run", cwd=place).returncode == 2
    assert warm.run("report", "run", "-o", page, cwd=place).returncode == 2
    assert contents(place) == before
    page.unlink()
    assert not warm.run("report", "run", cwd=place).returncode


def test_a_finished_model_is_replaced_by_force_alone(tmp_path, warm):
    data = KINDS["csv"].make(tmp_path)
    command = ("fit", data, *KINDS["csv"].options, *SMALL, "-o", "m", "-q")
    assert not warm.run(*command, cwd=tmp_path).returncode
    before = contents(tmp_path)
    done = warm.run(*command, "--seed", 1, cwd=tmp_path)
    assert done.returncode == 2
    assert "already holds a model; name a new folder, or replace it with --force" in done.stderr
    assert contents(tmp_path) == before
    assert not warm.run(*command, "--seed", 1, "--force", cwd=tmp_path).returncode
    assert contents(tmp_path)["m/model.safetensors"] != before["m/model.safetensors"]
    (tmp_path / "m" / "mine.txt").write_text("x")
    done = warm.run(*command, "--force", cwd=tmp_path)
    assert done.returncode == 2 and "holds other files (mine.txt)" in done.stderr


def test_force_replaces_models_and_nothing_else(tmp_path, warm):
    data = KINDS["csv"].make(tmp_path)
    command = ("fit", data, *KINDS["csv"].options, *SMALL, "--force")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text('{"architectures": ["Bert"]}')
    (tmp_path / "theirs" / "model.safetensors").write_text("weights")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("mine")
    before = contents(tmp_path)
    for out in ("theirs", "notes"):
        done = warm.run(*command, "-o", out, cwd=tmp_path)
        assert done.returncode == 2 and "holds other files" in done.stderr, done
    assert not warm.run(*command[:-1], "-o", "m", cwd=tmp_path).returncode
    (tmp_path / "m" / "README.md").write_text("a text to learn. " * 200)
    for out in ("m", "./m", "m/."):  # whose card is the input
        done = warm.run("fit", "m/README.md", *SMALL, "--force", "-o", out, cwd=tmp_path)
        assert done.returncode == 2 and "holds the input m/README.md" in done.stderr, done
    for out in ("", ".", "/", "m" * 300):
        done = warm.run(*command, "-o", out, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert {k: v for k, v in contents(tmp_path).items() if not k.startswith("m/")} == before


def test_a_model_that_appears_while_another_is_trained_stays(tmp_path, warm):
    """And what was trained is not lost: it is saved beside it."""
    data = KINDS["csv"].make(tmp_path)
    options = (*KINDS["csv"].options, "--parameters", "60")
    first = ("fit", data, *options, "--epochs", 1, "-o", "first")
    assert not warm.run(*first, cwd=tmp_path).returncode
    slow = [sys.executable, "-m", "throughtime", "fit", str(data), *options, "-o", "m", "-q"]
    slow += ["--epochs", "100000", "--patience", "100000", "--budget", "4s"]
    slow.remove("-q")
    process = subprocess.Popen(slow, cwd=tmp_path, stdout=-1, stderr=-1, text=True)
    while not (tmp_path / "m.training" / "lock").exists():
        assert process.poll() is None
    time.sleep(1.5)  # it trains by now
    (tmp_path / "first").rename(tmp_path / "m")
    before = contents(tmp_path / "m")
    told, aside = process.communicate(timeout=60)
    assert process.returncode == 0 and told.endswith("model: m-2\n"), told
    assert "m was created during the training: saving the model beside it" in aside
    assert contents(tmp_path / "m") == before
    assert kept_kind(tmp_path / "m-2") == "model" and not (tmp_path / "m.training").exists()


def test_two_names_of_one_place_are_one_place(tmp_path, warm):
    data = KINDS["csv"].make(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "m")
    command = ("fit", data, *KINDS["csv"].options, *SMALL)
    with alone_in(tmp_path / "real" / "m.training"):
        done = warm.run(*command, "-o", "link", cwd=tmp_path)
    assert done.returncode == 2 and "is using this folder" in done.stderr, done
    assert not warm.run(*command, "-o", "link", cwd=tmp_path).returncode
    assert (tmp_path / "link").is_symlink() and kept_kind(tmp_path / "real" / "m") == "model"


@pytest.mark.parametrize("target", ["a.csv", "model/config.json", "home"])
def test_a_link_that_lies_in_a_run_leads_nowhere(place, warm, tmp_path, target):
    """A run may come from somebody else."""
    here = tmp_path / "here"
    shutil.copytree(place, here, symlinks=True)
    (here / "home").write_text("alias ls=ls")
    page = here / "run" / "report.html"
    page.unlink(missing_ok=True)
    page.symlink_to(here / target)
    before = contents(here)
    assert not warm.run("report", "run", cwd=here).returncode
    assert not page.is_symlink() and page.read_text().endswith("</html>\n")
    after = contents(here)
    assert {k: v for k, v in after.items() if k != "run/report.html"} == {
        k: v for k, v in before.items() if k != "run/report.html"
    }


@pytest.mark.parametrize("inside", ["model", "trials", "trials/gru-0-seed0", "report.html"])
def test_a_comparison_does_not_go_on_through_links(place, warm, tmp_path, inside):
    here = tmp_path / "here"
    shutil.copytree(place, here, symlinks=True)
    (here / "run" / "comparison.json").unlink()
    moved = here / "run" / inside
    moved.rename(here / "elsewhere")
    moved.symlink_to(here / "elsewhere")
    before = contents(here)
    two = ("--networks", "gru", "--seeds", 1, "--trials", 2, "--jobs", 1, "--out", "run")
    done = warm.run("compare", "a.csv", *KINDS["csv"].options, *SMALL, *two, cwd=here)
    assert done.returncode == 2 and "is a symbolic link inside a run; remove it" in done.stderr, (
        done
    )
    assert contents(here) == before
    moved.unlink()  # as the message says
    assert not warm.run(
        "compare", "a.csv", *KINDS["csv"].options, *SMALL, *two, cwd=here
    ).returncode


def test_what_force_replaces_is_there_at_every_moment(tmp_path):
    """Whoever looks finds a folder of that name, and it is whole for as long as it has the name."""
    script = (
        "import sys; from pathlib import Path; from throughtime.files import write_folder_whole\n"
        "for k in range(400):\n"
        "    write_folder_whole(Path(sys.argv[1]), dict.fromkeys('ab', str(k).encode()))"
    )
    folder = tmp_path / "m"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text("old")
    writer = subprocess.Popen([sys.executable, "-c", script, str(folder)])
    looks = 0
    while writer.poll() is None:
        handle = os.open(folder, os.O_RDONLY)
        found = sorted(os.listdir(handle))  # noqa: PTH208 - a handle, not a path
        if found != ["a", "b"]:  # another has the name by now, and this one is being removed
            assert folder.stat().st_ino != os.fstat(handle).st_ino
        os.close(handle)
        looks += 1
    assert writer.returncode == 0 and looks > 20
    assert (folder / "a").read_text() == (folder / "b").read_text() == "399"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_two_fits_of_one_model_at_once_are_one_too_many(tmp_path):
    data = KINDS["csv"].make(tmp_path)
    command = [sys.executable, "-m", "throughtime", "fit", str(data), *KINDS["csv"].options]
    command += ["--epochs", "3000", "--patience", "3000", "--budget", "4s", "-o", "m", "-q"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1, text=True) for _ in range(2)
    ]
    told = [process.communicate(timeout=100)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes == [0, 2], told
    assert any("is using this folder" in text or "already holds a model" in text for text in told)
    assert kept_kind(tmp_path / "m") == "model"


def test_two_predictions_into_one_file_leave_one_of_them_whole(place, warm):
    many = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "throughtime",
                "predict",
                model,
                "a.csv",
                "-q",
                "-o",
                "both.csv",
            ],
            cwd=place,
        )
        for model in ("model", "run/model")
    ]
    assert [process.wait(timeout=60) for process in many] == [0, 0]
    each = [
        warm.run("predict", model, "a.csv", "-q", cwd=place).stdout
        for model in ("model", "run/model")
    ]
    assert (place / "both.csv").read_text() in each
    (place / "both.csv").unlink()


def test_other_programs_folders_are_no_models(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Bert"]}')
    (tmp_path / "model.safetensors").write_text("x")
    assert kept_kind(tmp_path) == ""
    (tmp_path / "out.csv").write_text("x")
    check_output_file("--out", tmp_path / "out.csv")
    (tmp_path / "config.json").write_text('{\n "format": 2, "family": "tokens"}')
    assert kept_kind(tmp_path) == "model"
    study = tmp_path / "study"  # of people, who have identities and trials
    (study / "trials").mkdir(parents=True)
    (study / "identity").write_text("Jane Doe")
    assert kept_kind(study) == ""
    (study / "identity").write_text("0123456789abcdef" * 4)
    assert kept_kind(study) == "run"
    steps = tmp_path / "my.training"
    (steps / "checkpoint-500").mkdir(parents=True)
    assert kept_kind(steps) == ""


@settings(max_examples=150)
@given(
    data=st.data(),
    hops=st.lists(st.sampled_from(["link", "up", "hard", "dot"]), max_size=4),
)
def test_no_detour_hides_an_input(tmp_path_factory, data, hops):
    folder = tmp_path_factory.mktemp("detour")
    (folder / "sub").mkdir()
    target = folder / "in.csv"
    target.write_text("x")
    path = target
    for number, hop in enumerate(hops):
        if hop == "link":
            new = folder / f"l{number}"
            new.symlink_to(path)
            path = new
        elif hop == "up":
            path = folder / "sub" / ".." / path.name
        elif hop == "hard":
            new = folder / f"h{number}"
            os.link(os.path.realpath(path), new)
            path = new
        else:
            path = Path(f"{path.parent}/./{path.name}")
    one, other = data.draw(st.permutations([path, target]))
    with pytest.raises(InputError, match="is the same file as the input"):
        check_output_file("--out", one, [other])
    with pytest.raises(InputError, match="is a file; name a new folder"):
        check_output_folder("--out", one, [other])
    check_output_file("--out", folder / "new.csv", [other])


def test_a_circle_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match=r"--out .*a: cannot be used"):
        check_output_file("--out", tmp_path / "a")

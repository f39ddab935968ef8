"""The one door: what a path holds, which options it takes, and every way it can be wrong."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from throughtime.data.folders import SOUNDS, TEXTS, files_in, kind_of_folder
from throughtime.data.opening import kind_of, open_problem
from throughtime.data.sequences.sequences import SequenceProblem
from throughtime.data.tables.forecast_problem import Problem
from throughtime.data.text.documents import TextProblem
from throughtime.data_options import DataOptions
from throughtime.errors import InputError


@pytest.fixture
def place(tmp_path):
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "1.txt").write_text("hello " * 300)
    (tmp_path / "sounds" / "a").mkdir(parents=True)
    (tmp_path / "sounds" / "a" / "1.wav").write_bytes(b"")
    (tmp_path / "tables").mkdir()
    frame = pl.DataFrame({"x": np.arange(500.0)})
    frame.write_parquet(tmp_path / "tables" / "1.parquet")
    (tmp_path / "x.csv").write_text("x,y\n" + "".join(f"{k},{k % 2}\n" for k in range(300)))
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "asked", "kind"),
    [
        ("task:copy", {}, "a generated task"),
        ("x.ts", {}, "an archive of sequences"),
        ("x.npz", {}, "an archive of sequences"),
        ("texts", {}, "text"),
        ("texts", {"label": "folder"}, "labelled text"),
        ("texts/a/1.txt", {}, "text"),
        ("x.csv", {"label": "y", "text": "x"}, "labelled text"),
        ("x.csv", {"label": "y", "file": "x"}, "recordings"),
        ("sounds", {}, "recordings"),
        ("sounds/a/1.wav", {}, "recordings"),
        ("tables", {}, "a folder of Parquet"),
        ("x.csv", {}, "a forecast"),
        ("x.csv", {"label": "y"}, "a labelled table"),
    ],
)
def test_what_a_path_holds(place, path, asked, kind):
    full = Path(path) if path.startswith("task:") else place / path
    assert kind_of(full, DataOptions(**asked)) == kind


def test_every_door_leads_to_its_problem(place):
    assert isinstance(open_problem(place / "x.csv", DataOptions(target=("x",))), Problem)
    assert isinstance(open_problem(place / "tables", DataOptions()), Problem)
    assert isinstance(open_problem(place / "x.csv", DataOptions(label="y")), SequenceProblem)
    assert isinstance(open_problem(Path("task:echo"), DataOptions(length=5)), SequenceProblem)
    assert isinstance(open_problem(place / "texts", DataOptions()), TextProblem)


@pytest.mark.parametrize(
    ("path", "asked", "told"),
    [
        ("task:copy", {"label": "y"}, "--label: does not apply to a generated task"),
        ("texts", {"horizon": 3}, "--horizon: does not apply to text; .* the options are --tokens"),
        ("x.csv", {"label": "y", "horizon": 3}, "--horizon: does not apply to a labelled table"),
        ("x.csv", {"bands": 3}, "--bands: does not apply to a forecast"),
        ("x.csv", {"context": 0}, "--context: 0; give a whole number"),
        ("x.csv", {"text": "x"}, "--text: it requires --label"),
        ("x.csv", {"file": "x"}, "--file: it requires --label"),
        ("sounds", {"rate": 3}, "rate must be from 1,000 to 192,000 Hz"),
        ("x.csv", {"split": "50/50"}, "--split: '50/50'"),
        ("x.csv", {"label": "y", "missing": "guess"}, "--missing: 'guess'"),
        ("empty", {}, "no file of a supported type"),
        ("nowhere", {}, "no such file"),
        ("texts", {"tokens": "syllables"}, "--tokens: unknown 'syllables'"),
    ],
)
def test_what_cannot_be_is_told(place, path, asked, told):
    full = Path(path) if path.startswith("task:") else place / path
    with pytest.raises(InputError, match=told):
        open_problem(full, DataOptions(**asked))


def test_a_folder_of_two_kinds_is_told(place):
    with pytest.raises(InputError, match="text and audio and parquet files in one folder"):
        kind_of_folder(place)


def test_files_are_found_in_the_same_order_and_hidden_ones_left_out(place):
    (place / "texts" / "b.md").write_text("x")
    (place / "texts" / ".hidden.txt").write_text("x")
    (place / "texts" / ".git").mkdir()
    (place / "texts" / ".git" / "x.txt").write_text("x")
    found = files_in(place / "texts", TEXTS)
    assert [p.relative_to(place / "texts").as_posix() for p in found] == ["b.md", "a/1.txt"]
    with pytest.raises(InputError, match=r"no file with .wav or"):
        files_in(place / "texts", SOUNDS)


def test_links_in_a_circle_end(place):
    (place / "texts" / "a" / "again").symlink_to(place / "texts")
    (place / "texts" / "loop.txt").symlink_to(place / "texts" / "loop.txt")
    with pytest.raises(InputError, match=r"loop.txt: cannot be read"):
        open_problem(place / "texts", DataOptions())
    (place / "texts" / "loop.txt").unlink()
    assert open_problem(place / "texts", DataOptions()).record.series == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_told(place):
    (place / "texts" / "a").chmod(0)
    with pytest.raises(InputError, match="texts/a: cannot be read"):
        open_problem(place / "texts", DataOptions())


def test_no_permission_is_told_as_the_system_says_it(place, monkeypatch):
    """As root nothing is forbidden: the system's answer is put in its mouth."""

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"x.csv: cannot be read \(Permission denied\)"):
        open_problem(place / "x.csv", DataOptions(target=("x",)))


def test_a_file_that_changes_while_it_is_read_is_told(place, monkeypatch):
    real = os.fstat
    seen = []

    def grown(descriptor):
        seen.append(real(descriptor))
        if len(seen) == 1:
            with (place / "x.csv").open("a") as file:
                file.write("7,1\n")
        return seen[-1]

    monkeypatch.setattr(os, "fstat", grown)
    with pytest.raises(InputError, match=r"x.csv: changed while it was read"):
        open_problem(place / "x.csv", DataOptions(target=("x",)))


def test_the_record_holds_what_was_asked(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(f"{n},{n % 7}" for n in range(90)) + "\n")
    asked = DataOptions(target=("b", "a"), horizon=2, context=4, gaps=False)
    record = open_problem(tmp_path / "t.csv", asked).record
    assert record.options == {"target": "b,a", "horizon": "2", "context": "4"}
    assert set(DataOptions().as_text()) == set()

"""Whole files: a failure at any point leaves what was there."""

import os
from pathlib import Path

import pytest

from throughtime import files
from throughtime.errors import InputError
from throughtime.files import alone_in


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_files_and_folders_are_written_and_replaced(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    files.write_whole(path, "eins")
    files.write_whole(path, b"zwei")
    assert path.read_text() == "zwei"
    assert names(path.parent) == ["a.txt"]
    folder = tmp_path / "model"
    files.write_folder_whole(folder, {"a": b"1", "b": b"2"})
    files.write_folder_whole(folder, {"a": b"3"})
    assert names(folder) == ["a"]
    assert (folder / "a").read_bytes() == b"3"
    assert names(tmp_path) == ["deep", "model"]


def test_new_files_have_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        files.write_whole(tmp_path / "a", "x")
        files.write_folder_whole(tmp_path / "m", {"a": b"x"})
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, where):
    path = tmp_path / "a.txt"
    files.write_whole(path, "old")
    folder = tmp_path / "model"
    files.write_folder_whole(folder, {"a": b"old"})

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    if where == "write":
        monkeypatch.setattr(os, "fdopen", fail)
    elif where == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(path, "new")
    with pytest.raises(OSError, match="No space"):
        files.write_folder_whole(folder, {"a": b"new"})
    assert path.read_text() == "old"
    assert (folder / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt", "model"]


def test_links_that_the_user_names_are_followed_and_pipes_written_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.write_whole(tmp_path / "link", "x", named=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "x"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    files.write_whole(tmp_path / "pipe", "x", named=True)
    assert os.read(reader, 9) == b"x"
    os.close(reader)


def test_what_is_kept_takes_the_place_of_links_and_pipes(tmp_path):
    """Somebody who sends a run, say, must not choose where its files are written."""
    (tmp_path / "precious").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").write_text("x")
    for name, target in (("link", "precious"), ("model", "folder")):
        (tmp_path / name).symlink_to(tmp_path / target)
    os.mkfifo(tmp_path / "pipe")
    files.write_whole(tmp_path / "link", "new")
    files.write_whole(tmp_path / "pipe", "new")
    files.write_folder_whole(tmp_path / "model", {"a": b"new"})
    assert not any((tmp_path / name).is_symlink() for name in ("link", "model"))
    assert (tmp_path / "pipe").read_text() == (tmp_path / "link").read_text() == "new"
    assert names(tmp_path / "model") == ["a"]
    assert (tmp_path / "precious").read_text() == "x"
    assert names(tmp_path / "folder") == ["precious"]
    assert names(tmp_path) == ["folder", "link", "model", "pipe", "precious"]


@pytest.mark.parametrize("exchange", [True, False])
def test_folders_are_replaced_with_and_without_an_exchange_of_names(
    tmp_path, monkeypatch, exchange
):
    if not exchange:  # as on other systems than Linux
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    folder = tmp_path / "model"
    files.write_folder_whole(folder, {"a": b"1", "b": b"1"})
    files.write_folder_whole(folder, {"a": b"2"})
    assert (names(folder), names(tmp_path)) == (["a"], ["model"])
    with pytest.raises(OSError, match="not empty"):
        files.write_folder_whole(folder, {"a": b"3"}, replace=False)
    assert (folder / "a").read_text() == "2" and names(tmp_path) == ["model"]
    files.write_folder_whole(tmp_path / "new", {"a": b"3"}, replace=False)
    assert names(tmp_path) == ["model", "new"]


def test_long_names_are_names(tmp_path):
    files.write_whole(tmp_path / ("a" * 255), "x")
    files.write_folder_whole(tmp_path / ("b" * 255), {"a": b"x"})
    assert [len(name) for name in names(tmp_path)] == [255, 255]


def test_the_process_keeps_its_mask(tmp_path):
    """It is the whole process's: to look at it is to change it for other threads."""
    before = os.umask(0o077)
    try:
        files.write_whole(tmp_path / "a", "x")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


def test_errors_name_what_was_asked_for_and_not_a_temporary_file(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        files.write_whole(tmp_path / "folder", "x")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "folder"), None)

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied", str(tmp_path / ".temporary"))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "mkdir", lambda path, **options: options or refuse())
    for write, content in ((files.write_whole, "x"), (files.write_folder_whole, {"a": b"x"})):
        with pytest.raises(PermissionError, match="Permission denied") as caught:
            write(tmp_path / "new", content)
        assert caught.value.filename == str(tmp_path / "new")


def test_what_a_killed_write_leaves_is_known(tmp_path):
    path = tmp_path / "identity"
    left = tmp_path / ".identity.0a1b2c3d"
    left.write_text("x")
    assert files.is_left_over(left, path)
    assert not files.is_left_over(path, path)
    assert not files.is_left_over(tmp_path / "a" / ".identity.x", path)


def test_fingerprints_differ_for_different_bytes():
    assert files.fingerprint(b"a") == files.fingerprint(b"a") != files.fingerprint(b"b")


def test_a_folder_is_one_processs_alone_and_free_again_after(tmp_path):
    with alone_in(tmp_path / "run"):
        told = f"process {os.getpid()} is using this folder; wait until it ends"
        with pytest.raises(InputError, match=told), alone_in(tmp_path / "run"):
            pass
    with alone_in(tmp_path / "run"):
        pass

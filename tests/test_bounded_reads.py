"""Pipes, devices, sockets and files without end: bounded where named, refused inside folders."""

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kinds import KINDS, SMALL
from throughtime import bounded_reads
from throughtime.bounded_reads import check_regular, read_given, read_regular
from throughtime.data.sequences.archive import read_archive
from throughtime.data.tables import reading
from throughtime.errors import InputError


def pipe(path):
    os.mkfifo(path)


def zero(path):
    path.symlink_to("/dev/zero")


def listening(path):
    server = socket.socket(socket.AF_UNIX)
    here = os.open(path.parent, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{here}/{path.name}")  # a name longer than a socket's may be
    os.close(here)
    server.close()


SPECIAL = {"pipe": pipe, "device": zero, "socket": listening}


@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_are_read_inside_folders(tmp_path, kind):
    SPECIAL[kind](tmp_path / "x")
    for read in (read_regular, check_regular):
        with pytest.raises(InputError, match=rf"x: this is a {kind}; only regular files are read"):
            read(tmp_path / "x")


@pytest.mark.parametrize("kind", ["device", "socket"])
def test_a_path_that_is_named_may_be_a_pipe_alone(tmp_path, kind):
    SPECIAL[kind](tmp_path / "x")
    with pytest.raises(InputError, match=f"x: this is a {kind}; give a regular file or a pipe"):
        read_given(tmp_path / "x")


def test_files_are_read_to_the_bound_that_is_named(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_regular(tmp_path / "x", 5) == b"12345" == read_given(tmp_path / "x")
    with pytest.raises(InputError, match="5 bytes; at most 4 are read"):
        read_regular(tmp_path / "x", 4)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert read_regular(tmp_path / "link") == b"12345"
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(InputError, match=r"holes: 10,000,000,000,000 bytes; at most 4,000,000,000"):
        read_given(tmp_path / "holes")


def test_a_file_that_grows_without_end_is_cut(tmp_path, monkeypatch):
    """Its size is small when it is opened; more comes than was told."""
    (tmp_path / "x").write_bytes(bytes(100))
    real = os.fstat

    def small(handle):
        found = list(real(handle))
        found[6] = 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", small)
    with pytest.raises(InputError, match="more than 50 bytes, the most that are read"):
        read_regular(tmp_path / "x", 50)


def test_a_pipe_that_is_named_is_read_once_and_bounded(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "p")
    monkeypatch.setattr(bounded_reads, "MOST_PIPED", 1000)
    for size in (1000, 1001):
        writer = threading.Thread(target=lambda n=size: (tmp_path / "p").write_bytes(bytes(n)))
        writer.start()
        if size == 1000:
            assert read_given(tmp_path / "p") == bytes(1000)
        else:
            with pytest.raises(InputError, match="p: more than 1,000 bytes"):
                read_given(tmp_path / "p")
        writer.join()


def test_a_pipe_that_takes_a_files_place_does_not_make_it_wait(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "x")
    regular = Path(__file__).stat()
    monkeypatch.setattr(bounded_reads, "_status", lambda path, **_: regular)
    with pytest.raises(InputError, match="x: this is a pipe"):
        read_regular(tmp_path / "x")


# ------------------------------------------------------------- the commands, on such files

INSIDE = {
    "texts": "9.txt",
    "recordings": "a/9.wav",
    "shards": "2.parquet",
    "classed texts": "a/x.md",
}


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("kind", INSIDE)
def test_folders_of_data_hold_regular_files_alone(tmp_path, warm, kind, special):
    if KINDS[kind].needs:
        pytest.importorskip(KINDS[kind].needs)
    data = KINDS[kind].make(tmp_path)
    place = data / INSIDE[kind]
    place.unlink(missing_ok=True)
    SPECIAL[special](place)
    began = time.monotonic()
    for command in ("fit", "compare"):
        done = warm.run(command, data, *KINDS[kind].options, *SMALL, "--out", "m", cwd=tmp_path)
        assert done.returncode == 2, done
        told = f"throughtime: {place}: this is a {special}; only regular files are read here\n"
        assert done.stderr == told
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_model_is_regular_files_alone(tmp_path, warm, name, special):
    data = KINDS["csv"].make(tmp_path)
    fit = ("fit", data, *KINDS["csv"].options, *SMALL, "-o", "m")
    assert not warm.run(*fit, cwd=tmp_path).returncode
    (tmp_path / "m" / name).unlink()
    SPECIAL[special](tmp_path / "m" / name)
    for command in (("predict", "m", data), ("inspect", "m", data), ("sample", "m")):
        done = warm.run(*command, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done


@pytest.mark.parametrize("special", SPECIAL)
def test_a_run_is_regular_files_alone(tmp_path, warm, special):
    (tmp_path / "run").mkdir()
    SPECIAL[special](tmp_path / "run" / "comparison.json")
    done = warm.run("report", "run", cwd=tmp_path)
    assert done.returncode == 2 and f"this is a {special}" in done.stderr


def test_a_locks_place_is_never_written_through_a_link(tmp_path, warm):
    data = KINDS["csv"].make(tmp_path)
    (tmp_path / "precious").write_text("12 precious words")
    for place in ("m.training", "run"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "lock").symlink_to(tmp_path / "precious")
    for command in (("fit", "-o", "m"), ("compare", "--out", "run", "--jobs", 1)):
        options = (*KINDS["csv"].options, *SMALL)
        done = warm.run(command[0], data, *options, *command[1:], cwd=tmp_path)
        assert done.returncode == 2 and "is not a lock file of throughtime" in done.stderr, done
        assert (tmp_path / "precious").read_text() == "12 precious words"


def test_devices_and_endless_pipes_as_data(tmp_path, warm):
    fit = ("fit", "-o", "m", "--label", "y")
    for name in ("/dev/zero", "/dev/null", "/dev/random"):
        done = warm.run(*fit, name, cwd=tmp_path)
        assert done.returncode == 2 and f"{name}: this is a device; give a regular" in done.stderr
    (tmp_path / "a.txt").symlink_to("/dev/zero")
    assert "this is a device" in warm.run("fit", "a.txt", "-o", "m", cwd=tmp_path).stderr


def test_an_endless_pipe_takes_a_gigabyte_and_no_more(tmp_path):
    """Without the bound it would take all the memory there is: here, four gigabytes."""
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from pathlib import Path\n"
        "from throughtime.bounded_reads import read_given\n"
        "read_given(Path('/dev/stdin'))"
    )
    with subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE) as endless:
        done = subprocess.run(
            [sys.executable, "-c", script],
            stdin=endless.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        endless.kill()
    assert "InputError: /dev/stdin: more than 1,000,000,000 bytes" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 4 << 30


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz", "ts", "text", "labelled"])
def test_a_pipe_is_as_good_as_its_file(tmp_path, warm, kind):
    """Read once: by fit, and by predict."""
    data = KINDS[kind].make(tmp_path)
    content = data.read_bytes()
    if kind == "ts":
        (tmp_path / "s_TEST.ts").unlink()
    named = data.with_name(f"p{data.suffix}")
    os.mkfifo(named)
    told = []
    for source in (data, named):
        for command in (
            ("fit", source, *KINDS[kind].options, *SMALL, "-o", f"m{len(told)}", "-q"),
            ("predict", f"m{len(told) // 2 * 2}", source, "-q"),
        ):
            writer = threading.Thread(target=named.write_bytes, args=(content,), daemon=True)
            if source == named:
                writer.start()
            done = warm.run(*command, cwd=tmp_path)
            assert done.returncode == 0, done
            told.append(done.stdout.replace("m0", "m").replace("m2", "m").replace("p.txt", "a.txt"))
            if source == named:
                writer.join(10)
                assert not writer.is_alive()
    assert told[:2] == told[2:]


# ------------------------------------------------------------------------ sizes that lie


def test_npz_that_unpacks_to_far_more_is_refused(tmp_path, warm):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((400, 100_000, 1), dtype=np.uint8), y=np.zeros(400))
    assert path.stat().st_size < 200_000
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros((400, 10**6, 1), dtype=np.uint8))
    done = warm.run("fit", "b.npz", "-o", "m", cwd=tmp_path)
    assert done.returncode == 2
    assert "bytes that unpack to 400,000" in done.stderr and "at most" in done.stderr


def test_the_advice_for_a_packed_npz_helps(tmp_path, monkeypatch):
    """Saved without compression it is read."""
    monkeypatch.setattr(reading, "_LEAST_UNPACKED", 0)
    arrays = {"x": np.zeros((40, 100_000, 1), dtype=np.uint8), "y": np.arange(40) % 2}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match="save it without compression, or split it"):
        read_archive(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", **arrays)
    assert read_archive(tmp_path / "a.npz").values.shape == (4_000_000, 1)


def test_a_wide_table_is_refused_by_name_and_a_narrower_one_read_in_time(tmp_path):
    from throughtime.data.tables.reading import read_frame

    def written(columns, rows):
        path = tmp_path / f"{columns}.csv"
        line = ",".join(["0.125"] * columns) + "\n"
        path.write_text(",".join(f"c{k}" for k in range(columns)) + "\n" + line * rows)
        return path

    with pytest.raises(
        InputError, match=r"100,000 columns; at most 10,000 are supported; remove columns"
    ):
        read_frame(written(100_000, 3))
    seconds = []
    for columns, rows in ((10, 300_000), (10_000, 300)):
        path = written(columns, rows)
        took = []
        for _ in range(3):
            began = time.perf_counter()
            read_frame(path)
            took.append(time.perf_counter() - began)
        seconds.append(min(took) / path.stat().st_size)
    assert seconds[1] < 5 * seconds[0]


@pytest.mark.parametrize("format", ["parquet", "ipc"])
def test_wide_binary_tables_are_refused_alike(tmp_path, format):
    import polars as pl

    from throughtime.data.tables.reading import read_frame

    frame = pl.DataFrame({f"c{k}": [1.0] for k in range(10_001)})
    path = tmp_path / "wide"
    getattr(frame, f"write_{format}")(path)
    with pytest.raises(InputError, match="10,001 columns; at most 10,000"):
        read_frame(path)

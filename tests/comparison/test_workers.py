"""Processes side by side: whatever ends them, one line says what there is to say."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from throughtime.comparison import workers
from throughtime.comparison.workers import blocked_interrupts
from throughtime.errors import LostWorkerError


def start(co2_cut, folder, *arguments, **options):
    """A comparison that takes long, in a session of its own, so that signals reach all of it."""
    command = [sys.executable, "-m", "throughtime", "compare", str(co2_cut), "--target", "co2"]
    command += ["--time", "date", "--missing", "interpolate", "--epochs", "1000", "--jobs", "2"]
    command += ["--out", str(folder), "--networks", "gru,lstm", "--parameters", "20000", "--quiet"]
    return subprocess.Popen(
        [*command, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def wait_for(what, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
    return found


def workers_of(process):
    """The pids of its worker processes."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):  # no process, or one that has ended
            continue
    return found


def ended(process):
    """Its only line, once nothing of it is left: the workers hold the pipe open too."""
    _, told = process.communicate(timeout=60)
    assert told.count("\n") == 1, told
    return told


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 1.0, 2.0])
def test_ctrl_c_at_any_time_gets_one_line(co2_cut, tmp_path, delay):
    """A terminal sends it to the whole group: while workers start, import, and train."""
    process = start(co2_cut, tmp_path / "run")
    wait_for(lambda: workers_of(process))
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process).startswith(
        "throughtime: interrupted; finished work is kept, run the same"
    )
    assert process.returncode == 130


def test_ctrl_c_while_workers_start_waits_until_they_have_what_they_need():
    """Another thread may hear it in the place of this one: the mask alone would not do."""
    done, stop = [], threading.Event()
    older = threading.Thread(target=stop.wait)
    older.start()
    try:
        with pytest.raises(KeyboardInterrupt), blocked_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # time enough for this thread to be interrupted
            done.append("started")
    finally:
        stop.set()
        older.join()
    assert done == ["started"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_a_worker_that_is_killed_gets_one_line_and_what_is_done_is_kept(co2_cut, tmp_path):
    process = start(co2_cut, tmp_path / "run")

    def done():
        return list(tmp_path.glob("run/trials/*/record.json"))

    wait_for(lambda: len(done()) > 4)  # a network too: the workers are in the midst of the others
    os.kill(workers_of(process)[0], signal.SIGKILL)
    told = ended(process)
    assert told.startswith(
        "throughtime: a worker process ended unexpectedly (killed, or out of memory)"
    )
    assert "finished trials are kept: run the same command again" in told
    assert process.returncode == 1
    assert len(done()) > 4
    assert all(json.loads(path.read_text()) for path in done())


def killed_while_it_reports(experiment, settings, folder, trial, watch):
    watch("an evaluation")
    time.sleep(0.5)  # until it is sent
    if trial:
        workers._shared["messages"]._wlock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    return trial


def test_a_worker_killed_while_it_reports_does_not_block_the_end(tmp_path):
    """It holds the lock of the queue, and nobody can release it."""
    reported, results = [], []

    def compare():
        with (
            pytest.raises(LostWorkerError),
            workers.side_by_side(
                killed_while_it_reports,
                None,
                None,
                tmp_path,
                2,
                lambda *message: reported.append(message),
            ) as run,
        ):
            results.extend(run([0]))
            list(run([1]))

    thread = threading.Thread(target=compare, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert results == [(0, 0)]
    assert reported == [(0, "an evaluation"), (1, "an evaluation")]


@pytest.mark.parametrize("delay", [0.1, 2.0])
def test_a_request_to_end_gets_one_line(co2_cut, tmp_path, delay):
    process = start(co2_cut, tmp_path / "run")
    wait_for(lambda: workers_of(process))
    time.sleep(delay)
    process.terminate()
    assert ended(process).startswith(
        "throughtime: interrupted; finished work is kept, run the same"
    )
    assert process.returncode == 143


def test_workers_end_with_a_parent_that_was_killed(co2_cut, tmp_path):
    process = start(co2_cut, tmp_path / "run", stdout=subprocess.PIPE)
    wait_for(lambda: len(list(tmp_path.glob("run/trials/*"))) >= 4)
    time.sleep(4)  # the workers are up and training
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # the workers hold this pipe open: it ends when the last of them has
    reader = threading.Thread(target=process.stdout.read, daemon=True)
    reader.start()
    reader.join(timeout=60)
    assert not reader.is_alive()
    process.stdout.close()
    process.stderr.close()

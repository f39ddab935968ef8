"""Nothing is lost: trainings that are killed, interrupted, refused, or lose one of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers import assert_same
from throughtime.deploy.storage import load
from throughtime.training.packing import unpack

SURVIVOR = Path(__file__).with_name("survivor.py")


def survivor(folder, *arguments):
    folder.mkdir()
    command = [sys.executable, SURVIVOR, folder, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, unpack((folder / "weights").read_bytes())


def test_killed_fifty_times_it_ends_with_the_same_weights_to_the_bit(tmp_path):
    _, expected = survivor(tmp_path / "plain", "plain")
    told, found = survivor(tmp_path / "killed", "killed", "50", "7")
    kills, halves = map(int, told.split())
    assert kills == 50
    assert halves > 0  # some in the midst of writing
    resumed = [int(line) for line in (tmp_path / "killed" / "resumed").read_text().split()]
    assert resumed == sorted(resumed) and resumed[-1] > 0
    assert len(set(resumed)) > 20  # far more than a beginning or two
    assert_same(found["best"], expected["best"])
    assert_same(found["last"], expected["last"])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "wave.csv"
    values = torch.sin(torch.arange(1500) / 5).tolist()
    path.write_text("y\n" + "\n".join(f"{v:.6f}" for v in values) + "\n")
    return path


def command(table, out, *further, epochs=12):
    few = ["--target", "y", "--epochs", epochs, "--parameters", 300, "--batch-size", 32]
    parts = ["throughtime", "fit", table, "-o", out, *few, "--patience", 50, *further]
    return [sys.executable, "-m", *map(str, parts)]


def finished(*arguments, **options):
    return subprocess.run(
        command(*arguments, **options), capture_output=True, text=True, check=False
    )


def checkpoints(out):
    return sorted(out.with_name(f"{out.name}.training").glob("checkpoint-*"))


def started(table, out, *further, prefix=(), **options):
    """A fit that has begun and kept a checkpoint."""
    whole = [*prefix, *command(table, out, "--checkpoint", "0.0001s", *further, **options)]
    process = subprocess.Popen(whole, stderr=subprocess.PIPE, text=True, start_new_session=True)
    for _ in range(600):
        if checkpoints(out) or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.stderr.read()
    return process


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    """The model of a run that nobody disturbed, and what was said of it."""
    out = tmp_path_factory.mktemp("whole") / "model"
    done = finished(table, out, "--json")
    assert not done.returncode, done.stderr
    assert not out.with_name("model.training").exists()
    return load(out)[0].state_dict(), json.loads(done.stdout)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_once_it_keeps_its_step_and_goes_on(table, tmp_path, whole, number, code):
    out = tmp_path / "model"
    process = started(table, out)
    second = finished(table, out)
    assert second.returncode == 2 and f"process {process.pid} is using this folder" in second.stderr
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    last = told.splitlines()[-1]
    assert last.startswith("throughtime: interrupted after step ")
    assert f"saved in {out}.training: run the same command again to continue" in last
    step = int(last.split("after step ")[1].split(" of ")[0])
    assert checkpoints(out)[-1].name == f"checkpoint-{step:012d}"
    other = finished(table, out, "--learning-rate", "0.5")
    assert other.returncode == 2 and "with other data, another network or other" in other.stderr
    assert not finished(table, out, "--checkpoint", "1s").returncode
    assert_same(load(out)[0].state_dict(), whole[0])
    assert not out.with_name("model.training").exists()


def test_a_damaged_checkpoint_is_told_and_done_again(table, tmp_path, whole):
    out = tmp_path / "model"
    process = started(table, out)
    while len(checkpoints(out)) < 2:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    newest = checkpoints(out)[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    done = finished(table, out)
    assert not done.returncode
    assert "damaged" in done.stderr and "the previous checkpoint is used" in done.stderr
    assert_same(load(out)[0].state_dict(), whole[0])


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def torchrun(table, out, *further):
    python, *rest = command(table, out, *further)
    assert python == sys.executable
    return [*TORCHRUN, *rest]


def test_two_processes_train_as_one(table, tmp_path, whole):
    out = tmp_path / "model"
    # a last batch of 25 windows, and in the second run one of a single window for two processes
    done = subprocess.run(
        torchrun(table, out, "--json"), capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)  # one process alone writes and speaks
    for ours, alone in zip(
        found["training"]["evaluations"], whole[1]["training"]["evaluations"], strict=True
    ):
        for name in ("training_loss", "validation_error", "gradient_norm"):
            assert ours[name] == pytest.approx(alone[name], rel=2e-3)
    model = load(out)[0].state_dict()
    for name, value in whole[0].items():
        torch.testing.assert_close(model[name], value, rtol=2e-2, atol=2e-3)


TWO = """
import sys
import torch
sys.path[:0] = sys.argv[1:3]
from survivor import task
from throughtime.training.loop import TrainingSettings, train
from throughtime.training.processes import joined
torch.set_num_threads(1)
with joined() as team:
    learned = task()
    learned.team = team
    if team.rank:  # begins elsewhere, and must not stay there
        for parameter in learned.model.parameters():
            parameter.data.add_(1.0)
    drawn = 0

    def batches(whole=learned.batches):
        global drawn
        for batch in whole():
            drawn += 1
            if drawn <= 22 and team.rank == 0:  # in one process alone
                batch.tensors[0].fill_(torch.nan)
            yield batch

    learned.batches = batches
    how = TrainingSettings(epochs=2, schedule="cosine", budget=600.0)
    record, last = train(learned, how, team=team)
    told = team.gathered((record.skipped_steps, record.retreats, record.steps, last))
    one, other = told
    assert one[:3] == other[:3], told
    assert all(torch.equal(one[3][n], other[3][n]) for n in one[3]), told
    if team.leads:
        print(*one[:3])
"""


def test_two_processes_decide_alike_whatever_one_of_them_sees(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    here = Path(__file__).parent
    done = subprocess.run(
        [*TORCHRUN, script, here, here.parent], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    skipped, retreats, steps = map(int, done.stdout.split())
    # by the data, one's own or the other's: no cause to go back, for either
    assert skipped >= 22 and steps == 2 * 24 and retreats == 0


def test_two_processes_that_are_told_to_end_keep_their_step(table, tmp_path):
    out = tmp_path / "model"
    process = subprocess.Popen(
        torchrun(table, out, "--checkpoint", "1h", "--epochs", "1000", "--patience", "99999"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(7)
    assert process.poll() is None
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert "throughtime: interrupted after step " in told and "saved in" in told
    (kept,) = checkpoints(out)
    assert int(kept.name.removeprefix("checkpoint-")) > 0


def test_when_one_dies_the_others_end_and_the_same_command_goes_on(table, tmp_path):
    out = tmp_path / "model"
    process = subprocess.Popen(
        torchrun(table, out, "--checkpoint", "0.0001s", "--epochs", "100"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(600):
        if len(checkpoints(out)) > 1 or process.poll() is not None:
            break
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = {}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks[next(int(e[5:]) for e in environment if e.startswith(b"RANK="))] = int(child)
    os.kill(ranks[1], signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "process 0 of 2 lost contact with another" in told
    assert "run the same command again to continue" in told
    step = int(checkpoints(out)[-1].name.removeprefix("checkpoint-"))
    done = finished(table, out, epochs=2 + step // 33)  # fewer processes may go on too
    assert not done.returncode, done.stderr
    assert load(out)

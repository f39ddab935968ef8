"""Checkpoints on disk: whole, the newest good one, one owner."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save

from throughtime.errors import InputError, PausedError
from throughtime.training import packing
from throughtime.training.checkpoints import Checkpoints

STATE = {"weights": torch.arange(4.0)}


def written(folder, *steps, identity="one"):
    with Checkpoints(folder, identity) as kept:
        for step in steps:
            assert kept.write(step, {**STATE, "step": step})


def test_the_newest_comes_back_and_two_are_kept(tmp_path):
    with Checkpoints(tmp_path / "run", "one") as kept:
        assert kept.newest() is None
    written(tmp_path / "run", 9, 10, 100)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoint-000000000010",
        "checkpoint-000000000100",
        "lock",
    ]
    with Checkpoints(tmp_path / "run", "one") as kept:
        found = kept.newest()
        assert found["step"] == 100 and torch.equal(found["weights"], STATE["weights"])
        kept.remove()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
def test_a_damaged_one_is_told_and_the_one_before_taken(tmp_path, how):
    written(tmp_path, 1, 2)
    path = tmp_path / "checkpoint-000000000002"
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[-3] ^= 4
    path.write_bytes({"cut": data[:-1], "flipped": data, "empty": b""}[how])
    told = []
    with Checkpoints(tmp_path, "one", tell=told.append) as kept:
        assert kept.newest()["step"] == 1
        assert len(told) == 1 and "damaged" in told[0] and str(path) in told[0]
        kept.write(2, {**STATE, "step": 2})  # done again, and read again
        assert kept.newest()["step"] == 2
        kept.remove()
    assert not tmp_path.exists()


def test_with_none_whole_nothing_is_made_up(tmp_path):
    written(tmp_path, 1, 2)
    for path in tmp_path.glob("checkpoint-*"):
        path.write_bytes(b"x")
    for _ in range(2):  # nor the second time
        with (
            Checkpoints(tmp_path, "one") as kept,
            pytest.raises(InputError, match="every checkpoint in it is damaged"),
        ):
            kept.newest()


def test_another_training_is_not_gone_on_with(tmp_path):
    written(tmp_path, 1)
    with Checkpoints(tmp_path, "two") as kept, pytest.raises(InputError, match="other settings"):
        kept.newest()
    assert (tmp_path / "checkpoint-000000000001").exists()


def test_a_second_process_is_refused_and_told_whose_it_is(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from throughtime.training.checkpoints import Checkpoints\n"
        "with Checkpoints(Path(sys.argv[1]), 'one'): pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with Checkpoints(tmp_path, "one"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"process {os.getpid()} is using this folder; wait until it ends" in done.stderr
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("how, number", [(KeyboardInterrupt, 2), (SystemExit, 15)])
def test_ended_at_once_it_claims_what_is_there_and_nothing_else(tmp_path, how, number):
    with pytest.raises(how), Checkpoints(tmp_path, "one"):
        raise how  # nothing was kept yet, and nothing is claimed
    written(tmp_path, 3, 7)
    told = pytest.raises(PausedError, match="after step 7: run the same command")
    with told as paused, Checkpoints(tmp_path, "one"):
        raise how
    assert paused.value.args[1] == number
    with pytest.raises(ValueError), Checkpoints(tmp_path, "one"):
        raise ValueError  # a fault stays a fault


def test_what_a_killed_writer_left_goes_and_nothing_else(tmp_path):
    written(tmp_path, 1)
    (tmp_path / ".checkpoint-000000000002.abc").write_bytes(b"half")
    (tmp_path / ".mine").write_bytes(b"")
    with Checkpoints(tmp_path, "one"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".mine",
        "checkpoint-000000000001",
        "lock",
    ]


FULL = """
import resource, sys
from pathlib import Path
import torch
from throughtime.training import packing
from throughtime.training.checkpoints import Checkpoints
told = []
with Checkpoints(Path(sys.argv[1]), "one", tell=told.append) as kept:
    kept.write(1, {"step": 1, "weights": torch.rand(10)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    print(kept.write(2, {"step": 2, "weights": torch.rand(10_000)}))
    print(kept.write(3, {"step": 3, "weights": torch.rand(10_000)}))
    print(kept.newest()["step"], len(told), told[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, resource.RLIM_INFINITY))
    print(kept.write(4, {"step": 4, "weights": torch.rand(10_000)}), kept.newest()["step"])
"""


def test_no_room_is_told_once_and_what_was_there_stays(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["False", "False"] and lines[3] == "True 4"
    assert lines[2].startswith("1 1 ")
    assert "bytes could not be written (File too large); training continues" in lines[2]


def test_it_is_due_by_the_clock(tmp_path):
    assert Checkpoints(tmp_path, "one", every=0).due()
    assert not Checkpoints(tmp_path, "one", every=1000).due()


def packed(tree):
    """A checkpoint with a right checksum, whose tree somebody wrote by hand."""
    body = save({}, {"tree": tree})
    return f"{packing._HEAD}{packing.fingerprint(body)}\n".encode() + body


STRANGE = ["[]", "null", '"x"', "1" * 5000, '{"mapping": []}', '{"mapping": 5}', '{"tensor": [1]}']
STRANGE += ['{"mapping": [["identity", "one"]]}', '{"tuple": [' * 900 + "]}" * 900, "[" * 10**5]
STRANGE += ['{"mapping": [["identity", [1]], ["state", null]]}']
STRANGE += ['{"mapping": [["identity", "one"], ["state", 5]]}']


@pytest.mark.parametrize("tree", STRANGE)
def test_a_checkpoint_that_nobody_wrote_is_damaged(tmp_path, tree):
    told = []
    with Checkpoints(tmp_path / "t", "one", tell=told.append) as kept:
        kept.write(1, {"step": 1})
        (tmp_path / "t" / f"checkpoint-{2:012d}").write_bytes(packed(tree))
        assert kept.newest() == {"step": 1}
    assert len(told) == 1 and "damaged (" in told[0]

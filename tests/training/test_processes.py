"""A process and its team; what two of them do together is in test_survival."""

from itertools import chain

import pytest
import torch
from torch import nn

from throughtime.errors import LostWorkerError
from throughtime.training import processes
from throughtime.training.processes import Team, joined


def test_alone_everything_is_ones_own():
    with joined(getenv={}.get) as team:
        assert team == Team(0, 1) and team.leads
    assert team.share(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert team.summed([1.5, 2.0]) == [1.5, 2.0]
    assert team.gathered("a") == ["a"] and team.leaders("a") == "a"
    module = nn.Linear(1, 1)
    assert team.averaging(module) is module


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_all_and_each_once(size):
    index = torch.randperm(11)
    parts = [Team(rank, size).share(index).tolist() for rank in range(size)]
    assert sorted(chain(*parts)) == list(range(11))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("device, backend", [("cpu", "gloo"), ("cuda", "nccl")])
def test_processes_meet_by_the_backend_of_their_device(monkeypatch, device, backend):
    asked = []
    monkeypatch.setattr(
        processes.distributed, "init_process_group", lambda name, timeout: asked.append(name)
    )
    monkeypatch.setattr(processes.distributed, "destroy_process_group", lambda: asked.append("end"))
    monkeypatch.setattr(processes.distributed, "barrier", lambda: asked.append("together"))
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    told = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
    with joined(device, told.get) as team:
        assert team == Team(1, 2) and not team.leads
    assert asked == [*([1] if device == "cuda" else []), backend, "together", "end"]
    with (
        pytest.raises(
            LostWorkerError, match=r"process 1 of 2 lost contact with another .*reset by peer"
        ),
        joined(device, told.get),
    ):
        raise RuntimeError("[gloo/pair.cc] Read error: Connection reset by peer\nmore")
    with pytest.raises(RuntimeError, match="of ours"), joined(device, told.get):
        raise RuntimeError("a fault of ours")

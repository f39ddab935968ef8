"""How the text of options is read."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from throughtime.data_options import DataOptions
from throughtime.errors import InputError
from throughtime.options import Data, Seed, with_options
from throughtime.training.settings import seconds


@pytest.mark.parametrize(
    "text, value",
    [("90", 90), ("90s", 90), ("0.5s", 0.5), ("10m", 600), ("1h30m", 5400), ("1h1m1s", 3661)],
)
def test_times(text, value):
    assert seconds("--budget", text) == value


def test_no_time_is_none():
    assert seconds("--budget", None) is None


@pytest.mark.parametrize("text", ["", "0", "-3", "ten", "10d", "1m1h", "nan"])
def test_what_is_no_time_is_told(text):
    with pytest.raises(InputError, match=r"--budget: .*give a time such as 90s, 10m or 1h30m"):
        seconds("--budget", text)


def test_a_command_with_options_has_them_all():
    call = {}

    @with_options
    def learn(data: Data, data_options: object, out: str = "here", seed: Seed = 0) -> None:
        """Learn."""
        call.update(data=data, data_options=data_options, out=out)

    names = list(inspect.signature(learn).parameters)
    assert names[0] == "data" and names[-2:] == ["out", "seed"] and "data_options" not in names
    assert {f.name for f in fields(DataOptions)} - {"seed", "folds"} <= set(names)
    usual = {n: p.default for n, p in inspect.signature(learn).parameters.items() if n != "data"}
    learn(data=Path("x.csv"), **usual | {"target": 'a,"b, c"', "inputs": "none", "seed": 3})
    assert call["data_options"] == DataOptions(target=("a", "b, c"), inputs=(), seed=3)
    learn(data=Path("x.csv"), **usual)
    assert call["data_options"] == DataOptions()
    with pytest.raises(InputError, match="--target: names no column"):
        learn(data=Path("x.csv"), **usual | {"target": " , "})

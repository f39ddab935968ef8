"""Model folders and records that were changed: read, or refused in one line; nothing else."""

import json
import random
import shutil
import signal
import warnings
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest
from mutations import harm_model, harmed

from helpers import throughtime
from kinds import KINDS, SMALL, TABLE
from throughtime.deploy.prediction import use
from throughtime.deploy.storage import load
from throughtime.errors import InputError
from throughtime.printing import comparison_table, problem_text
from throughtime.problems.forecasting.inspection import inspect
from throughtime.problems.forecasting.networks import Forecaster
from throughtime.problems.language.prediction import sample
from throughtime.report.page import write_page
from throughtime.runs import ComparisonRecord, read_record
from throughtime.specs import TokenSpec


def rich(folder):
    """A table of all that a forecast may be told."""
    rows = 120
    frame = pl.DataFrame(
        {
            "t": [f"2024-{1 + k // 28:02}-{1 + k % 28:02}" for k in range(rows)],
            "y": [float(np.sin(k)) if k % 11 else None for k in range(rows)],
            "x": [float(k % 5) for k in range(rows)],
            "p": [float(k % 3) for k in range(rows)],
            "c": ["ab"[k % 2] for k in range(rows)],
        }
    )
    frame.write_csv(folder / "rich.csv")
    return folder / "rich.csv"


def many_words(folder):
    (folder / "w.txt").write_text("one two three four\n" * 400)
    return folder / "w.txt"


RICH = ("--target", "y", "--time", "t", "--known", "p", "--categorical", "c", "--inputs", "x")
RICH += ("--calendar", "weekday", "--missing", "mask", "--context", "6", "--season", "1")
RICH += ("--horizon", "2", "--resample", "1d")
MADE = {
    "table": (KINDS["csv"].make, TABLE),
    "gaps": (KINDS["csv"].make, ("--target", "y", "--time", "t", "--gaps", "--context", "5")),
    "rich": (rich, RICH),
    "labelled": (KINDS["labelled"].make, ("--label", "label", "--group", "g", "--time", "t")),
    "steps": (
        KINDS["labelled"].make,
        ("--label", "x", "--group", "g", "--time", "t", "--categorical", "label"),
    ),
    "npz": (KINDS["npz"].make, ()),
    "text": (KINDS["text"].make, ("--context", "8")),
    "words": (many_words, ("--context", "8", "--tokens", "words")),
    "bytes": (KINDS["text"].make, ("--context", "8", "--tokens", "bytes")),
    "classed texts": (KINDS["classed texts"].make, KINDS["classed texts"].options),
    "recordings": (KINDS["recordings"].make, ()),
}


@pytest.fixture(scope="module", params=MADE)
def made(request, tmp_path_factory):
    """Data of a kind, and a folder of a model that knows it."""
    if KINDS.get(request.param, KINDS["csv"]).needs:
        pytest.importorskip(KINDS[request.param].needs)
    folder = tmp_path_factory.mktemp("mutated")
    make, options = MADE[request.param]
    data = make(folder)
    network = ("--network", random.Random(request.param).choice(["gru", "lstm", "window-dense"]))
    throughtime("fit", data, *options, *SMALL, *network, "-o", folder / "m", "-q")
    return data, folder / "m"


@contextmanager
def within(seconds):
    """Fail where a block takes longer."""

    def late(*_):
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def used(folder, data):
    """What every command does with a model."""
    model, spec = load(folder)
    found = use(model, spec, data)
    assert found.rows.width
    found.rows.write_csv()
    if isinstance(model, Forecaster):
        inspect(model, spec, data, name="m", command="")
    if isinstance(spec, TokenSpec):
        "".join(sample(model, spec, "abc", length=3))


def test_a_changed_model_is_used_or_refused(made, tmp_path, thorough, fuzz_seed):
    data, folder = made
    refused = 0
    count = 500 if thorough else 60
    for seed in range(fuzz_seed, fuzz_seed + count):
        harm = tmp_path / f"m{seed}"
        shutil.copytree(folder, harm)
        told = harm_model(harm, random.Random(seed))
        try:
            with within(20), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                used(harm, data)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        except BaseException as error:
            config = (harm / "config.json").read_bytes()[:3000]
            raise AssertionError(f"case {seed}: {told}: {error!r}\n{config}") from error
        shutil.rmtree(harm)
    assert refused > count / 3


def test_a_changed_record_is_shown_or_refused(comparison, tmp_path, thorough, fuzz_seed):
    record = json.loads((comparison[1] / "comparison.json").read_text())
    refused = 0
    count = 1500 if thorough else 60
    for seed in range(fuzz_seed, fuzz_seed + count):
        tree, told = harmed(record, random.Random(seed))
        (tmp_path / "r.json").write_text(json.dumps(tree))
        try:
            with within(20):
                found = read_record(tmp_path / "r.json", ComparisonRecord)
                assert write_page(found).startswith("<!doctype html>")
                comparison_table(found)
                problem_text(found.data, ())
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        except BaseException as error:
            raise AssertionError(f"case {seed}: {told}: {error!r}") from error
    assert refused > count / 3


def test_the_check_sees_a_fault(made, tmp_path, monkeypatch):
    """A reader that lets anything else through is caught."""
    monkeypatch.setattr(f"{__name__}.used", lambda *_: {}["a key that is not there"])
    with pytest.raises(AssertionError, match=r"case 0: .*KeyError"):
        test_a_changed_model_is_used_or_refused(made, tmp_path, thorough=False, fuzz_seed=0)
    shutil.rmtree(tmp_path / "m0")

"""An option of data is declared once: a saved model holds it, and reads new data with it."""

import json
from dataclasses import fields

import pytest
from test_prediction import saved

from kinds import KINDS
from throughtime.data_options import DataOptions
from throughtime.deploy.prediction import use
from throughtime.serialization import to_json

SAVED = {f.name for f in fields(DataOptions) if f.metadata["saved"]}


def table(folder):
    rows = [
        f"{'ab'[k // 80]},2024-{1 + k % 80 // 28:02}-{1 + k % 80 % 28:02},"
        f"{k % 7 if k % 80 < 77 and k % 11 else ''},{k % 5},{k % 3},{'uv'[k % 2]}"
        for k in range(160)
    ]
    (folder / "x.csv").write_text("g,t,y,x,p,c\n" + "\n".join(rows) + "\n")
    return folder / "x.csv"


def texts(folder):
    rows = [f"{'good fine' if k % 2 else 'bad poor'} {k},{'ab'[k % 2]}" for k in range(60)]
    (folder / "x.csv").write_text("body,kind\n" + "\n".join(rows) + "\n")
    return folder / "x.csv"


# data, and options that differ from their defaults; together they set every option that is saved
CASES = {
    "a table": (
        table,
        {
            "target": ("y",),
            "time": "t",
            "group": "g",
            "inputs": ("x",),
            "known": ("p",),
            "calendar": ("weekday",),
            "categorical": ("c",),
            "missing": "mask",
            "resample": "1d",
            "horizon": 2,
            "context": 4,
            "season": 1,
            "split": "60/20/20",
            "delimiter": ",",
        },
    ),
    "rows as steps": (
        KINDS["csv"].make,
        {"target": ("y",), "time": "t", "inputs": (), "gaps": True, "folds": 2},
    ),
    "rows of sequences": (
        KINDS["labelled"].make,
        {"label": "label", "group": "g", "time": "t", "inputs": ("x",), "answer": "classes"},
    ),
    "texts": (texts, {"label": "kind", "text": "body", "tokens": "words", "seed": 1}),
    "tokens": (KINDS["text"].make, {"tokens": "bytes", "context": 8}),
    "recordings": (
        KINDS["listed recordings"].make,
        {
            "label": "word",
            "file": "file",
            "features": "mfcc",
            "rate": 4000,
            "bands": 13,
            "channels": "all",
        },
    ),
    "a task": (KINDS["task"].make, {"length": 5}),
}


def test_every_saved_option_has_a_case():
    assert {name for _, options in CASES.values() for name in options} >= SAVED


@pytest.mark.parametrize("name", CASES)
def test_a_saved_model_reads_with_the_options_of_its_training(name, tmp_path):
    if name == "recordings":
        pytest.importorskip("soundfile")
    make, options = CASES[name]
    path = make(tmp_path)
    model, spec, problem = saved(path, options, tmp_path)
    assert {n: getattr(spec.options, n) for n in options if n in SAVED} == {
        n: value for n, value in options.items() if n in SAVED
    }
    assert {*spec.options.given()} <= SAVED
    assert spec == (problem.table if hasattr(problem, "table") else problem).spec
    if name != "a task":  # a generated task has no data to predict for
        assert use(model, spec, path).rows.height


def test_a_file_has_the_saved_options_and_no_others():
    assert {*json.loads(to_json(DataOptions()))} == SAVED
    assert DataOptions(seed=1, static="x", bands=3).saved() == DataOptions(bands=3)

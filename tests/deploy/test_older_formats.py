"""Configurations of format 2 in the present format; for predictions see test_older_files.py."""

from dataclasses import replace

import pytest

from throughtime.data_options import DataOptions
from throughtime.deploy.older_formats import FORMAT, converted
from throughtime.serialization import from_plain
from throughtime.specs import DataSpec, SequenceSpec, TokenSpec

TABLE = {
    "targets": ["y"],
    "inputs": ["x"],
    "time": "t",
    "group": None,
    "clock": ["date", 86400000000, "microsecond"],
    "missing": "mask",
    "known": ["p"],
    "calendar": ["weekday"],
    "categorical": ["c"],
    "categories": [["(other)", "a"]],
    "masked": ["y"],
    "resample": "1d",
    "gap_unit": None,
}
SEQUENCES = {
    "source": "archive",
    "label": "label",
    "classes": ["0", "1"],
    "every_step": False,
    "numbers": ["column 1"],
    "codes": [],
    "categories": [],
    "missing": "interpolate",
    "time": None,
    "group": None,
    "how": {},
}
ROWS = {
    "source": "table",
    "label": "kind",
    "numbers": ["x", "time gap", "x (observed)", "x (steps since)"],
    "codes": ["c"],
    "categories": [["(other)", "a"]],
    "missing": "mask",
    "time": "t",
    "group": "g",
    "how": {"gap unit": "2.5"},
}
TEXTS = {
    "source": "text",
    "numbers": [],
    "codes": ["tokenizer"],
    "categories": [["0", "1"]],
    "how": {"text": "body", "unit": "tokenizer", "tokenizer": "{}"},
}
SOUND = {"features": "mfcc", "rate": "16000", "bands": "13", "channels": "all", "file": ""}
DAILY, RULED = ("date", 86400000000, "microsecond"), (("(other)", "a"),)
OPTIONS = DataOptions(
    target=("y",),
    inputs=("x",),
    time="t",
    known=("p",),
    calendar=("weekday",),
    categorical=("c",),
    resample="1d",
    missing="mask",
)
CASES = {
    "a table": (
        "forecaster",
        TABLE,
        DataSpec(
            OPTIONS,
            DAILY,
            RULED,
            ("y",),
        ),
    ),
    "rows as steps": (
        "forecaster",
        TABLE | {"resample": None, "gap_unit": 3.5},
        DataSpec(
            replace(OPTIONS, resample=None, gaps=True),
            DAILY,
            RULED,
            ("y",),
            3.5,
        ),
    ),
    "an archive": (
        "sequences",
        SEQUENCES,
        SequenceSpec(
            "archive",
            DataOptions(label="label", missing="interpolate"),
            ("0", "1"),
            False,
            ("column 1",),
        ),
    ),
    "rows of sequences": (
        "sequences",
        SEQUENCES | ROWS,
        SequenceSpec(
            "table",
            DataOptions(
                label="kind",
                time="t",
                group="g",
                inputs=("x",),
                categorical=("c",),
                missing="mask",
            ),
            ("0", "1"),
            False,
            ("x", "time gap", "x (observed)", "x (steps since)"),
            RULED,
            2.5,
        ),
    ),
    "labelled texts": (
        "sequences",
        SEQUENCES | TEXTS,
        SequenceSpec(
            "text",
            DataOptions(label="label", text="body", tokens="tokenizer", missing="interpolate"),
            ("0", "1"),
            False,
            (),
            (("0", "1"),),
            tokenizer="{}",
        ),
    ),
    "recordings": (
        "sequences",
        SEQUENCES | {"source": "audio", "how": SOUND},
        SequenceSpec(
            "audio",
            DataOptions(
                label="label",
                features="mfcc",
                rate=16000,
                bands=13,
                channels="all",
                missing="interpolate",
            ),
            ("0", "1"),
            False,
            ("column 1",),
        ),
    ),
    "a task": (
        "sequences",
        SEQUENCES | {"source": "task", "how": {"task": "copy", "length": "7"}},
        SequenceSpec(
            "task",
            DataOptions(label="label", length=7, missing="interpolate"),
            ("0", "1"),
            False,
            ("column 1",),
            task="copy",
        ),
    ),
    "tokens": (
        "tokens",
        {"unit": "words", "vocabulary": ["?", "a"], "tokenizer": ""},
        TokenSpec(DataOptions(tokens="words"), ("?", "a"), ""),
    ),
}


@pytest.mark.parametrize(("family", "data", "spec"), CASES.values(), ids=CASES.keys())
def test_nothing_is_lost(family, data, spec):
    described = converted({"format": 2, "family": family, "data": data})
    assert from_plain(type(spec), described["data"]) == spec


def test_the_present_format_is_left_as_it_is():
    described = {"format": FORMAT, "family": "forecaster", "data": {"x": 1}}
    assert converted(described) is described


@pytest.mark.parametrize(
    ("family", "change"),
    [
        *[("forecaster", {name: ...}) for name in TABLE],
        *[("sequences", {name: ...}) for name in SEQUENCES],
        ("forecaster", {"code": "print(1)"}),
        ("sequences", {"how": {"rate": "1"}}),
        ("sequences", {"how": None}),
        ("sequences", {"source": "audio", "how": SOUND | {"rate": "1e3"}}),
        ("sequences", {"source": "audio", "how": SOUND | {"rate": []}}),
        ("sequences", {"source": "table", "how": {"gap unit": "nan"}}),
        ("sequences", {"source": "table", "how": {"gap unit": "-1"}}),
        ("sequences", {"numbers": 3}),
    ],
)
def test_a_changed_configuration_is_refused(family, change):
    kind, data = {"forecaster": (DataSpec, TABLE), "sequences": (SequenceSpec, SEQUENCES)}[family]
    data = {name: value for name, value in {**data, **change}.items() if value is not ...}
    with pytest.raises((TypeError, ValueError, LookupError)):
        described = converted({"format": 2, "family": family, "data": data})
        from_plain(kind, described["data"])

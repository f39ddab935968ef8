"""Records: written whole, read back exactly, refused when they are anything else."""

import json

import pytest

from throughtime.errors import InputError
from throughtime.network_records import EvaluationRecord
from throughtime.runs import ComparisonRecord, read_record, write_record


def test_a_whole_comparison_comes_back_exactly(comparison, tmp_path):
    record, _ = comparison
    write_record(tmp_path / "c.json", record)
    assert read_record(tmp_path / "c.json", ComparisonRecord) == record


def test_it_holds_what_is_needed_to_repeat_it(comparison, co2_cut):
    record, _ = comparison
    from throughtime.files import fingerprint

    assert record.data.fingerprint == fingerprint(co2_cut.read_bytes())
    assert set(record.versions) == {"python", "torch", "numpy"}
    assert record.threads == 1
    assert record.settings.seeds == (0, 1)
    assert all(trial.seed in (0, 1) for trial in record.trials)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not a valid EvaluationRecord"),
        (b"[1]", "EvaluationRecord is list, expected an object"),
        (b'{"training_loss": 1}', "missing or unknown fields"),
        (b"\xff\xfe", "not a valid EvaluationRecord"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, text):
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=text):
        read_record(path, EvaluationRecord)
    with pytest.raises(InputError, match="no such file"):
        read_record(tmp_path / "nowhere.json", EvaluationRecord)


def test_records_are_plain_json(comparison):
    _, folder = comparison
    assert json.loads((folder / "comparison.json").read_text())["verdict"]["candidates"]


HARM = {
    "an unknown network": (("settings", "networks", 0), "transformer"),
    "an unknown candidate": (("verdict", "candidates", 0, "kind"), "x"),
    "an unknown reference": (("verdict", "reference"), "x"),
    "a recommendation of nobody": (("verdict", "candidates"), []),
    "an unknown trial": (("trials", 0, "kind"), "x"),
    "an unknown problem": (("data", "kind"), "x"),
    "an epoch too many": (("trials", -1, "training", "best"), 10**6),
    "an epoch too few": (("trials", -1, "training", "best"), -1),
    "an endless number": (("seconds",), 10**400),
    "half a character": (("command",), "\ud800"),
}


@pytest.mark.parametrize(("place", "value"), HARM.values(), ids=HARM)
def test_a_record_that_no_page_could_show_is_refused(comparison, tmp_path, place, value):
    record = json.loads((comparison[1] / "comparison.json").read_text())
    part = record
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (tmp_path / "r.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="not a valid ComparisonRecord"):
        read_record(tmp_path / "r.json", ComparisonRecord)

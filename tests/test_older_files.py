"""Models and records that earlier versions wrote: read, or refused with a word on what to do.

Each folder of `older_files` has what one version wrote. A folder is never changed; a version that
changes a format adds one.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest

from helpers import throughtime
from throughtime.runs import ComparisonRecord, read_record

OLDER = Path(__file__).parent / "older_files"
VERSIONS = sorted(path.name for path in OLDER.iterdir())
MODELS = {"forecaster": "wave.csv", "sequences": "steps.csv", "tokens": "poem.txt"}


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_what_it_said_then(version, name, tmp_path):
    home = OLDER / version
    out = tmp_path / "out.csv"
    throughtime("predict", home / name, home / MODELS[name], "-o", out)
    before, now = rows(home / f"{name}.csv"), rows(out)
    assert now[0] == before[0] and len(now) == len(before)
    for old, new in zip(before[1:], now[1:], strict=True):
        for one, other in zip(old, new, strict=True):
            try:
                assert float(other) == pytest.approx(float(one), rel=1e-3, abs=1e-4)
            except ValueError:
                assert other == one


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_is_a_table_and_a_page(version, tmp_path):
    record = read_record(OLDER / version / "comparison.json", ComparisonRecord)
    shutil.copy(OLDER / version / "comparison.json", tmp_path)
    told = throughtime("report", tmp_path)
    assert record.verdict.headline in told.stdout
    assert (tmp_path / "report.html").is_file()


def test_a_format_of_the_future_is_refused_with_what_to_do(tmp_path):
    shutil.copytree(OLDER / VERSIONS[-1] / "forecaster", tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    described = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**described, "format": 99}), encoding="utf-8")
    told = throughtime("predict", tmp_path / "m", OLDER / VERSIONS[-1] / "wave.csv", code=2).stderr
    assert "format 99, expected" in told and "use the version that wrote it" in told

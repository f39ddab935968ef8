"""SECURITY.md against the code: each bound as it is, each test that is named there."""

import re
from pathlib import Path

from throughtime import bounded_reads, runs, specs
from throughtime.data.audio import recordings as audio
from throughtime.data.tables import reading
from throughtime.data.text import vocabularies as alphabets
from throughtime.deploy import storage

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text()
BOUNDS = {
    "a file that is read whole, or all texts of a folder together": [bounded_reads.MOST_BYTES],
    "a pipe": [bounded_reads.MOST_PIPED],
    "a gzip or `.npz`, unpacked": [reading._LEAST_UNPACKED, reading._MOST_PACKED],
    "columns of a table": [reading._MOST_COLUMNS],
    "steps that a model sees or forecasts": [specs.MOST_STEPS],
    "codes of a tokenizer": [alphabets._MOST_CODES],
    "`config.json` of a model": [storage._MOST_CONFIG],
    "a record of a comparison": [runs._MOST_RECORD],
    "a recording": [audio._LONGEST // 3600, audio._MOST_SAMPLES],
}


def test_the_bounds_are_those_of_the_code():
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", TEXT, re.MULTILINE))
    for what, bounds in BOUNDS.items():
        assert re.findall(r"\d[\d,]*", rows[what]) == [f"{bound:,}" for bound in bounds], what
    assert set(rows) - {"what", "---"} == {*BOUNDS, "a file of a public data set"}


def test_the_tests_that_are_named_are_there():
    named = re.findall(r"`(tests/\S+\.py)`", TEXT)
    assert len(named) > 8 and all((ROOT / name).is_file() for name in named)

"""Readers under mutated files, by hypothesis: see fuzz_readers.py."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_readers import SEEDS, read

TOKENS = [
    b"nan",
    b"inf",
    b"-",
    b"1e999",
    b"@data",
    b"?",
    b":",
    b",",
    b"\n",
    b"\0",
    b'"',
    b"\xff\xfe",
]


@st.composite
def harmed(draw, raw):
    """A file with bytes changed, cut out, doubled, or put in."""
    raw = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        how = draw(st.sampled_from(["flip", "cut", "drop", "double", "put"]))
        end = at + draw(st.integers(1, 40))
        if how == "flip" and raw:
            raw[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del raw[at:]
        elif how == "drop":
            del raw[at:end]
        elif how == "double":
            raw[at:at] = raw[at:end]
        else:
            raw[at:at] = draw(st.sampled_from(TOKENS))
    return bytes(raw)


@pytest.mark.parametrize("kind", SEEDS)
def test_the_seed_itself_is_read(kind, tmp_path):
    if kind == "wav":
        pytest.importorskip("soundfile")
    assert read(kind, SEEDS[kind](), tmp_path)


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_harmed_files_are_read_or_refused(kind, data, tmp_path):
    if kind == "wav":
        pytest.importorskip("soundfile")
    read(kind, data.draw(harmed(SEEDS[kind]())), tmp_path)

"""Predicted tables in a spreadsheet: text is text, numbers are numbers."""

import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import throughtime
from throughtime.deploy.formulas import escaped

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "=cmd|' /C calc'!A0",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
]
PLAIN = ["a", "", " =1", "a=1", "-3", "+4.5", "-1e-7", "-.5", "'=1"]


def test_text_that_begins_like_a_formula_is_prefixed_and_nothing_else():
    frame = pl.DataFrame(
        {"a": [*FORMULAS, *PLAIN, None], "number": [-1.5] * (len(FORMULAS) + len(PLAIN) + 1)}
    )
    found = escaped(frame)
    assert found["a"].to_list() == [*(f"'{text}" for text in FORMULAS), *PLAIN, None]
    assert found["number"].equals(frame["number"])
    assert frame["a"][0] == "=1+1"  # what was given is as it was


@pytest.mark.parametrize("name", ["=1+1", "@x", "-y"])
def test_names_of_columns_are_cells_too(name):
    assert escaped(pl.DataFrame({name: [1], "-3": [2]})).columns == [f"'{name}", "-3"]


def test_no_column_takes_anothers_name():
    frame = pl.DataFrame({"=a": [1], "'=a": [2], "''=a": [3], "+a": [4]})
    assert escaped(frame).columns == ["'''=a", "'=a", "''=a", "'+a"]


@given(st.lists(st.text(max_size=6), max_size=5))
def test_no_text_begins_like_a_formula_then(cells):
    for before, after in zip(
        cells, escaped(pl.DataFrame({"a": cells}))["a"].to_list(), strict=True
    ):
        assert after in (before, f"'{before}")
        if after == before and after[:1] in tuple("=+-@\t\r\n"):
            assert after == "" or np.isfinite(float(after))


def test_predict_escapes_on_request_alone(tmp_path):
    rows = [
        f"=g{k},{j},{(k * 7 + j) % 5},{'-ab'[k % 2 : k % 2 + 2]}"
        for k in range(40)
        for j in range(3)
    ]
    (tmp_path / "l.csv").write_text("@g,t,x,=label\n" + "\n".join(rows) + "\n")
    fit = ("--label", "=label", "--group", "@g", "--time", "t", "--parameters", 60, "--epochs", 1)
    throughtime("fit", "l.csv", *fit, "-o", "m", cwd=tmp_path)
    tables = []
    for options in ((), ("--escape-formulas",)):
        told = throughtime("predict", "m", "l.csv", "-q", *options, cwd=tmp_path).stdout
        throughtime("predict", "m", "l.csv", "-q", "-o", "o.csv", *options, cwd=tmp_path)
        assert (tmp_path / "o.csv").read_text() == told
        tables.append(pl.read_csv(io.StringIO(told)))
    plain, safe = tables
    assert plain.columns == ["@g", "=label", "probability"]
    assert plain["@g"][0] == "=g0" and safe["'@g"][0] == "'=g0"
    assert safe.columns == ["'@g", "'=label", "probability"]
    assert safe["probability"].equals(plain["probability"])
    assert set(plain["=label"]) <= {"-a", "ab"} and set(safe["'=label"]) <= {"'-a", "ab"}
    assert throughtime("predict", "m", "l.csv", "--json", "--escape-formulas", cwd=tmp_path).stdout

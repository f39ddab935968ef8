"""A problem: the record says what was found, and errors have a unit."""

import pytest
import torch

from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data_options import DataOptions


def test_the_record_says_what_was_found(problem, co2_cut):
    record = problem.record
    assert record.path == str(co2_cut)
    assert (record.rows, record.series, record.step) == (470, 1, "7 days")
    assert (record.context, record.horizon, record.season) == (54, 4, 52)
    assert record.windows == tuple(
        len(getattr(problem.parts, part)) for part in ("training", "validation", "test")
    )
    assert record.borders == ("1988-06-25", "1989-10-28")
    assert {c.name for c in record.choices} >= {"delimiter", "time", "target", "time step"}
    split = next(c for c in record.choices if c.name == "split")
    assert (split.value, split.option) == ("70/15/15", "--split")
    assert split.reason.endswith("validation from 1988-06-25, test from 1989-10-28")


def test_rows_without_times_are_those_of_the_file(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("\ny\n" + "".join(f"{t % 7}\n" for t in range(100)))
    assert read_problem(path, DataOptions()).record.borders == ("row 73", "row 88")
    path.write_text("g,y\n" + "".join(f"{g},{t % 7}\n" for g in "ab" for t in range(100)))
    grouped = read_problem(path, DataOptions(group="g"))
    assert grouped.record.borders == ("row 71 of a series", "row 86 of a series")


def test_the_rows_of_the_record_are_those_of_the_file(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("t,y\n" + "".join(f"{t},{t % 7 if 2 < t < 95 else ''}\n" for t in range(100)))
    options = DataOptions(target=("y",), time="t", missing="interpolate")
    assert read_problem(path, options).record.rows == 100


def test_one_target_is_measured_in_its_unit_several_in_spreads(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n" + "".join(f"{t % 7},{100 * (t % 5)}\n" for t in range(100)))
    one = read_problem(path, DataOptions(target=("a",)))
    assert one.error_scale.tolist() == [1]
    assert one.unit == "a, in its own unit"
    two = read_problem(path, DataOptions(target=("a", "b")))
    expected = two.parts.training_rows.std(dim=0, correction=0)
    assert torch.equal(two.error_scale, expected)
    assert two.error_scale[1] == pytest.approx(141.4, rel=0.01)
    assert two.unit.startswith("training standard deviations")

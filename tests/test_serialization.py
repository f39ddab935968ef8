"""Dataclasses to JSON and back: nothing lost, nothing let in."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.serialization import added_later, from_plain, to_json


@dataclass(frozen=True)
class Inner:
    number: int
    share: float


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    many: tuple[Inner, ...]
    pair: tuple[str, int]
    perhaps: float | None
    table: dict[str, str]
    flag: bool


finite = st.floats(allow_nan=False, allow_infinity=False)
inner = st.builds(Inner, st.integers(), finite)
outer = st.builds(
    Outer,
    st.text(),
    inner,
    st.lists(inner, max_size=3).map(tuple),
    st.tuples(st.text(), st.integers()),
    st.none() | finite,
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.booleans(),
)


@given(outer)
def test_everything_comes_back_exactly(record):
    assert from_plain(Outer, json.loads(to_json(record))) == record


GOOD = json.loads(to_json(Outer("n", Inner(1, 0.5), (Inner(2, 1.0),), ("a", 1), None, {}, True)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": 1}, "Outer.name is 1, expected str"),
        ({"inner": None}, "Outer.inner is NoneType, expected an object"),
        ({"inner": {"number": 1}}, "Outer.inner has missing or unknown fields: share"),
        ({"inner": {"number": True, "share": 1.0}}, "Outer.inner.number is True, expected int"),
        ({"inner": {"number": 1.5, "share": 1.0}}, "Outer.inner.number is 1.5, expected int"),
        ({"many": [{"number": 1, "share": "x"}]}, r"Outer.many\[0\].share is 'x', expected float"),
        ({"many": {}}, "Outer.many is dict, expected a list"),
        ({"pair": ["a"]}, "Outer.pair has 1 entries, expected 2"),
        ({"pair": [1, "a"]}, r"Outer.pair\[0\] is 1, expected str"),
        ({"perhaps": "x"}, "Outer.perhaps is 'x', expected float"),
        ({"perhaps": float("nan")}, "Outer.perhaps is not finite"),
        ({"table": {"a": 1}}, "Outer.table.a is 1, expected str"),
        ({"table": []}, "Outer.table is list, expected an object"),
        ({"more": 1}, "Outer has missing or unknown fields: more"),
    ],
)
def test_anything_else_is_refused_by_name(change, text):
    assert from_plain(Outer, GOOD)
    with pytest.raises(ValueError, match=text):
        from_plain(Outer, {**GOOD, **change})


def test_numbers_that_json_lacks_are_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(Inner(1, float("inf")))


def test_a_field_that_came_later_may_be_absent_and_no_other():
    @dataclass(frozen=True)
    class Later:
        old: int = 1
        new: int = added_later(2)

    assert from_plain(Later, {"old": 5}) == Later(5, 2)
    assert from_plain(Later, {"old": 5, "new": 7}) == Later(5, 7)
    for wrong in ({"new": 7}, {}, {"old": 5, "newer": 7}):
        with pytest.raises(ValueError, match=r"missing or unknown fields: (old|newer)"):
            from_plain(Later, wrong)


@dataclass(frozen=True)
class Renamed:
    formerly = {"illness": "issue"}  # noqa: RUF012
    issue: str
    value: float


def test_a_renamed_field_is_read_by_either_name_and_not_by_both():
    for name in ("issue", "illness"):
        assert from_plain(Renamed, {name: "vanishing", "value": 1.0}) == Renamed("vanishing", 1.0)
    assert json.loads(to_json(Renamed("vanishing", 1.0))) == {"issue": "vanishing", "value": 1.0}
    with pytest.raises(ValueError, match="unknown fields: illness"):
        from_plain(Renamed, {"issue": "a", "illness": "b", "value": 1.0})

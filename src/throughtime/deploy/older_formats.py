"""Convert the configuration of a model that an earlier version saved."""

import json
from typing import Any

from throughtime.data.tables.tables import GAP
from throughtime.data_options import DataOptions
from throughtime.serialization import to_json

FORMAT = 3  # of the models that this version saves

# format 2, by family: the fields that are options now
_OPTIONS = {
    "forecaster": {
        "targets": "target",
        **{n: n for n in ("inputs", "time", "group", "missing", "resample")},
        **{n: n for n in ("known", "calendar", "categorical")},
    },
    "sequences": {"codes": "categorical", **{n: n for n in ("label", "time", "group", "missing")}},
    "tokens": {"unit": "tokens"},
}
# format 2, by source of sequences: further options and their types, all stored as text
_HOW: dict[str, dict[str, type[Any]]] = {
    "table": {"gap unit": float},
    "archive": {},
    "text": {"text": str, "unit": str, "tokenizer": str},
    "audio": {"features": str, "rate": int, "bands": int, "channels": str, "file": str},
    "task": {"task": str, "length": int},
}


def converted(described: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in the present format.

    Values are not checked. Raises TypeError, ValueError or LookupError if they have another form.
    """
    if described["format"] == FORMAT:
        return described
    family, data = described["family"], dict(described["data"])
    moved = {new: data.pop(old) for old, new in _OPTIONS[family].items()}
    options = {**json.loads(to_json(DataOptions())), **moved}
    if family == "forecaster":
        options |= {"time": options["time"] or "none", "gaps": data["gap_unit"] is not None}
    elif family == "sequences":
        data["columns"] = data.pop("numbers")
        _add_how(data, options)
    return {**described, "data": {**data, "options": options}}


def _add_how(data: dict[str, Any], options: dict[str, Any]) -> None:
    """Distribute the further options of sequences."""
    how, source = dict(data.pop("how")), data["source"]
    if set(how) != set(_HOW[source]):
        raise ValueError(f"how has the keys {', '.join(map(str, how)) or '(none)'}")
    # an empty text stood for None
    read = {name: kind(how[name]) if how[name] else None for name, kind in _HOW[source].items()}
    data |= {
        "gap_unit": read.pop("gap unit", None),
        "tokenizer": read.pop("tokenizer", None) or "",
        "task": read.pop("task", None) or "",
    }
    if source == "text":
        options |= {"tokens": read.pop("unit"), "categorical": []}
    if source == "table":
        added = ("(observed)", "(steps since)")
        given = [n for n in data["columns"] if n != GAP and not str(n).endswith(added)]
        options["inputs"] = given
        options["time"] = options["time"] or "none"
    options |= read

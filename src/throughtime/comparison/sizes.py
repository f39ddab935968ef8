"""Configurations of networks: chosen options, and the largest size within a bound."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

from throughtime.catalogue import kind_of, label_of
from throughtime.hyperparameters import Hyperparameters

C = TypeVar("C")

# choices and the fields of a configuration that they set: of all networks, of recurrent ones alone
_OPTIONS = {"dropout": "dropout", "embedding": "embedding"}
_RECURRENT = {
    "layers": "num_layers",
    "recurrent_dropout": "recurrent_dropout",
    "bidirectional": "bidirectional",
    "init": "init",
    "pooling": "pooling",
}
_FEWEST_UNITS = 8  # a narrower network fails because of its size, whatever its inputs


def largest_within(config: C, parameters: int, count: Callable[[C], int]) -> C:
    """The configuration with the largest hidden size of at most ``parameters`` parameters.

    It has at least 8 units, also where these have more parameters. Returned unchanged if the
    parameter count does not depend on the hidden size.
    """

    def sized(hidden_size: int) -> C:
        base: Any = config
        return replace(base, hidden_size=hidden_size)

    low, high = _FEWEST_UNITS, 2 * _FEWEST_UNITS
    if count(sized(high)) <= count(sized(low)):
        return config
    while count(sized(high)) <= parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(sized(middle)) <= parameters else (low, middle)
    return sized(low)


def applicable(given: Hyperparameters, kind: str) -> Hyperparameters:
    """The given choices without those that a kind of network has no use for."""
    entry = kind_of(kind)
    if entry.trivial or not entry.recurrent:
        return replace(given, **dict.fromkeys(_RECURRENT))
    needs_gate = (given.init or "").partition(":")[0] in ("chrono", "forget-bias")
    return given if entry.gated or not needs_gate else replace(given, init=None)


def with_chosen(
    config: C, chosen: Hyperparameters, parameters: int, count: Callable[[C], int]
) -> C:
    """The configuration with the chosen options of its kind, and a size within the bound.

    Raises ValueError for an option that does not apply to the network or to the problem.
    """
    base: Any = config
    kind = kind_of(base.kind)
    if kind.trivial:
        return config
    known = {f.name for f in fields(base)}
    applies = _RECURRENT if kind.recurrent else {}
    options: dict[str, Any] = {}
    for name, target in {**_OPTIONS, **applies}.items():
        value = getattr(chosen, name)
        if value is None:
            continue
        if target not in known:
            raise ValueError(f"--{name.replace('_', '-')} does not apply to this problem")
        options[target] = value
    base = replace(base, **options)
    if chosen.hidden_size is not None:
        return replace(base, hidden_size=chosen.hidden_size)
    share = 1.0 if chosen.size is None else chosen.size
    return largest_within(base, round(share * parameters), count)


def size_note(kind: str, parameters: int, bound: int) -> str | None:
    """A warning if the smallest network of a kind exceeds the bound on parameters, else None."""
    if parameters <= bound:
        return None
    return (
        f"{label_of(kind)} has {parameters:,} parameters with {_FEWEST_UNITS} units, more than the "
        f"{bound:,} that the others may have; raise --parameters to give all the same"
    )

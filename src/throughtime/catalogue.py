"""The kinds of networks, and of the simple answers beside them: all that is known of one, once.

Tables, verdicts, reports, the command line and the builders ask the entry. A kind of one's own is
registered, by a layer of one's own or by networks:

    throughtime.register_network(NetworkKind("mingru", "MinGRU", "...", layer=MinGRU))

This file needs the standard library alone, so that records are read without torch; networks are
named as "module:class" and imported when they are built.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

Builder = Callable[..., Any]
FORECASTER, SEQUENCES = "forecaster", "sequences"  # families of networks
OPPONENTS_AT = ("forecasts", "classes", "numbers", "tokens")
DEFAULT_NETWORK = "gru"
MEMORIES = ("none", "window", "recurrent")
_PROBLEMS = "throughtime.problems"
_IMPORT = "for a kind of your own: in Python, import what registers it first"
_RECURRENT = {
    FORECASTER: f"{_PROBLEMS}.forecasting.networks:Recurrent",
    SEQUENCES: f"{_PROBLEMS}.labelling.networks:StepRecurrent",
}


@dataclass(frozen=True)
class NetworkKind:
    """A kind of network, or of simple answer.

    >>> NetworkKind("mingru", "MinGRU", "A GRU whose gates read the input alone.", layer=MinGRU)

    Args:
        name: What options, records and folders call it.
        label: What tables and pages call it.
        explanation: One sentence for people who do not know it.
        layer: The recurrent layer it is built around; then it needs no builders.
        builders: By family, "forecaster" or "sequences": what takes a configuration and returns
            the network; a callable, or "module:name".
        memory: What it sees of the past: "none", "window" or "recurrent".
        trivial: Whether it has nothing to train.
        cost: Its rank in cost; of equals, the lowest is recommended.
        color: As pages draw it, "#rrggbb".
        dash: Of its lines in pictures.
        symbol: Of its points in pictures.
        opponent_at: The problems whose simple answer it is: one of `OPPONENTS_AT`.
        reference: Of simple answers, errors are relative to the one with the highest.

    Raises:
        ValueError: For fields that do not fit together.
    """

    name: str
    label: str
    explanation: str
    layer: Builder | str = ""
    builders: Mapping[str, Builder | str] = field(default_factory=dict[str, Builder | str])
    memory: str = "recurrent"
    trivial: bool = False
    cost: int = 100
    color: str = "#555555"
    dash: str = "solid"
    symbol: str = "circle"
    opponent_at: str = ""
    reference: int = 0

    def __post_init__(self) -> None:
        if self.layer and not self.builders:
            object.__setattr__(self, "builders", _RECURRENT)
        if self.opponent_at not in ("", *OPPONENTS_AT):
            known = ", ".join(OPPONENTS_AT)
            raise ValueError(f"opponent_at is one of {known}; got {self.opponent_at!r}")
        if self.memory not in MEMORIES:
            raise ValueError(f"memory is one of {', '.join(MEMORIES)}; got {self.memory!r}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", str(self.name)):
            raise ValueError(
                f"the name of a kind is small letters, digits, - and _; got {self.name!r}"
            )
        if not self.label or not self.builders:
            raise ValueError(f"a kind has a name, a label, and a layer or builders; got {self}")
        for field_name, pattern in (("color", r"#[0-9a-fA-F]{6}"), ("dash", r"[a-z]+")):
            if not re.fullmatch(pattern, getattr(self, field_name)):
                raise ValueError(f"{field_name} of {self.name} is {getattr(self, field_name)!r}")
        if unknown := set(self.builders) - {FORECASTER, SEQUENCES}:
            raise ValueError(
                f"builders are of {FORECASTER} or {SEQUENCES}; {self.name} has {min(unknown)!r}"
            )

    @property
    def recurrent(self) -> bool:
        """Whether it is a recurrent network."""
        return self.memory == "recurrent" and not self.trivial

    def build(self, family: str, config: Any) -> Any:
        """The network of a configuration. Raises ValueError where it has none of this family."""
        if family not in self.builders:
            raise ValueError(f"{self.name} has no network for {family}")
        return _imported(self.builders[family])(config)

    def layer_class(self) -> Any:
        """The recurrent layer it is built around."""
        return _imported(self.layer)


def _imported(what: Builder | str) -> Builder:
    if not isinstance(what, str):
        return what
    module, _, name = what.partition(":")
    return getattr(import_module(module), name)


_GREY = "#999999"  # simple answers are told apart by dash and symbol


def _simple(
    name: str,
    label: str,
    explanation: str,
    builder: str,
    opponent_at: str,
    cost: int,
    picture: tuple[str, str],
    reference: int = 0,
) -> NetworkKind:
    family = FORECASTER if opponent_at == "forecasts" else SEQUENCES
    problem = "forecasting" if family == FORECASTER else "labelling"
    return NetworkKind(
        name,
        label,
        explanation,
        builders={family: f"{_PROBLEMS}.{problem}.networks:{builder}"},
        memory="window",
        trivial=True,
        cost=cost,
        color=_GREY,
        dash=picture[0],
        symbol=picture[1],
        opponent_at=opponent_at,
        reference=reference,
    )


_DOT, _DASH, _LONG, _MIXED = (
    ("dot", "square"),
    ("dash", "diamond"),
    ("longdash", "cross"),
    ("dashdot", "x"),
)
_WORDS = {
    "mean": "The mean of the steps seen.",
    "persistence": "The last value again.",
    "seasonal": "The value a season ago.",
    "drift": "The value a season ago, plus the change since.",
    "majority": "The class that the training part has most often.",
    "average": "The mean of the training part.",
    "unigram": "Each token as often as in the training part.",
    "bigram": "Each token as often as it followed the present one.",
}
_AT = "forecasts"
# trained networks: Okabe and Ito's palette, which colour-blind readers can tell apart
_OWN = (
    _simple("mean", "mean of the window", _WORDS["mean"], "Mean", _AT, 0, _DOT),
    _simple("persistence", "persistence", _WORDS["persistence"], "Persistence", _AT, 1, _DASH, 1),
    _simple("seasonal", "seasonal naive", _WORDS["seasonal"], "Seasonal", _AT, 2, _LONG, 2),
    _simple(
        "seasonal-drift",
        "seasonal naive with drift",
        _WORDS["drift"],
        "SeasonalDrift",
        _AT,
        3,
        _MIXED,
    ),
    _simple(
        "majority", "most frequent class", _WORDS["majority"], "Constant", "classes", 4, _DASH, 1
    ),
    _simple("average", "mean answer", _WORDS["average"], "Constant", "numbers", 5, _DASH, 1),
    _simple("unigram", "unigram", _WORDS["unigram"], "Constant", "tokens", 6, _DASH, 1),
    _simple("bigram", "bigram", _WORDS["bigram"], "Bigram", "tokens", 7, _DOT),
    NetworkKind(
        "dense",
        "Dense",
        "A perceptron that sees the current step alone.",
        builders={
            FORECASTER: f"{_PROBLEMS}.forecasting.networks:Dense",
            SEQUENCES: f"{_PROBLEMS}.labelling.networks:StepDense",
        },
        memory="none",
        cost=10,
        color="#E69F00",
    ),
    NetworkKind(
        "window-dense",
        "WindowDense",
        "A perceptron over a window of steps.",
        builders={
            FORECASTER: f"{_PROBLEMS}.forecasting.networks:WindowDense",
            SEQUENCES: f"{_PROBLEMS}.labelling.networks:StepWindowDense",
        },
        memory="window",
        cost=11,
        color="#009E73",
    ),
    NetworkKind(
        "rnn",
        "RNN",
        "Elman's recurrent network, without gates.",
        layer="throughtime.nn.layers:RNN",
        cost=12,
        color="#56B4E9",
    ),
    NetworkKind(
        "lstm",
        "LSTM",
        "Long short-term memory: a cell state behind three gates.",
        layer="throughtime.nn.layers:LSTM",
        cost=14,
        color="#CC79A7",
    ),
    NetworkKind(
        "gru",
        "GRU",
        "Gated recurrent unit: two gates, fewer weights than an LSTM.",
        layer="throughtime.nn.layers:GRU",
        cost=13,
        color="#D55E00",
    ),
)
_kinds: dict[str, NetworkKind] = {kind.name: kind for kind in _OWN}


def register_network(kind: NetworkKind) -> NetworkKind:
    """Add a kind of network, for `compare`, `fit`, tables and reports.

    >>> register_network(NetworkKind("mingru", "MinGRU", "...", layer=MinGRU))

    Args:
        kind: The entry; one of yours with the same name is replaced.

    Returns:
        The kind.

    Raises:
        ValueError: For the name of one of the project's own.
    """
    if kind.name in {own.name for own in _OWN}:
        raise ValueError(f"{kind.name!r} is one of throughtime's own kinds; choose another name")
    _kinds[kind.name] = kind
    return kind


def show_network(name: str, **entry: Any) -> None:
    """Add a kind that a record names, to be shown; it cannot be built, and replaces no other."""
    if name not in _kinds:
        builders: dict[str, Builder | str] = {FORECASTER: _unknown_code, SEQUENCES: _unknown_code}
        register_network(NetworkKind(name, builders=builders, **entry))


def _unknown_code(config: Any) -> Any:
    raise ValueError(f"kind {config.kind!r} is of the user's own; {_IMPORT}")


def forget(name: str) -> None:
    """Remove a kind that was added. Raises ValueError for any other name."""
    if name not in {kind.name for kind in registered()}:
        raise ValueError(f"{name!r} is none of the kinds that were registered")
    del _kinds[name]


def registered() -> tuple[NetworkKind, ...]:
    """The kinds that were added."""
    return tuple(_kinds.values())[len(_OWN) :]


def kind_of(name: str) -> NetworkKind:
    """The entry of a kind. Raises ValueError for an unknown name."""
    if name not in _kinds:
        raise ValueError(f"kind is one of {', '.join(_kinds)}; got {name!r} ({_IMPORT})")
    return _kinds[name]


def check_kind(name: str, family: str) -> None:
    """Raise ValueError unless a kind has networks of this family."""
    if name not in _kinds or family not in _kinds[name].builders:
        raise ValueError(f"kind is one of {', '.join(names(family))}; got {name!r} ({_IMPORT})")


def label_of(name: str) -> str:
    """What tables and pages call a kind."""
    return kind_of(name).label


def is_trivial(name: str) -> bool:
    """Whether a kind has nothing to train."""
    return kind_of(name).trivial


def names(family: str = "", *, trained: bool = False) -> tuple[str, ...]:
    """Names of all kinds, or of a family, or of those that are trained, in their order."""
    return tuple(
        kind.name
        for kind in _kinds.values()
        if (not family or family in kind.builders) and not (trained and kind.trivial)
    )


def opponents(problem: str) -> tuple[str, ...]:
    """The simple answers to a problem, of `OPPONENTS_AT`."""
    return tuple(kind.name for kind in _kinds.values() if kind.opponent_at == problem)


def reference_of(kinds: Iterable[str]) -> str:
    """Of simple answers the one that errors are relative to."""
    return max(kinds, key=lambda name: kind_of(name).reference)


def order_of(name: str) -> int:
    """The place of a kind among all."""
    return list(_kinds).index(name)

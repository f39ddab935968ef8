"""The catalogue of networks and baselines: one entry holds everything known about a kind.

Tables, verdicts, reports, the command line and the builders read the entry. Register your own kind
with a recurrent layer or with network builders:

    throughtime.register_network(NetworkKind("mingru", "MinGRU", "...", layer=MinGRU))

This module imports only the standard library, so that records can be read without torch. Networks
are named as "module:class" and imported when they are built.
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
    """A kind of network or baseline.

    >>> NetworkKind("mingru", "MinGRU", "A GRU whose gates read the input alone.", layer=MinGRU)

    Args:
        name: Name in options, records and folders.
        label: Name in tables and pages.
        explanation: One sentence for readers who do not know it.
        layer: The recurrent layer it is built around; replaces ``builders``.
        builders: By family, "forecaster" or "sequences": a callable, or its "module:name", that
            takes a configuration and returns the network.
        memory: What it sees of the past: "none", "window" or "recurrent".
        trivial: Whether it has no trained parameters.
        cost: Cost rank; among networks that are equally good, the lowest is recommended.
        color: Color in figures, "#rrggbb".
        dash: Line style in figures: a name of plotly's, or lengths: "9px,2px".
        symbol: Marker in figures.
        opponent_at: For a baseline: the problems it is used for, some of `OPPONENTS_AT`,
            separated by commas.
        reference: For a baseline: its priority as the reference of relative errors; the highest is
            used.
        chance: For a baseline: whether a network that does no better has learned nothing.

    Raises:
        ValueError: If the fields are invalid or inconsistent.
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
    chance: bool = True

    def __post_init__(self) -> None:
        if self.layer and not self.builders:
            object.__setattr__(self, "builders", _RECURRENT)
        if not {*self.opponent_at.split(",")} <= {"", *OPPONENTS_AT}:
            known = ", ".join(OPPONENTS_AT)
            raise ValueError(f"opponent_at is one of {known}; got {self.opponent_at!r}")
        if self.memory not in MEMORIES:
            raise ValueError(f"memory is one of {', '.join(MEMORIES)}; got {self.memory!r}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", str(self.name)):
            raise ValueError(f"name is {self.name!r}; expected lower case letters, digits, - and _")
        if not self.label or not self.builders:
            raise ValueError(f"a kind needs a name, a label, and a layer or builders; got {self}")
        for field_name, pattern in (("color", r"#[0-9a-fA-F]{6}"), ("dash", r"[a-z]+|(\d+px,?)+")):
            if not re.fullmatch(pattern, getattr(self, field_name)):
                raise ValueError(f"{field_name} of {self.name} is {getattr(self, field_name)!r}")
        if unknown := set(self.builders) - {FORECASTER, SEQUENCES}:
            raise ValueError(
                f"builders of {self.name} are for {min(unknown)!r}; expected {FORECASTER} or "
                f"{SEQUENCES}"
            )

    @property
    def recurrent(self) -> bool:
        """Whether it is a recurrent network."""
        return self.memory == "recurrent" and not self.trivial

    def build(self, family: str, config: Any) -> Any:
        """Build a configured network; raise ValueError without a builder for the family."""
        if family not in self.builders:
            raise ValueError(f"{self.name} has no network for {family}")
        return _imported(self.builders[family])(config)

    @property
    def gated(self) -> bool:
        """Whether a gate of its cell keeps the state, so that its bias sets a time scale."""
        cell = getattr(self.layer_class(), "cell_type", None) if self.recurrent else None
        return cell is not None and bool(cell.keeps)

    def layer_class(self) -> Any:
        """The recurrent layer it is built around; None for a network of another form."""
        return _imported(self.layer) if self.layer else None


def _imported(what: Builder | str) -> Builder:
    if not isinstance(what, str):
        return what
    module, _, name = what.partition(":")
    return getattr(import_module(module), name)


_GREY = "#999999"  # baselines share a color and differ in dash and symbol


def _simple(
    name: str,
    label: str,
    explanation: str,
    builder: str,
    opponent_at: str,
    cost: int,
    picture: tuple[str, str],
    reference: int = 0,
    *,
    chance: bool = True,
    module: str = "",
) -> NetworkKind:
    family = FORECASTER if opponent_at == "forecasts" else SEQUENCES
    module = module or ("forecasting.simple" if family == FORECASTER else "labelling.networks")
    return NetworkKind(
        name,
        label,
        explanation,
        builders={family: f"{_PROBLEMS}.{module}:{builder}"},
        memory="window",
        trivial=True,
        cost=cost,
        color=_GREY,
        dash=picture[0],
        symbol=picture[1],
        opponent_at=opponent_at,
        reference=reference,
        chance=chance,
    )


_DOT, _DASH, _LONG, _MIXED = (
    ("dot", "square"),
    ("dash", "diamond"),
    ("longdash", "cross"),
    ("dashdot", "x"),
)
_THICK, _STAR = ("longdashdot", "triangle-up"), ("2px,6px", "star")
_PLUS, _LINE = ("9px,2px", "triangle-down"), ("5px,3px,1px,3px", "hexagon")
_WORDS = {
    "mean": "The mean of the steps seen.",
    "persistence": "The last value again.",
    "seasonal": "The value a season ago.",
    "drift": "The value a season ago, plus the change since.",
    "median": "The median of the steps seen.",
    "trend": "The last value, and the mean change of the steps seen for each step ahead.",
    "zero": "Always zero, for counts that are mostly zero.",
    "linear": "A linear function of all that is seen (ridge regression).",
    "majority": "The class that the training part has most often.",
    "bag": "A linear model of what a sequence contains, whatever its order.",
    "average": "The mean of the training part.",
    "unigram": "Each token as often as in the training part.",
    "bigram": "Each token as often as it followed the present one.",
}
_AT = "forecasts"
# trained networks: Okabe and Ito's palette, distinguishable for colour-blind readers
_OWN = (
    _simple("mean", "mean of the window", _WORDS["mean"], "Mean", _AT, 1, _DOT),
    _simple("persistence", "persistence", _WORDS["persistence"], "Persistence", _AT, 3, _DASH, 1),
    _simple("seasonal", "seasonal naive", _WORDS["seasonal"], "Seasonal", _AT, 5, _LONG, 2),
    _simple(
        "seasonal-drift",
        "seasonal naive with drift",
        _WORDS["drift"],
        "SeasonalDrift",
        _AT,
        6,
        _MIXED,
    ),
    _simple("median", "median of the window", _WORDS["median"], "Median", _AT, 2, _THICK),
    _simple("drift", "drift", _WORDS["trend"], "Drift", _AT, 4, _STAR),
    _simple("zero", "zero", _WORDS["zero"], "Zero", _AT, 0, _PLUS),
    _simple("ridge", "linear regression", _WORDS["linear"], "Linear", _AT, 7, _LINE, chance=False),
    _simple(
        "majority", "most frequent class", _WORDS["majority"], "Constant", "classes", 8, _DASH, 1
    ),
    _simple(
        "bag",
        "bag of values",
        _WORDS["bag"],
        "Bag",
        "classes,numbers",
        12,
        _LINE,
        chance=False,
        module="labelling.bag",
    ),
    _simple("average", "mean answer", _WORDS["average"], "Constant", "numbers", 9, _DASH, 1),
    _simple("unigram", "unigram", _WORDS["unigram"], "Constant", "tokens", 10, _DASH, 1),
    _simple("bigram", "bigram", _WORDS["bigram"], "Bigram", "tokens", 11, _DOT),
    NetworkKind(
        "dense",
        "Dense",
        "A perceptron that sees the current step alone.",
        builders={
            FORECASTER: f"{_PROBLEMS}.forecasting.networks:Dense",
            SEQUENCES: f"{_PROBLEMS}.labelling.networks:StepDense",
        },
        memory="none",
        cost=20,
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
        cost=21,
        color="#009E73",
    ),
    NetworkKind(
        "rnn",
        "RNN",
        "Elman's recurrent network, without gates.",
        layer="throughtime.nn.layers:RNN",
        cost=22,
        color="#56B4E9",
    ),
    NetworkKind(
        "lstm",
        "LSTM",
        "Long short-term memory: a cell state behind three gates.",
        layer="throughtime.nn.layers:LSTM",
        cost=24,
        color="#CC79A7",
    ),
    NetworkKind(
        "gru",
        "GRU",
        "Gated recurrent unit: two gates, fewer weights than an LSTM.",
        layer="throughtime.nn.layers:GRU",
        cost=23,
        color="#D55E00",
    ),
)
_kinds: dict[str, NetworkKind] = {kind.name: kind for kind in _OWN}


def register_network(kind: NetworkKind) -> NetworkKind:
    """Add a kind of network, for `compare`, `fit`, tables and reports.

    >>> register_network(NetworkKind("mingru", "MinGRU", "...", layer=MinGRU))

    Args:
        kind: The entry; replaces an entry that you registered under the same name.

    Returns:
        The kind.

    Raises:
        ValueError: If the name belongs to a kind built into throughtime.
    """
    if kind.name in {own.name for own in _OWN}:
        raise ValueError(f"{kind.name!r} is one of throughtime's own kinds; choose another name")
    _kinds[kind.name] = kind
    return kind


def show_network(name: str, **entry: Any) -> None:
    """Add a kind named by a record, for display only; it cannot be built and replaces no entry."""
    if name not in _kinds:
        builders: dict[str, Builder | str] = {FORECASTER: _unknown_code, SEQUENCES: _unknown_code}
        register_network(NetworkKind(name, builders=builders, **entry))


def _unknown_code(config: Any) -> Any:
    raise ValueError(f"kind {config.kind!r} is not part of throughtime; {_IMPORT}")


def forget(name: str) -> None:
    """Remove a registered kind; raise ValueError for any other name."""
    if name not in {kind.name for kind in registered()}:
        raise ValueError(f"{name!r} is not a registered kind")
    del _kinds[name]


def registered() -> tuple[NetworkKind, ...]:
    """The kinds added by `register_network`."""
    return tuple(_kinds.values())[len(_OWN) :]


def kind_of(name: str) -> NetworkKind:
    """Return the entry of a kind; raise ValueError for an unknown name."""
    if name not in _kinds:
        raise ValueError(f"kind is one of {', '.join(_kinds)}; got {name!r} ({_IMPORT})")
    return _kinds[name]


def check_kind(name: str, family: str) -> None:
    """Raise ValueError unless a kind has a network for this family."""
    if name not in _kinds or family not in _kinds[name].builders:
        raise ValueError(f"kind is one of {', '.join(names(family))}; got {name!r} ({_IMPORT})")


def label_of(name: str) -> str:
    """Name of a kind in tables and pages."""
    return kind_of(name).label


def is_trivial(name: str) -> bool:
    """Whether a kind has no trained parameters."""
    return kind_of(name).trivial


def names(family: str = "", *, trained: bool = False) -> tuple[str, ...]:
    """Names of kinds in catalogue order: all, those of one family, or only trained ones."""
    return tuple(
        kind.name
        for kind in _kinds.values()
        if (not family or family in kind.builders) and not (trained and kind.trivial)
    )


def opponents(problem: str) -> tuple[str, ...]:
    """Names of the baselines of a problem, one of `OPPONENTS_AT`."""
    return tuple(kind.name for kind in _kinds.values() if problem in kind.opponent_at.split(","))


def reference_of(kinds: Iterable[str]) -> str:
    """The baseline that errors are relative to."""
    return max(kinds, key=lambda name: kind_of(name).reference)


def order_of(name: str) -> int:
    """Position of a kind in the catalogue."""
    return list(_kinds).index(name)

"""What may be asked of data: one description, which the command line and Python follow.

An option is added here, and used where the data are read.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

# kinds of data, and the words for them
FORECAST = "a forecast"
PARQUET_FOLDER = "a folder of Parquet"
LABELLED_TABLE = "a labelled table"
ARCHIVE = "an archive of sequences"
TEXT = "text"
LABELLED_TEXT = "labelled text"
RECORDINGS = "recordings"
TASK = "a generated task"
_EVERYTHING = (
    FORECAST,
    PARQUET_FOLDER,
    LABELLED_TABLE,
    ARCHIVE,
    TEXT,
    LABELLED_TEXT,
    RECORDINGS,
    TASK,
)
_TABLES = (FORECAST, LABELLED_TABLE)


# groups of options in help, in this order; the usual ones come before, in none
PANELS = (
    ("Tables", (FORECAST, PARQUET_FOLDER, LABELLED_TABLE)),
    ("Texts, recordings and tasks", (ARCHIVE, TEXT, LABELLED_TEXT, RECORDINGS, TASK)),
    ("Windows and split", _EVERYTHING),
)
_USUAL = {"target", "label", "time", "group", "horizon", "missing"}


def _about(kinds: tuple[str, ...], help: str, *, listed: bool = True) -> dict[str, Any]:
    """Which kinds take an option, and its help; not `listed`: commands add it themselves."""
    return {"kinds": kinds, "help": help, "listed": listed}


def panel_of(option: str) -> str | None:
    """The group of an option in help; None: a usual one."""
    kinds = next(f.metadata["kinds"] for f in fields(DataOptions) if f.name == option)
    if option in _USUAL:
        return None
    if kinds == _EVERYTHING or option == "season":
        return PANELS[2][0]
    return next(name for name, own in PANELS if {*kinds} & {*own})


@dataclass(frozen=True)
class DataOptions:
    """All that may be asked of data; None, or the default, lets the data decide.

    >>> DataOptions(target=("load",), time="when", horizon=24).given()
    {'target': ('load',), 'time': 'when', 'horizon': 24}
    """

    target: tuple[str, ...] | None = field(
        default=None,
        metadata=_about(
            (FORECAST, PARQUET_FOLDER),
            "Column to forecast; several with commas, a name with a comma in quotes.",
        ),
    )
    label: str | None = field(
        default=None,
        metadata=_about(
            (LABELLED_TABLE, LABELLED_TEXT, RECORDINGS),
            "Column of answers to learn instead; 'folder': each folder is a class.",
        ),
    )
    time: str | None = field(
        default=None, metadata=_about(_TABLES, "Column of times; 'none': rows in order.")
    )
    group: str | None = field(
        default=None, metadata=_about(_TABLES, "Column that tells several series apart.")
    )
    inputs: tuple[str, ...] | None = field(
        default=None,
        metadata=_about(
            (*_TABLES, PARQUET_FOLDER), "Further numeric columns to use, with commas; 'none'."
        ),
    )
    categorical: tuple[str, ...] = field(
        default=(), metadata=_about(_TABLES, "Columns of categories to use, with commas.")
    )
    known: tuple[str, ...] = field(
        default=(),
        metadata=_about((FORECAST,), "Columns that are known ahead (plans), with commas."),
    )
    calendar: tuple[str, ...] = field(
        default=(),
        metadata=_about((FORECAST,), "Of the time: some of minute, hour, weekday, month, yearday."),
    )
    resample: str | None = field(
        default=None,
        metadata=_about((FORECAST,), "Bring rows to a step, by means: 15min, 1h, 1d, ..."),
    )
    gaps: bool = field(
        default=False,
        metadata=_about((FORECAST,), "Rows are steps; the time between them is an input."),
    )
    static: Path | None = field(
        default=None,
        metadata=_about(_TABLES, "Table with a row for each group, to use at every step."),
    )
    part: str | None = field(
        default=None,
        metadata=_about(
            (LABELLED_TABLE, LABELLED_TEXT, RECORDINGS),
            "Column that says train, validation or test.",
        ),
    )
    text: str | None = field(
        default=None, metadata=_about((LABELLED_TEXT,), "Column of texts, each of a class.")
    )
    file: str | None = field(
        default=None, metadata=_about((RECORDINGS,), "Column of names of recordings.")
    )
    answer: str = field(
        default="auto",
        metadata=_about((LABELLED_TABLE, ARCHIVE), "Labels are classes, numbers, or auto."),
    )
    tokens: str = field(
        default="characters",
        metadata=_about(
            (TEXT, LABELLED_TEXT), "Of text: bytes, characters, words, or a tokenizer.json."
        ),
    )
    features: str = field(
        default="logmel", metadata=_about((RECORDINGS,), "Of recordings: logmel or mfcc.")
    )
    bands: int = field(
        default=40, metadata=_about((RECORDINGS,), "Mel bands, or coefficients of mfcc.")
    )
    rate: int = field(
        default=8000, metadata=_about((RECORDINGS,), "Hz that recordings are brought to.")
    )
    channels: str = field(
        default="mean", metadata=_about((RECORDINGS,), "Of recordings: mean, or all.")
    )
    length: int | None = field(
        default=None, metadata=_about((TASK,), "Of task:NAME: steps to be bridged.")
    )
    horizon: int | None = field(
        default=None, metadata=_about((FORECAST, PARQUET_FOLDER), "Steps to forecast.")
    )
    context: int | None = field(default=None, metadata=_about(_EVERYTHING, "Steps a network sees."))
    season: int | None = field(
        default=None, metadata=_about((FORECAST,), "Steps of the season; 1: none.")
    )
    missing: str = field(
        default="error",
        metadata=_about((*_TABLES, ARCHIVE), "Missing values: error, interpolate, drop or mask."),
    )
    delimiter: str | None = field(
        default=None,
        metadata=_about(
            (*_TABLES, LABELLED_TEXT, RECORDINGS), "Of a CSV: one character, or 'tab'."
        ),
    )
    split: str = field(
        default="70/15/15",
        metadata=_about(_EVERYTHING, "Percent of the time for training, validation and test."),
    )
    folds: int = field(
        default=1,
        metadata=_about(
            (FORECAST,), "Of forecasts: test so many stretches, trained anew each.", listed=False
        ),
    )
    seed: int = field(default=0, metadata=_about(_EVERYTHING, "The (first) seed.", listed=False))

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }

    def as_text(self) -> dict[str, str]:
        """The same as the command line writes them, for the record."""
        return {
            name: ",".join(value) if isinstance(value, tuple) else str(value)
            for name, value in self.given().items()
        }


def options_of(kind: str) -> list[str]:
    """The options that a kind of data takes, beside context, split and seed."""
    return [
        f.name
        for f in fields(DataOptions)
        if kind in f.metadata["kinds"] and f.metadata["kinds"] != _EVERYTHING
    ]

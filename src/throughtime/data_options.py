"""The options for reading data, for the command line, the Python API and saved models.

A new option is declared here and used where the data are read. If models save it, it is marked
`serialization.ADDED_LATER`, since earlier models lack it.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

# kinds of data, as messages name them
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


# option groups in --help, in this order; common options come first, outside any group
PANELS = (
    ("Tables", (FORECAST, PARQUET_FOLDER, LABELLED_TABLE)),
    ("Texts, recordings and tasks", (ARCHIVE, TEXT, LABELLED_TEXT, RECORDINGS, TASK)),
    ("Windows and split", _EVERYTHING),
)
_USUAL = {"target", "label", "time", "group", "horizon", "missing"}


def _about(
    kinds: tuple[str, ...], help: str, *, listed: bool = True, saved: bool = True
) -> dict[str, Any]:
    """Build field metadata.

    Options that are not `listed` are added by the commands themselves. Options that are not `saved`
    describe the training or where the training data are; they do not apply to new data.
    """
    return {"kinds": kinds, "help": help, "listed": listed, "saved": saved}


def panel_of(option: str) -> str | None:
    """Return the group of an option in --help, or None for a common option."""
    kinds = next(f.metadata["kinds"] for f in fields(DataOptions) if f.name == option)
    if option in _USUAL:
        return None
    if kinds == _EVERYTHING or option == "season":
        return PANELS[2][0]
    return next(name for name, own in PANELS if {*kinds} & {*own})


@dataclass(frozen=True)
class DataOptions:
    """All options for reading data; None lets the reader choose from the data.

    >>> DataOptions(target=("load",), time="when", horizon=24).given()
    {'target': ('load',), 'time': 'when', 'horizon': 24}
    """

    target: tuple[str, ...] | None = field(
        default=None,
        metadata=_about(
            (FORECAST, PARQUET_FOLDER),
            "Column to forecast; separate several by commas, quote names that contain one.",
        ),
    )
    label: str | None = field(
        default=None,
        metadata=_about(
            (LABELLED_TABLE, LABELLED_TEXT, RECORDINGS),
            "Column of labels to predict instead; 'folder': each folder is a class.",
        ),
    )
    time: str | None = field(
        default=None, metadata=_about(_TABLES, "Column of times; 'none': rows are in time order.")
    )
    group: str | None = field(
        default=None, metadata=_about(_TABLES, "Column that identifies the series of each row.")
    )
    inputs: tuple[str, ...] | None = field(
        default=None,
        metadata=_about(
            (*_TABLES, PARQUET_FOLDER),
            "Further numeric columns to use, separated by commas, or 'none'.",
        ),
    )
    categorical: tuple[str, ...] = field(
        default=(), metadata=_about(_TABLES, "Categorical columns to use, separated by commas.")
    )
    known: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            (FORECAST,),
            "Columns whose future values are known, numbers or words; separated by commas.",
        ),
    )
    calendar: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            (FORECAST,), "Calendar features: some of minute, hour, weekday, month, yearday."
        ),
    )
    resample: str | None = field(
        default=None,
        metadata=_about((FORECAST,), "Average rows to a regular time step: 15min, 1h, 1d, ..."),
    )
    gaps: bool = field(
        default=False,
        metadata=_about(
            (FORECAST,), "Use each row as a step and the time since the row before as an input."
        ),
    )
    static: Path | None = field(
        default=None,
        metadata=_about(
            _TABLES,
            "Table with one row per group, whose columns are inputs at every step.",
            saved=False,
        ),
    )
    part: str | None = field(
        default=None,
        metadata=_about(
            (LABELLED_TABLE, LABELLED_TEXT, RECORDINGS),
            "Column that contains train, validation or test.",
            saved=False,
        ),
    )
    text: str | None = field(
        default=None, metadata=_about((LABELLED_TEXT,), "Column of texts to classify.")
    )
    file: str | None = field(
        default=None, metadata=_about((RECORDINGS,), "Column of paths of recordings.")
    )
    answer: str = field(
        default="auto",
        metadata=_about(
            (LABELLED_TABLE, ARCHIVE), "Type of the labels: classes, numbers or auto.", saved=False
        ),
    )
    class_weight: str | None = field(
        default=None,
        metadata=_about(
            (LABELLED_TABLE, ARCHIVE, LABELLED_TEXT, RECORDINGS),
            "'balanced': rare classes count as much as frequent ones, in loss and error.",
            saved=False,
        ),
    )
    tokens: str = field(
        default="characters",
        metadata=_about(
            (TEXT, LABELLED_TEXT), "Tokens of text: bytes, characters, words, or a tokenizer.json."
        ),
    )
    features: str = field(
        default="logmel", metadata=_about((RECORDINGS,), "Features of recordings: logmel or mfcc.")
    )
    bands: int = field(
        default=40, metadata=_about((RECORDINGS,), "Number of mel bands or MFCC coefficients.")
    )
    rate: int = field(
        default=8000,
        metadata=_about((RECORDINGS,), "Sampling rate to resample recordings to, in Hz."),
    )
    channels: str = field(
        default="mean", metadata=_about((RECORDINGS,), "Channels of recordings: mean or all.")
    )
    length: int | None = field(
        default=None, metadata=_about((TASK,), "Number of steps to remember, for task:NAME.")
    )
    horizon: int | None = field(
        default=None,
        metadata=_about((FORECAST, PARQUET_FOLDER), "Number of steps to forecast.", saved=False),
    )
    context: int | None = field(
        default=None,
        metadata=_about(_EVERYTHING, "Number of steps that a network sees.", saved=False),
    )
    season: int | None = field(
        default=None,
        metadata=_about((FORECAST,), "Season length in steps; 1: no season.", saved=False),
    )
    missing: str = field(
        default="error",
        metadata=_about((*_TABLES, ARCHIVE), "Missing values: error, interpolate, drop or mask."),
    )
    delimiter: str | None = field(
        default=None,
        metadata=_about(
            (*_TABLES, LABELLED_TEXT, RECORDINGS),
            "Delimiter of a CSV file: one character, or 'tab'.",
            saved=False,
        ),
    )
    split: str = field(
        default="70/15/15",
        metadata=_about(
            _EVERYTHING, "Percent of the data for training, validation and test.", saved=False
        ),
    )
    folds: int = field(
        default=1,
        metadata=_about(
            (FORECAST,),
            "Number of test periods (rolling origin), with a new training for each.",
            listed=False,
            saved=False,
        ),
    )
    seed: int = field(
        default=0, metadata=_about(_EVERYTHING, "The (first) seed.", listed=False, saved=False)
    )

    @property
    def coded(self) -> tuple[str, ...]:
        """Categorical columns whose future values are not known."""
        return tuple(name for name in self.categorical if name not in self.known)

    @property
    def planned_words(self) -> tuple[str, ...]:
        """Categorical columns whose future values are known."""
        return tuple(name for name in self.known if name in self.categorical)

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }

    def saved(self) -> "DataOptions":
        """Return the options that are saved with a model; the others have their defaults."""
        return replace(self, **{f.name: f.default for f in fields(self) if not f.metadata["saved"]})

    @property
    def time_column(self) -> str | None:
        """The column of times, or None if there is none."""
        return None if self.time == "none" else self.time

    def as_text(self) -> dict[str, str]:
        """Return these options as text, as on the command line."""
        return {
            name: ",".join(value) if isinstance(value, tuple) else str(value)
            for name, value in self.given().items()
        }


def options_of(kind: str) -> list[str]:
    """Return the options that a kind of data accepts, except context, split and seed."""
    return [
        f.name
        for f in fields(DataOptions)
        if kind in f.metadata["kinds"] and f.metadata["kinds"] != _EVERYTHING
    ]

"""The options that commands share, and how their text is read."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.errors import InputError

if TYPE_CHECKING:
    from throughtime.data.problem import Problem

KINDS = ("dense", "window-dense", "rnn", "lstm", "gru")

Data = Annotated[Path, typer.Argument(metavar="DATA", help="CSV (gzip too), Parquet or Arrow.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that fit or compare wrote.")]
Target = Annotated[
    str | None,
    typer.Option(help="Column to forecast; several with commas, a name with a comma in quotes."),
]
Time = Annotated[str | None, typer.Option(help="Column of times; 'none': rows in order.")]
Group = Annotated[str | None, typer.Option(help="Column that tells several series apart.")]
Inputs = Annotated[
    str | None, typer.Option(help="Further numeric columns to use, with commas; 'none'.")
]
Horizon = Annotated[int | None, typer.Option(help="Steps to forecast.")]
Context = Annotated[int | None, typer.Option(help="Steps a network sees.")]
Season = Annotated[int | None, typer.Option(help="Steps of the season; 1: none.")]
Missing = Annotated[str, typer.Option(help="Missing values: error, interpolate or drop.")]
MissingAsTrained = Annotated[
    str | None,
    typer.Option("--missing", help="Missing values; default: as in training."),
]
Delimiter = Annotated[str | None, typer.Option(help="Of a CSV: one character, or 'tab'.")]
Split = Annotated[str, typer.Option(help="Percent of the time for training, validation and test.")]
Normalize = Annotated[
    str, typer.Option(help="window (each by its last value and spread), global or none.")
]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the data, at most.")]
Parameters = Annotated[
    int, typer.Option(min=1, max=10**8, help="Size that every network is matched to.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**31, help="The (first) seed.")]
NoSeed = Annotated[
    int, typer.Option("--seed", min=0, help="Taken as by the others; nothing is drawn here.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result alone.")]


def names(text: str | None) -> tuple[str, ...] | None:
    """Names with commas between; as in a CSV, a name with a comma stands in quotes."""
    if text is None:
        return None
    cells = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(name.strip() for name in cells if name.strip())


def one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    """The value of an option. Raises InputError unless it is a known one."""
    if value not in known:
        raise InputError(option, repr(value), f"take one of {', '.join(known)}")
    return value


def checked(option: str, build: Callable[[], object]) -> None:
    """Raise InputError where building something from an option's text raises ValueError."""
    try:
        build()
    except ValueError as error:
        raise InputError(option, str(error), "see throughtime fit --help") from None


def seconds(option: str, text: str | None) -> float | None:
    """A time as people write it: 90, 90s, 10m, 1h30m. Raises InputError for what is none."""
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    total = 0.0
    if match is not None:
        hours, minutes, rest = match.groups()
        total = 3600 * float(hours or 0) + 60 * float(minutes or 0) + float(rest or 0)
    if total <= 0:
        raise InputError(option, repr(text), "give a time such as 90s, 10m or 1h30m")
    return total


def problem_from(
    data: Path,
    target: str | None,
    time: str | None,
    group: str | None,
    inputs: str | None,
    horizon: int | None,
    context: int | None,
    season: int | None,
    missing: str,
    delimiter: str | None,
    split: str,
) -> "Problem":
    """The forecasting problem that the options describe."""
    from throughtime.data.batches import Split as Parts
    from throughtime.data.problem import read_problem
    from throughtime.data.tables import Columns

    further = () if inputs == "none" else names(inputs)
    if target is not None and not names(target):
        raise InputError("--target", "names no column", "name one")
    return read_problem(
        data,
        Columns(names(target), time, group, further),
        missing=missing,
        delimiter=delimiter,
        horizon=horizon,
        context=context,
        season=season,
        split=Parts.read(split),
    )

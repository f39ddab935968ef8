"""The options that commands share, and how their text is read."""

import csv
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from throughtime import catalogue
from throughtime.errors import InputError

KINDS = catalogue.names(trained=True)

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="CSV (gzip too), Parquet, Arrow; .ts, .npz; a text or a folder of texts; a folder of "
        "recordings; task:NAME.",
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that fit or compare wrote.")]
MissingAsTrained = Annotated[
    str | None,
    typer.Option("--missing", help="Missing values; default: as in training."),
]
Delimiter = Annotated[str | None, typer.Option(help="Of a CSV: one character, or 'tab'.")]
Normalize = Annotated[
    str | None,
    typer.Option(
        help="window (each by its last value and spread; forecasts alone), global or none."
    ),
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
    try:
        cells = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error:
        advice = "put a name with a comma or a line end in double quotes"
        raise InputError("a list of names", repr(text), advice) from None
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


class DataOptions:
    """The options that say what is asked of data: a class whose annotations are their own."""

    target: Annotated[
        str | None,
        typer.Option(
            help="Column to forecast; several with commas, a name with a comma in quotes."
        ),
    ] = None
    label: Annotated[
        str | None,
        typer.Option(help="Column of answers to learn instead; 'folder': each folder is a class."),
    ] = None
    time: Annotated[str | None, typer.Option(help="Column of times; 'none': rows in order.")] = None
    group: Annotated[str | None, typer.Option(help="Column that tells several series apart.")] = (
        None
    )
    inputs: Annotated[
        str | None, typer.Option(help="Further numeric columns to use, with commas; 'none'.")
    ] = None
    categorical: Annotated[
        str | None, typer.Option(help="Columns of categories to use, with commas.")
    ] = None
    known: Annotated[
        str | None, typer.Option(help="Columns that are known ahead (plans), with commas.")
    ] = None
    calendar: Annotated[
        str | None,
        typer.Option(help="Of the time: some of minute, hour, weekday, month, yearday."),
    ] = None
    resample: Annotated[
        str | None, typer.Option(help="Bring rows to a step, by means: 15min, 1h, 1d, ...")
    ] = None
    gaps: Annotated[
        bool, typer.Option("--gaps", help="Rows are steps; the time between them is an input.")
    ] = False
    static: Annotated[
        Path | None, typer.Option(help="Table with a row for each group, to use at every step.")
    ] = None
    part: Annotated[
        str | None, typer.Option(help="Column that says train, validation or test.")
    ] = None
    text: Annotated[str | None, typer.Option(help="Column of texts, each of a class.")] = None
    file: Annotated[str | None, typer.Option(help="Column of names of recordings.")] = None
    answer: Annotated[str, typer.Option(help="Labels are classes, numbers, or auto.")] = "auto"
    tokens: Annotated[
        str, typer.Option(help="Of text: bytes, characters, words, or a tokenizer.json.")
    ] = "characters"
    features: Annotated[str, typer.Option(help="Of recordings: logmel or mfcc.")] = "logmel"
    bands: Annotated[int, typer.Option(help="Mel bands, or coefficients of mfcc.")] = 40
    rate: Annotated[int, typer.Option(help="Hz that recordings are brought to.")] = 8000
    channels: Annotated[str, typer.Option(help="Of recordings: mean, or all.")] = "mean"
    length: Annotated[int | None, typer.Option(help="Of task:NAME: steps to be bridged.")] = None
    horizon: Annotated[int | None, typer.Option(help="Steps to forecast.")] = None
    context: Annotated[int | None, typer.Option(help="Steps a network sees.")] = None
    season: Annotated[int | None, typer.Option(help="Steps of the season; 1: none.")] = None
    missing: Annotated[
        str, typer.Option(help="Missing values: error, interpolate, drop or mask.")
    ] = "error"
    delimiter: Delimiter = None
    split: Annotated[
        str, typer.Option(help="Percent of the time for training, validation and test.")
    ] = "70/15/15"


_LISTS = ("target", "inputs", "categorical", "known", "calendar")  # of names, with commas


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is DATA and whose second, `asked`, are the data options.

    >>> @asking
    ... def fit(data: Data, asked: "Asked", out: Path, seed: Seed = 0) -> None: ...

    The command line then has them all; `asked` is made of what was given there.
    """
    own = inspect.signature(command).parameters
    kind = inspect.Parameter.KEYWORD_ONLY
    further = [
        inspect.Parameter(name, kind, default=getattr(DataOptions, name), annotation=annotation)
        for name, annotation in DataOptions.__annotations__.items()
    ]
    rest = [p.replace(kind=kind) for name, p in own.items() if name not in ("data", "asked")]

    def run(data: Path, **given: Any) -> None:
        from throughtime.data.opening import Asked

        chosen = {p.name: given.pop(p.name) for p in further}
        for name in _LISTS:
            chosen[name] = names(chosen[name])
        if chosen["inputs"] == ("none",):
            chosen["inputs"] = ()
        if chosen["target"] == ():
            raise InputError("--target", "names no column", "name one")
        for name in ("categorical", "known", "calendar"):
            chosen[name] = chosen[name] or ()
        command(data, Asked(**chosen, seed=given["seed"]), **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    signature = inspect.Signature([own["data"], *further, *rest])
    run.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run

"""The options that commands share, and how their text is read."""

import csv
import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from throughtime import catalogue
from throughtime.data_options import DataOptions, panel_of
from throughtime.errors import InputError

KINDS = catalogue.names(trained=True)
TRAINING, OUTPUT = "Training", "Output"  # groups of options in help, behind those of data

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
        rich_help_panel=TRAINING,
        help="window (each by its last value and spread; forecasts alone), global or none.",
    ),
]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the data, at most.")]
Parameters = Annotated[
    int,
    typer.Option(
        min=1, max=10**8, rich_help_panel=TRAINING, help="Size that every network is matched to."
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**31, rich_help_panel=TRAINING, help="The (first) seed.")
]
NoSeed = Annotated[
    int, typer.Option("--seed", min=0, help="Taken as by the others; nothing is drawn here.")
]
AsJson = Annotated[
    bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print JSON for machines.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", rich_help_panel=OUTPUT, help="Print the result alone.")
]


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


def _of_data() -> list[inspect.Parameter]:
    """The options of data as parameters that typer understands; lists of names are text."""
    kind, hints = inspect.Parameter.KEYWORD_ONLY, get_type_hints(DataOptions)
    found: list[inspect.Parameter] = []
    for option in fields(DataOptions):
        if not option.metadata["listed"]:
            continue
        hint, default = hints[option.name], option.default
        if _is_list(hint):
            hint, default = str | None, None
        flag = [f"--{option.name}"] if hint is bool else []
        about: Any = {"help": option.metadata["help"], "rich_help_panel": panel_of(option.name)}
        annotation = Annotated[hint, typer.Option(*flag, **about)]
        found.append(inspect.Parameter(option.name, kind, default=default, annotation=annotation))
    return found


def _is_list(hint: Any) -> bool:
    return any(get_origin(part) is tuple for part in (hint, *get_args(hint)))


class GroupedHelp(TyperCommand):
    """A command whose help shows its options in groups, the usual ones first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write each group as a section."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None)
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections.setdefault(panel or usual, []).append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is DATA and whose second, `asked`, are the data options.

    >>> @asking
    ... def fit(data: Data, asked: DataOptions, out: Path, seed: Seed = 0) -> None: ...

    The command line then has them all; `asked` is made of what was given there.
    """
    own = inspect.signature(command).parameters
    kind, further = inspect.Parameter.KEYWORD_ONLY, _of_data()
    rest = [p.replace(kind=kind) for name, p in own.items() if name not in ("data", "asked")]
    hints = get_type_hints(DataOptions)

    def run(data: Path, **given: Any) -> None:
        chosen = {p.name: given.pop(p.name) for p in further}
        for option in fields(DataOptions):
            if option.name in chosen and _is_list(hints[option.name]):
                found = names(chosen[option.name])
                chosen[option.name] = option.default if found is None else found
        if chosen["inputs"] == ("none",):
            chosen["inputs"] = ()
        if chosen["target"] == ():
            raise InputError("--target", "names no column", "name one")
        command(data, DataOptions(**chosen, seed=given["seed"]), **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    signature = inspect.Signature([own["data"], *further, *rest])
    run.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run

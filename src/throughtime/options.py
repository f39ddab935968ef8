"""Options shared by the commands, and how their text is parsed."""

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
TRAINING, OUTPUT = "Training", "Output"  # groups of options in help, after those of data

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="CSV (also gzip), Parquet, Arrow; .ts, .npz; a text or a folder of texts; a folder of "
        "recordings; task:NAME.",
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder written by fit or compare.")]
MissingAsTrained = Annotated[
    str | None,
    typer.Option("--missing", help="How to handle missing values; default: as in training."),
]
Delimiter = Annotated[str | None, typer.Option(help="Delimiter of a CSV: one character, or 'tab'.")]
Normalize = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=TRAINING,
        help="window (by the window's last value and spread; forecasts only), global or none.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1, help="Maximum number of optimizer steps; default: 3000, on large data 3 passes."
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, rich_help_panel=TRAINING, help="Instead of --steps: number of passes over the data."
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=TRAINING,
        help="Stop after so many steps without improvement; default: 800.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=TRAINING,
        help="Sequences per step; default: from their number, 16 to 256.",
    ),
]
Parameters = Annotated[
    int,
    typer.Option(
        min=1, max=10**8, rich_help_panel=TRAINING, help="Approximate size of each network."
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**31, rich_help_panel=TRAINING, help="The (first) seed.")
]
NoSeed = Annotated[
    int, typer.Option("--seed", min=0, help="Accepted like elsewhere; this command is not random.")
]
AsJson = Annotated[
    bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print JSON for machines.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", rich_help_panel=OUTPUT, help="Print only the result.")
]


def names(text: str | None) -> tuple[str, ...] | None:
    """Parse names separated by commas; as in a CSV, quote a name that contains a comma."""
    if text is None:
        return None
    try:
        cells = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error:
        advice = "put a name that contains a comma or a line end in double quotes"
        raise InputError("a list of names", repr(text), advice) from None
    return tuple(name.strip() for name in cells if name.strip())


def seconds(option: str, text: str | None) -> float | None:
    """Parse a duration: 90, 90s, 10m, 1h30m; raise InputError if invalid."""
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


def _data_parameters() -> list[inspect.Parameter]:
    """The data options as parameters for typer; lists of names are text."""
    kind, hints = inspect.Parameter.KEYWORD_ONLY, get_type_hints(DataOptions)
    parameters: list[inspect.Parameter] = []
    for option in fields(DataOptions):
        if not option.metadata["listed"]:
            continue
        hint, default = hints[option.name], option.default
        if _is_list(hint):
            hint, default = str | None, None
        flag = [f"--{option.name}"] if hint is bool else []
        about: Any = {"help": option.metadata["help"], "rich_help_panel": panel_of(option.name)}
        annotation = Annotated[hint, typer.Option(*flag, **about)]
        parameter = inspect.Parameter(option.name, kind, default=default, annotation=annotation)
        parameters.append(parameter)
    return parameters


def _is_list(hint: Any) -> bool:
    return any(get_origin(part) is tuple for part in (hint, *get_args(hint)))


class GroupedHelp(TyperCommand):
    """A command whose help groups its options, the common ones first."""

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


def with_data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the data options to a command that takes DATA and `data_options` first.

    >>> @with_data_options
    ... def fit(data: Data, data_options: DataOptions, out: Path, seed: Seed = 0) -> None: ...

    `data_options` is built from the options on the command line.
    """
    own = inspect.signature(command).parameters
    kind, added = inspect.Parameter.KEYWORD_ONLY, _data_parameters()
    rest = [p.replace(kind=kind) for name, p in own.items() if name not in ("data", "data_options")]
    hints = get_type_hints(DataOptions)

    def run(data: Path, **options: Any) -> None:
        chosen = {p.name: options.pop(p.name) for p in added}
        for option in fields(DataOptions):
            if option.name in chosen and _is_list(hints[option.name]):
                parsed = names(chosen[option.name])
                chosen[option.name] = option.default if parsed is None else parsed
        if chosen["inputs"] == ("none",):
            chosen["inputs"] = ()
        if chosen["target"] == ():
            raise InputError("--target", "names no column", "name one")
        command(data, DataOptions(**chosen, seed=options["seed"]), **options)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    signature = inspect.Signature([own["data"], *added, *rest])
    run.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run

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
from throughtime.hyperparameters import Hyperparameters

KINDS = catalogue.names(trained=True)
NETWORK, TRAINING, OUTPUT = (
    "Network",
    "Training",
    "Output",
)  # groups of options in help, after those of data

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
Parameters = Annotated[
    int,
    typer.Option(
        min=1, max=10**8, rich_help_panel=NETWORK, help="Most parameters that a network may have."
    ),
]
Optimizer = Annotated[
    str,
    typer.Option(
        rich_help_panel=TRAINING,
        help="Optimizer of torch.optim: adam, adamw, sgd:momentum=0.9, ...",
    ),
]
WeightDecay = Annotated[
    float, typer.Option(rich_help_panel=TRAINING, min=0, help="For matrices, not for biases.")
]
Clip = Annotated[
    str,
    typer.Option(
        rich_help_panel=TRAINING,
        help="Gradient clipping: norm:1, value:0.5, auto:0.1, z:2.5, agc:0.01 or none.",
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


def _parameters(kind: Any, panel: Callable[[str], str | None]) -> list[inspect.Parameter]:
    """The fields of a dataclass of options as parameters for typer; lists of names are text."""
    keyword, hints = inspect.Parameter.KEYWORD_ONLY, get_type_hints(kind)
    parameters: list[inspect.Parameter] = []
    for option in fields(kind):
        if not option.metadata["listed"]:
            continue
        hint, default = hints[option.name], option.default
        if _is_list(hint):
            hint, default = str | None, None
        if bool in (hint, *get_args(hint)):
            hint, default = bool, False
        flag = [f"--{option.name.replace('_', '-')}"] if hint is bool else []
        about: Any = {"help": option.metadata["help"], "rich_help_panel": panel(option.name)}
        annotation = Annotated[hint, typer.Option(*flag, **about)]
        parameter = inspect.Parameter(option.name, keyword, default=default, annotation=annotation)
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


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of data, and of a network, to a command.

    >>> @with_options
    ... def fit(data: Data, data_options: DataOptions, chosen: Hyperparameters) -> None: ...

    `data_options` and `chosen` are built from the options on the command line.
    """
    own = inspect.signature(command).parameters
    keyword = inspect.Parameter.KEYWORD_ONLY
    of_data = _parameters(DataOptions, panel_of)
    of_network = _parameters(Hyperparameters, lambda _: NETWORK) if "chosen" in own else []
    replaced = ("data", "data_options", "chosen")
    rest = [p.replace(kind=keyword) for name, p in own.items() if name not in replaced]
    hints = get_type_hints(DataOptions)

    def run(data: Path, **options: Any) -> None:
        found = {p.name: options.pop(p.name) for p in of_data}
        chosen = {p.name: options.pop(p.name) for p in of_network}
        for option in fields(DataOptions):
            if option.name in found and _is_list(hints[option.name]):
                parsed = names(found[option.name])
                found[option.name] = option.default if parsed is None else parsed
        if found["inputs"] == ("none",):
            found["inputs"] = ()
        if found["target"] == ():
            raise InputError("--target", "names no column", "name one")
        if of_network:
            chosen["bidirectional"] = chosen["bidirectional"] or None
            options["chosen"] = Hyperparameters(**chosen)
        command(data, DataOptions(**found, seed=options["seed"]), **options)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    signature = inspect.Signature([own["data"], *of_data, *of_network, *rest])
    run.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run

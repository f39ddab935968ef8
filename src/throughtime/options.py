"""Options shared by the commands, and how their text is parsed."""

import csv
import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from throughtime import catalogue
from throughtime.data_options import PANELS, DataOptions, panel_of
from throughtime.errors import InputError
from throughtime.hyperparameters import Hyperparameters
from throughtime.training.settings import TrainingSettings, seconds

KINDS = catalogue.names(trained=True)
# groups of options in help, after those of data
NETWORK, TRAINING, OUTPUT = "Network", "Training", "Output"

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
Parameters = Annotated[
    int,
    typer.Option(
        min=1, max=10**8, rich_help_panel=NETWORK, help="Most parameters that a network may have."
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


def _parameters(
    kind: Any, panel: Callable[[Field[Any]], str | None], command: str
) -> list[inspect.Parameter]:
    """The fields of a dataclass of options as parameters for typer.

    Lists of names and durations are text.
    """
    keyword, hints = inspect.Parameter.KEYWORD_ONLY, get_type_hints(kind)
    parameters: list[inspect.Parameter] = []
    for option in fields(kind):
        if not option.metadata["listed"] or command not in option.metadata.get("of", (command,)):
            continue
        hint, default = hints[option.name], option.default
        if _is_list(hint) or option.name == "budget":
            hint, default = str | None, None
        if bool in (hint, *get_args(hint)):
            hint, default = bool, False
        flag = [f"--{option.name.replace('_', '-')}"] if hint is bool else []
        about: Any = {"help": option.metadata["help"], "rich_help_panel": panel(option)}
        about["min"] = option.metadata.get("least")
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
        order = ("Arguments", "Options", *(name for name, _ in PANELS), NETWORK, TRAINING, OUTPUT)
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in order}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None)
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections[panel or usual].append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of data, of a network and of a training to a command.

    >>> @with_options
    ... def fit(data: Data, data_options: DataOptions, chosen: Hyperparameters) -> None: ...

    `data_options`, `chosen` and `training` are built from the options on the command line.
    """
    own, name = inspect.signature(command).parameters, command.__name__
    added = {
        "data_options": _parameters(DataOptions, lambda f: panel_of(f.name), name),
        "chosen": _parameters(Hyperparameters, lambda _: NETWORK, name),
        "training": _parameters(
            TrainingSettings, lambda f: None if f.metadata["usual"] else TRAINING, name
        ),
    }
    added = {what: parameters for what, parameters in added.items() if what in own}
    rest = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, p in own.items()
        if name != "data" and name not in added
    ]

    def run(data: Path, **options: Any) -> None:
        found = {what: {p.name: options.pop(p.name) for p in own} for what, own in added.items()}
        of_data = DataOptions(**_parsed(found["data_options"]), seed=options["seed"])
        if "chosen" in found:
            chosen = found["chosen"]
            chosen["bidirectional"] = chosen["bidirectional"] or None
            options["chosen"] = Hyperparameters(**chosen)
        if "training" in found:
            training = found["training"]
            if "budget" in training:
                training["budget"] = seconds("--budget", training["budget"])
            options["training"] = TrainingSettings(**training)
        command(data, of_data, **options)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    signature = inspect.Signature([own["data"], *(p for own in added.values() for p in own), *rest])
    run.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run


def _parsed(options: dict[str, Any]) -> dict[str, Any]:
    """The options of data, with lists of names parsed."""
    hints = get_type_hints(DataOptions)
    for option in fields(DataOptions):
        if option.name in options and _is_list(hints[option.name]):
            parsed = names(options[option.name])
            options[option.name] = option.default if parsed is None else parsed
    if options["inputs"] == ("none",):
        options["inputs"] = ()
    if options["target"] == ():
        raise InputError("--target", "names no column", "name one")
    return options

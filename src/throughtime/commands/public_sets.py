"""The commands data list and data get: public data sets by name."""

import json
from pathlib import Path
from typing import Annotated

import typer

from throughtime.escapes import shown_path
from throughtime.options import AsJson, NoSeed, Quiet

data = typer.Typer(help="List or download public data sets.", no_args_is_help=True)


@data.command("list")
def list_(seed: NoSeed = 0, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the available data sets with their licences.

    Example: throughtime data list
    """
    from throughtime.data.public_sets.named import NAMED

    if as_json:
        entries = [
            {"name": n, "what": d.what, "licence": d.licence, "source": d.source, "use": d.use}
            for n, d in NAMED.items()
        ]
        print(json.dumps(entries, indent=2))
        return
    width = max(map(len, NAMED))
    for name, entry in NAMED.items():
        print(f"{name:{width}}  {entry.what}")
        if not quiet:
            print(f"{'':{width}}  {entry.source}; {entry.licence}")


@data.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `throughtime data list`.")],
    given: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Folder with the files of the data set; nothing is downloaded."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to keep it in.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the checksums of all existing files again.")
    ] = False,
    seed: NoSeed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Download a data set, check it, and show how to use it. Existing files are not fetched again.

    A file that changed since its last check is downloaded again; the changed one is kept beside it.

    Example: throughtime data get japanese-vowels
    """
    from throughtime.data.public_sets.named import get as run
    from throughtime.data.public_sets.named import named_set
    from throughtime.output_guard import check_output_folder
    from throughtime.printing import Reporter

    entry = named_set(name)
    if out is not None:
        check_output_folder("--out", out / name)
    reporter = Reporter(quiet=quiet or as_json)
    with reporter.waiting(f"getting {name}"):
        path = run(name, given=given, home=out, verify=verify, report=reporter.show)
    if as_json:
        print(json.dumps({"path": str(path), "licence": entry.licence, "use": entry.use}))
        return
    print(shown_path(path))
    if not quiet:
        print(f"{entry.source}\nlicence: {entry.licence}")
        print(f"use: throughtime compare {shown_path(path)} {entry.use}".rstrip())

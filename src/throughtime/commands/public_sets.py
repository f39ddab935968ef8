"""throughtime data: public data sets by name."""

import json
from pathlib import Path
from typing import Annotated

import typer

from throughtime.escapes import shown_path
from throughtime.options import AsJson, NoSeed, Quiet

data = typer.Typer(help="Public data sets by name: list them, get one.", no_args_is_help=True)


@data.command("list")
def list_(seed: NoSeed = 0, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """What data sets there are, with their licences.

    Example: throughtime data list
    """
    from throughtime.data.public_sets.named import NAMED

    if as_json:
        told = [
            {"name": n, "what": d.what, "licence": d.licence, "source": d.source, "use": d.use}
            for n, d in NAMED.items()
        ]
        print(json.dumps(told, indent=2))
        return
    width = max(map(len, NAMED))
    for name, found in NAMED.items():
        print(f"{name:{width}}  {found.what}")
        if not quiet:
            print(f"{'':{width}}  {found.source}; {found.licence}")


@data.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `throughtime data list`.")],
    given: Annotated[
        Path | None, typer.Option("--from", help="Folder that holds its files: no connection.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to keep it in.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of what is there, and check it again.")
    ] = False,
    seed: NoSeed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a data set, check it, and say how to use it. What is there is not fetched again.

    A file that was changed since it was checked is got anew, and the changed one kept beside it.

    Example: throughtime data get japanese-vowels
    """
    from throughtime.data.public_sets.named import get as run
    from throughtime.data.public_sets.named import named_set
    from throughtime.output_guard import check_output_folder
    from throughtime.printing import Reporter

    found = named_set(name)
    if out is not None:
        check_output_folder("--out", out / name)
    reporter = Reporter(quiet=quiet or as_json)
    with reporter.waiting(f"getting {name}"):
        path = run(name, given=given, home=out, verify=verify, report=reporter.show)
    if as_json:
        print(json.dumps({"path": str(path), "licence": found.licence, "use": found.use}))
        return
    print(shown_path(path))
    if not quiet:
        print(f"{found.source}\nlicence: {found.licence}")
        print(f"use: throughtime compare {shown_path(path)} {found.use}".rstrip())

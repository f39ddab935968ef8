"""throughtime predict, and inspect."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from throughtime.options import (
    AsJson,
    Data,
    Delimiter,
    MissingAsTrained,
    Model,
    NoSeed,
    Quiet,
    Seed,
)


def predict(
    model: Model,
    data: Data,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="CSV to write; default: print it.")
    ] = None,
    missing: MissingAsTrained = None,
    delimiter: Delimiter = None,
    seed: NoSeed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Forecast what follows the last whole row of every series: one row a step, with its time.

    Example: throughtime predict model new.csv -o forecast.csv
    """
    from throughtime.deploy.predicting import predict as run
    from throughtime.files import write_whole
    from throughtime.nn.storage import load
    from throughtime.printing import Reporter, choices_text
    from throughtime.runs import ChoiceRecord

    loaded, spec = load(model)
    frame, found, choices = run(loaded, spec, data, missing=missing, delimiter=delimiter)
    told = [ChoiceRecord(c.name, c.value, c.reason, c.option) for c in choices]
    Reporter(quiet=quiet or as_json).show(choices_text(f"{data}: {found}", told))
    if out is not None:
        write_whole(out, frame.write_csv())
    if as_json:
        print(json.dumps(frame.to_dicts()))
    elif out is None:
        print(frame.write_csv(), end="")
    elif not quiet:
        print(f"{len(frame)} rows: {out}")


def inspect(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write.")] = Path(
        "inspection.html"
    ),
    missing: MissingAsTrained = None,
    delimiter: Delimiter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look into a model at work: is it healthy, how far back does it remember, what does it do?

    Writes a page with verdict, memory, states and gates, and a slider through time.

    Example: throughtime inspect model co2.csv -o inspection.html
    """
    from throughtime.deploy.inspecting import inspect as run
    from throughtime.files import write_whole
    from throughtime.nn.storage import load
    from throughtime.plain import to_json
    from throughtime.printing import Reporter
    from throughtime.report.inspection import headline, write_inspection

    loaded, spec = load(model)
    reporter = Reporter(quiet=quiet or as_json)
    with reporter.waiting(f"inspecting {model}"):
        record = run(
            loaded,
            spec,
            data,
            name=str(model),
            command=shlex.join(["throughtime", *sys.argv[1:]]),
            missing=missing,
            delimiter=delimiter,
            seed=seed,
        )
    write_whole(out, write_inspection(record))
    if as_json:
        print(to_json({"page": str(out), "inspection": record}))
        return
    print(headline(record))
    if not quiet and record.diagnosis.layers:
        print(record.diagnosis)
    print(f"page: {out}")

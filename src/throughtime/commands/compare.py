"""throughtime compare, and report."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from throughtime.data_options import DataOptions
from throughtime.errors import InputError, one_of
from throughtime.escapes import printable, shown_path
from throughtime.options import (
    KINDS,
    TRAINING,
    AsJson,
    Data,
    Epochs,
    Normalize,
    NoSeed,
    Parameters,
    Quiet,
    Seed,
    asking,
    names,
)

if TYPE_CHECKING:
    from throughtime.api import Data as ReadData
    from throughtime.printing import Reporter
    from throughtime.runs import ComparisonRecord


@asking
def compare(
    data: Data,
    asked: DataOptions,
    normalize: Normalize = None,
    networks: Annotated[str, typer.Option(help="Which to compare.")] = ",".join(KINDS),
    parameters: Parameters = 4000,
    epochs: Epochs = 30,
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Trainings of each; use at least 3 to estimate their variance."),
    ] = 5,
    folds: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel="Windows and split",
            help="Of forecasts: test so many stretches, trained anew each.",
        ),
    ] = 1,
    seed: Seed = 0,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=TRAINING, help="Processes; default: all cores."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for records and model.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare networks with each other and with the trivial forecasts, and recommend one.

    Interrupted, the same command goes on where it was. Writes a report and a model to deploy.

    Example: throughtime compare co2.csv --target co2 --horizon 4 --missing interpolate
    """
    from throughtime import api
    from throughtime.data.opening import files_of
    from throughtime.printing import (
        Reporter,
        comparison_choices,
        comparison_table,
        problem_text,
    )

    reporter = Reporter(quiet=quiet or as_json)
    reads = files_of(data, asked)
    if out is not None:
        _check_run(out, reads)
    kinds = _networks(networks)
    found = opened(data, replace(asked, folds=folds), reporter)
    how: dict[str, Any] = {"networks": kinds, "seeds": seeds, "seed": seed, "epochs": epochs}
    how |= {"parameters": parameters, "normalize": normalize}
    settings = api.comparison_settings(found, **how)
    reporter.show(problem_text(found.record, comparison_choices(settings, found.kind)))
    for note in api.size_notes(found, settings):
        reporter.show(f"  note: {note}")
    folder = out or Path("throughtime-runs") / f"{run_name(data)}-{api.mark_of(found, settings)}"
    if out is None:
        _check_run(folder, reads)
    page = folder / "report.html"
    command = printable(shlex.join(["throughtime", *sys.argv[1:]]))
    result = api.compare(found, **how, folder=folder, jobs=jobs, progress=reporter, command=command)
    _write_report(result.record, page)
    if as_json:
        print(json.dumps(_summary(result.record, folder, page), indent=2))
        return
    reporter.result(comparison_table(result.record), result.verdict)
    print(f"report: {shown_path(page)}\nmodel:  {shown_path(folder / 'model')}")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that compare wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Page to write; default: RUN/report.html.")
    ] = None,
    seed: NoSeed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the HTML page of a comparison, and print its table.

    Example: throughtime report throughtime-runs/co2-1a2b3c4d -o co2.html
    """
    from throughtime.output_guard import check_output_file
    from throughtime.printing import Reporter, comparison_table
    from throughtime.runs import ComparisonRecord, read_record

    page = out or run / "report.html"
    kept = run / "comparison.json"
    check_output_file("--out", page, [kept], owned=run / "report.html")
    record = read_record(kept, ComparisonRecord)
    _write_report(record, page, named=out is not None)
    if as_json:
        print(json.dumps(_summary(record, run, page), indent=2))
        return
    if not quiet:
        Reporter(quiet=False).result(comparison_table(record), record.verdict)
    print(f"report: {shown_path(page)}")


def run_name(data: Path) -> str:
    """What a run on this data is called: its file's name, without ending."""
    return data.name.split(".")[0].replace(":", "-") or "data"


def opened(data: Path, asked: DataOptions, reporter: "Reporter") -> "ReadData":
    """What a path holds, as a problem; a bar shows how many recordings are done."""
    from throughtime.api import read

    return read(data, progress=reporter, **asked.given())


def _networks(text: str) -> tuple[str, ...]:
    asked = names(text) or ()
    for name in asked:
        one_of("--networks", name, KINDS)
    if not asked:
        raise InputError("--networks", "none named", f"name some of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in asked)


def _check_run(folder: Path, reads: Sequence[Path]) -> None:
    """Raise InputError where a run's folder, or its report, would destroy what is read."""
    from throughtime.output_guard import check_output_file, check_output_folder

    page = folder / "report.html"
    check_output_folder("--out", folder, reads)
    check_output_file("--out", page, [*reads, folder / "comparison.json"], owned=page)


def _write_report(record: "ComparisonRecord", path: Path, *, named: bool = False) -> None:
    from throughtime.files import write_whole
    from throughtime.report.page import write_page

    write_whole(path, write_page(record), named=named)


def _summary(record: "ComparisonRecord", folder: Path, page: Path) -> dict[str, object]:
    from throughtime.serialization import to_json

    return {
        "verdict": json.loads(to_json(record.verdict)),
        "data": json.loads(to_json(record.data)),
        "unit": record.unit,
        "seconds": record.seconds,
        "record": str(folder / "comparison.json"),
        "report": str(page),
        "model": str(folder / "model"),
    }

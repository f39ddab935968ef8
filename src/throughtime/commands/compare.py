"""The commands compare and report."""

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
from throughtime.hyperparameters import Hyperparameters
from throughtime.options import (
    KINDS,
    OUTPUT,
    TRAINING,
    AsJson,
    Data,
    NoSeed,
    Parameters,
    Quiet,
    Seed,
    names,
    with_options,
)
from throughtime.training.settings import TrainingSettings

if TYPE_CHECKING:
    from throughtime.api import Data as ReadData
    from throughtime.printing import Reporter
    from throughtime.runs import ComparisonRecord


@with_options
def compare(
    data: Data,
    data_options: DataOptions,
    chosen: Hyperparameters,
    training: TrainingSettings,
    networks: Annotated[str, typer.Option(help="Networks to compare.")] = ",".join(KINDS),
    parameters: Parameters = 4000,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Trainings of each network; use at least 3 to estimate their variance."
        ),
    ] = 5,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=TRAINING,
            help="Choices to try for each network, with one seed; default: 10.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for the comparison, instead of --steps and --trials: 90s, 5m, 1h30m."
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=OUTPUT,
            help="Measure of errors: mae, rmse or mase for numbers; error, balanced-error, f1, auc "
            "or cross-entropy for classes; bits for text.",
        ),
    ] = None,
    worth: Annotated[
        str,
        typer.Option(
            rich_help_panel=OUTPUT, help="Relative differences of errors below it do not matter."
        ),
    ] = "5%",
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            rich_help_panel=TRAINING,
            help="Also train every network on 10 and on 30 % of the training data.",
        ),
    ] = False,
    folds: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel="Windows and split",
            help="For forecasts: number of test sections, each tested after a new training.",
        ),
    ] = 1,
    seed: Seed = 0,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=TRAINING, help="Processes; default: one per core."),
    ] = None,
    save: Annotated[
        str,
        typer.Option(
            rich_help_panel=OUTPUT,
            help="Save the best training of the network, single, or an ensemble of all of them.",
        ),
    ] = "single",
    out: Annotated[Path | None, typer.Option(help="Folder for records and model.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare networks with each other and with the trivial forecasts, and recommend one.

    Writes a report and a model to deploy. Run the same command to resume after an interruption.

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
    from throughtime.problems.registry import experiment_of
    from throughtime.settings_checks import all_options, comparison_settings

    reporter = Reporter(quiet=quiet or as_json)
    reads = files_of(data, data_options)
    if out is not None:
        _check_run(out, reads)
    kinds = _networks(networks)
    problem = opened(data, replace(data_options, folds=folds), reporter)
    options: dict[str, Any] = {"networks": kinds, "seeds": seeds, "seed": seed}
    options |= {
        "trials": trials,
        "parameters": parameters,
        "save": save,
        "budget": budget,
        "worth": worth,
        "learning_curve": learning_curve,
    }
    options |= all_options(chosen, training)
    settings = comparison_settings(experiment_of(problem.problem, metric or ""), **options)
    options["metric"] = metric
    reporter.show(problem_text(problem.record, comparison_choices(settings, problem.kind)))
    for note in api.size_notes(problem, settings):
        reporter.show(f"  note: {note}")
    folder = out or Path("throughtime-runs") / f"{run_name(data)}-{api.mark_of(problem, settings)}"
    if out is None:
        _check_run(folder, reads)
    page = folder / "report.html"
    command = printable(shlex.join(["throughtime", *sys.argv[1:]]))
    result = api.compare(
        problem, **options, folder=folder, jobs=jobs, progress=reporter, command=command
    )
    _write_report(result.record, page)
    if as_json:
        print(json.dumps(_summary(result.record, folder, page), indent=2))
        return
    reporter.result(comparison_table(result.record), result.verdict)
    print(f"report: {shown_path(page)}\nmodel:  {shown_path(folder / 'model')}")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder written by compare.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Page to write; default: RUN/report.html.")
    ] = None,
    seed: NoSeed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the HTML page of a comparison and print its table.

    Example: throughtime report throughtime-runs/co2-1a2b3c4d -o co2.html
    """
    from throughtime.output_guard import check_output_file
    from throughtime.printing import Reporter, comparison_table
    from throughtime.runs import ComparisonRecord, read_record

    page = out or run / "report.html"
    path = run / "comparison.json"
    check_output_file("--out", page, [path], owned=run / "report.html")
    record = read_record(path, ComparisonRecord)
    _write_report(record, page, named=out is not None)
    if as_json:
        print(json.dumps(_summary(record, run, page), indent=2))
        return
    if not quiet:
        Reporter(quiet=False).result(comparison_table(record), record.verdict)
    print(f"report: {shown_path(page)}")


def run_name(data: Path) -> str:
    """Name of a run on this data: the file name without its extension."""
    return data.name.split(".")[0].replace(":", "-") or "data"


def opened(data: Path, options: DataOptions, reporter: "Reporter") -> "ReadData":
    """Read the data at a path; a bar shows how many recordings are done."""
    from throughtime.api import read

    return read(data, progress=reporter, **options.given())


def _networks(text: str) -> tuple[str, ...]:
    requested = names(text) or ()
    for name in requested:
        one_of("--networks", name, KINDS)
    if not requested:
        raise InputError("--networks", "none named", f"name some of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in requested)


def _check_run(folder: Path, reads: Sequence[Path]) -> None:
    """Raise InputError if a run's folder or report would overwrite an input."""
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

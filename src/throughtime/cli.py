"""The command line: parse, call, print. Each command loads the heavy libraries it needs itself."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime import __version__
from throughtime.ending import run_to_the_end
from throughtime.errors import InputError
from throughtime.options import (
    AsJson,
    Context,
    Data,
    Delimiter,
    Epochs,
    Group,
    Horizon,
    Inputs,
    Missing,
    MissingAsTrained,
    Model,
    Normalize,
    NoSeed,
    Parameters,
    Quiet,
    Season,
    Seed,
    Split,
    Target,
    Time,
    names,
    one_of,
)

if TYPE_CHECKING:
    from throughtime.data.problem import Problem
    from throughtime.runs import ComparisonRecord

app = typer.Typer(
    name="throughtime",
    help="Do your sequences need a recurrent network, and which one? Trains, compares and tells.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

KINDS = ("dense", "window-dense", "rnn", "lstm", "gru")


@app.command()
def compare(
    data: Data,
    target: Target = None,
    time: Time = None,
    group: Group = None,
    inputs: Inputs = None,
    horizon: Horizon = None,
    context: Context = None,
    season: Season = None,
    missing: Missing = "error",
    delimiter: Delimiter = None,
    split: Split = "70/15/15",
    normalize: Normalize = "window",
    networks: Annotated[str, typer.Option(help="Which to compare.")] = ",".join(KINDS),
    parameters: Parameters = 4000,
    epochs: Epochs = 30,
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings of each; fewer than 3 do not tell luck.")
    ] = 5,
    seed: Seed = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for records and model.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare networks with each other and with the trivial forecasts, and recommend one.

    Interrupted, the same command goes on where it was. Writes a report and a model to deploy.

    Example: throughtime compare co2.csv --target co2 --horizon 4 --missing interpolate
    """
    from throughtime.comparing.sizes import size_notes
    from throughtime.comparing.trials import compare as run
    from throughtime.comparing.trials import comparison_identity
    from throughtime.printing import (
        Reporter,
        comparison_choices,
        comparison_table,
        problem_text,
    )
    from throughtime.runs import SettingsRecord

    settings = SettingsRecord(
        networks=_networks(networks),
        seeds=tuple(range(seed, seed + seeds)),
        learning_rates=(1e-3, 3e-3, 1e-2),
        parameters=parameters,
        normalize=one_of("--normalize", normalize, ("window", "global", "none")),
        epochs=epochs,
        batch_size=64,
        clip_norm=1.0,
        patience=6,
    )
    problem = _problem(
        data, target, time, group, inputs, horizon, context, season, missing, delimiter, split
    )
    reporter = Reporter(quiet=quiet or as_json)
    reporter.show(problem_text(problem.record, comparison_choices(settings)))
    for note in size_notes(problem, settings):
        reporter.show(f"  note: {note}")
    mark = comparison_identity(problem, settings)[:8]
    folder = out or Path("throughtime-runs") / f"{data.name.split('.')[0]}-{mark}"
    command = shlex.join(["throughtime", *sys.argv[1:]])
    with reporter.bar(epochs) as watch:
        record = run(problem, settings, folder, jobs=jobs or _cores(), command=command, watch=watch)
    page = _write_report(record, folder / "report.html")
    if as_json:
        print(json.dumps(_summary(record, folder, page), indent=2))
        return
    reporter.result(comparison_table(record), record.verdict)
    print(f"report: {page}\nmodel:  {folder / 'model'}")


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    network: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "gru",
    target: Target = None,
    time: Time = None,
    group: Group = None,
    inputs: Inputs = None,
    horizon: Horizon = None,
    context: Context = None,
    season: Season = None,
    missing: Missing = "error",
    delimiter: Delimiter = None,
    split: Split = "70/15/15",
    normalize: Normalize = "window",
    parameters: Parameters = 4000,
    epochs: Epochs = 30,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="Adam's step.")] = 3e-3,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train one network and save it.

    Example: throughtime fit co2.csv --target co2 --horizon 4 --missing interpolate -o model
    """
    import torch

    from throughtime.comparing.sizes import config_for
    from throughtime.comparing.trials import data_spec, model_card
    from throughtime.comparing.trials import fit as run
    from throughtime.nn.models import build
    from throughtime.nn.storage import check_free, save
    from throughtime.printing import Reporter, fit_choices, problem_text
    from throughtime.training.loop import TrainingSettings, errors

    check_free(out)
    kind = one_of("--network", network, KINDS)
    how = one_of("--normalize", normalize, ("window", "global", "none"))
    problem = _problem(
        data, target, time, group, inputs, horizon, context, season, missing, delimiter, split
    )
    config = config_for(problem, kind, how, parameters)
    settings = TrainingSettings(learning_rate=learning_rate, epochs=epochs)
    with torch.device("meta"):
        size = build(config).parameter_count()
    reporter = Reporter(quiet=quiet or as_json)
    given = fit_choices(
        kind,
        how,
        parameters=size,
        hidden_size=config.hidden_size,
        epochs=epochs,
        patience=settings.patience,
        learning_rate=learning_rate,
        seed=seed,
    )
    reporter.show(problem_text(problem.record, given))
    torch.manual_seed(seed)
    with reporter.epochs(f"{kind}, seed {seed}", epochs) as watch:
        model, training = run(problem, config, settings, seed, watch)
    if not training.best_epoch:
        raise InputError(
            str(data),
            f"training {training.stopped}",
            "lower --learning-rate or use another network",
        )
    error = float(errors(model, problem.parts.test, problem.error_scale).mean())
    words = f"Test error {error:.4g} ({problem.unit})."
    save(model, out, data_spec(problem), model_card(problem, words, model))
    if as_json:
        print(json.dumps({"model": str(out), "test_error": error, "stopped": training.stopped}))
    else:
        print(f"{words} Kept epoch {training.best_epoch}; {training.stopped}.\nmodel: {out}")


@app.command()
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


@app.command()
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


@app.command()
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
    from throughtime.printing import Reporter, comparison_table
    from throughtime.runs import ComparisonRecord, read_record

    record = read_record(run / "comparison.json", ComparisonRecord)
    page = _write_report(record, out or run / "report.html")
    if as_json:
        print(json.dumps(_summary(record, run, page), indent=2))
        return
    if not quiet:
        Reporter(quiet=False).result(comparison_table(record), record.verdict)
    print(f"report: {page}")


@app.command()
def info(seed: NoSeed = 0, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Show versions, the processor, and which path computes a layer, and why.

    Example: throughtime info --json
    """
    import torch

    from throughtime.comparing.trials import versions
    from throughtime.nn import native
    from throughtime.nn.layers import GRU, LSTM, RNN, explain_path

    x = torch.zeros(2, 1, 1)
    facts: dict[str, object] = {
        "throughtime": __version__,
        **versions(),
        "threads": torch.get_num_threads(),
        "native module": "built" if native.kernels else f"not built: {native.unavailable}",
        "cpu features": ", ".join(native.cpu_features()) or "unknown",
    }
    for layer in (RNN(1, 1), LSTM(1, 1), GRU(1, 1)):
        path = explain_path(layer, x)
        facts[f"path of {layer.kind}"] = path.name if quiet else f"{path.name}: {path.reason}"
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name:14} {value}")


def main() -> None:
    """Run the command line."""
    run_to_the_end(app, keeps=sys.argv[1:2] == ["compare"])


def _problem(
    data: Path,
    target: str | None,
    time: str | None,
    group: str | None,
    inputs: str | None,
    horizon: int | None,
    context: int | None,
    season: int | None,
    missing: str,
    delimiter: str | None,
    split: str,
) -> "Problem":
    from throughtime.data.batches import Split as Parts
    from throughtime.data.problem import read_problem
    from throughtime.data.tables import Columns

    further = () if inputs == "none" else names(inputs)
    if target is not None and not names(target):
        raise InputError("--target", "names no column", "name one")
    return read_problem(
        data,
        Columns(names(target), time, group, further),
        missing=missing,
        delimiter=delimiter,
        horizon=horizon,
        context=context,
        season=season,
        split=Parts.read(split),
    )


def _networks(text: str) -> tuple[str, ...]:
    asked = names(text) or ()
    for name in asked:
        one_of("--networks", name, KINDS)
    if not asked:
        raise InputError("--networks", "none named", f"name some of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in asked)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_report(record: "ComparisonRecord", path: Path) -> Path:
    from throughtime.files import write_whole
    from throughtime.report.page import write_page

    write_whole(path, write_page(record))
    return path


def _summary(record: "ComparisonRecord", folder: Path, page: Path) -> dict[str, object]:
    from throughtime.plain import to_json

    return {
        "verdict": json.loads(to_json(record.verdict)),
        "data": json.loads(to_json(record.data)),
        "unit": record.unit,
        "seconds": record.seconds,
        "record": str(folder / "comparison.json"),
        "report": str(page),
        "model": str(folder / "model"),
    }

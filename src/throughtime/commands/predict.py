"""The commands predict, sample and inspect."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from throughtime.errors import InputError
from throughtime.escapes import printable, shown_path
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
        Path | None, typer.Option("--out", "-o", help="CSV to write; default: print.")
    ] = None,
    missing: MissingAsTrained = None,
    delimiter: Delimiter = None,
    escape_formulas: Annotated[
        bool,
        typer.Option(
            "--escape-formulas",
            help="Put ' before text cells that a spreadsheet would run as a formula.",
        ),
    ] = False,
    seed: NoSeed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Predict for new data with a saved model.

    Depending on the model: a forecast after the last complete row of every series, one row per step
    with its time; a prediction for every sequence, or for each of its steps; or the bits that each
    token of a text costs.

    Group names and labels are written as they are in the data. A spreadsheet runs a cell that
    begins with = + - or @ as a formula: for data that you do not trust, use --escape-formulas.

    Example: throughtime predict model new.csv -o forecast.csv
    """
    from throughtime.api import load
    from throughtime.deploy.formulas import escaped
    from throughtime.deploy.prediction import files_read
    from throughtime.files import write_whole
    from throughtime.output_guard import check_output_file
    from throughtime.printing import Reporter, choices_text

    loaded = load(model)
    if out is not None:
        check_output_file("--out", out, files_read(loaded.spec, model, data, delimiter))
    frame, summary, choices = loaded.predictions(data, missing=missing, delimiter=delimiter)
    Reporter(quiet=quiet or as_json).show(choices_text(f"{data}: {summary}", choices))
    text = (escaped(frame) if escape_formulas else frame).write_csv()
    if out is not None:
        write_whole(out, text, named=True)
    if as_json:
        print(json.dumps(frame.to_dicts()))
    elif out is None:
        print(text, end="")
    elif not quiet:
        print(f"{len(frame)} rows: {shown_path(out)}")


def sample(
    model: Model,
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "\n",
    length: Annotated[int, typer.Option(min=1, max=10**8, help="Tokens to generate.")] = 500,
    temperature: Annotated[
        float,
        typer.Option(min=0, help="0: always the most likely token; 1: the model's probabilities."),
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Sample only from the k most likely tokens.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Generate text with a language model; prints each token when it is sampled.

    Example: throughtime sample model --prompt "ROMEO:" --temperature 0.8
    """
    from throughtime.deploy.storage import load
    from throughtime.problems.labelling.networks import SequenceNetwork
    from throughtime.problems.language.prediction import sample as run
    from throughtime.specs import TokenSpec

    loaded, spec = load(model)
    if not (isinstance(loaded, SequenceNetwork) and isinstance(spec, TokenSpec)):
        raise InputError(
            str(model), "not a language model", "fit one: throughtime fit text.txt -o model"
        )
    pieces = run(
        loaded,
        spec,
        prompt,
        length=length,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
    )
    if as_json:
        print(json.dumps({"prompt": prompt, "text": "".join(pieces)}))
        return
    if not quiet:
        print(prompt, end="")
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


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
    """Inspect a model on data: is it healthy, how far back does it remember, what does it compute?

    Writes an HTML page with the verdict, memory, states and gates, and a slider through time.

    Example: throughtime inspect model co2.csv -o inspection.html
    """
    from throughtime.deploy.prediction import files_read
    from throughtime.deploy.storage import load
    from throughtime.files import write_whole
    from throughtime.output_guard import check_output_file
    from throughtime.printing import Reporter
    from throughtime.problems.forecasting.inspection import inspect as run
    from throughtime.problems.forecasting.networks import Forecaster
    from throughtime.report.inspection import headline, write_inspection
    from throughtime.serialization import to_json
    from throughtime.specs import DataSpec

    loaded, spec = load(model)
    if not (isinstance(loaded, Forecaster) and isinstance(spec, DataSpec)):
        raise InputError(
            str(model),
            "a model of sequences; inspect takes only forecasting models",
            "use throughtime.diagnose and throughtime.observe, or the report of compare",
        )
    if loaded.config.members > 1:
        raise InputError(
            str(model),
            f"an ensemble of {loaded.config.members} networks; inspect takes a single one",
            "name a model of --save single, or of one training: RUN/trials/.../model",
        )
    check_output_file("--out", out, files_read(spec, model, data, delimiter))
    reporter = Reporter(quiet=quiet or as_json)
    with reporter.waiting(f"inspecting {model}"):
        record = run(
            loaded,
            spec,
            data,
            name=printable(model),
            command=printable(shlex.join(["throughtime", *sys.argv[1:]])),
            missing=missing,
            delimiter=delimiter,
            seed=seed,
        )
    write_whole(out, write_inspection(record), named=True)
    if as_json:
        print(to_json({"page": str(out), "inspection": record}))
        return
    print(headline(record))
    if not quiet and record.diagnosis.layers:
        print(record.diagnosis)
    print(f"page: {shown_path(out)}")

"""The command fit: train one network and save it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from throughtime.catalogue import DEFAULT_NETWORK
from throughtime.commands.compare import opened
from throughtime.data_options import DataOptions
from throughtime.errors import one_of
from throughtime.escapes import shown_path
from throughtime.hyperparameters import Hyperparameters
from throughtime.options import (
    KINDS,
    TRAINING,
    AsJson,
    Data,
    Parameters,
    Quiet,
    Seed,
    with_options,
)
from throughtime.training.settings import TrainingSettings

if TYPE_CHECKING:
    from throughtime.deploy.model import Model


@with_options
def fit(
    data: Data,
    data_options: DataOptions,
    chosen: Hyperparameters,
    training: TrainingSettings,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the finished model in OUT.")
    ] = False,
    network: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = DEFAULT_NETWORK,
    parameters: Parameters = 4000,
    metric: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=TRAINING,
            help="Validation measure that selects the best weights: mae, rmse or mase for numbers; "
            "cross-entropy, error, balanced-error, f1 or auc for classes; bits or perplexity for "
            "text.",
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option(rich_help_panel=TRAINING, help="Which weights to save: best or last.")
    ] = "best",
    device: Annotated[str, typer.Option(rich_help_panel=TRAINING, help="cpu or cuda.")] = "cpu",
    checkpoint: Annotated[
        str, typer.Option(rich_help_panel=TRAINING, help="Time between checkpoints.")
    ] = "60s",
    log: Annotated[
        Path | None, typer.Option(rich_help_panel=TRAINING, help="Folder for TensorBoard logs.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train one network and save it.

    Run the same command to resume after an interruption: checkpoints are kept in OUT.training until
    the training ends. A finished model in OUT is replaced only with --force, and stays until the
    new one is complete. Under torchrun, several processes train one model.

    Example: throughtime fit co2.csv --target co2 --horizon 4 --missing interpolate -o model
    """
    from throughtime import api
    from throughtime.data.opening import files_of
    from throughtime.fit_folder import FitFolder
    from throughtime.printing import Reporter, fit_choices, problem_text
    from throughtime.problems.registry import experiment_of
    from throughtime.serialization import to_json
    from throughtime.settings_checks import all_options, check_fit, fit_plan
    from throughtime.training.processes import leads

    FitFolder(out, files_of(data, data_options), log=log, force=force)
    options: dict[str, Any] = {"parameters": parameters, "metric": metric, "keep": keep}
    options |= {"seed": seed, "device": device, **all_options(chosen, training)}
    one_of("--network", network, KINDS)
    check_fit(**options)  # before any data is read
    reporter = Reporter(quiet=quiet or as_json or not leads())
    problem = opened(data, data_options, reporter)
    experiment = experiment_of(problem.problem, metric or "")
    plan = fit_plan(experiment, network=network, **options)
    choices = fit_choices(plan.config, plan.settings, plan.parameters, seed)
    reporter.show(problem_text(problem.record, choices))
    result = api.fit(
        problem,
        network=network,
        **options,
        folder=out,
        force=force,
        checkpoint=checkpoint,
        log=log,
        progress=reporter,
    )
    if result.folder is None:  # not the first process of torchrun
        return
    history = result.training
    assert history is not None
    if as_json:
        summary = {"model": str(result.folder), "test_error": result.test_error}
        summary |= {"unit": result.unit, "measures": result.measures, "stopped": history.stopped}
        summary |= {"simple": result.simple, "not_converged": result.not_converged}
        print(to_json({**summary, "training": history}))
        return
    for line in _result_lines(result, keep, plan.settings.epochs):
        print(line)
    print(f"model: {shown_path(result.folder)}")


def _result_lines(result: "Model", keep: str, epochs: int | None) -> list[str]:
    """The test error beside a simple prediction's, which weights were kept, and a warning."""
    history = result.training
    assert history is not None and result.test_error is not None and result.simple is not None
    step = history.best_step if keep == "best" else history.steps
    label, error = result.simple
    lines = [
        f"Test error {result.test_error:.4g} ({result.unit}); {label} {error:.4g}.",
        f"Kept the weights of step {step} of {history.steps}; {history.stopped}.",
    ]
    if result.not_converged:
        longer = "raise --steps and --patience" if epochs is None else "raise --epochs"
        if "vanishes" in result.not_converged:
            longer = "set --init chrono:N, with N the steps to remember"
        lines.append(f"Not trained enough: {result.not_converged}; {longer}.")
    return lines

"""The command fit: train one network and save it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from throughtime.catalogue import DEFAULT_NETWORK
from throughtime.commands.compare import opened
from throughtime.errors import InputError, one_of
from throughtime.escapes import shown_path
from throughtime.hyperparameters import Hyperparameters
from throughtime.options import (
    KINDS,
    TRAINING,
    AsJson,
    Clip,
    Data,
    Epochs,
    Optimizer,
    Parameters,
    Patience,
    Quiet,
    Seed,
    Steps,
    WeightDecay,
    seconds,
    with_options,
)

if TYPE_CHECKING:
    from throughtime.data_options import DataOptions
    from throughtime.deploy.model import Model
    from throughtime.training.settings import TrainingSettings


@with_options
def fit(
    data: Data,
    data_options: "DataOptions",
    chosen: Hyperparameters,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the finished model in OUT.")
    ] = False,
    network: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = DEFAULT_NETWORK,
    parameters: Parameters = 4000,
    steps: Steps = None,
    epochs: Epochs = None,
    budget: Annotated[
        str | None, typer.Option(help="Maximum training time: 90s, 10m, 1h30m.")
    ] = None,
    patience: Patience = None,
    metric: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=TRAINING,
            help="Validation measure that selects the best weights: mae or rmse for numbers, "
            "cross-entropy or error for classes, bits or perplexity for text.",
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option(rich_help_panel=TRAINING, help="Which weights to save: best or last.")
    ] = "best",
    accumulate: Annotated[
        int, typer.Option(rich_help_panel=TRAINING, min=1, help="Batches per optimizer step.")
    ] = 1,
    optimizer: Optimizer = "adam",
    weight_decay: WeightDecay = 0.0,
    schedule: Annotated[
        str,
        typer.Option(
            rich_help_panel=TRAINING,
            help="Learning rate schedule: constant, linear, cosine or plateau.",
        ),
    ] = "constant",
    warmup: Annotated[
        int,
        typer.Option(
            rich_help_panel=TRAINING, min=0, help="Steps over which the learning rate rises."
        ),
    ] = 0,
    clip: Clip = "norm:1",
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
    import torch

    from throughtime import api
    from throughtime.comparison.fitting import fit as run
    from throughtime.comparison.fitting import fit_identity
    from throughtime.data.opening import files_of
    from throughtime.deploy.storage import check_free
    from throughtime.printing import Reporter, fit_choices, problem_text
    from throughtime.problems.registry import experiment_of
    from throughtime.serialization import to_json
    from throughtime.settings_checks import model_config, with_choices
    from throughtime.training.checkpoints import Checkpoints
    from throughtime.training.processes import joined
    from throughtime.training.settings import TrainingSettings

    out, training = _output_folders(out, log, files_of(data, data_options), force=force)
    kind = one_of("--network", network, KINDS)
    kept_weights = one_of("--keep", keep, ("best", "last"))
    settings = TrainingSettings(
        steps=steps,
        epochs=epochs,
        clip=clip,
        patience=patience,
        optimizer=optimizer,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup=warmup,
        accumulate=accumulate,
        budget=seconds("--budget", budget),
    )
    _check(settings, chosen, device, metric)
    with ExitStack() as stack:
        team = stack.enter_context(joined(device))
        reporter = Reporter(quiet=quiet or as_json or not team.leads)
        problem = opened(data, data_options, reporter).problem
        experiment = experiment_of(problem)
        chosen = chosen.over(experiment.usual(kind))
        settings = with_choices(settings, chosen).resolved(experiment.items)
        decided_by = one_of("--metric", metric or experiment.measures[0], experiment.measures)
        config = model_config(experiment, kind, chosen, parameters)
        choices = fit_choices(config, settings, experiment.parameters(config), seed)
        reporter.show(problem_text(problem.record, choices))
        checkpoints = Checkpoints(
            training,
            fit_identity(problem.record, config, settings, seed, decided_by),
            every=seconds("--checkpoint", checkpoint) or 60.0,
            tell=reporter.show,
        )
        kept = stack.enter_context(checkpoints) if team.leads else None
        check_free(out, replace=force)  # another process may have finished one meanwhile
        torch.manual_seed(seed)
        with reporter.training(f"{kind}, seed {seed}") as watch:
            model, trained = run(
                experiment,
                config,
                settings,
                seed,
                watch,
                team=team,
                kept=kept,
                writer=_writer(log) if team.leads else None,
                decided_by=decided_by,
                device=device,
            )
        if kept is None:
            return
        history = trained.record
        reporter.show_troubles(history)
        result = api.finished(experiment, model, trained, keep=kept_weights, where=str(data))
        out = _saved(result, out, force=force, report=reporter.show)
        kept.remove()
    if as_json:
        summary = {"model": str(out), "test_error": result.test_error, "unit": result.unit}
        summary |= {"measures": result.measures, "stopped": history.stopped}
        summary |= {"simple": result.simple, "not_converged": result.not_converged}
        print(to_json({**summary, "training": history}))
        return
    for line in _result_lines(result, kept_weights, settings.epochs):
        print(line)
    print(f"model: {shown_path(out)}")


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


def _output_folders(
    out: Path, log: Path | None, reads: Sequence[Path], *, force: bool
) -> tuple[Path, Path]:
    """The model's folder, with links resolved, and the folder of its training beside it.

    Raises InputError if an output would overwrite an input or the files of another command.
    """
    from throughtime.deploy.storage import check_free
    from throughtime.output_guard import check_output_folder, kept_kind

    check_free(out, replace=force)
    check_output_folder("--out", out, reads)
    out = out.resolve() if out.is_symlink() else out
    training = out.with_name(f"{out.name}.training")
    check_output_folder("--out", training, reads)
    if log is None:
        return out, training
    check_output_folder("--log", log, reads, added_to=True)
    folders = {out.resolve(), training.resolve()}
    if kept_kind(log) or folders & {log.resolve(), *log.resolve().parents}:
        raise InputError(
            f"--log {log}", "is a folder of a model, a run or a training", "name another folder"
        )
    return out, training


def _check(
    settings: "TrainingSettings", chosen: Hyperparameters, device: str, metric: str | None
) -> None:
    """Raise InputError for invalid settings, before any data is read."""
    from throughtime.nn.outputs import Classes, Numbers
    from throughtime.problems.language.training import TOKEN_MEASURES
    from throughtime.settings_checks import check_chosen, check_device, check_training

    if metric is not None:
        one_of("--metric", metric, (*Numbers.measures, *Classes.measures, *TOKEN_MEASURES))
    check_device(device)
    check_training(settings)
    check_chosen(chosen)


def _saved(model: "Model", out: Path, *, force: bool, report: Callable[[str], None]) -> Path:
    """Write the model and return its folder; use another name if OUT was created meanwhile."""
    folder, number = out, 1
    while True:
        try:
            model.save(folder, force=force)
        except InputError:
            if not folder.exists():
                raise
            report(f"{folder} was created during the training: saving the model beside it")
            number += 1
            folder = out.with_name(f"{out.name}-{number}")
        else:
            return folder


def _writer(folder: Path | None) -> Any:
    """A TensorBoard writer, or None without a folder; raises InputError if it is not installed."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "--log", "TensorBoard is not installed", "pip install tensorboard"
        ) from None
    return SummaryWriter(str(folder))

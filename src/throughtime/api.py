"""The Python interface: read data, compare networks on it, fit one, load a saved model.

    import throughtime as tt
    data = tt.read(frame, target="load", time="when", horizon=24)
    result = tt.compare(data, networks=["gru", "lstm"])
    predicted = result.model.predict(new_frame)

The commands call these functions, too. Nothing is printed. Decisions about the data are in
`Data.choices`, progress is shown by a bar in terminals and notebooks, and everything else goes to
the logger "throughtime".
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from throughtime import catalogue
from throughtime.argument_names import as_argument, named_arguments, show_options
from throughtime.catalogue import NetworkKind, label_of
from throughtime.comparison import trials as comparison
from throughtime.comparison.experiment import Experiment
from throughtime.comparison.fitting import fit as train_network
from throughtime.comparison.fitting import fit_identity
from throughtime.cores import usable_cores
from throughtime.data.inputs import data_options_of, source_of
from throughtime.data.opening import AnyProblem, files_of, open_problem
from throughtime.data_options import DataOptions
from throughtime.deploy.model import Model, load_model
from throughtime.errors import InputError
from throughtime.fit_folder import FitFolder, tensorboard_writer
from throughtime.hyperparameters import Hyperparameters
from throughtime.nn.layers import RecurrentLayer
from throughtime.nn.outputs import Output
from throughtime.problems.registry import experiment_of
from throughtime.result import Result, TemporaryFolder
from throughtime.runs import Choice, DataRecord, SettingsRecord
from throughtime.settings_checks import check_whole, comparison_settings, fit_plan
from throughtime.training.processes import joined
from throughtime.training.random_state import seeded
from throughtime.training.settings import TrainingSettings, seconds

if TYPE_CHECKING:
    from throughtime.printing import Reporter

logger = logging.getLogger("throughtime")


# ------------------------------------------------------------------ reading


class Data:
    """Data as a learning problem; returned by `read`.

    >>> data = read("co2.csv", target="co2", horizon=4)
    >>> data.kind, data.choices[0].name
    ('forecasting', 'delimiter')
    """

    def __init__(
        self, problem: AnyProblem, options: DataOptions, files: Sequence[Path] = ()
    ) -> None:
        self.problem = problem
        self.options = options
        self.files = files  # that were read; no output may overwrite them

    @property
    def record(self) -> DataRecord:
        """Record of sizes, columns, split and fingerprint."""
        return self.problem.record

    @property
    def kind(self) -> str:
        """Kind of problem: forecasting, sequences, steps or tokens."""
        return self.record.kind

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Decisions made about the data, each with its reason and the argument that changes it."""
        return tuple(
            replace(choice, option=as_argument(choice.option)) for choice in self.record.choices
        )

    def __repr__(self) -> str:
        from throughtime.printing import problem_text

        return problem_text(replace(self.record, choices=self.choices), ())


@named_arguments
def read(
    source: Any, answers: Any = None, *, progress: "bool | Reporter | None" = None, **options: Any
) -> Data:
    """Read data and decide what to learn from it.

    >>> read("co2.csv", target="co2", horizon=4, missing="interpolate")
    >>> read(frame, target="load", time="when", calendar=["hour", "weekday"])
    >>> read(frame, label="fault", group="machine")
    >>> read(np.random.randn(300, 50, 3), answers=np.arange(300) % 2)
    >>> read(["good", "bad"] * 99, answers=[1, 0] * 99, tokens="words")

    Args:
        source: A path (CSV, Parquet, Arrow, .ts, .npz, a text, a folder of texts or recordings,
            "task:NAME"); the bytes of a table; a data frame of polars or pandas, or any with the
            Arrow C stream interface; arrays: one series [T] or [T, C], or many, [N, T, C] or a list
            of [T, C]; a list of texts.
        answers: Targets for arrays or texts: one for each sequence, [N], or one for each step,
            [N, T] or a list of [T]. Without targets, a series is forecast, and for texts the next
            token is predicted.
        progress: Whether to show a progress bar; default: only in a terminal or a notebook.
        **options: Options listed below; None, or the default, infers the value from the data.

    Returns:
        The data; ``data.choices`` lists the decisions made.

    Raises:
        InputError: If the data cannot be learned from; names the place and how to fix it.
        TypeError: If an option is unknown, or the type of the source is not supported.
    """
    path, implied = source_of(source, answers)
    data_options = data_options_of({**implied, **options})
    with _bars(progress) as reporter, reporter.counting("recordings") as watch:
        problem = open_problem(path, data_options, watch)
    files = files_of(path, data_options) if isinstance(path, Path) else ()
    data = Data(problem, data_options, files)
    for choice in data.record.choices:
        logger.info("%s: %s; %s", choice.name, choice.value, choice.reason)
    return data


# ------------------------------------------------------------------ comparing


def _checked(data: Data) -> Data:
    if not isinstance(data, Data):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"data is {type(data).__name__}; expected the result of throughtime.read")
    return data


def size_notes(data: Data, settings: SettingsRecord) -> list[str]:
    """Notes about network sizes, to show before training starts."""
    return experiment_of(data.problem, settings.metric).size_notes(settings)


def mark_of(data: Data, settings: SettingsRecord) -> str:
    """Short identifier of a comparison; equal for equal data and settings."""
    return comparison.comparison_identity(data.record, settings)[:8]


@named_arguments
def compare(
    data: Data,
    *,
    networks: Sequence[str | NetworkKind | type[RecurrentLayer]] | None = None,
    seeds: int = 5,
    seed: int = 0,
    trials: int | None = None,
    parameters: int = 4000,
    output: str | Output = "",
    save: Literal["single", "ensemble"] = "single",
    budget: float | str | None = None,
    metric: str | None = None,
    worth: float | str = 0.05,
    learning_curve: bool = False,
    folder: str | Path | None = None,
    jobs: int | None = None,
    progress: "bool | Reporter | None" = None,
    command: str = "",
    **options: Any,
) -> Result:
    """Compare networks with each other and with the simple predictions, and recommend one.

    Every network has the same number of trials, each with other choices of learning rate, size,
    initialization and so on; the best by validation error is trained with every seed.

    >>> result = compare(data, networks=["gru", "lstm", MyLayer], seeds=3)
    >>> result.table()

    Args:
        data: Result of `read`.
        networks: Names, catalogue entries, or your own recurrent layers; default: all built-in
            kinds.
        seeds: Trainings of each network; use at least 3 to estimate the variance between them.
        seed: The first seed.
        trials: Choices to try for each network, with the first seed; default: 10.
        parameters: Most parameters that a network may have.
        output: For forecasts: your own `Output`, or its name.
        save: The model to save: the training of the recommended network with the lowest validation
            error, or an "ensemble" that averages the predictions of all its trainings.
        budget: Time for the comparison, seconds or text such as "5m", instead of ``trials`` and
            ``steps``: short probes of every network tell how many there is time for.
        metric: Measure of errors: "mae", "rmse" or "mase" (scaled by series) of numbers; "error",
            "balanced-error", "f1", "auc" or "cross-entropy" of classes; "bits" of text. Default:
            "mae", of several series "mase"; "error", with a class below 5 % "balanced-error".
        worth: Relative differences of errors below it do not matter to you.
        learning_curve: Whether every network is also trained on 10 and 30 % of the training data.
        folder: Folder for records and models; the same call resumes there. Default: a temporary
            folder that exists as long as the result.
        jobs: Parallel processes; default: one per core. Also works in scripts without a main guard
            and in notebooks.
        progress: Whether to show a progress bar; default: only in a terminal or a notebook.
        command: The command that repeats the comparison, for the record.
        **options: Options of each training, and choices that are given and not tuned, see below.

    Returns:
        Verdict, table, recommended model and report.

    Raises:
        InputError: If the settings are invalid, or the folder belongs to another comparison.
        TypeError: For an unknown argument.
    """
    experiment = experiment_of(_checked(data).problem, metric or "")
    settings = comparison_settings(
        experiment,
        networks=networks,
        seeds=seeds,
        seed=seed,
        trials=trials,
        parameters=parameters,
        output=output,
        save=save,
        budget=budget,
        worth=worth,
        learning_curve=learning_curve,
        **options,
    )
    check_whole(jobs=1 if jobs is None else jobs)
    temporary = TemporaryFolder() if folder is None else None
    place = temporary.path / "run" if temporary else Path(str(folder))

    with _bars(progress) as reporter, reporter.bar() as watch:

        def both(step: comparison.Progress) -> None:
            if step.evaluation is None:
                logger.info("%s is done (%d of %d)", step.trial, step.done, step.total)
            watch(step)

        try:
            record = comparison.compare(
                experiment,
                settings,
                place,
                jobs=usable_cores() if jobs is None else jobs,
                command=command,
                watch=both,
            )
        except BaseException:
            if temporary is not None:
                temporary.remove()
            raise
    return Result(record, place, temporary)


# ------------------------------------------------------------------ fitting, loading


@named_arguments
def fit(
    data: Data,
    *,
    network: str | NetworkKind | type[RecurrentLayer] = catalogue.DEFAULT_NETWORK,
    parameters: int = 4000,
    output: str | Output = "",
    metric: str | None = None,
    keep: Literal["best", "last"] = "best",
    seed: int = 0,
    device: str = "cpu",
    folder: str | Path | None = None,
    force: bool = False,
    checkpoint: float | str = 60.0,
    log: str | Path | None = None,
    progress: "bool | Reporter | None" = None,
    **options: Any,
) -> Model:
    """Train one network.

    >>> model = fit(data, network="lstm", steps=2000, learning_rate=1e-3)
    >>> model.test_error, model.training.stopped

    Args:
        data: Data returned by `read`.
        network: A name, a catalogue entry, or your own recurrent layer.
        parameters: Most parameters that it may have.
        output: For forecasts: your own `Output`, or its name.
        metric: Validation measure that selects the best weights, see `compare`; "perplexity" of
            text, too. The test error is measured by it, as well. Default: that of `compare`, for
            classes the cross-entropy.
        keep: Weights to keep: the best ones on the validation part, or the last.
        seed: Seed of the weights and the order of the data.
        device: Training device: "cpu" or "cuda".
        folder: Folder to save the model in. Until then, checkpoints are kept in FOLDER.training,
            from which the same call resumes after an interruption.
        force: Whether to replace a finished model in ``folder``.
        checkpoint: Time between two checkpoints: seconds, or text such as "10m".
        log: Folder for TensorBoard logs.
        progress: Whether to show a progress bar; default: only in a terminal or a notebook.
        **options: Options of the training and choices about the network, see below.

    Returns:
        The model, with ``training`` (its record), ``test_error``, ``simple`` (the best simple
        prediction and its test error), ``not_converged`` and ``folder``. Under torchrun several
        processes train it together; only the first saves it.

    Raises:
        InputError: If a setting is invalid, the folder holds something else, or the error was never
            finite.
        TypeError: If an argument is unknown.
    """
    experiment = experiment_of(_checked(data).problem, metric or "")
    plan = fit_plan(
        experiment,
        network=network,
        parameters=parameters,
        output=output,
        metric=metric,
        keep=keep,
        seed=seed,
        device=device,
        **options,
    )
    every = seconds("--checkpoint", checkpoint)
    log = None if log is None else Path(log)
    place = None if folder is None else FitFolder(Path(folder), data.files, log=log, force=force)
    report = logger.warning if progress is None or isinstance(progress, bool) else progress.show
    identity = (data.record, plan.config, plan.settings, seed, plan.decided_by)
    with ExitStack() as stack:
        team = stack.enter_context(joined(device))
        checkpoints = None
        if place is not None and team.leads:
            files = place.checkpoints(fit_identity(*identity), every=every or 0.0, report=report)
            checkpoints = stack.enter_context(files)
            place.check_free()  # another process may have used it by now
        stack.enter_context(seeded(seed))
        reporter = stack.enter_context(_bars(progress))
        watch = stack.enter_context(reporter.training(f"{plan.config.kind}, seed {seed}"))
        model, trained = train_network(
            experiment,
            plan.config,
            plan.settings,
            seed,
            watch,
            team=team,
            kept=checkpoints,
            writer=tensorboard_writer(log) if team.leads else None,
            decided_by=plan.decided_by,
            device=device,
        )
        for line in trained.record.troubles():
            report(line)
        result = _finished(experiment, model, trained, keep=keep, where=data.record.path)
        if place is not None and checkpoints is not None:
            place.save(result, report)
            checkpoints.remove()
    return result


def _finished(experiment: Experiment, model: Any, trained: Any, *, keep: str, where: str) -> Model:
    """Evaluate a trained model; raise InputError if its error was never finite."""
    history, last = trained
    if not history.best:
        raise InputError(
            where, f"training {history.stopped}", "lower --learning-rate or use another network"
        )
    if keep == "last":
        model.load_state_dict(last)
    result = experiment.measured(model.cpu())
    summary = f"Test error {result.test_error:.4g} ({experiment.unit})."
    return Model(
        model,
        experiment.spec(),
        experiment.card(model, summary),
        training=history,
        test_error=result.test_error,
        measures=result.measures,
        unit=experiment.unit,
        simple=_best_simple(experiment),
        not_converged=experiment.not_converged(history, experiment.diagnosis(model)),
    )


def _best_simple(experiment: Experiment) -> tuple[str, float]:
    """The name of the simple prediction with the lowest validation error, and its test error."""
    found = {kind: experiment.measured(m) for kind, m in experiment.simple_models.items()}
    best = min(found, key=lambda kind: found[kind].validation_error)
    return label_of(best), found[best].test_error


@named_arguments
def load(folder: str | Path) -> Model:
    """Load a saved model.

    >>> load("model").predict("new.csv")

    Args:
        folder: Folder written by `Model.save`, `throughtime fit` or `throughtime compare`.

    Raises:
        InputError: If the folder is missing, truncated, inconsistent, or not a saved model.
    """
    return load_model(Path(folder))


# ------------------------------------------------------------------ progress


@contextmanager
def _bars(progress: "bool | Reporter | None") -> Any:
    """Reporter that shows progress; None: only in a terminal or a notebook."""
    from throughtime.printing import Reporter

    if isinstance(progress, Reporter):
        yield progress
        return
    reporter = Reporter(quiet=progress is False)
    yield reporter if progress or reporter.has_screen else Reporter(quiet=True)


__all__ = ["Data", "Model", "Result", "compare", "fit", "load", "read"]
show_options(read, DataOptions)
show_options(compare, TrainingSettings, Hyperparameters)
show_options(fit, TrainingSettings, Hyperparameters)

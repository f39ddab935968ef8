"""The Python face: read data, compare networks on them, fit one, load it again.

    import throughtime as tt
    data = tt.read(frame, target="load", time="when", horizon=24)
    result = tt.compare(data, networks=["gru", "lstm"])
    predicted = result.model.predict(new_frame)

The commands call these functions, too. Nothing is printed: what was decided about the data is in
`Data.choices`, progress goes to a bar where there is a terminal or a notebook, and the rest to the
logger "throughtime".
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from throughtime import catalogue
from throughtime.argument_names import as_argument, named_arguments, show_options
from throughtime.catalogue import NetworkKind
from throughtime.comparison import trials
from throughtime.comparison.experiment import Experiment
from throughtime.comparison.fitting import fit as train_network
from throughtime.cores import usable_cores
from throughtime.data.inputs import data_options_of, source_of
from throughtime.data.opening import AnyProblem, open_problem
from throughtime.data_options import DataOptions
from throughtime.deploy.model import Model, load_model
from throughtime.errors import InputError, one_of
from throughtime.named_objects import name_of_network, name_of_output, names_of_networks
from throughtime.nn.layers import RecurrentLayer
from throughtime.nn.outputs import Output
from throughtime.problems.registry import experiment_of
from throughtime.result import Result, TemporaryFolder
from throughtime.runs import (
    Choice,
    DataRecord,
    SettingsRecord,
)
from throughtime.settings_checks import check_device, check_training, check_whole
from throughtime.training.loop import TrainingSettings
from throughtime.training.random_state import seeded

if TYPE_CHECKING:
    from throughtime.printing import Reporter

logger = logging.getLogger("throughtime")

_RATES = (1e-3, 3e-3, 1e-2)  # that a comparison tries for each network, with the first seed


# ------------------------------------------------------------------ reading


class Data:
    """Data as a problem to learn: what `read` returns.

    >>> data = read("co2.csv", target="co2", horizon=4)
    >>> data.kind, data.choices[0].name
    ('forecasting', 'delimiter')
    """

    def __init__(self, problem: AnyProblem, options: DataOptions) -> None:
        self.problem = problem
        self.options = options

    @property
    def record(self) -> DataRecord:
        """Sizes, columns, split and fingerprint."""
        return self.problem.record

    @property
    def kind(self) -> str:
        """What there is to learn: forecasting, sequences, steps or tokens."""
        return self.record.kind

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What was decided about the data, why, and the argument that decides otherwise."""
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
    """Read data, and settle what there is to learn of them.

    >>> read("co2.csv", target="co2", horizon=4, missing="interpolate")
    >>> read(frame, target="load", time="when", calendar=["hour", "weekday"])
    >>> read(frame, label="fault", group="machine")
    >>> read(np.random.randn(300, 50, 3), answers=np.arange(300) % 2)
    >>> read(["good", "bad"] * 99, answers=[1, 0] * 99, tokens="words")

    Args:
        source: A path (CSV, Parquet, Arrow, .ts, .npz, a text, a folder of texts or recordings,
            "task:NAME"); the bytes of a table; a data frame of polars or pandas or with the Arrow C
            stream; arrays, one series [T] or [T, C], or many, [N, T, C] or a list of [T, C]; a list
            of texts.
        answers: Of arrays or texts: what is to be told of each, [N], or of each step, [N, T] or a
            list of [T]. Without it a series is forecast, and of texts the next token is learned.
        progress: A bar; by default where there is a terminal or a notebook.
        **options: What is asked of the data, see below; None, or the default, lets the data decide.

    Returns:
        The data; ``data.choices`` has what was decided.

    Raises:
        InputError: For data that cannot be learned from, naming the place and what to do.
        TypeError: For an unknown option, or a source of no known type.
    """
    path, implied = source_of(source, answers)
    asked = data_options_of({**implied, **options})
    with _bars(progress) as reporter, reporter.counting("recordings") as watch:
        data = Data(open_problem(path, asked, watch), asked)
    for choice in data.record.choices:
        logger.info("%s: %s; %s", choice.name, choice.value, choice.reason)
    return data


# ------------------------------------------------------------------ comparing


def comparison_settings(
    data: Data,
    *,
    networks: Sequence[str | NetworkKind | type[RecurrentLayer]] | None = None,
    seeds: int = 5,
    seed: int = 0,
    epochs: int = 30,
    parameters: int = 4000,
    normalize: str | None = None,
    output: str | Output = "",
) -> SettingsRecord:
    """What a comparison is asked to do, checked; see `compare`."""
    normalizations = experiment_of(_checked(data).problem).normalizations
    check_whole(seeds=seeds, epochs=epochs, parameters=parameters)
    check_whole(0, seed=seed)
    return SettingsRecord(
        networks=names_of_networks(networks),
        seeds=tuple(range(seed, seed + seeds)),
        learning_rates=_RATES,
        parameters=parameters,
        normalize=one_of("--normalize", normalize or normalizations[0], normalizations),
        epochs=epochs,
        batch_size=64,
        clip_norm=1.0,
        patience=6,
        output=name_of_output(output),
    )


def _checked(data: Data) -> Data:
    if not isinstance(data, Data):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"data is what throughtime.read returns; got {type(data).__name__}")
    return data


def size_notes(data: Data, settings: SettingsRecord) -> list[str]:
    """What to know of the networks' sizes before time is spent on training them."""
    return experiment_of(data.problem).size_notes(settings)


def mark_of(data: Data, settings: SettingsRecord) -> str:
    """A few letters that tell this comparison from others: the same for the same numbers."""
    return trials.comparison_identity(data.record, settings)[:8]


@named_arguments
def compare(
    data: Data,
    *,
    networks: Sequence[str | NetworkKind | type[RecurrentLayer]] | None = None,
    seeds: int = 5,
    seed: int = 0,
    epochs: int = 30,
    parameters: int = 4000,
    normalize: str | None = None,
    output: str | Output = "",
    folder: str | Path | None = None,
    jobs: int | None = None,
    progress: "bool | Reporter | None" = None,
    command: str = "",
) -> Result:
    """Compare networks with each other and with the simple answers, and recommend one.

    >>> result = compare(data, networks=["gru", "lstm", MyLayer], seeds=3)
    >>> result.table()

    Args:
        data: What `read` returned.
        networks: Names, entries of the catalogue, or recurrent layers of your own; by default all
            of the project's.
        seeds: Trainings of each; use at least 3 to estimate the variance between seeds.
        seed: The first of them.
        epochs: Passes over the data, at most.
        parameters: The size that every network is matched to.
        normalize: "window" (forecasts alone), "global" or "none".
        output: Of forecasts, an `Output` of your own, or its name.
        folder: Where records and models are kept; the same call then goes on from there. By
            default a temporary one, for as long as the result lives.
        jobs: Processes side by side; by default one for each core. Works from scripts without a
            main guard and from notebooks.
        progress: A bar; by default where there is a terminal or a notebook.
        command: How to repeat it, for the record.

    Returns:
        The result: verdict, table, recommended model and report.

    Raises:
        InputError: For settings that no comparison can have, or a folder that is another's.
    """
    settings = comparison_settings(
        data,
        networks=networks,
        seeds=seeds,
        seed=seed,
        epochs=epochs,
        parameters=parameters,
        normalize=normalize,
        output=output,
    )
    check_whole(jobs=1 if jobs is None else jobs)
    temporary = TemporaryFolder() if folder is None else None
    place = temporary.path / "run" if temporary else Path(str(folder))

    with _bars(progress) as reporter, reporter.bar(epochs) as watch:

        def both(step: trials.Progress) -> None:
            if step.epoch is None:
                logger.info("%s is done (%d of %d)", step.trial, step.done, step.total)
            watch(step)

        try:
            record = trials.compare(
                experiment_of(data.problem),
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


# ------------------------------------------------------------------ fitting, using


@named_arguments
def fit(
    data: Data,
    *,
    network: str | NetworkKind | type[RecurrentLayer] = catalogue.DEFAULT_NETWORK,
    parameters: int = 4000,
    normalize: str | None = None,
    output: str | Output = "",
    metric: str | None = None,
    keep: Literal["best", "last"] = "best",
    seed: int = 0,
    device: str = "cpu",
    progress: "bool | Reporter | None" = None,
    **training: Any,
) -> Model:
    """Train one network.

    >>> model = fit(data, network="lstm", epochs=50, learning_rate=1e-3)
    >>> model.test_error, model.training.stopped

    Args:
        data: What `read` returned.
        network: A name, an entry of the catalogue, or a recurrent layer of your own.
        parameters: Its size, about.
        normalize: "window" (forecasts alone), "global" or "none".
        output: Of forecasts, an `Output` of your own, or its name.
        metric: The measure that decides which epoch is best; by default the first of its kind.
        keep: Which weights to keep: of the best epoch, or the last.
        seed: Of weights and the order of the data.
        device: Where it is trained: "cpu" or "cuda".
        progress: A bar; by default where there is a terminal or a notebook.
        **training: Fields of `TrainingSettings`: epochs, patience, batch_size, learning_rate, clip,
            optimizer, weight_decay, schedule, warmup, accumulate, budget (seconds).

    Returns:
        The model, with ``training`` (its record) and ``test_error``.

    Raises:
        InputError: For settings that cannot be, and where no epoch was finite.
        TypeError: For an unknown argument.
    """
    known = [f.name for f in fields(TrainingSettings)]
    for name in training:
        if name not in known:
            raise TypeError(f"fit() got an unexpected argument {name!r}; of training: {known}")
    experiment = experiment_of(_checked(data).problem)
    settings = TrainingSettings(**training)
    check_training(settings)
    check_whole(parameters=parameters)
    check_whole(0, seed=seed)
    check_device(device)
    kind = name_of_network(network, "--network")
    config = model_config(experiment, kind, normalize, parameters, name_of_output(output))
    decided_by = one_of("--metric", metric or experiment.measures[0], experiment.measures)
    one_of("--keep", keep, ("best", "last"))
    with ExitStack() as stack:
        stack.enter_context(seeded(seed))
        reporter = stack.enter_context(_bars(progress))
        name = f"{kind}, seed {seed}"
        watch = stack.enter_context(reporter.epochs(name, settings.epochs))
        model, trained = train_network(
            experiment, config, settings, seed, watch, decided_by=decided_by, device=device
        )
    return finished(experiment, model, trained, keep=keep, where=data.record.path)


def model_config(
    experiment: Experiment, kind: str, normalize: str | None, parameters: int, output: str = ""
) -> Any:
    """The configuration of a network for this problem. Raises InputError for what cannot be."""
    usual = experiment.normalizations
    how = one_of("--normalize", normalize or usual[0], usual)
    try:
        return experiment.config(kind, how, parameters, output)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("--network", str(error), "choose another kind") from None


def finished(experiment: Experiment, model: Any, trained: Any, *, keep: str, where: str) -> Model:
    """A model that was trained, measured. Raises InputError where no epoch was worth keeping."""
    history, last = trained
    for line in history.troubles():
        logger.info(line)
    if not history.best_epoch:
        raise InputError(
            where, f"training {history.stopped}", "lower --learning-rate or use another network"
        )
    if keep == "last":
        model.load_state_dict(last)
    found = experiment.measured(model.cpu())
    words = f"Test error {found.test_error:.4g} ({experiment.unit})."
    return Model(
        model,
        experiment.spec(),
        experiment.card(model, words),
        training=history,
        test_error=found.test_error,
        measures=found.measures,
        unit=experiment.unit,
    )


@named_arguments
def load(folder: str | Path) -> Model:
    """Read a model's folder.

    >>> load("model").predict("new.csv")

    Args:
        folder: What `Model.save`, `throughtime fit` or `throughtime compare` wrote.

    Raises:
        InputError: For a folder that is missing, cut, foreign or does not fit together.
    """
    return load_model(Path(folder))


# ------------------------------------------------------------------ progress


@contextmanager
def _bars(progress: "bool | Reporter | None") -> Any:
    """Who shows progress; None: nobody unless there is a terminal or a notebook."""
    from throughtime.printing import Reporter

    if isinstance(progress, Reporter):
        yield progress
        return
    reporter = Reporter(quiet=progress is False)
    yield reporter if progress or reporter.has_screen else Reporter(quiet=True)


show_options(read, DataOptions)
__all__ = ["Data", "Model", "Result", "compare", "fit", "load", "read"]

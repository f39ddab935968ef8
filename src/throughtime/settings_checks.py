"""Settings of trainings and comparisons, made and checked before any work is done."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from throughtime.catalogue import DEFAULT_NETWORK, NetworkKind
from throughtime.comparison.experiment import Experiment
from throughtime.comparison.measures import WORDS
from throughtime.comparison.sizes import applicable
from throughtime.errors import InputError, one_of
from throughtime.hyperparameters import POOLINGS, Hyperparameters
from throughtime.named_objects import name_of_network, name_of_output, names_of_networks
from throughtime.nn.initialization import by_name
from throughtime.nn.layers import RecurrentLayer
from throughtime.nn.outputs import Output
from throughtime.runs import SettingsRecord
from throughtime.training.clipping import clipper_by_name
from throughtime.training.optimizing import Rate, optimizer_by_name
from throughtime.training.random_state import seeded
from throughtime.training.settings import TrainingSettings, seconds

_TRIALS = 10  # choices to try for each network, unless given
SAVED = ("single", "ensemble")


def check_whole(least: int = 1, **numbers: object) -> None:
    """Raise InputError, naming the option, unless each number is an integer of `least` or more."""
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            option = name.replace("_", "-")
            raise InputError(f"--{option}", repr(value), f"give a whole number, {least} or more")


def check_steps(*, steps: int | None, epochs: int | None) -> None:
    """Raise InputError unless at most one is given, and is a positive integer."""
    check_whole(**_given({"steps": steps, "epochs": epochs}))
    if steps is not None and epochs is not None:
        raise InputError("--steps and --epochs", "both limit the training", "give one of them")


def _given(numbers: dict[str, int | None]) -> dict[str, int]:
    return {name: value for name, value in numbers.items() if value is not None}


def check_training(settings: TrainingSettings) -> None:
    """Raise InputError for an invalid name or number in the training settings."""
    check_steps(steps=settings.steps, epochs=settings.epochs)
    optional = {"patience": settings.patience, "batch_size": settings.batch_size}
    check_whole(accumulate=settings.accumulate, **_given(optional))
    check_whole(0, warmup=settings.warmup)
    for name in ("learning_rate", "budget", "weight_decay"):
        value: object = getattr(settings, name)
        if value is None and name == "budget":
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or value < 0 or (value == 0 and name != "weight_decay"):  # pyright: ignore
            option = name.replace("_", "-")
            raise InputError(f"--{option}", repr(value), "give a number above 0")
    for option, build in (
        ("--clip", lambda: clipper_by_name(settings.clip)),
        ("--schedule", lambda: Rate(settings.schedule, settings.warmup)),
        (
            "--optimizer",
            lambda: optimizer_by_name(
                settings.optimizer,
                torch.nn.Linear(1, 1),
                learning_rate=settings.learning_rate,
                weight_decay=settings.weight_decay,
            ),
        ),
    ):
        try:
            with seeded(0):  # Linear draws random weights
                build()
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(option, str(error), "see throughtime fit --help") from None


def check_chosen(chosen: Hyperparameters) -> None:
    """Raise InputError for an invalid choice about a network."""
    whole = ("batch_size", "hidden_size", "layers", "embedding")
    check_whole(**_given({name: getattr(chosen, name) for name in whole}))
    for name in ("dropout", "recurrent_dropout"):
        value = getattr(chosen, name)
        if value is not None and not 0 <= value < 1:
            raise InputError(f"--{name.replace('_', '-')}", repr(value), "give 0 or more, below 1")
    if chosen.learning_rate is not None and not chosen.learning_rate > 0:
        raise InputError("--learning-rate", repr(chosen.learning_rate), "give a number above 0")
    if chosen.pooling is not None:
        one_of("--pooling", chosen.pooling, POOLINGS)
    if chosen.init is not None:
        try:
            by_name(chosen.init)
        except ValueError as error:
            raise InputError("--init", str(error), "see throughtime fit --help") from None


def check_device(device: str) -> None:
    """Raise InputError for a device that is not available."""
    if device not in ("cpu", "cuda"):
        raise InputError("--device", repr(device), "use one of cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device", "no GPU that torch can use", "use cpu")


def model_config(
    experiment: Experiment, kind: str, chosen: Hyperparameters, parameters: int, output: str = ""
) -> Any:
    """Return the configuration of a network for this problem; raise InputError if invalid."""
    known = experiment.normalizations
    one_of("--normalize", chosen.normalize or known[0], known)
    try:
        return experiment.config(kind, chosen, parameters, output)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("--network", str(error), "choose another kind") from None


def split_options(
    options: dict[str, Any], function: str
) -> tuple[Hyperparameters, TrainingSettings]:
    """The choices about a network, and the training settings, among a function's options."""
    chosen = [f.name for f in fields(Hyperparameters) if f.metadata["listed"]]
    training = [f.name for f in fields(TrainingSettings) if function in f.metadata["of"]]
    for name in options:
        if name not in (*chosen, *training):
            known = ", ".join([*chosen, *training])
            raise TypeError(f"{function}() got an unexpected argument {name!r}; options: {known}")
    if "budget" in options:
        options = {**options, "budget": seconds("--budget", options["budget"])}
    return (
        Hyperparameters(**{n: v for n, v in options.items() if n in chosen}),
        TrainingSettings(**{n: v for n, v in options.items() if n in training}),
    )


def all_options(chosen: Hyperparameters, training: TrainingSettings) -> dict[str, Any]:
    """The given options, as `split_options` takes them."""
    listed = [(chosen, f) for f in fields(chosen)] + [(training, f) for f in fields(training)]
    return {
        f.name: getattr(of, f.name)
        for of, f in listed
        if f.metadata["listed"] and getattr(of, f.name) != f.default
    }


def _with_choices(settings: TrainingSettings, chosen: Hyperparameters) -> TrainingSettings:
    """Training settings with the chosen learning rate and batch size."""
    rate = chosen.learning_rate or settings.learning_rate
    return replace(settings, learning_rate=rate, batch_size=chosen.batch_size)


def _checked_budget(budget: float | str | None) -> float | None:
    found: object = seconds("--budget", budget)
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if found is not None and not (number and found > 0):  # pyright: ignore
        raise InputError("--budget", repr(found), "give a time such as 90s, 10m or 1h30m")
    return found  # pyright: ignore


def _share(option: str, value: float | str) -> float:
    """A share from 0 up to 1, from a number or text such as "5%"."""
    text = str(value).strip()
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1 or isinstance(value, bool):
        raise InputError(option, repr(value), "give a share such as 5% or 0.05")
    return found


@dataclass(frozen=True)
class FitPlan:
    """What one training does; everything in it is checked."""

    config: Any  # of the network
    settings: TrainingSettings
    decided_by: str  # validation measure that selects the best weights
    parameters: int  # that the network has


def check_fit(
    *,
    metric: str | None = None,
    keep: str = "best",
    seed: int = 0,
    parameters: int = 4000,
    device: str = "cpu",
    **options: Any,
) -> tuple[Hyperparameters, TrainingSettings]:
    """Raise InputError for settings that are invalid whatever the data are."""
    chosen, training = split_options(options, "fit")
    if metric is not None:
        one_of("--metric", metric, (*WORDS, "perplexity"))
    one_of("--keep", keep, ("best", "last"))
    check_whole(parameters=parameters)
    check_whole(0, seed=seed)
    check_device(device)
    check_training(training)
    check_chosen(chosen)
    return chosen, training


def fit_plan(
    experiment: Experiment,
    *,
    network: str | NetworkKind | type[RecurrentLayer] = DEFAULT_NETWORK,
    parameters: int = 4000,
    output: str | Output = "",
    metric: str | None = None,
    **options: Any,
) -> FitPlan:
    """Check the settings of a training and complete them for this problem; see `fit`."""
    chosen, training = check_fit(metric=metric, parameters=parameters, **options)
    kind = name_of_network(network, "--network")
    chosen = chosen.over(experiment.usual(kind))
    config = model_config(experiment, kind, chosen, parameters, name_of_output(output))
    return FitPlan(
        config,
        _with_choices(training, chosen).resolved(experiment.items),
        one_of("--metric", metric or experiment.measures[0], experiment.measures),
        experiment.parameters(config),
    )


def comparison_settings(
    experiment: Experiment,
    *,
    networks: Sequence[str | NetworkKind | type[RecurrentLayer]] | None = None,
    seeds: int = 5,
    seed: int = 0,
    trials: int | None = None,
    parameters: int = 4000,
    output: str | Output = "",
    save: str = "single",
    budget: float | str | None = None,
    worth: float | str = 0.05,
    learning_curve: bool = False,
    **options: Any,
) -> SettingsRecord:
    """Check the settings of a comparison and record them; see `compare`."""
    lengths = {name for name in ("epochs", "steps", "patience") if options.get(name) is not None}
    if budget is not None and (lengths or trials is not None):
        found = f"{budget!r}, and the length or the number of trainings is given too"
        raise InputError("--budget", found, "give one of them")
    trials = _TRIALS if trials is None else trials
    check_whole(seeds=seeds, trials=trials, parameters=parameters)
    check_whole(0, seed=seed)
    given, training = split_options(options, "compare")
    check_chosen(given)
    check_training(training)
    training = _with_choices(training, given).resolved(experiment.items)
    normalizations = experiment.normalizations
    if given.normalize is not None:
        one_of("--normalize", given.normalize, normalizations)
    settings = SettingsRecord(
        networks=names_of_networks(networks),
        seeds=tuple(range(seed, seed + seeds)),
        parameters=parameters,
        normalize=given.normalize or normalizations[0],
        steps=training.steps,
        epochs=training.epochs,
        patience=training.patience,
        batch_size=training.batch_size,
        optimizer=training.optimizer,
        weight_decay=training.weight_decay,
        clip=training.clip,
        output=name_of_output(output),
        trials=trials,
        given=given,
        metric=experiment.metric,
        extend=budget is None and not lengths,
        save=one_of("--save", save, SAVED),
        budget=_checked_budget(budget),
        worth=_share("--worth", worth),
        learning_curve=learning_curve,
    )
    for kind in settings.networks:  # what does not apply is refused before anything is trained
        model_config(experiment, kind, applicable(given, kind), parameters, settings.output)
    return settings

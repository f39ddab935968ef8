"""Checks of training and comparison settings, before any work is done."""

import torch

from throughtime.errors import InputError, one_of
from throughtime.hyperparameters import POOLINGS, Hyperparameters
from throughtime.nn.initialization import by_name
from throughtime.training.clipping import clipper_by_name
from throughtime.training.optimizing import Rate, optimizer_by_name
from throughtime.training.random_state import seeded
from throughtime.training.settings import TrainingSettings


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

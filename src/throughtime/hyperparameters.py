"""What can be chosen about a network and its training: given by the user, or tuned.

This module imports only the standard library, so that records can be read without torch.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from throughtime.serialization import ADDED_LATER

POOLINGS = ("last", "mean")


def _option(help: str, *, listed: bool = True) -> Any:
    """A choice that the command line and the Python functions have as an option."""
    about = {**ADDED_LATER, "help": help, "listed": listed, "argument": listed}
    return field(default=None, metadata=about)


@dataclass(frozen=True)
class Hyperparameters:
    """Choices about a network and its training; None: not given, so usual or tuned.

    >>> Hyperparameters(init="chrono:40").over(Hyperparameters(init="torch", layers=1))
    Hyperparameters(... layers=1, ... init='chrono:40', ...)
    """

    learning_rate: float | None = _option("Step size of the optimizer.")
    batch_size: int | None = _option("Sequences per step, usually 16 to 256 by their number.")
    hidden_size: int | None = _option("Units of a layer, instead of --parameters.")
    size: float | None = _option("Share of the bound on parameters.", listed=False)
    context: int | None = _option("Steps that a network sees.", listed=False)
    longer: int | None = _option("Times the usual steps.", listed=False)
    layers: int | None = _option("Recurrent layers, one on another.")
    dropout: float | None = _option("Share of units dropped between layers, before the output.")
    recurrent_dropout: float | None = _option("Share of the state dropped from step to step.")
    bidirectional: bool | None = _option("For labels: read sequences in both directions.")
    init: str | None = _option("Recurrent weights: torch, orthogonal, forget-bias:1, chrono:40.")
    normalize: str | None = _option("Scaling of the inputs: window (forecasts), global or none.")
    pooling: str | None = _option("For labels: from the last step of a sequence, or the mean.")
    embedding: int | None = _option("Numbers for each code of a category or token.")

    def over(self, other: "Hyperparameters") -> "Hyperparameters":
        """These choices, and those of `other` where nothing is given here."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in given.items() if value is not None})

    def described(self) -> str:
        """The given choices in words: "learning rate 0.003, layers 2"."""
        given = {f.name.replace("_", " "): getattr(self, f.name) for f in fields(self)}
        parts = [f"{name} {_shown(value)}" for name, value in given.items() if value is not None]
        return ", ".join(parts)


NOTHING_CHOSEN = Hyperparameters()


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()

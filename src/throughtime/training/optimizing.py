"""Optimizers by name, and learning rate schedules."""

import copy
import inspect
import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

# these need another interface: LBFGS re-evaluates the loss, SparseAdam needs sparse gradients, Muon
# accepts only matrices
_LEFT_OUT = {"Optimizer", "LBFGS", "SparseAdam", "Muon"}
OPTIMIZERS: MappingProxyType[str, type[torch.optim.Optimizer]] = MappingProxyType(
    {
        name.lower(): found
        for name, found in sorted(vars(torch.optim).items(), key=lambda item: item[0].lower())
        if isinstance(found, type)
        and issubclass(found, torch.optim.Optimizer)
        and name not in _LEFT_OUT
    }
)


def optimizer_by_name(
    text: str, model: nn.Module, *, learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """An optimizer of `torch.optim` for a model's parameters, fused where torch supports it.

    >>> optimizer_by_name("adamw", model, learning_rate=1e-3, weight_decay=0.01)
    >>> optimizer_by_name("sgd:momentum=0.9,nesterov=true", model, learning_rate=0.1)

    ``weight_decay`` applies to matrices only, not to biases and other vectors. Each optimizer uses
    its own form of it: adamw decouples it (Loshchilov and Hutter 2019), the others add it to the
    gradient. Raises ValueError for an unknown name or option, or an invalid value.
    """
    name, _, options_text = text.partition(":")
    kind: Any = OPTIMIZERS.get(name.strip().lower())
    if kind is None:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {name!r}")
    known = inspect.signature(kind).parameters
    options = _options(text, options_text, known)
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("the model has no trainable parameter: all have requires_grad=False")
    # one kernel for all parameters; on a CPU it takes a third of the time of a loop
    supported = all(p.device.type in ("cpu", "cuda") for p in trainable)
    if "fused" in known and supported and not {"foreach", "differentiable"} & set(options):
        options.setdefault("fused", True)
    decays = "weight_decay" in known
    if weight_decay and not decays:
        raise ValueError(f"{name} has no weight decay; use another optimizer, or weight decay 0")
    if not weight_decay:  # a second group would cost a second kernel call
        return kind(
            trainable, lr=learning_rate, **options, **{"weight_decay": 0.0} if decays else {}
        )
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    return kind([g for g in groups if g["params"]], lr=learning_rate, **options)


def restore_exactly(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore optimizer state bit for bit; torch would cast it to the dtype of the parameters."""
    saved = copy.deepcopy(state)
    optimizer.load_state_dict(saved)
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [n for group in saved["param_groups"] for n in group["params"]]
    for number, parameter in zip(numbers, trainable, strict=True):
        for name, value in saved["state"].get(number, {}).items():
            if isinstance(value, torch.Tensor):
                now = optimizer.state[parameter][name]
                optimizer.state[parameter][name] = value.to(now.device)


def _options(text: str, options_text: str, known: Any) -> dict[str, Any]:
    """Parse the options after the colon: numbers and booleans, with the names of torch."""
    accepted = {
        n
        for n, p in known.items()
        if n not in ("params", "lr", "weight_decay")
        and isinstance(p.default, bool | int | float | None)
    }
    found: dict[str, Any] = {}
    for part in filter(None, options_text.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in accepted:
            raise ValueError(
                f"{text!r}: no option {key!r}; expected one of {', '.join(sorted(accepted))}"
            )
        words = {"true": True, "false": False}
        try:
            found[key] = words[value] if value in words else float(value)
        except ValueError:
            raise ValueError(
                f"{text!r}: {key} must be a number, true or false; got {value!r}"
            ) from None
    return found


# factor of the learning rate, by the fraction of training done, 0 to 1
Shape = Callable[[float], float]

SCHEDULES: MappingProxyType[str, Shape] = MappingProxyType(
    {
        "constant": lambda done: 1.0,
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),  # Loshchilov, Hutter 2017
        "plateau": lambda done: 1.0,  # halved when validation stops improving: see `Rate`
    }
)


class Rate:
    """Learning rate schedule: warm-up, then a shape over the whole training.

    >>> rate = Rate("cosine", warmup=100)
    >>> rate.factor(step=50, done=0.01)  # of the learning rate
    0.51

    The warm-up is linear over the first ``warmup`` steps. "plateau" halves the rate when validation
    has not improved for ``patience`` evaluations. `lower` halves it permanently, after a rollback.
    Raises ValueError for an unknown name.
    """

    def __init__(self, name: str, warmup: int = 0, patience: int = 3) -> None:
        if name not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}; got {name!r}")
        if warmup < 0:
            raise ValueError(f"warmup must be 0 or more steps; got {warmup}")
        self.name = name
        self.warmup = warmup
        self.patience = patience
        self.lowered = 1.0
        self._waiting = 0

    def factor(self, step: int, done: float) -> float:
        """Factor of the learning rate at a step (from 0), with a fraction ``done`` of training."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        return warm * SCHEDULES[self.name](min(max(done, 0.0), 1.0)) * self.lowered

    def lower(self) -> None:
        """Halve the rate permanently."""
        self.lowered /= 2

    def validated(self, better: bool) -> None:
        """Report whether the last evaluation was better."""
        self._waiting = 0 if better else self._waiting + 1
        if self.name == "plateau" and self._waiting >= self.patience:
            self.lower()
            self._waiting = 0

    def state_dict(self) -> dict[str, Any]:
        """The state of the schedule."""
        return {"lowered": self.lowered, "waiting": self._waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore state saved by `state_dict`."""
        self.lowered, self._waiting = state["lowered"], state["waiting"]

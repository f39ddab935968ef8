"""The optimizer by its name, and how its rate moves."""

import copy
import inspect
import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

# each step is taken by another protocol: LBFGS asks for the loss again, SparseAdam for sparse
# gradients, Muon for matrices alone
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
    """An optimizer of `torch.optim` over a model's parameters, fused where torch has that.

    >>> optimizer_by_name("adamw", model, learning_rate=1e-3, weight_decay=0.01)
    >>> optimizer_by_name("sgd:momentum=0.9,nesterov=true", model, learning_rate=0.1)

    ``weight_decay`` shrinks matrices alone; biases and other vectors are left as they are. It is
    what the optimizer makes of it: decoupled in adamw (Loshchilov and Hutter 2019), part of the
    gradient in the others. Raises ValueError for a name, an option or a value that is none.
    """
    name, _, written = text.partition(":")
    kind: Any = OPTIMIZERS.get(name.strip().lower())
    if kind is None:
        raise ValueError(f"the optimizers are {', '.join(OPTIMIZERS)}; got {name!r}")
    known = inspect.signature(kind).parameters
    options = _options(text, written, known)
    learned = [p for p in model.parameters() if p.requires_grad]
    if not learned:
        raise ValueError("no parameter of the model is to be learned: all have requires_grad=False")
    # one kernel over all parameters; on a processor it takes a third of the time of a loop
    able = all(p.device.type in ("cpu", "cuda") for p in learned)
    if "fused" in known and able and not {"foreach", "differentiable"} & set(options):
        options.setdefault("fused", True)
    decays = "weight_decay" in known
    if weight_decay and not decays:
        raise ValueError(f"{name} has no weight decay; take another optimizer, or none of it")
    if not weight_decay:  # one group: a second would be a second call of the kernel
        return kind(learned, lr=learning_rate, **options, **{"weight_decay": 0.0} if decays else {})
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learned if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in learned if p.dim() < 2], "weight_decay": 0.0},
    ]
    return kind([g for g in groups if g["params"]], lr=learning_rate, **options)


def restore_exactly(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """What `state_dict` gave, to the bit: torch casts numbers to the parameters' own kind."""
    kept = copy.deepcopy(state)
    optimizer.load_state_dict(kept)
    learned = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [n for group in kept["param_groups"] for n in group["params"]]
    for number, parameter in zip(numbers, learned, strict=True):
        for name, value in kept["state"].get(number, {}).items():
            if isinstance(value, torch.Tensor):
                now = optimizer.state[parameter][name]
                optimizer.state[parameter][name] = value.to(now.device)


def _options(text: str, written: str, known: Any) -> dict[str, Any]:
    """What stands behind the colon: numbers and true or false, by the names of torch."""
    taken = {
        n
        for n, p in known.items()
        if n not in ("params", "lr", "weight_decay")
        and isinstance(p.default, bool | int | float | None)
    }
    found: dict[str, Any] = {}
    for part in filter(None, written.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in taken:
            raise ValueError(f"{text!r}: no option {key!r}; there are {', '.join(sorted(taken))}")
        words = {"true": True, "false": False}
        try:
            found[key] = words[value] if value in words else float(value)
        except ValueError:
            raise ValueError(f"{text!r}: {key} is a number, true or false; got {value!r}") from None
    return found


Shape = Callable[[float], float]  # of the share of training that is done, 0 to 1

SCHEDULES: MappingProxyType[str, Shape] = MappingProxyType(
    {
        "constant": lambda done: 1.0,
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),  # Loshchilov, Hutter 2017
        "plateau": lambda done: 1.0,  # halved when validation stands still: see `Rate`
    }
)


class Rate:
    """The learning rate of every step: warm-up, then a shape over the whole training.

    >>> rate = Rate("cosine", warmup=100)
    >>> rate.factor(step=50, done=0.01)  # of the learning rate
    0.51

    Warm-up rises in a line over the first steps. "plateau" halves the rate when validation has been
    no better for ``patience`` epochs. `lower` halves it for good: what a training that went back
    goes on with. Raises ValueError for an unknown name.
    """

    def __init__(self, name: str, warmup: int = 0, patience: int = 3) -> None:
        if name not in SCHEDULES:
            raise ValueError(f"the schedules are {', '.join(SCHEDULES)}; got {name!r}")
        if warmup < 0:
            raise ValueError(f"warmup is a number of steps, 0 or more; got {warmup}")
        self.name = name
        self.warmup = warmup
        self.patience = patience
        self.lowered = 1.0
        self._waiting = 0

    def factor(self, step: int, done: float) -> float:
        """Of the learning rate, for the `step`-th step, from 0, when that share is `done`."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        return warm * SCHEDULES[self.name](min(max(done, 0.0), 1.0)) * self.lowered

    def lower(self) -> None:
        """Half of it from now on."""
        self.lowered /= 2

    def validated(self, better: bool) -> None:
        """An epoch is done."""
        self._waiting = 0 if better else self._waiting + 1
        if self.name == "plateau" and self._waiting >= self.patience:
            self.lower()
            self._waiting = 0

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        return {"lowered": self.lowered, "waiting": self._waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.lowered, self._waiting = state["lowered"], state["waiting"]

"""Keeping gradients from exploding: one interface, five ways.

    clip = ByNorm(1.0)
    loss.backward()
    told = clip(model.parameters())  # before the optimizer's step
    told.norm, told.norm_after, told.clipped

Each measures the global norm before and after. A gradient that is not finite is measured and left
alone: there is no direction to keep. What a clipper has learned goes into a checkpoint by
`state_dict`. The bound on dL/dh_t inside the layers is their own option, ``clip_hidden_grad``.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm

Groups = Mapping[str, Iterable[Tensor]]
_NO_GROUPS: Mapping[str, tuple[float, float]] = MappingProxyType({})


class Clipped(NamedTuple):
    """What clipping measured and did."""

    norm: float  # global norm before
    clipped: bool
    norm_after: float
    bound: float | None = None  # on the global norm, at this step; None: another or none
    groups: Mapping[str, tuple[float, float]] = _NO_GROUPS  # norm before and after, where asked


class Clipper(ABC):
    """One way to clip; see the top of the file."""

    def __call__(self, parameters: Iterable[Tensor], groups: Groups | None = None) -> Clipped:
        """Clip the gradients of `parameters` in place.

        >>> ByNorm(1.0)(model.parameters(), {"body": model.body.parameters()}).groups
        {'body': (3.1, 0.97)}
        """
        owners = [p for p in parameters if p.grad is not None]
        named = {
            name: [p for p in own if p.grad is not None] for name, own in (groups or {}).items()
        }
        before = {name: _norm(own) for name, own in named.items()}
        norm = get_total_norm([p.grad for p in owners if p.grad is not None])
        value = float(norm)
        told = Clipped(value, False, value)
        if math.isfinite(value):
            told = self._clip(owners, norm, value)
        after = {name: _norm(own) for name, own in named.items()} if told.clipped else before
        return told._replace(groups={name: (before[name], after[name]) for name in named})

    @abstractmethod
    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        """Clip gradients whose joint norm is finite."""

    def state_dict(self) -> dict[str, Any]:
        """What was learned so far: plain numbers."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        if state:
            raise ValueError(f"{type(self).__name__} learns nothing, but got {sorted(state)}")

    @staticmethod
    def _to_norm(owners: list[Tensor], norm: Tensor, value: float, bound: float) -> Clipped:
        if value <= bound:
            return Clipped(value, False, value, bound)
        clip_grads_with_norm_(owners, bound, norm)
        return Clipped(value, True, bound, bound)


class NoClip(Clipper):
    """Measured alone."""

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        return Clipped(value, False, value)


class ByNorm(Clipper):
    """All gradients scaled so that their joint norm is at most `most` (Pascanu et al. 2013).

    >>> ByNorm(1.0)(model.parameters())
    Clipped(norm=3.2, clipped=True, norm_after=1.0, bound=1.0, ...)
    """

    def __init__(self, most: float) -> None:
        self.most = _positive("most", most)

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        return self._to_norm(owners, norm, value, self.most)


class ByValue(Clipper):
    """Each entry of a gradient into [-most, most] (Mikolov 2012): its direction may change."""

    def __init__(self, most: float) -> None:
        self.most = _positive("most", most)

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        if value <= self.most:  # then no entry is larger
            return Clipped(value, False, value)
        clip_grad_value_(owners, self.most)
        after = _norm(owners)
        return Clipped(value, after < value, after)


class AutoClip(Clipper):
    """To a quantile of all norms so far (Seetharaman et al. 2020).

    ``quantile`` 0.1 as in the paper: nine of ten steps are clipped. ``history``: how many of the
    latest norms are remembered; None: all, as in the paper.
    """

    def __init__(self, quantile: float = 0.1, history: int | None = None) -> None:
        if not 0 <= quantile <= 1:
            raise ValueError(f"quantile lies between 0 and 1; got {quantile}")
        if history is not None and history < 1:
            raise ValueError(f"history is a number of norms, 1 or more; got {history}")
        self.quantile = quantile
        self.history = history
        self._norms: deque[float] = deque()
        self._sorted: list[float] = []  # the same, so that a quantile costs no sorting

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        self._remember(value)
        # the quantile lies between two of them, as torch.quantile has it
        place = self.quantile * (len(self._sorted) - 1)
        low, high = self._sorted[math.floor(place)], self._sorted[math.ceil(place)]
        bound = low + (high - low) * (place - math.floor(place))
        return self._to_norm(owners, norm, value, bound)

    def _remember(self, value: float) -> None:
        self._norms.append(value)
        insort(self._sorted, value)
        if self.history is not None and len(self._norms) > self.history:
            self._sorted.pop(bisect_left(self._sorted, self._norms.popleft()))

    def state_dict(self) -> dict[str, Any]:
        """The norms so far."""
        return {"norms": list(self._norms)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._norms.clear()
        self._sorted.clear()
        for value in state["norms"]:
            self._remember(value)


class ZClip(Clipper):
    """Spikes alone: norms that stand out of their running mean and deviation (Kumar et al. 2025).

    z = (norm - mean) / deviation; where z is above ``threshold``, the norm becomes
    mean + deviation threshold^2 / z, so that the larger the spike, the less is left of it. Mean and
    variance are exponential averages with weight ``alpha`` of the past, over what was clipped; the
    first ``warmup`` steps are only measured.
    """

    def __init__(self, threshold: float = 2.5, alpha: float = 0.97, warmup: int = 25) -> None:
        self.threshold = _positive("threshold", threshold)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha lies between 0 and 1; got {alpha}")
        if warmup < 2:
            raise ValueError(f"warmup needs 2 steps or more, to have a deviation; got {warmup}")
        self.alpha = alpha
        self.warmup = warmup
        self._first: list[float] = []
        self._mean = 0.0
        self._variance = 0.0

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        if len(self._first) < self.warmup:
            self._first.append(value)
            if len(self._first) == self.warmup:
                self._mean = sum(self._first) / self.warmup
                self._variance = (
                    sum((n - self._mean) * (n - self._mean) for n in self._first) / self.warmup
                )
            return Clipped(value, False, value)
        told = Clipped(value, False, value)
        deviation = math.sqrt(self._variance)
        z = (value - self._mean) / max(deviation, 1e-12 * max(self._mean, 1e-300))
        if z > self.threshold:
            bound = self._mean + deviation * self.threshold**2 / z
            told = self._to_norm(owners, norm, value, bound)
        left = told.norm_after
        self._mean = self.alpha * self._mean + (1 - self.alpha) * left
        off = left - self._mean
        self._variance = self.alpha * self._variance + (1 - self.alpha) * off * off
        return told

    def state_dict(self) -> dict[str, Any]:
        """The averages so far."""
        return {"first": list(self._first), "mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._first = list(state["first"])
        self._mean, self._variance = state["mean"], state["variance"]


class AGC(Clipper):
    """Each unit's gradient to a share of its weights' norm (Brock et al. 2021, eq. 3).

    A unit is a row of a matrix. Biases and other vectors are left alone. ``smallest`` stands in for
    the norm of weights that are near 0, so that they can grow.
    """

    def __init__(self, share: float = 0.01, smallest: float = 1e-3) -> None:
        self.share = _positive("share", share)
        self.smallest = _positive("smallest", smallest)

    @torch.no_grad()
    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        factors: list[Tensor] = []
        for parameter in owners:
            gradient = parameter.grad
            if gradient is None or parameter.dim() < 2:
                continue
            most = vector_norm(parameter.flatten(1), dim=1).clamp_(min=self.smallest)
            size = vector_norm(gradient.flatten(1), dim=1)
            factors.append(most.mul_(self.share).div_(size).clamp_(max=1.0))  # x / 0 is no bound
            gradient.mul_(factors[-1].view(-1, *(1,) * (gradient.dim() - 1)))
        clipped = bool(factors) and float(torch.cat(factors).min()) < 1
        return Clipped(value, clipped, _norm(owners) if clipped else value)


_BY_NAME: Mapping[str, tuple[Callable[[float], Clipper], str]] = MappingProxyType(
    {
        "norm": (ByNorm, "norm:1"),
        "value": (ByValue, "value:0.5"),
        "auto": (AutoClip, "auto:0.1"),
        "z": (ZClip, "z:2.5"),
        "agc": (AGC, "agc:0.01"),
    }
)


def clipper_by_name(text: str) -> Clipper:
    """The clipper that a text such as ``norm:1``, ``auto:0.1`` or ``none`` stands for.

    Raises ValueError naming those that there are.
    """
    if text == "none":
        return NoClip()
    name, _, number = text.partition(":")
    examples = ", ".join(["none", *(example for _, example in _BY_NAME.values())])
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name not in _BY_NAME or not math.isfinite(value):
        raise ValueError(f"clipping is one of {examples}; got {text!r}")
    return _BY_NAME[name][0](value)


def _norm(owners: Sequence[Tensor]) -> float:
    return float(get_total_norm([p.grad for p in owners if p.grad is not None]))


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number; got {value}")
    return value

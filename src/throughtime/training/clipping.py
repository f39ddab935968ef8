"""Gradient clipping: one interface, five methods.

    clip = ByNorm(1.0)
    loss.backward()
    result = clip(model.parameters())  # before the optimizer's step
    result.norm, result.norm_after, result.clipped

Each method measures the global norm before and after clipping. A non-finite gradient is measured
but not clipped, because it has no direction to preserve. Running statistics are saved in
checkpoints by `state_dict`. The layers themselves bound dL/dh_t by their option
``clip_hidden_grad``.
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
    """The result of clipping one step."""

    norm: float  # global norm before clipping
    clipped: bool
    norm_after: float
    bound: float | None = None  # on the global norm in this step; None if there is none
    groups: Mapping[str, tuple[float, float]] = _NO_GROUPS  # norms before and after, by group


class Clipper(ABC):
    """Base class of the clipping methods; see the module docstring."""

    def __call__(self, parameters: Iterable[Tensor], groups: Groups | None = None) -> Clipped:
        """Clip the gradients of `parameters` in place and measure the norm of each group.

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
        result = Clipped(value, False, value)
        if math.isfinite(value):
            result = self._clip(owners, norm, value)
        after = {name: _norm(own) for name, own in named.items()} if result.clipped else before
        return result._replace(groups={name: (before[name], after[name]) for name in named})

    @abstractmethod
    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        """Clip gradients whose global norm is finite."""

    def state_dict(self) -> dict[str, Any]:
        """Running statistics, as plain numbers."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore state saved by `state_dict`."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state; got the keys {sorted(state)}")

    @staticmethod
    def _to_norm(owners: list[Tensor], norm: Tensor, value: float, bound: float) -> Clipped:
        if value <= bound:
            return Clipped(value, False, value, bound)
        clip_grads_with_norm_(owners, bound, norm)
        return Clipped(value, True, bound, bound)


class NoClip(Clipper):
    """Measures the norm without clipping."""

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        return Clipped(value, False, value)


class ByNorm(Clipper):
    """Scales all gradients so that their global norm is at most `most` (Pascanu et al. 2013).

    >>> ByNorm(1.0)(model.parameters())
    Clipped(norm=3.2, clipped=True, norm_after=1.0, bound=1.0, ...)
    """

    def __init__(self, most: float) -> None:
        self.most = _positive("most", most)

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        return self._to_norm(owners, norm, value, self.most)


class ByValue(Clipper):
    """Clamps gradient entries to [-most, most] (Mikolov 2012); this can change the direction."""

    def __init__(self, most: float) -> None:
        self.most = _positive("most", most)

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        if value <= self.most:  # no entry exceeds the norm
            return Clipped(value, False, value)
        clip_grad_value_(owners, self.most)
        after = _norm(owners)
        return Clipped(value, after < value, after)


class AutoClip(Clipper):
    """Clips to a quantile of all norms so far (Seetharaman et al. 2020).

    Args:
        quantile: Default 0.1 as in the paper, which clips nine of ten steps.
        history: Number of most recent norms to use; None: all, as in the paper.
    """

    def __init__(self, quantile: float = 0.1, history: int | None = None) -> None:
        if not 0 <= quantile <= 1:
            raise ValueError(f"quantile must be between 0 and 1; got {quantile}")
        if history is not None and history < 1:
            raise ValueError(f"history must be 1 or more norms; got {history}")
        self.quantile = quantile
        self.history = history
        self._norms: deque[float] = deque()
        self._sorted: list[float] = []  # the same norms, kept sorted for the quantile

    def _clip(self, owners: list[Tensor], norm: Tensor, value: float) -> Clipped:
        self._remember(value)
        # linear interpolation between two norms, as in torch.quantile
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
        """Restore state saved by `state_dict`."""
        self._norms.clear()
        self._sorted.clear()
        for value in state["norms"]:
            self._remember(value)


class ZClip(Clipper):
    """Clips only spikes: norms far above their running mean (Kumar et al. 2025).

    z = (norm - mean) / deviation. Where z exceeds ``threshold``, the norm is reduced to
    mean + deviation threshold^2 / z, so larger spikes are reduced further. Mean and variance are
    exponential moving averages of the clipped norms, with weight ``alpha`` on the past. The first
    ``warmup`` steps are measured but not clipped.
    """

    def __init__(self, threshold: float = 2.5, alpha: float = 0.97, warmup: int = 25) -> None:
        self.threshold = _positive("threshold", threshold)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, both excluded; got {alpha}")
        if warmup < 2:
            raise ValueError(
                f"warmup must be 2 steps or more, to estimate a deviation; got {warmup}"
            )
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
        result = Clipped(value, False, value)
        deviation = math.sqrt(self._variance)
        z = (value - self._mean) / max(deviation, 1e-12 * max(self._mean, 1e-300))
        if z > self.threshold:
            bound = self._mean + deviation * self.threshold**2 / z
            result = self._to_norm(owners, norm, value, bound)
        left = result.norm_after
        self._mean = self.alpha * self._mean + (1 - self.alpha) * left
        off = left - self._mean
        self._variance = self.alpha * self._variance + (1 - self.alpha) * off * off
        return result

    def state_dict(self) -> dict[str, Any]:
        """The running averages."""
        return {"first": list(self._first), "mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore state saved by `state_dict`."""
        self._first = list(state["first"])
        self._mean, self._variance = state["mean"], state["variance"]


class AGC(Clipper):
    """Adaptive gradient clipping (Brock et al. 2021, eq. 3).

    Limits each unit's gradient norm to ``share`` of its weight norm. A unit is a row of a matrix.
    Biases and other vectors are not clipped. ``smallest`` is the minimum weight norm used, so that
    weights near 0 can grow.
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
            # a zero gradient gives infinity, which the clamp turns into 1
            factors.append(most.mul_(self.share).div_(size).clamp_(max=1.0))
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
    """The clipper for a name such as ``norm:1``, ``auto:0.1`` or ``none``.

    Raises ValueError, with the valid names, for any other text.
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

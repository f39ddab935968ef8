"""Observation of all states and gates at every time step, and of their gradients.

The kernels compute these values anyway; `observe` records them. It does not hook the outputs: a
hook on the output of a fused layer sees only the gradient of the output, not that of the state.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.insight.views import ObservedCall, View
from throughtime.nn.calls import LayerCall, Trace
from throughtime.nn.cell_layers import RecurrentCell
from throughtime.nn.convert import OURS, THEIRS, obstacle, twin
from throughtime.nn.engines.autograd import transformed
from throughtime.nn.layers import RecurrentLayer

KEEP = ("all", "norms")


class Observation(Mapping[str, View]):
    """Observed layers by name: the path of the module in the model, then layer and direction.

    ``seen["encoder.l0"]``, ``seen["encoder.l0_reverse"]``, ``seen["encoder.l1"]``; for a single
    layer ``seen["l0"]``. Each is the `View` of its last forward pass; `passes` returns all.
    """

    def __init__(self) -> None:
        self._passes: dict[str, list[View]] = {}
        # in the order of the calls: name, index of its call, view
        self.calls: list[tuple[str, int, View]] = []
        self.unseen: dict[str, str] = {}  # modules that cannot be observed, with the reason

    def passes(self, name: str) -> list[View]:
        """Return all passes of a layer in order. Raises KeyError like ``seen[name]``."""
        if name not in self._passes:
            raise KeyError(self._explain(name))
        return list(self._passes[name])

    def clear(self) -> None:
        """Remove all observed passes."""
        self._passes.clear()
        self.calls.clear()

    def __getitem__(self, name: str) -> View:
        views = self.passes(name)
        last = [v for v in views if not v.recomputed][-1:] or views[-1:]
        # with torch.utils.checkpoint, gradients belong to the recomputed pass
        again = [v for v in views if v.recomputed and v.has_gradients]
        return again[-1] if again and not last[0].has_gradients else last[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._passes)

    def __len__(self) -> int:
        return len(self._passes)

    def __repr__(self) -> str:
        return "\n".join(
            [*(f"{n}: {p[-1]!r}" for n, p in self._passes.items()),
             *(f"{n}: not observed, {why}" for n, why in self.unseen.items())]
        ) or "nothing observed"  # fmt: skip

    def _explain(self, name: str) -> str:
        why = [why for path, why in self.unseen.items() if name.startswith(path)]
        if why:
            return f"{name!r} cannot be observed: {why[0]}"
        if self._passes:
            return f"{name!r} was not observed; observed: {', '.join(self._passes)}"
        return (
            f"{name!r} was not observed: no forward pass in the block, or the model was compiled "
            "in it (compile it before, or run it uncompiled)"
        )

    def add(self, name: str, view: View) -> None:
        """Add a pass."""
        own = self._passes.setdefault(name, [])
        self.calls.append((name, len(own), view))
        own.append(view)


class _Observer:
    """Records the calls of one module."""

    def __init__(self, path: str, observation: Observation, norms: bool) -> None:
        self._path = path
        self._observation = observation
        self._norms = norms
        self._last: ObservedCall | None = None
        self.active = True

    def trace(self, layer: int, call: LayerCall, order: Tensor | None) -> Trace | None:
        """Return where to record the values of a call, or None to skip it."""
        if not self.active or torch.compiler.is_compiling():
            return None
        self.settle()
        if transformed():
            self._observation.unseen[self._path] = "it was called under torch.func or vmap"
            return None
        observed = ObservedCall(call, order, self._norms)
        self._last = observed
        for direction in range(call.directions):
            name = f"{self._path}.l{layer}" if self._path else f"l{layer}"
            view = View(direction, observed)
            self._observation.add(name + ("_reverse" if direction else ""), view)
        return observed.trace

    def __deepcopy__(self, memo: Any) -> None:
        """Return None: a copy of a layer is not observed."""

    def settle(self) -> None:
        """Free the values of the last call that are not kept."""
        if self._norms and self._last is not None:
            self._last.reduce()


def check_every(every: int) -> None:
    """Raise ValueError if ``every`` is less than 1."""
    if every < 1:
        raise ValueError(f"every must be 1 or more; got {every}")


@contextmanager
def observe(model: nn.Module, *, every: int = 1, keep: str = "all") -> Generator[Observation]:
    """Record states, gates and gradients of all recurrent layers of a model.

    >>> with throughtime.observe(model) as seen:
    ...     loss = criterion(model(x), y)
    ...     loss.backward()
    >>> seen["encoder.l0"].gates["forget"]  # [T,B,H]
    >>> seen["encoder.l0"].hidden_grad.norm(dim=-1)  # the gradient that reaches each step, [T,B]

    Works for layers of throughtime and torch.nn. Run the forward pass in the block; the backward
    pass may come later. Within the block, layers of torch.nn are computed by throughtime's layers
    with the same weights, and a compiled model runs uncompiled.

    Args:
        model: Any model with recurrent layers.
        every: Observe only every n-th call of the model (``model(...)``), beginning with the first.
        keep: "all", or "norms" to store only the Euclidean norms of the vectors.

    Yields:
        An `Observation`, which maps the name of each layer and direction to its last pass.

    Raises:
        ValueError: If the model has no layer that can be observed; the message lists the reasons.
        RuntimeError: If the model is already being observed.
    """
    if keep not in KEEP:
        raise ValueError(f"keep must be one of {', '.join(KEEP)}; got {keep!r}")
    check_every(every)
    observation = Observation()
    observers: list[_Observer] = []
    undo: list[Callable[[], None]] = []
    try:
        for full, module in model.named_modules():
            path = ".".join(part for part in full.split(".") if part != "_orig_mod")
            layer, why = _layer_of(module)
            if why:
                observation.unseen[path] = why
            if layer is None:
                continue
            own = vars(module).get("forward")
            replaced = own and getattr(own, "__func__", None) is not type(module).forward
            if vars(module).get("observer") is not None or replaced:
                raise RuntimeError(
                    f"{path or 'the model'} is already being observed, or its forward was replaced"
                )
            observer = _Observer(path, observation, keep == "norms")
            observers.append(observer)
            undo.append(_attach(module, layer, observer))
        if not observers:
            found = "".join(f"; {path}: {why}" for path, why in observation.unseen.items())
            raise ValueError(
                f"no recurrent layer to observe in {type(model).__name__}: "
                f"expected an RNN, LSTM or GRU of throughtime or torch.nn{found}"
            )
        if every > 1:
            undo.append(_sample(model, observers, every))
        with _uncompiled():
            yield observation
    finally:
        for step in undo:
            step()
        for observer in observers:
            observer.settle()


def _layer_of(module: nn.Module) -> tuple[RecurrentLayer | None, str]:
    """Return the layer that computes a module while it is observed, or the reason for none."""
    if isinstance(module, RecurrentLayer):
        return module, ""
    kind = type(module).__name__
    if isinstance(module, RecurrentCell | nn.RNNCellBase):
        return None, f"a {kind} computes single steps, and the loop over time is in the model"
    if isinstance(module, torch.jit.ScriptModule) and module.original_name in OURS:
        return None, "it is compiled by torch.jit"
    for name, theirs in THEIRS.items():
        if type(module) is theirs:
            why = obstacle(module)
            return (None, why) if why else (twin(OURS[name], module, mark=False), "")  # pyright: ignore
        if isinstance(module, theirs):
            return None, f"a subclass of {name} ({kind}), which may compute something else"
    return None, ""


def _attach(module: nn.Module, layer: RecurrentLayer, observer: _Observer) -> Callable[[], None]:
    """Attach an observer to a layer; return a function that detaches it."""
    layer.observer = observer
    if layer is module:
        return lambda: delattr(layer, "observer")
    # share the dictionary, so that a parameter assigned later is used
    layer._parameters = module._parameters  # pyright: ignore[reportPrivateUsage]
    module.forward = _ObservedForward(module, layer, observer)
    return lambda: delattr(module, "forward")


class _ObservedForward:
    """Replaces the forward of a layer of torch.nn while it is observed."""

    def __init__(self, module: nn.Module, layer: RecurrentLayer, observer: _Observer) -> None:
        self._module = module
        self._layer = layer
        self._observer = observer

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        module: Any = self._module
        if not self._observer.active:
            return type(module).forward(module, *arguments, **options)
        self._layer.train(module.training)
        return self._layer.forward(*arguments, **options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return the original forward, so that a copy of the layer is not observed."""
        copied: Any = memo[id(self._module)]
        return MethodType(type(copied).forward, copied)


def _sample(model: nn.Module, observers: list[_Observer], every: int) -> Callable[[], None]:
    """Activate the observers for every n-th call of the model; return a function that undoes it."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        for observer in observers:
            observer.settle()
            observer.active = calls % every == 0
        calls += 1

    return model.register_forward_pre_hook(count).remove


@contextmanager
def _uncompiled() -> Generator[None]:
    """Run compiled models uncompiled, because a compiled graph does not call observers."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled; importing it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield

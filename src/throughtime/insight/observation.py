"""Looking inside: every state and gate at every time step, and the gradient that reaches it.

The kernels compute all of it anyway; `observe` has them hand it out. Nothing is hooked to outputs
(a hook on a fused layer's output sees the gradient of the output alone, not that of the state).
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
    """What was seen, by name: the module's path in the model, then the layer and direction.

    ``seen["encoder.l0"]``, ``seen["encoder.l0_reverse"]``, ``seen["encoder.l1"]``; of a bare layer
    ``seen["l0"]``. Each is the `View` of its last forward pass; `passes` has all.
    """

    def __init__(self) -> None:
        self._passes: dict[str, list[View]] = {}
        # in the order of calls: name, which of its calls, what was seen
        self.calls: list[tuple[str, int, View]] = []
        self.unseen: dict[str, str] = {}  # what cannot be looked into, and why

    def passes(self, name: str) -> list[View]:
        """Every pass of a layer in the block, in order. KeyError as for ``seen[name]``."""
        if name not in self._passes:
            raise KeyError(self._explain(name))
        return list(self._passes[name])

    def clear(self) -> None:
        """Forget what was seen so far."""
        self._passes.clear()
        self.calls.clear()

    def __getitem__(self, name: str) -> View:
        views = self.passes(name)
        last = [v for v in views if not v.recomputed][-1:] or views[-1:]
        # a checkpoint may compute again what its backward pass then goes through
        again = [v for v in views if v.recomputed and v.has_gradients]
        return again[-1] if again and not last[0].has_gradients else last[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._passes)

    def __len__(self) -> int:
        return len(self._passes)

    def __repr__(self) -> str:
        return "\n".join(
            [*(f"{n}: {p[-1]!r}" for n, p in self._passes.items()),
             *(f"{n}: unseen, {why}" for n, why in self.unseen.items())]
        ) or "nothing seen"  # fmt: skip

    def _explain(self, name: str) -> str:
        why = [why for path, why in self.unseen.items() if name.startswith(path)]
        if why:
            return f"{name!r} cannot be seen: {why[0]}"
        if self._passes:
            return f"{name!r} was not seen; seen: {', '.join(self._passes)}"
        return (
            f"{name!r} was not seen: no forward pass in the block, or one compiled in it for the "
            "first time (compile before, or run uncompiled)"
        )

    def add(self, name: str, view: View) -> None:
        """One more pass."""
        own = self._passes.setdefault(name, [])
        self.calls.append((name, len(own), view))
        own.append(view)


class _Observer:
    """What a layer calls while it is observed."""

    def __init__(self, path: str, observation: Observation, norms: bool) -> None:
        self._path = path
        self._observation = observation
        self._norms = norms
        self._last: ObservedCall | None = None
        self.active = True

    def trace(self, layer: int, call: LayerCall, order: Tensor | None) -> Trace | None:
        """Where one layer's call leaves its values; None: not this call."""
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
        """A copy of a layer is not looked into."""

    def settle(self) -> None:
        """Let go of what will not be looked at."""
        if self._norms and self._last is not None:
            self._last.reduce()


def check_every(every: int) -> None:
    """Raise ValueError unless of so many steps one can be looked at."""
    if every < 1:
        raise ValueError(f"every must be 1 or more; got {every}")


@contextmanager
def observe(model: nn.Module, *, every: int = 1, keep: str = "all") -> Generator[Observation]:
    """Look into every recurrent layer of a model, ours and torch.nn's, while it computes.

    >>> with throughtime.observe(model) as seen:
    ...     loss = criterion(model(x), y)
    ...     loss.backward()
    >>> seen["encoder.l0"].gates["forget"]  # [T,B,H]
    >>> seen["encoder.l0"].hidden_grad.norm(dim=-1)  # the gradient that reaches each step, [T,B]

    Values need a forward pass in the block, gradients a backward pass in the block or after it.
    Layers of torch.nn are computed by ours with the same weights within the block. A compiled model
    runs uncompiled within the block.

    Args:
        model: Any model with recurrent layers.
        every: Of so many calls of the model itself (``model(...)``), the first is observed.
        keep: "all", or "norms" for the lengths of the vectors alone.

    Yields:
        An `Observation`: by layer and direction, what its last pass showed.

    Raises:
        ValueError: Where there is no layer to observe, naming what was found.
        RuntimeError: Where the model is being observed already.
    """
    if keep not in KEEP:
        raise ValueError(f"keep is one of {', '.join(KEEP)}; got {keep!r}")
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
                    f"{path or 'the model'} is being observed already, or its forward is replaced"
                )
            observer = _Observer(path, observation, keep == "norms")
            observers.append(observer)
            undo.append(_attach(module, layer, observer))
        if not observers:
            found = "".join(f"; {path}: {why}" for path, why in observation.unseen.items())
            raise ValueError(
                f"no recurrent layer to look into in {type(model).__name__}: "
                f"expected RNN, LSTM or GRU, throughtime's or torch.nn's{found}"
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
    """The layer that shows what a module computes, or why there is none."""
    if isinstance(module, RecurrentLayer):
        return module, ""
    kind = type(module).__name__
    if isinstance(module, RecurrentCell | nn.RNNCellBase):
        return None, f"a {kind} computes one step, and the loop over time is the model's own"
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
    """Have a layer call the observer; gives what undoes it."""
    layer.observer = observer
    if layer is module:
        return lambda: delattr(layer, "observer")
    # one dictionary for both, so that what is put into it counts
    layer._parameters = module._parameters  # pyright: ignore[reportPrivateUsage]
    module.forward = _Instead(module, layer, observer)
    return lambda: delattr(module, "forward")


class _Instead:
    """The forward of one of torch.nn's layers while it is looked into."""

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
        """A copy of the layer computes for itself."""
        copied: Any = memo[id(self._module)]
        return MethodType(type(copied).forward, copied)


def _sample(model: nn.Module, observers: list[_Observer], every: int) -> Callable[[], None]:
    """Look at the first of so many calls of the model."""
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
    """What torch.compile made runs as it was written: a compiled graph has nobody looking in."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and loading it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield

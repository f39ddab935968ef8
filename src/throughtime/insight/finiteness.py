"""Where the first NaN or infinity came from."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.insight.observation import Observation, observe
from throughtime.insight.views import View
from throughtime.nn.layers import RecurrentLayer
from throughtime.runs import Finding

_SOURCE = "IEEE 754: what is computed from a NaN is a NaN"
_OVERFLOW = (
    "look at what entered this step: values too large to multiply or to exponentiate",
    "clip the gradient by its global norm, and lower the learning rate",
)


def first_not_finite(
    model: nn.Module,
    batch: Sequence[Any],
    seen: Observation,
    loss: Tensor | None,
    gradients: Mapping[str, Tensor | None],
) -> Finding | None:
    """The first number that is none, in the order in which things are computed; None: all are.

    Weights, inputs, layers in their order, each step by step, the loss; then gradients, from the
    last layer and the last step back. ``gradients``: of parameters, by name.
    """
    for name, parameter in model.named_parameters():
        found = _first(parameter)
        if found is not None:
            return _finding(
                f"weight {name}",
                f"{_value(parameter, found)} in the weights, at {name}{found}",
                (
                    "go back to the last good weights: a step with a gradient that was not finite "
                    "was taken",
                    "skip such steps, and clip the gradient by its global norm",
                ),
            )
    found = _downstream(seen, loss, gradients)
    if found is None:  # padding, say, or a mask: nothing came of it
        return None
    for place, tensor in enumerate(batch):
        at = _first(tensor) if isinstance(tensor, Tensor) else None
        if at is not None:
            return _finding(
                f"input {place}",
                f"{_value(tensor, at)} in the batch, input {place}{at}; from there: "
                f"{found.evidence}",
                ("clean the data: fill or drop missing values before training",),
            )
    return found


def locate(model: nn.Module, *batch: Any, loss: Callable[..., Tensor]) -> Finding | None:
    """Where the first number that is none comes from, for any model; None: all are finite.

    >>> locate(model, x, y, loss=lambda model, x, y: criterion(model(x), y)).evidence
    'inf first in hidden of step 7, sample 0, unit 3, before it all is finite'

    Leaves no trace, as `diagnose`. Layers are searched step by step where they are recurrent.
    """
    recurrent = any(isinstance(module, RecurrentLayer | nn.RNNBase) for module in model.modules())
    looking = observe(model) if recurrent else nullcontext(Observation())
    with torch.inference_mode(False), torch.enable_grad(), without_trace(model), looking as seen:
        return first_not_finite(model, batch, seen, *computed(model, batch, loss))


def computed(
    model: nn.Module, batch: Sequence[Any], loss: Callable[..., Tensor] | None
) -> tuple[Tensor | None, dict[str, Tensor | None]]:
    """The model called: its loss and the gradients of its parameters by name, where it has one.

    Raises ValueError for a loss that is not one number.
    """
    if loss is None:
        model(*batch)
        return None, {}
    value: Any = loss(model, *batch)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss must give one number, a tensor of shape []; got {found}")
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not (value.requires_grad and wanted):
        return value, {}
    found = torch.autograd.grad(value, list(wanted.values()), allow_unused=True)
    return value, dict(zip(wanted, found, strict=True))


@contextmanager
def without_trace(model: nn.Module) -> Generator[None]:
    """Random states and buffers as before. Gradients are asked for, never accumulated."""
    clones: dict[int, Tensor] = {}
    before: list[tuple[nn.Module, str, Tensor]] = []
    for module in model.modules():
        for name, buffer in list(module._buffers.items()):  # pyright: ignore[reportPrivateUsage]
            if buffer is not None:
                before.append((module, name, buffer))
                clone = clones.setdefault(id(buffer), buffer.detach().clone())
                module._buffers[name] = clone  # pyright: ignore[reportPrivateUsage]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, name, buffer in before:
            module._buffers[name] = buffer  # pyright: ignore[reportPrivateUsage]


def _downstream(
    seen: Observation, loss: Tensor | None, gradients: Mapping[str, Tensor | None]
) -> Finding | None:
    for name, call, view in seen.calls:
        finding = _in_layer(_place(seen, name, call), view)
        if finding is not None:
            return finding
    if loss is not None and not loss.isfinite().all():
        return _finding(
            "loss",
            f"the loss is {float(loss.detach()):g}; every recurrent layer is finite",
            ("look at what comes after the recurrent layers, and at the loss: log or division",),
        )
    for name, call, view in reversed(seen.calls):
        finding = _in_gradients(_place(seen, name, call), view) if view.has_gradients else None
        if finding is not None:
            return finding
    for name, gradient in gradients.items():
        found = None if gradient is None else _first(gradient)
        if gradient is not None and found is not None:
            return _finding(
                f"gradient of {name}",
                f"{_value(gradient, found)} in the gradient of {name}{found}; that of every state "
                "is finite",
                _OVERFLOW,
            )
    return None


def _place(seen: Observation, name: str, call: int) -> str:
    return name if len(seen.passes(name)) == 1 else f"{name}, call {call}"


def _in_layer(name: str, view: View) -> Finding | None:
    quantities = {"input": view.input}
    quantities |= {f"{gate} gate": values for gate, values in view.gates.items()}
    hidden, *further = view.states.items()
    quantities |= dict([*further, hidden])  # in the order in which they are computed
    for n, first in enumerate(view.first_state):
        found = _first(first)
        if found is not None:
            return _finding(
                f"{name}, {view.cell_type.states[n][0]}_0",
                f"{_value(first, found)} in the first state, sample {found[0]}, unit {found[1]}",
                ("look at the state that is carried over: reset it where it is no longer finite",),
            )
    return _earliest(name, view, quantities, last_first=view.backwards)


def _in_gradients(name: str, view: View) -> Finding | None:
    quantities = {f"gradient of {s}": g for s, g in view.state_gradients.items()}
    return _earliest(name, view, quantities, last_first=not view.backwards)


def _earliest(
    name: str, view: View, quantities: Mapping[str, Tensor], *, last_first: bool
) -> Finding | None:
    """The first step at which something is not finite, and of that the first quantity."""
    bad = {q: ~v.isfinite() & view.inside.unsqueeze(-1) for q, v in quantities.items()}
    steps = torch.stack([b.flatten(1).any(dim=1) for b in bad.values()]).any(dim=0).nonzero()
    if not len(steps):
        return None
    t = int(steps[-1 if last_first else 0])
    quantity = next(q for q, b in bad.items() if b[t].any())
    sample, unit = (int(n) for n in bad[quantity][t].nonzero()[0])
    value = float(quantities[quantity][t, sample, unit])
    before = ", before it all is finite" if not quantity.startswith("gradient") else ""
    return _finding(
        f"{name}, step {t}, {quantity}",
        f"{value:g} first in {quantity} of step {t}, sample {sample}, unit {unit}{before}",
        ("what enters the layer is not finite: look at what comes before it",)
        if quantity == "input"
        else _OVERFLOW,
    )


def _first(tensor: Tensor) -> list[int] | None:
    """Place of the first number that is none."""
    if not (tensor.is_floating_point() and tensor.numel()) or tensor.isfinite().all():
        return None
    return [int(n) for n in (~tensor.isfinite()).nonzero()[0]]


def _value(tensor: Tensor, place: list[int]) -> str:
    return f"{float(tensor.detach()[tuple(place)]):g}"


def _finding(where: str, evidence: str, advice: tuple[str, ...]) -> Finding:
    return Finding("not finite", evidence, None, None, _SOURCE, where, advice)

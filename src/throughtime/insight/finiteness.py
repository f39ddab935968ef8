"""Search for the origin of a NaN or infinity."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.insight.observation import Observation, observe
from throughtime.insight.views import View
from throughtime.network_records import Finding
from throughtime.nn.layers import RecurrentLayer

_SOURCE = "IEEE 754: the result of an operation on a NaN is a NaN"
_OVERFLOW = (
    "check the inputs of this step: values that are too large overflow in a product or exp",
    "clip the gradient by its global norm, and lower the learning rate",
)


def first_not_finite(
    model: nn.Module,
    batch: Sequence[Any],
    seen: Observation,
    loss: Tensor | None,
    gradients: Mapping[str, Tensor | None],
) -> Finding | None:
    """Return the first non-finite value in the order of computation, or None.

    The order is: weights, inputs, layers in their order and each step by step, the loss, then
    gradients from the last layer and the last step backwards. ``gradients`` are those of the
    parameters, by name.
    """
    for name, parameter in model.named_parameters():
        found = _first(parameter)
        if found is not None:
            return _finding(
                f"weight {name}",
                f"{_value(parameter, found)} in the weights, at {name}{found}",
                (
                    "restore the last finite weights: the optimizer made a step with a non-finite "
                    "gradient",
                    "skip such steps, and clip the gradient by its global norm",
                ),
            )
    found = _downstream(seen, loss, gradients)
    if found is None:  # non-finite inputs, such as padding, had no effect
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
    """Return the origin of the first non-finite value in any model, or None.

    >>> locate(model, x, y, loss=lambda model, x, y: criterion(model(x), y)).evidence
    'inf first in hidden of step 7, sample 0, unit 3; all values before it are finite'

    Like `diagnose`, does not change the model. Recurrent layers are searched step by step.
    """
    recurrent = any(isinstance(module, RecurrentLayer | nn.RNNBase) for module in model.modules())
    observing = observe(model) if recurrent else nullcontext(Observation())
    with torch.inference_mode(False), torch.enable_grad(), without_trace(model), observing as seen:
        return first_not_finite(model, batch, seen, *computed(model, batch, loss))


def computed(
    model: nn.Module, batch: Sequence[Any], loss: Callable[..., Tensor] | None
) -> tuple[Tensor | None, dict[str, Tensor | None]]:
    """Call the model, and return its loss and parameter gradients by name, if a loss is given.

    Raises ValueError if the loss is not one number.
    """
    if loss is None:
        model(*batch)
        return None, {}
    value: Any = loss(model, *batch)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss must return one number, a tensor of shape []; got {found}")
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not (value.requires_grad and wanted):
        return value, {}
    found = torch.autograd.grad(value, list(wanted.values()), allow_unused=True)
    return value, dict(zip(wanted, found, strict=True))


@contextmanager
def without_trace(model: nn.Module) -> Generator[None]:
    """Restore random states and buffers at the end of the block."""
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
            ("check the layers after the recurrent ones, and the loss for a log or a division",),
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
                f"{_value(gradient, found)} in the gradient of {name}{found}; the gradient of "
                "every state is finite",
                _OVERFLOW,
            )
    return None


def _place(seen: Observation, name: str, call: int) -> str:
    return name if len(seen.passes(name)) == 1 else f"{name}, call {call}"


def _in_layer(name: str, view: View) -> Finding | None:
    quantities = {"input": view.input}
    quantities |= {f"{gate} gate": values for gate, values in view.gates.items()}
    hidden, *further = view.states.items()
    quantities |= dict([*further, hidden])  # in the order of computation
    for n, first in enumerate(view.first_state):
        found = _first(first)
        if found is not None:
            return _finding(
                f"{name}, {view.cell_type.states[n][0]}_0",
                f"{_value(first, found)} in the initial state, sample {found[0]}, unit {found[1]}",
                ("check the state that is carried over: reset it when it is not finite",),
            )
    return _earliest(name, view, quantities, last_first=view.backwards)


def _in_gradients(name: str, view: View) -> Finding | None:
    quantities = {f"gradient of {s}": g for s, g in view.state_gradients.items()}
    return _earliest(name, view, quantities, last_first=not view.backwards)


def _earliest(
    name: str, view: View, quantities: Mapping[str, Tensor], *, last_first: bool
) -> Finding | None:
    """Return the first step with a non-finite value, and the first such quantity in it."""
    bad = {q: ~v.isfinite() & view.inside.unsqueeze(-1) for q, v in quantities.items()}
    steps = torch.stack([b.flatten(1).any(dim=1) for b in bad.values()]).any(dim=0).nonzero()
    if not len(steps):
        return None
    t = int(steps[-1 if last_first else 0])
    quantity = next(q for q, b in bad.items() if b[t].any())
    sample, unit = (int(n) for n in bad[quantity][t].nonzero()[0])
    value = float(quantities[quantity][t, sample, unit])
    before = "; all values before it are finite" if not quantity.startswith("gradient") else ""
    return _finding(
        f"{name}, step {t}, {quantity}",
        f"{value:g} first in {quantity} of step {t}, sample {sample}, unit {unit}{before}",
        ("the input of the layer is not finite: check the layers before it",)
        if quantity == "input"
        else _OVERFLOW,
    )


def _first(tensor: Tensor) -> list[int] | None:
    """Return the index of the first non-finite value, or None."""
    if not (tensor.is_floating_point() and tensor.numel()) or tensor.isfinite().all():
        return None
    return [int(n) for n in (~tensor.isfinite()).nonzero()[0]]


def _value(tensor: Tensor, place: list[int]) -> str:
    return f"{float(tensor.detach()[tuple(place)]):g}"


def _finding(where: str, evidence: str, advice: tuple[str, ...]) -> Finding:
    return Finding("not finite", evidence, None, None, _SOURCE, where, advice)

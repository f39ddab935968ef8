"""The engine of the plain equations, which supports every call, in torch operations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from throughtime.nn import cells
from throughtime.nn.calls import LayerCall, Saved, StackCall, Trace
from throughtime.nn.engines.base import Stack


class Equations:
    """The engine that supports every call; the others are tested against it."""

    name = "equations"
    description = "the plain equations"

    def lacks(self, stack: Stack, call: StackCall) -> str:
        """Return an empty string: every call is supported."""
        return ""

    def run(self, stack: Stack, call: StackCall) -> tuple[Tensor, cells.State]:
        """Compute the layers one by one."""
        return stack.layer_by_layer(call, layer)


def layer(call: LayerCall) -> tuple[Tensor, cells.State]:
    """Compute one layer; return output [T',B',D*P] and the last state, [D,B,N] each."""
    x, lengths, trace = call.x, call.lengths, call.options.trace
    rows = None
    if call.batch_sizes is not None:
        rows, lengths = _rows_of_packed(call.batch_sizes, call.state[0].shape[1])
        x = x[0][rows]
    outputs: list[Tensor] = []
    states: list[cells.State] = []
    steps: list[list[Any]] = []
    for d, weights in enumerate(call.weights):
        zones = tuple(None if z is None else z[d] for z in call.zones)
        if rows is not None:
            zones = tuple(None if z is None else z[0][rows] for z in zones)
        steps.append([None] * x.shape[0])
        output, state = cells.sequence(
            call.cell.step,
            x,
            tuple(s[d] for s in call.state),
            weights,
            backwards=d == 1,
            extras=cells.Extras(
                lengths=lengths,
                reset=call.reset,
                h_mask=None if call.h_mask is None else call.h_mask[d],
                zones=zones,
                clip=call.options.clip,
            ),
            trace=steps[d] if trace else None,
        )
        outputs.append(output)
        states.append(state)
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
    inside = None
    if rows is not None and lengths is not None:
        inside = torch.arange(x.shape[0], device=x.device).unsqueeze(1) < lengths
        y = y[inside].unsqueeze(0)
    last = tuple(torch.stack(parts) for parts in zip(*states, strict=True))
    if trace is not None:
        _record(trace, steps, inside, y, last)
    return y, last


def _record(
    trace: Trace,
    steps: list[list[tuple[cells.State, cells.Gates]]],  # [D][T]
    inside: Tensor | None,  # [T, B], only if y is packed
    y: Tensor,
    last: cells.State,
) -> None:
    """Store the values in the trace now, and the gradients during a backward pass."""

    def placed(values: list[Tensor]) -> Tensor:  # T of [B, ...] to [T', B', ...]
        whole = torch.stack(values)
        return whole if inside is None else whole[inside].unsqueeze(0)

    empty = y.new_empty(0)
    values = empty
    if steps[0] and (steps[0][0][1] or len(last) > 1):
        values = torch.stack(
            [placed([torch.stack((*g, *s[1:]), dim=1).detach() for s, g in d]) for d in steps]
        )
    h_n, *others = (state.detach() for state in last)
    c_n = others[0] if others else empty
    trace.saved = Saved(y.detach(), h_n, c_n, values, empty)

    # only plain numbers: a hook that holds a tensor of the graph would keep the graph alive
    shapes = [(len(steps), *y.shape[:2], s.shape[-1]) for s in last]
    if trace.norms:
        shapes = [shape[:3] for shape in shapes]
    packed = inside is not None
    counts = [] if inside is None else inside.sum(dim=1).tolist()

    def watch(part: int, d: int, t: int) -> Callable[[Tensor], None]:
        first, count = sum(counts[:t]), counts[t] if packed else 0

        def store(gradient: Tensor) -> None:
            if trace.gradients is None:
                trace.gradients = tuple(gradient.new_zeros(shape) for shape in shapes)
            whole = trace.gradients[part]
            gradient = trace.reduced(gradient.detach())
            if packed:
                whole[d, 0, first : first + count].copy_(gradient[:count])
            else:
                whole[d, t].copy_(gradient)

        return store

    for d, states in enumerate(steps):
        for t, (state, _) in enumerate(states):
            for part, tensor in enumerate(state):
                if tensor.requires_grad:
                    tensor.register_hook(watch(part, d, t))  # pyright: ignore


def _rows_of_packed(batch_sizes: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Return the row of each step and sample [T,B] (undefined beyond a length), and lengths [B]."""
    inside = torch.arange(batch) < batch_sizes.unsqueeze(1)
    first = batch_sizes.cumsum(0) - batch_sizes
    rows = (first.unsqueeze(1) + torch.arange(batch)) * inside
    return rows, inside.sum(0)

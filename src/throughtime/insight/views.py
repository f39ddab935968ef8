"""What one pass through a layer showed: states, gates and gradients, step by step."""

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime.nn import cells, native
from throughtime.nn.calls import Given, Kept, Seen, by_equations
from throughtime.nn.differentiation import How, sequence
from throughtime.nn.layers import Layer

GATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "RNN": (),
        "LSTM": ("input", "forget", "cell", "output"),
        "GRU": ("reset", "update", "new"),
    }
)


class Pulled(NamedTuple):
    """Gradients that reached a layer, each in total; NaN beyond a sample's length."""

    dh: Tensor  # [T,B,P]
    dc: Tensor | None  # [T,B,H], LSTM alone
    dx: Tensor  # [T,B,I]


class View:
    """One layer in one direction, as it was in one forward pass and the backward pass through it.

    All values are ``[T,B,N]``, time first whatever the layer's own order, samples in the caller's
    order; what lies beyond a sample's length is NaN. Observed with ``keep="norms"``, the lengths of
    the vectors alone are there, in `norms`.
    """

    def __init__(self, layer: Layer, direction: int, call: "Call") -> None:
        self.kind = layer.kind
        self.nonlinearity = layer.nonlinearity
        self.backwards = direction == 1
        self._direction = direction
        self._call = call

    @property
    def hidden(self) -> Tensor:
        """h_t, ``[T,B,H]`` (``[T,B,P]`` with a projection)."""
        return self._values("hidden")

    @property
    def cell(self) -> Tensor:
        """The LSTM's c_t, ``[T,B,H]``. AttributeError for the others, which have none."""
        return self._values("cell")

    @property
    def gates(self) -> Mapping[str, Tensor]:
        """Gates by name, each ``[T,B,H]``, after their sigmoid or tanh.

        LSTM: input, forget, cell, output. GRU: reset, update, new. An RNN has none.
        """
        return MappingProxyType({name: self._values(f"{name} gate") for name in GATES[self.kind]})

    @property
    def hidden_grad(self) -> Tensor:
        """dL/dh_t in total, through the output and through all later steps, ``[T,B,H]``.

        Of the last backward pass, as `clip_hidden_grad` lets it through. RuntimeError where none
        has come by.
        """
        return self._values("hidden_grad")

    @property
    def cell_grad(self) -> Tensor:
        """dL/dc_t in total, through h_t and through all later steps, ``[T,B,H]``."""
        return self._values("cell_grad")

    @property
    def recomputed(self) -> bool:
        """Whether this was no call of yours but a checkpoint's, during a backward pass."""
        return self._call.recomputed

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass has come by."""
        return self._call.seen.dh is not None

    @property
    def norms(self) -> Mapping[str, Tensor]:
        """Euclidean lengths of the vectors, ``[T,B]``: of "hidden", "cell", of the gates ("forget
        gate"), and after a backward pass of "hidden_grad" and "cell_grad"."""
        names = _names(self.kind)
        if self.has_gradients:
            names += ["hidden_grad", *(["cell_grad"] if self.kind == "LSTM" else [])]
        reduced = self._call.norms
        return MappingProxyType(
            {
                name: values if reduced else values.norm(dim=-1)
                for name in names
                for values in (self._call.values(name, self.kind, self._direction),)
            }
        )

    @property
    def inside(self) -> Tensor:
        """Which steps a sample has: bool ``[T,B]``, False beyond its length."""
        return self._call.inside

    @property
    def reset(self) -> Tensor | None:
        """Where a new sequence begins, bool ``[T,B]``; None: nowhere."""
        return self._call.given.reset

    @property
    def input(self) -> Tensor:
        """x_t as this layer was given it, ``[T,B,I]``."""
        return self._values("input")

    @property
    def first_state(self) -> cells.State:
        """h, or h and c, before the first step, each ``[B,N]``."""
        given, order = self._call.given, self._call.order
        states = [s[self._direction] for s in (given.h_0, given.c_0) if s is not None]
        return tuple(s if order is None else s[order] for s in states)

    @property
    def weights(self) -> cells.Weights:
        """The parameters themselves."""
        given = self._call.given
        per = len(given.weights) // given.h_0.shape[0]
        own = given.weights[per * self._direction : per * (self._direction + 1)]
        biases = own[2:4] if per >= 4 else (None, None)
        return cells.Weights(own[0], own[1], *biases, hr=own[-1] if per % 2 else None)

    @property
    def state(self) -> cells.State:
        """h_t, or h_t and c_t, ``[T,B,N]`` each."""
        return (self.hidden, self.cell) if self.kind == "LSTM" else (self.hidden,)

    @property
    def state_before(self) -> cells.State:
        """The state that each step began with, ``[T,B,N]`` each: that of the step before (of the
        step after, in the reverse direction), the first state, or 0 after a reset."""
        steps, found = self.inside.shape[0], []
        last = self.inside.sum(dim=0) - 1
        for whole, first in zip(self.state, self.first_state, strict=True):
            if self.backwards:
                before = torch.cat([whole[1:], first.unsqueeze(0)]) if steps else whole
                samples = torch.arange(whole.shape[1], device=whole.device)[last >= 0]
                before[last[samples], samples] = first[samples]
            else:
                before = torch.cat([first.unsqueeze(0), whole[:-1]]) if steps else whole
                before = before.masked_fill(~self.inside.unsqueeze(-1), math.nan)
            found.append(before.masked_fill(self.begins.unsqueeze(-1), 0.0))
        return tuple(found)

    @property
    def begins(self) -> Tensor:
        """Steps that a reset lets begin anew: bool ``[T,B]``, in the direction of the layer."""
        if self.reset is None:
            return torch.zeros_like(self.inside)
        if not self.backwards:
            return self.reset & self.inside
        # read backwards, the border that is marked at t+1 lies between t+1 and t
        after = torch.zeros_like(self.inside)
        after[:-1] = (self.reset & self.inside)[1:]
        return after

    def steps(self, times: Tensor, samples: Tensor, state: cells.State) -> cells.State:
        """Some steps of the pass once more, with its inputs and masks, from other states.

        ``times [N]`` and ``samples [N]`` say which; the states before, each ``[N,H]``, to those
        after. By the plain equations, so in every way differentiable.
        """
        call, d, weights = self._call, self._direction, self.weights
        call.check_unchanged()
        given, order = call.given, call.order
        norms = call.layer_norms[d] if call.layer_norms else None
        x_part = nn.functional.linear(
            self.input[times, samples], weights.ih, weights.bias_ih if norms is None else None
        )
        if norms is not None:
            x_part = cells.normalized(x_part, norms.ih, weights.bias_ih)
        zones = tuple(
            None if z is None else call.placed(z[d])[times, samples]
            for z in (given.zone_h, given.zone_c)
        )
        h_mask = None
        if given.h_mask is not None:
            h_mask = given.h_mask[d][samples if order is None else order[samples]]
        how = (self.nonlinearity, h_mask, norms, zones)
        return cells.step(self.kind, x_part, state, weights, *how)[0]

    def pull(self) -> Callable[[Tensor], Pulled]:
        """The pass once more, and the function that takes a gradient of its output back.

        From ``dy [T,B,P]``, what a loss says of each h_t directly, to what reaches the states and
        the inputs. Without `clip_hidden_grad`: the gradient itself.
        """
        call, d = self._call, self._direction
        call.check_unchanged()
        with torch.inference_mode(False):  # what was made in that mode cannot be differentiated
            cloned = [None if t is None else t.detach().clone() for t in call.given[:-1]]
        given = Given(*cloned, weights=call.given.weights)  # pyright: ignore[reportArgumentType]
        seen, mode = Seen(), self.kind
        if self.kind == "RNN":
            mode = f"RNN_{self.nonlinearity.upper()}"
        states = [s for s in given[1:3] if isinstance(s, Tensor)]
        beyond = native.beyond_native((given.x, *states, *given.weights))
        zoned = given.zone_h is not None and self.weights.hr is not None
        with torch.inference_mode(False), torch.enable_grad():
            x = given.x.requires_grad_()
            if beyond or zoned or call.layer_norms:
                y = by_equations(mode, given, norms=call.layer_norms, seen=seen)[0]
            else:
                y = sequence(How(mode, seen=seen), given)[0]
        size = given.h_0.shape[-1]

        def back(dy: Tensor) -> Pulled:
            with torch.inference_mode(False):
                cotangent = torch.zeros_like(y)
                cotangent[..., d * size : (d + 1) * size] = call.spread(dy)
                (dx,) = torch.autograd.grad(y, x, cotangent, retain_graph=True)
            assert seen.dh is not None
            dc = None if seen.dc is None else call.placed(seen.dc[d])
            return Pulled(call.placed(seen.dh[d]), dc, call.placed(dx))

        return back

    def _values(self, name: str) -> Tensor:
        if name in ("cell", "cell_grad") and self.kind != "LSTM":
            raise AttributeError(f"a {self.kind} has no cell state; the LSTM alone has one")
        if name.endswith("_grad") and not self.has_gradients:
            raise RuntimeError(
                f"no {name} yet: no backward pass has come by this layer. Call backward() on a "
                "loss that was computed in the block with gradients enabled"
            )
        if self._call.norms:
            raise RuntimeError(
                f"of {name} its norms alone were kept: read .norms, or observe with keep='all'"
            )
        return self._call.values(name, self.kind, self._direction)

    def __repr__(self) -> str:
        steps, batch = self.inside.shape
        way = ", reverse" if self.backwards else ""
        size, gradients = self._call.given.h_0.shape[-1], "with" if self.has_gradients else "no"
        return f"View({self.kind}{way}, T={steps}, B={batch}, H={size}, {gradients} gradients)"


def _names(kind: str) -> list[str]:
    """What a forward pass leaves."""
    return ["hidden", *(["cell"] if kind == "LSTM" else []), *(f"{g} gate" for g in GATES[kind])]


class Call:
    """One layer's call, both directions: what it was given, and what it left."""

    def __init__(
        self,
        given: Given,
        order: Tensor | None,  # of a packed batch: where each sample of the caller's is
        layer_norms: list[cells.Norms],
        norms: bool,
    ) -> None:
        self._version = _version(given.x)
        self._versions = _versions(given)
        # computed during a backward pass: by a checkpoint, once more
        self.recomputed = torch._C._current_graph_task_id() != -1  # pyright: ignore
        states = [None if s is None else s.detach() for s in given[1:3]]
        self.given = Given(given.x.detach(), *states, *given[3:])  # pyright: ignore
        self.order = order
        self.layer_norms = layer_norms
        self.norms = norms
        self.seen = Seen(norms=norms)
        self._reduced: dict[str, Tensor] = {}  # [D, T', B'] each
        self._rows: Tensor | None = None  # [T, B]: where a packed batch has each step

    @cached_property
    def inside(self) -> Tensor:
        """Which steps a sample has, [T, B]."""
        given = self.given
        steps, batch, device = given.sizes[0], given.h_0.shape[1], given.x.device
        if given.batch_sizes is not None:
            sizes, samples = given.batch_sizes.unsqueeze(1), torch.arange(batch)
            inside, rows = samples < sizes, sizes.cumsum(0) - sizes + samples
            if self.order is not None:
                inside, rows = inside[:, self.order.cpu()], rows[:, self.order.cpu()]
            self._rows = (rows * inside).to(device)
            return inside.to(device)
        if given.lengths is None:
            return torch.ones(1, 1, dtype=torch.bool, device=device).expand(steps, batch)
        return torch.arange(steps, device=device).unsqueeze(1) < given.lengths

    def placed(self, values: Tensor) -> Tensor:
        """[T', B', ...] as [T, B, ...], NaN beyond a sample's length."""
        if self.given.lengths is None and self.given.batch_sizes is None:
            return values
        outside = ~self.inside.reshape(*self.inside.shape, *(1,) * (values.dim() - 2))
        if self._rows is not None:  # found with `inside`
            values = values[0][self._rows]
        return values.masked_fill(outside, math.nan)

    def spread(self, values: Tensor) -> Tensor:
        """[T, B, ...] as [T', B', ...]: what `placed` undoes; 0 beyond a sample's length."""
        inside = self.inside
        if self._rows is None:
            return values.masked_fill(~inside.reshape(*inside.shape, *(1,) * (values.dim() - 2)), 0)
        packed = values.new_empty(1, int(inside.sum()), *values.shape[2:])
        packed[0, self._rows[inside]] = values[inside]
        return packed

    def values(self, name: str, kind: str, direction: int) -> Tensor:
        """One quantity, [T, B, N], or with norms [T, B]."""
        if name.endswith("_grad"):
            gradient = self.seen.dh if name == "hidden_grad" else self.seen.dc
            assert gradient is not None
            return self.placed(gradient[direction])
        if self.norms:
            self.reduce(kind)
            return self.placed(self._reduced[name][direction])
        if name == "input":
            self._check(self.given.x, "input")
            return self.placed(self.given.x)
        if self.seen.kept is None:
            raise RuntimeError("the forward pass of this layer did not come to its end")
        return self.placed(self._part(self.seen.kept, name, kind, direction))

    def _part(self, kept: Kept, name: str, kind: str, direction: int) -> Tensor:
        if name == "hidden":
            self._check(kept.y, "output")
            size = self.given.h_0.shape[-1]
            return kept.y[..., direction * size : (direction + 1) * size]
        gates = [f"{gate} gate" for gate in GATES[kind]]
        return kept.gates[direction, :, :, len(gates) if name == "cell" else gates.index(name)]

    def _check(self, tensor: Tensor, what: str) -> None:
        if _version(tensor) != (self._version if what == "input" else 0):  # outputs are new
            raise RuntimeError(
                f"the layer's {what} was changed in place after the forward pass, and what was "
                f"seen with it; change a copy instead"
            )

    def check_unchanged(self) -> None:
        """Raise RuntimeError unless weights and first states are as they were in the pass."""
        if self.norms:
            raise RuntimeError("norms alone were kept: to measure, observe with keep='all'")
        if _versions(self.given) != self._versions:
            raise RuntimeError(
                "the weights or the first state were changed since the pass (by an optimizer's "
                "step?): measure before that, or observe another pass"
            )

    def reduce(self, kind: str) -> None:
        """Keep lengths alone, once the forward pass has left its values."""
        kept = self.seen.kept
        if kept is None:  # not yet, or another thread was here
            return
        directions = range(self.given.h_0.shape[0])
        for name in _names(kind):
            parts = [self._part(kept, name, kind, d).norm(dim=-1) for d in directions]
            self._reduced[name] = torch.stack(parts)
        self.seen.kept = None
        x = self.given.x.new_empty((*self.given.x.shape[:2], 0))  # no view: that would hold it
        self.given = self.given._replace(x=x, zone_h=None, zone_c=None)


def _versions(given: Given) -> list[int]:
    tensors = (given.h_0, given.c_0, *given.weights)
    return [_version(tensor) for tensor in tensors if tensor is not None]


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # pyright: ignore[reportPrivateUsage]

"""Views of observed passes through a layer: states, gates and gradients at every step."""

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.nn import cells
from throughtime.nn.calls import CallOptions, LayerCall, Saved, Trace, flat_weights
from throughtime.nn.cell_types import CellType
from throughtime.nn.engines import autograd, equations, kernels


class PulledGradients(NamedTuple):
    """Total gradients of states and inputs; NaN beyond a sample's length."""

    dstate: tuple[Tensor, ...]  # dL/dh_t [T,B,P], then those of the other states [T,B,H]
    dx: Tensor  # [T,B,I]


class View:
    """One layer in one direction, in one forward pass and its backward pass.

    All values are ``[T,B,N]``: always time first, with samples in the caller's order and NaN beyond
    a sample's length. With ``keep="norms"``, only `norms` is available.
    """

    def __init__(self, direction: int, call: "ObservedCall") -> None:
        self.cell_type: CellType = call.call.cell
        self.backwards = direction == 1
        self._direction = direction
        self._call = call

    @property
    def kind(self) -> str:
        """The name of the cell: RNN, LSTM or GRU."""
        return self.cell_type.name

    @property
    def hidden(self) -> Tensor:
        """h_t, ``[T,B,H]`` (``[T,B,P]`` with a projection)."""
        return self._values("hidden")

    @property
    def cell(self) -> Tensor:
        """c_t of the LSTM, ``[T,B,H]``. Raises AttributeError for cells without it."""
        return self._values("cell")

    @property
    def states(self) -> Mapping[str, Tensor]:
        """All states by name, each ``[T,B,N]``, "hidden" first."""
        return MappingProxyType({name: self._values(name) for name in self.cell_type.states})

    @property
    def gates(self) -> Mapping[str, Tensor]:
        """Gates by name, each ``[T,B,H]``, after their activation.

        LSTM: input, forget, cell, output. GRU: reset, update, new. An RNN has none.
        """
        names = [gate.name for gate in self.cell_type.gates]
        return MappingProxyType({name: self._values(f"{name} gate") for name in names})

    @property
    def hidden_grad(self) -> Tensor:
        """Total dL/dh_t, through the output and through all later steps, ``[T,B,H]``.

        From the last backward pass, after `clip_hidden_grad`. Raises RuntimeError before the first
        backward pass.
        """
        return self._values("hidden_grad")

    @property
    def cell_grad(self) -> Tensor:
        """Total dL/dc_t, through h_t and through all later steps, ``[T,B,H]``."""
        return self._values("cell_grad")

    @property
    def state_gradients(self) -> Mapping[str, Tensor]:
        """Total gradients of all states by name, each ``[T,B,N]``; see `hidden_grad`."""
        names = self.cell_type.states
        return MappingProxyType({name: self._values(f"{name}_grad") for name in names})

    @property
    def recomputed(self) -> bool:
        """Whether the pass was a recomputation by a checkpoint during a backward pass."""
        return self._call.recomputed

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass has reached this layer."""
        return self._call.trace.gradients is not None

    @property
    def norms(self) -> Mapping[str, Tensor]:
        """Euclidean norms by name, each ``[T,B]``.

        Names are those of states ("hidden", "cell"), of gates ("forget gate"), and after a backward
        pass of gradients ("hidden_grad", "cell_grad").
        """
        names = _names(self.cell_type)
        if self.has_gradients:
            names += [f"{state}_grad" for state in self.cell_type.states]
        reduced = self._call.norms
        return MappingProxyType(
            {
                name: values if reduced else values.norm(dim=-1)
                for name in names
                for values in (self._call.values(name, self._direction),)
            }
        )

    @property
    def inside(self) -> Tensor:
        """Valid steps: bool ``[T,B]``, False beyond a sample's length."""
        return self._call.inside

    @property
    def reset(self) -> Tensor | None:
        """True where a new sequence begins, bool ``[T,B]``; None if there are no resets."""
        return self._call.call.reset

    @property
    def input(self) -> Tensor:
        """Input x_t of this layer, ``[T,B,I]``."""
        return self._values("input")

    @property
    def first_state(self) -> cells.State:
        """Initial states, each ``[B,N]``."""
        call, order = self._call.call, self._call.order
        states = [s[self._direction] for s in call.state]
        return tuple(s if order is None else s[order] for s in states)

    @property
    def weights(self) -> cells.Weights:
        """Parameters of this layer and direction, not copied."""
        return self._call.call.weights[self._direction]

    @property
    def state(self) -> cells.State:
        """All states, ``[T,B,N]`` each, h first."""
        return tuple(self.states.values())

    @property
    def state_before(self) -> cells.State:
        """States at the beginning of each step, ``[T,B,N]`` each.

        This is the state of the step before (in the reverse direction: of the step after), the
        initial state, or 0 after a reset.
        """
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
        """Steps whose previous state is reset: bool ``[T,B]``, for the direction of the layer."""
        if self.reset is None:
            return torch.zeros_like(self.inside)
        if not self.backwards:
            return self.reset & self.inside
        # backwards, the step to t comes from t+1, so reset[t+1] applies
        after = torch.zeros_like(self.inside)
        after[:-1] = (self.reset & self.inside)[1:]
        return after

    def steps(self, times: Tensor, samples: Tensor, state: cells.State) -> cells.State:
        """Recompute single steps with the inputs and masks of the pass, from given states.

        ``times [N]`` and ``samples [N]`` select the steps. Maps the previous states, each
        ``[N,H]``, to the new states. Uses the plain equations, so it is fully differentiable.
        """
        observed, d, weights = self._call, self._direction, self.weights
        observed.check_unchanged()
        call, order = observed.call, observed.order
        x_part = cells.input_part(self.input[times, samples], weights)
        zones = tuple(
            None if z is None else observed.unpack(z[d])[times, samples] for z in call.zones
        )
        h_mask = None
        if call.h_mask is not None:
            h_mask = call.h_mask[d][samples if order is None else order[samples]]
        return cells.step(self.cell_type.step, x_part, state, weights, h_mask, zones)[0]

    def pull(self) -> Callable[[Tensor], PulledGradients]:
        """Recompute the pass, and return a function that backpropagates a gradient of its output.

        The function maps ``dy [T,B,P]``, the direct gradient of a loss with respect to each h_t, to
        the total gradients of the states and inputs. `clip_hidden_grad` is not applied.
        """
        observed, d, trace = self._call, self._direction, Trace()
        observed.check_unchanged()
        call = observed.call
        with torch.inference_mode(False):  # inference tensors cannot be differentiated
            call = call._replace(
                x=_cloned(call.x),
                state=tuple(map(_cloned, call.state)),
                lengths=_cloned(call.lengths),
                batch_sizes=_cloned(call.batch_sizes),
                reset=_cloned(call.reset),
                h_mask=_cloned(call.h_mask),
                zones=tuple(map(_cloned, call.zones)),
                options=CallOptions(trace=trace),
            )
        with torch.inference_mode(False), torch.enable_grad():
            x = call.x.requires_grad_()
            run = autograd.sequence if kernels.compute(call) else equations.layer
            y = run(call)[0]
        size = call.state[0].shape[-1]

        def back(dy: Tensor) -> PulledGradients:
            with torch.inference_mode(False):
                cotangent = torch.zeros_like(y)
                cotangent[..., d * size : (d + 1) * size] = observed.repack(dy)
                (dx,) = torch.autograd.grad(y, x, cotangent, retain_graph=True)
            assert trace.gradients is not None
            dstate = tuple(observed.unpack(gradient[d]) for gradient in trace.gradients)
            return PulledGradients(dstate, observed.unpack(dx))

        return back

    def _values(self, name: str) -> Tensor:
        state = name.removesuffix("_grad")
        if state in ("hidden", "cell") and state not in self.cell_type.states:
            raise AttributeError(f"a {self.kind} has no {state} state")
        if name.endswith("_grad") and not self.has_gradients:
            raise RuntimeError(
                f"no {name} yet: no backward pass has reached this layer. Call backward() on a "
                "loss that was computed in the block with gradients enabled"
            )
        if self._call.norms:
            raise RuntimeError(
                f"only the norms of {name} were kept: use .norms, or observe with keep='all'"
            )
        return self._call.values(name, self._direction)

    def __repr__(self) -> str:
        steps, batch = self.inside.shape
        direction = ", reverse" if self.backwards else ""
        size, gradients = self._call.call.state[0].shape[-1], "with" if self.has_gradients else "no"
        return (
            f"View({self.kind}{direction}, T={steps}, B={batch}, H={size}, {gradients} gradients)"
        )


def _names(cell: CellType) -> list[str]:
    """Return the names of the states and gates of a cell."""
    return [*cell.states, *(f"{gate.name} gate" for gate in cell.gates)]


def _cloned(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().clone()


class ObservedCall:
    """A call of one layer in all directions: its arguments and recorded values."""

    def __init__(
        self,
        call: LayerCall,
        order: Tensor | None,  # packed batch: index of each of the caller's samples
        norms: bool,
    ) -> None:
        self._version = _version(call.x)
        self._versions = _versions(call)
        # during a backward pass: recomputed by a checkpoint
        self.recomputed = torch._C._current_graph_task_id() != -1  # pyright: ignore
        self.call = call._replace(x=call.x.detach(), state=tuple(s.detach() for s in call.state))
        self.order = order
        self.norms = norms
        self.trace = Trace(norms=norms)
        self._reduced: dict[str, Tensor] = {}  # [D, T', B'] each
        self._rows: Tensor | None = None  # [T, B]: row of each step in a packed batch

    @cached_property
    def inside(self) -> Tensor:
        """Valid steps, [T, B]."""
        call = self.call
        steps, batch, device = call.steps, call.state[0].shape[1], call.x.device
        if call.batch_sizes is not None:
            sizes, samples = call.batch_sizes.unsqueeze(1), torch.arange(batch)
            inside, rows = samples < sizes, sizes.cumsum(0) - sizes + samples
            if self.order is not None:
                inside, rows = inside[:, self.order.cpu()], rows[:, self.order.cpu()]
            self._rows = (rows * inside).to(device)
            return inside.to(device)
        if call.lengths is None:
            return torch.ones(1, 1, dtype=torch.bool, device=device).expand(steps, batch)
        return torch.arange(steps, device=device).unsqueeze(1) < call.lengths

    def unpack(self, values: Tensor) -> Tensor:
        """Convert [T', B', ...] to [T, B, ...], with NaN beyond a sample's length."""
        if self.call.lengths is None and self.call.batch_sizes is None:
            return values
        outside = ~self.inside.reshape(*self.inside.shape, *(1,) * (values.dim() - 2))
        if self._rows is not None:  # set by `inside`
            values = values[0][self._rows]
        return values.masked_fill(outside, math.nan)

    def repack(self, values: Tensor) -> Tensor:
        """Convert [T, B, ...] to [T', B', ...], with 0 beyond a sample's length."""
        inside = self.inside
        if self._rows is None:
            return values.masked_fill(~inside.reshape(*inside.shape, *(1,) * (values.dim() - 2)), 0)
        packed = values.new_empty(1, int(inside.sum()), *values.shape[2:])
        packed[0, self._rows[inside]] = values[inside]
        return packed

    def values(self, name: str, direction: int) -> Tensor:
        """Return one quantity, [T, B, N], or its norms, [T, B]."""
        if name.endswith("_grad"):
            assert self.trace.gradients is not None
            state = self.call.cell.states.index(name.removesuffix("_grad"))
            return self.unpack(self.trace.gradients[state][direction])
        if self.norms:
            self.reduce()
            return self.unpack(self._reduced[name][direction])
        if name == "input":
            self._check(self.call.x, "input")
            return self.unpack(self.call.x)
        if self.trace.saved is None:
            raise RuntimeError("the forward pass of this layer did not finish; run it again")
        return self.unpack(self._part(self.trace.saved, name, direction))

    def _part(self, saved: Saved, name: str, direction: int) -> Tensor:
        if name == "hidden":
            self._check(saved.y, "output")
            size = self.call.state[0].shape[-1]
            return saved.y[..., direction * size : (direction + 1) * size]
        return saved.values[direction, :, :, self.call.cell.saved.index(name)]

    def _check(self, tensor: Tensor, what: str) -> None:
        if _version(tensor) != (
            self._version if what == "input" else 0
        ):  # outputs start at version 0
            raise RuntimeError(
                f"the layer's {what} was changed in place after the forward pass, which also "
                "changed the observed values; change a copy instead"
            )

    def check_unchanged(self) -> None:
        """Raise RuntimeError if weights or initial states were changed since the pass."""
        if self.norms:
            raise RuntimeError("only norms were kept: observe with keep='all' to measure")
        if _versions(self.call) != self._versions:
            raise RuntimeError(
                "the weights or the initial state were changed since the pass (by an optimizer "
                "step?): measure before the change, or observe another pass"
            )

    def reduce(self) -> None:
        """Replace the recorded values by their norms, once the forward pass has finished."""
        saved = self.trace.saved
        if saved is None:  # not finished, or another thread did it
            return
        for name in _names(self.call.cell):
            parts = [self._part(saved, name, d).norm(dim=-1) for d in range(self.call.directions)]
            self._reduced[name] = torch.stack(parts)
        self.trace.saved = None
        x = self.call.x.new_empty(
            (*self.call.x.shape[:2], 0)
        )  # not a view, which would keep x alive
        self.call = self.call._replace(x=x, zones=())


def _versions(call: LayerCall) -> list[int]:
    return [_version(tensor) for tensor in (*call.state, *flat_weights(call.weights))]


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # pyright: ignore[reportPrivateUsage]

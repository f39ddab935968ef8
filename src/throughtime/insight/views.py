"""What one pass through a layer showed: states, gates and gradients, step by step."""

import math
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor, nn

from throughtime.nn import cells
from throughtime.nn.calls import Given, Seen
from throughtime.nn.layers import Layer

GATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "RNN": (),
        "LSTM": ("input", "forget", "cell", "output"),
        "GRU": ("reset", "update", "new"),
    }
)


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

    def step(self, t: int, x_t: Tensor, state: cells.State) -> cells.State:
        """Step t of the pass once more, with its masks, by the plain equations.

        ``x_t [B,I]`` and the state before, each ``[B,N]``, to the state after. Differentiable.
        """
        call, d, weights = self._call, self._direction, self.weights
        given = call.given
        norms = call.layer_norms[d] if call.layer_norms else None
        x_part = nn.functional.linear(x_t, weights.ih, weights.bias_ih if norms is None else None)
        if norms is not None:
            x_part = cells.normalized(x_part, norms.ih, weights.bias_ih)
        zones = tuple(
            None if z is None else call.placed(z[d], 0.0)[t] for z in (given.zone_h, given.zone_c)
        )
        h_mask = None if given.h_mask is None else given.h_mask[d]
        if h_mask is not None and call.order is not None:
            h_mask = h_mask[call.order]
        how = (self.nonlinearity, h_mask, norms, zones)
        return cells.step(self.kind, x_part, state, weights, *how)[0]

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
        states = (None if s is None else s.detach() for s in given[1:3])
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

    def placed(self, values: Tensor, beyond: float = math.nan) -> Tensor:
        """[T', B', ...] as [T, B, ...], with `beyond` beyond a sample's length."""
        if self.given.lengths is None and self.given.batch_sizes is None:
            return values
        outside = ~self.inside.reshape(*self.inside.shape, *(1,) * (values.dim() - 2))
        if self._rows is not None:  # found with `inside`
            values = values[0][self._rows]
        return values.masked_fill(outside, beyond)

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
        return self.placed(self._part(name, kind, direction))

    def _part(self, name: str, kind: str, direction: int) -> Tensor:
        kept = self.seen.kept
        if kept is None:
            raise RuntimeError("the forward pass of this layer did not come to its end")
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

    def reduce(self, kind: str) -> None:
        """Keep lengths alone, once the forward pass has left its values."""
        if self.seen.kept is None:
            return
        directions = range(self.given.h_0.shape[0])
        for name in _names(kind):
            parts = [self._part(name, kind, d).norm(dim=-1) for d in directions]
            self._reduced[name] = torch.stack(parts)
        self.seen.kept = None
        self.given = self.given._replace(x=self.given.x[..., :0], zone_h=None, zone_c=None)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # pyright: ignore[reportPrivateUsage]

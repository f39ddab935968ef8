"""The equations of the Elman RNN, the LSTM and the GRU, and the loop through time, in plain torch.

This file is the definition: every faster path is tested against it. A cell is a pointwise function
of three things: the input part ``x_part = W_ih x_t + b_ih``, the recurrent part
``h_part = W_hh h_{t-1} + b_hh``, and the previous state. It gives the new state, and the gates on
the way to it for those who look. Letters and gate order: docs/design.md.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

State = tuple[Tensor, ...]  # (h,) or, for the LSTM, (h, c); each [B, H]
Gates = tuple[Tensor, ...]  # in torch's order, each [B, H]


def elman(x_part: Tensor, h_part: Tensor, state: State, nonlinearity: str) -> tuple[State, Gates]:
    """h' = f(x + r), f = tanh or relu.  All [B, H].  Elman 1990."""
    f = torch.tanh if nonlinearity == "tanh" else torch.relu
    return (f(x_part + h_part),), ()


def lstm(
    x_part: Tensor, h_part: Tensor, state: State, norms: "Norms | None" = None
) -> tuple[State, Gates]:
    """Parts [B, 4H] in the order input, forget, cell, output; state (h, c).

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    parts = (x_part + h_part).chunk(4, dim=-1)
    i, f, o = (torch.sigmoid(parts[k]) for k in (0, 1, 3))
    g = torch.tanh(parts[2])
    c = f * state[1] + i * g
    shown = c if norms is None or norms.c is None else normalized(c, norms.c, norms.bias_c)
    h = o * torch.tanh(shown)
    return (h, c), (i, f, g, o)


def gru(x_part: Tensor, h_part: Tensor, state: State) -> tuple[State, Gates]:
    """Parts [B, 3H] in the order reset, update, new; state (h,).

    Cho et al. 2014, in the form of torch and cuDNN: reset is applied after the recurrent product,
    which comes after the gates.
    """
    x_r, x_z, x_n = x_part.chunk(3, dim=-1)
    h_r, h_z, h_n = h_part.chunk(3, dim=-1)
    r = torch.sigmoid(x_r + h_r)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * state[0],), (r, z, n, h_n)


GATES: Mapping[str, int] = MappingProxyType({"RNN": 1, "GRU": 3, "LSTM": 4})


class Weights(NamedTuple):
    """The parameters of one layer in one direction, shaped as torch.nn shapes them."""

    ih: Tensor  # [G*H, I]
    hh: Tensor  # [G*H, H], or [G*H, P] with a projection
    bias_ih: Tensor | None = None  # [G*H]
    bias_hh: Tensor | None = None  # [G*H]
    hr: Tensor | None = None  # [P, H]: h = hr (o tanh(c)), Sak et al. 2014


class Norms(NamedTuple):
    """Layer normalization (Ba et al. 2016, eq. 20 to 22): gains, and a bias for the cell state."""

    ih: Tensor  # [G*H]: of the input part
    hh: Tensor  # [G*H]: of the recurrent part
    c: Tensor | None = None  # [H], LSTM alone: of the cell state on its way to h
    bias_c: Tensor | None = None  # [H]


class Extras(NamedTuple):
    """What a sequence may have besides; shapes for one direction."""

    lengths: Tensor | None = None  # [B]
    reset: Tensor | None = None  # [T, B]
    h_mask: Tensor | None = None  # [B, P]: recurrent dropout (Gal and Ghahramani 2016)
    zone_h: Tensor | None = None  # [T, B, P]: zoneout (Krueger et al. 2017)
    zone_c: Tensor | None = None  # [T, B, H]
    clip: float = 0.0  # bound on the norm of dL/dh_t, for each sample; 0 for none
    norms: Norms | None = None


def step(
    kind: str,
    x_part: Tensor,
    state: State,
    weights: Weights,
    nonlinearity: str = "tanh",
    h_mask: Tensor | None = None,
    norms: Norms | None = None,
    zones: tuple[Tensor | None, ...] = (None, None),
) -> tuple[State, Gates]:
    """One time step of a cell.  x_part [B, G*H], state each [B, H] (h: [B, P] with projection)."""
    h = state[0] if h_mask is None else state[0] * h_mask
    if norms is None:
        h_part = functional.linear(h, weights.hh, weights.bias_hh)
    else:
        h_part = normalized(functional.linear(h, weights.hh), norms.hh, weights.bias_hh)
    if kind == "LSTM":
        (new_h, c), gates = lstm(x_part, h_part, state, norms)
        new = (new_h if weights.hr is None else functional.linear(new_h, weights.hr), c)
    elif kind == "GRU":
        new, gates = gru(x_part, h_part, state)
    else:
        new, gates = elman(x_part, h_part, state, nonlinearity)
    zoned = zip(new, state, zones, strict=False)
    return tuple(n if z is None else z * s + (1 - z) * n for n, s, z in zoned), gates


def normalized(part: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """Layer normalization over the last axis."""
    return functional.layer_norm(part, part.shape[-1:], gain, bias)


def sequence(
    kind: str,
    x: Tensor,
    state: State,
    weights: Weights,
    *,
    nonlinearity: str = "tanh",
    backwards: bool = False,
    extras: Extras | None = None,
    seen: list[tuple[State, Gates]] | None = None,
) -> tuple[Tensor, State]:
    """One layer in one direction through all of time.

    ``x [T, B, I]`` to ``output [T, B, H]`` and the last state. Past a sample's length its state
    stands still and its output is 0. ``reset [T, B]`` is True where a new sequence begins: no state
    crosses from t-1 to t, in either direction. ``seen`` gets each step's state and gates.
    """
    lengths, reset, h_mask, zone_h, zone_c, clip, norms = extras or Extras()
    steps = x.shape[0]
    if norms is None:
        x_parts = functional.linear(x, weights.ih, weights.bias_ih)
    else:
        x_parts = normalized(functional.linear(x, weights.ih), norms.ih, weights.bias_ih)
    outputs: list[Tensor] = [x.new_empty(0)] * steps
    for t in reversed(range(steps)) if backwards else range(steps):
        if reset is not None:
            # read backwards, the border is crossed between t+1 and t
            border = t + 1 if backwards else t
            if border < steps:
                cleared = reset[border]
                if lengths is not None:  # marks beyond a sample's length say nothing
                    cleared = cleared & (border < lengths)
                state = tuple(s.masked_fill(cleared.unsqueeze(-1), 0) for s in state)
        zones = tuple(z if z is None else z[t] for z in (zone_h, zone_c))
        new, gates = step(kind, x_parts[t], state, weights, nonlinearity, h_mask, norms, zones)
        if seen is not None:
            seen[t] = new, gates  # gradients come here as they were clipped
        if clip:
            new = (clip_gradient(new[0], clip), *new[1:])
        if lengths is None:
            outputs[t] = new[0]
        else:
            inside = (t < lengths).unsqueeze(-1)
            new = tuple(torch.where(inside, n, s) for n, s in zip(new, state, strict=True))
            outputs[t] = torch.where(inside, new[0], torch.zeros_like(new[0]))
        state = new
    if steps == 0:
        return x.new_empty(0, *state[0].shape), state
    return torch.stack(outputs), state


def clip_gradient(h: Tensor, bound: float) -> Tensor:
    """h itself, [B, H]; on the way back no sample's gradient is longer than `bound`."""
    return _ClipGradient.apply(h, bound)  # pyright: ignore


class _ClipGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, bound: float) -> Tensor:  # pyright: ignore
        return h.view_as(h)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.bound = inputs[1]

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        norm = dh.norm(dim=-1, keepdim=True)
        return torch.where(norm > ctx.bound, dh * (ctx.bound / norm), dh), None

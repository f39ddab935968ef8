"""Equations of the Elman RNN, LSTM and GRU, and the loop over time, in plain torch.

This file is the reference: every faster engine is tested against it. A cell is a pointwise
function of three things: the input part ``x_part = W_ih x_t + b_ih``, the recurrent part
``h_part = W_hh h_{t-1} + b_hh``, and the previous state. It returns the new state and the
intermediate values: the gates, and other values that a backward pass needs. For the other
properties of a cell, see `cell_types.py`. For notation and gate order, see docs/design.md.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

State = tuple[Tensor, ...]  # h first, then the other states of the cell; each [B, H]
Gates = tuple[Tensor, ...]  # in the order of the weight blocks, each [B, H]


class CellStep(Protocol):
    """The pointwise part of a cell, for one time step.

    ``x_part`` and ``h_part`` are ``[B, blocks*H]``, the state is a tuple of ``[B, H]``. Returns
    the new state and the gates. ``h_part`` is 0 for a cell without recurrent weights; ``norms`` is
    not None if ``layer_norm=True`` normalizes the second state.
    """

    def __call__(
        self, x_part: Tensor, h_part: Tensor, state: State, norms: "Norms | None" = None
    ) -> tuple[State, Gates]:
        """Compute one step."""
        ...


def elman_tanh(
    x_part: Tensor, h_part: Tensor, state: State, norms: "Norms | None" = None
) -> tuple[State, Gates]:
    """h' = tanh(x + r).  All [B, H].  Elman 1990."""
    return (torch.tanh(x_part + h_part),), ()


def elman_relu(
    x_part: Tensor, h_part: Tensor, state: State, norms: "Norms | None" = None
) -> tuple[State, Gates]:
    """h' = max(0, x + r).  All [B, H].  Le et al. 2015."""
    return (torch.relu(x_part + h_part),), ()


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
    scaled = c if norms is None or norms.c is None else normalized(c, norms.c, norms.bias_c)
    h = o * torch.tanh(scaled)
    return (h, c), (i, f, g, o)


def gru(
    x_part: Tensor, h_part: Tensor, state: State, norms: "Norms | None" = None
) -> tuple[State, Gates]:
    """Parts [B, 3H] in the order reset, update, new; state (h,).

    Cho et al. 2014, in the form of torch and cuDNN: the reset gate is applied after the recurrent
    product. h_n is returned after the gates.
    """
    x_r, x_z, x_n = x_part.chunk(3, dim=-1)
    h_r, h_z, h_n = h_part.chunk(3, dim=-1)
    r = torch.sigmoid(x_r + h_r)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * state[0],), (r, z, n, h_n)


class Norms(NamedTuple):
    """Layer normalization (Ba et al. 2016, eq. 20 to 22): gains, and the cell state's bias."""

    ih: Tensor  # [G*H]: gain of the input part
    hh: Tensor  # [G*H]: gain of the recurrent part
    c: Tensor | None = None  # [H]: gain of the LSTM's cell state where h is computed
    bias_c: Tensor | None = None  # [H]


class Weights(NamedTuple):
    """Parameters of one layer in one direction, with the shapes of torch.nn."""

    ih: Tensor  # [G*H, I]
    hh: Tensor | None  # [G*H, H], or [G*H, P] with a projection; None if the cell has none
    bias_ih: Tensor | None = None  # [G*H]
    bias_hh: Tensor | None = None  # [G*H]
    hr: Tensor | None = None  # [P, H]: h = hr (o tanh(c)), Sak et al. 2014
    norms: Norms | None = None


class Extras(NamedTuple):
    """Options of `sequence`; shapes are for one direction."""

    lengths: Tensor | None = None  # [B]
    reset: Tensor | None = None  # [T, B]
    h_mask: Tensor | None = None  # [B, P]: recurrent dropout (Gal and Ghahramani 2016)
    zones: tuple[Tensor | None, ...] = ()  # one per state, [T, B, .]: zoneout (Krueger et al. 2017)
    clip: float = 0.0  # maximum norm of dL/dh_t per sample; 0 disables clipping


def input_part(x: Tensor, weights: Weights) -> Tensor:
    """W_ih x + b_ih, with layer normalization if used: [..., I] to [..., G*H]."""
    if weights.norms is None:
        return functional.linear(x, weights.ih, weights.bias_ih)
    return normalized(functional.linear(x, weights.ih), weights.norms.ih, weights.bias_ih)


def recurrent_part(h: Tensor, weights: Weights) -> Tensor:
    """W_hh h + b_hh, with layer normalization if used: [B, P] to [B, G*H]; 0 without W_hh."""
    if weights.hh is None:
        return h.new_zeros(())
    if weights.norms is None:
        return functional.linear(h, weights.hh, weights.bias_hh)
    return normalized(functional.linear(h, weights.hh), weights.norms.hh, weights.bias_hh)


def step(
    cell: CellStep,
    x_part: Tensor,
    state: State,
    weights: Weights,
    h_mask: Tensor | None = None,
    zones: tuple[Tensor | None, ...] = (),
) -> tuple[State, Gates]:
    """One time step of a cell.  x_part [B, G*H]; states [B, H], with projection h [B, P]."""
    h = state[0] if h_mask is None else state[0] * h_mask
    new, gates = cell(x_part, recurrent_part(h, weights), state, weights.norms)
    if weights.hr is not None:
        new = (functional.linear(new[0], weights.hr), *new[1:])
    if zones:
        zoned = zip(new, state, zones, strict=True)
        new = tuple(n if z is None else z * s + (1 - z) * n for n, s, z in zoned)
    return new, gates


def normalized(part: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """Layer normalization over the last axis."""
    return functional.layer_norm(part, part.shape[-1:], gain, bias)


def sequence(
    cell: CellStep,
    x: Tensor,
    state: State,
    weights: Weights,
    *,
    backwards: bool = False,
    extras: Extras | None = None,
    trace: list[tuple[State, Gates]] | None = None,
) -> tuple[Tensor, State]:
    """Run one layer in one direction over all time steps.

    Maps ``x [T, B, I]`` to ``output [T, B, H]`` and the last state. Beyond a sample's length, its
    state does not change and its output is 0. ``reset [T, B]`` is True where a new sequence begins:
    no state is carried between t-1 and t, in either direction. The state and gates of each step are
    stored in ``trace``.
    """
    extras = extras or Extras()
    lengths, reset, clip = extras.lengths, extras.reset, extras.clip
    steps = x.shape[0]
    x_parts = input_part(x, weights)
    outputs: list[Tensor] = [x.new_empty(0)] * steps
    for t in reversed(range(steps)) if backwards else range(steps):
        if reset is not None:
            # backwards, the step to t comes from t+1, so reset[t+1] applies
            start = t + 1 if backwards else t
            if start < steps:
                cleared = reset[start]
                if lengths is not None:  # ignore resets beyond a sample's length
                    cleared = cleared & (start < lengths)
                state = tuple(s.masked_fill(cleared.unsqueeze(-1), 0) for s in state)
        zones = tuple(z if z is None else z[t] for z in extras.zones)
        new, gates = step(cell, x_parts[t], state, weights, extras.h_mask, zones)
        if trace is not None:
            trace[t] = new, gates  # before clip_gradient, so traced gradients are the clipped ones
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
    """Return h [B, H]; in the backward pass, clip each sample's gradient norm to `bound`."""
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

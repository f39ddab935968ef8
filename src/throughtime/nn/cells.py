"""The equations of the Elman RNN, the LSTM and the GRU, and the loop through time, in plain torch.

This file is the definition: every faster path is tested against it. A cell is a pointwise function
of three things: the input part ``x_part = W_ih x_t + b_ih``, the recurrent part
``h_part = W_hh h_{t-1} + b_hh``, and the previous state. Letters and gate order: docs/design.md.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

State = tuple[Tensor, ...]  # (h,) or, for the LSTM, (h, c); each [B, H]


def elman(x_part: Tensor, h_part: Tensor, state: State, nonlinearity: str) -> State:
    """h' = f(x + r), f = tanh or relu.  All [B, H].  Elman 1990."""
    f = torch.tanh if nonlinearity == "tanh" else torch.relu
    return (f(x_part + h_part),)


def lstm(x_part: Tensor, h_part: Tensor, state: State) -> State:
    """Parts [B, 4H] in the order input, forget, cell, output; state (h, c).

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    i, f, g, o = (x_part + h_part).chunk(4, dim=-1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


def gru(x_part: Tensor, h_part: Tensor, state: State) -> State:
    """Parts [B, 3H] in the order reset, update, new; state (h,).

    Cho et al. 2014, in the form of torch and cuDNN: reset is applied after the recurrent product.
    """
    x_r, x_z, x_n = x_part.chunk(3, dim=-1)
    h_r, h_z, h_n = h_part.chunk(3, dim=-1)
    r = torch.sigmoid(x_r + h_r)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * state[0],)


GATES: Mapping[str, int] = MappingProxyType({"RNN": 1, "GRU": 3, "LSTM": 4})


class Weights(NamedTuple):
    """The parameters of one layer in one direction, shaped as torch.nn shapes them."""

    ih: Tensor  # [G*H, I]
    hh: Tensor  # [G*H, H], or [G*H, P] with a projection
    bias_ih: Tensor | None = None  # [G*H]
    bias_hh: Tensor | None = None  # [G*H]
    hr: Tensor | None = None  # [P, H]: h = hr (o tanh(c)), Sak et al. 2014


def step(
    kind: str, x_part: Tensor, state: State, weights: Weights, nonlinearity: str = "tanh"
) -> State:
    """One time step of a cell.  x_part [B, G*H], state each [B, H] (h: [B, P] with projection)."""
    h_part = functional.linear(state[0], weights.hh, weights.bias_hh)
    if kind == "LSTM":
        h, c = lstm(x_part, h_part, state)
        return (h if weights.hr is None else functional.linear(h, weights.hr)), c
    if kind == "GRU":
        return gru(x_part, h_part, state)
    return elman(x_part, h_part, state, nonlinearity)


def sequence(
    kind: str,
    x: Tensor,
    state: State,
    weights: Weights,
    *,
    nonlinearity: str = "tanh",
    backwards: bool = False,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, State]:
    """One layer in one direction through all of time.

    ``x [T, B, I]`` to ``output [T, B, H]`` and the last state. Past a sample's length its state
    stands still and its output is 0. ``reset [T, B]`` is True where a new sequence begins: no state
    crosses from t-1 to t, in either direction.
    """
    steps = x.shape[0]
    x_parts = functional.linear(x, weights.ih, weights.bias_ih)
    outputs: list[Tensor] = [x.new_empty(0)] * steps
    for t in reversed(range(steps)) if backwards else range(steps):
        if reset is not None:
            # read backwards, the border is crossed between t+1 and t
            border = t + 1 if backwards else t
            if border < steps:
                keep = ~reset[border].unsqueeze(-1)
                state = tuple(torch.where(keep, s, torch.zeros_like(s)) for s in state)
        new = step(kind, x_parts[t], state, weights, nonlinearity)
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

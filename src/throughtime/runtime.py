"""Streaming inference without torch: numpy arrays in and out, the state updated in place.

Runs the project's kernels on one sample, one step at a time, as a service or a device does between
two sensor readings. Results are bitwise equal to those of a call on the whole sequence.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from throughtime import _native  # pyright: ignore[reportMissingModuleSource]

_MODES = tuple(_native.Cell.__members__)  # RNN_TANH, RNN_RELU, LSTM, GRU
_KINDS = tuple(dict.fromkeys(mode.partition("_")[0] for mode in _MODES))


class Stream:
    """A stack of one-directional layers that computes one step at a time.

    >>> stream = Stream("GRU", {name: p.numpy() for name, p in layer.state_dict().items()})
    >>> h = stream.step(x_t)  # x_t [I] to h [H], the stream's own array: copy it to keep it
    >>> stream.reset()  # start a new sequence

    ``kind`` is RNN, LSTM or GRU. ``weights`` are numpy arrays (all float32 or all float64) under
    torch.nn's names: weight_ih_l0 [G*H,I], weight_hh_l0 [G*H,H], and optionally bias_ih_l0 and
    bias_hh_l0 [G*H]; likewise for l1, l2, .... ``state`` holds h (and c) of every layer, [H] each.
    Each step updates these arrays, so writing to them sets the state.

    Raises ValueError or TypeError if weights are missing, unexpected or of the wrong size.
    """

    def __init__(
        self, kind: str, weights: Mapping[str, np.ndarray], nonlinearity: str = "tanh"
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"kind is one of {', '.join(_KINDS)}; got {kind!r}")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity is tanh or relu; got {nonlinearity!r}")
        mode = kind if kind in _MODES else f"{kind}_{nonlinearity.upper()}"
        cell = getattr(_native.Cell, mode)
        _, states, _, _ = _native.cell_facts(cell)
        rest = dict(weights)
        self.state: list[tuple[np.ndarray, ...]] = []
        self._steps: list[Any] = []
        while f"weight_ih_l{len(self._steps)}" in rest:
            suffix = f"_l{len(self._steps)}"
            parts = [rest.pop(name + suffix, None) for name in ("weight_ih", "weight_hh")]
            biases = [rest.pop(name + suffix, None) for name in ("bias_ih", "bias_hh")]
            if parts[1] is None:
                raise ValueError(f"weight_hh{suffix} is missing")
            w_ih, w_hh = (np.ascontiguousarray(part) for part in parts)
            units = w_hh.shape[1]
            if self.state and w_ih.shape[1] != len(self.state[-1][0]):
                raise ValueError(
                    f"weight_ih{suffix} takes {w_ih.shape[1]} inputs, but the layer below has "
                    f"{len(self.state[-1][0])} units"
                )
            self._steps.append(_native.stream(cell, w_ih, w_hh, *biases).step)
            self.state.append(tuple(np.zeros(units, w_hh.dtype) for _ in range(states)))
        if not self._steps or rest:
            raise ValueError(
                f"weights of a one-directional {kind} are weight_ih_l0, weight_hh_l0, bias_ih_l0, "
                f"bias_hh_l0, ...; got {', '.join(weights) or 'none'}"
            )

    def step(self, x_t: np.ndarray) -> np.ndarray:
        """Compute one step: x_t [I], contiguous and of the weights' dtype, to the last h [H]."""
        for step, state in zip(self._steps, self.state, strict=True):
            step(x_t, *state)
            x_t = state[0]
        return x_t

    def reset(self) -> None:
        """Set the state to zero, as at the beginning of a sequence."""
        for state in self.state:
            for part in state:
                part.fill(0)

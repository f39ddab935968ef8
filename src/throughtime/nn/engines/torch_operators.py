"""The engine of torch's fused operators, for devices and dtypes the kernels do not support."""

from typing import Any

import torch
from torch import Tensor

from throughtime.nn import cells
from throughtime.nn.calls import StackCall, flat_weights
from throughtime.nn.engines.base import Stack
from throughtime.nn.engines.kernels import forward_mode


class TorchOperators:
    """Computes the whole stack at once with torch.lstm, torch.gru, torch.rnn_tanh or rnn_relu."""

    name = "torch"
    description = "torch's fused operator"

    def lacks(self, stack: Stack, call: StackCall) -> str:
        """Return the name of a feature that the operators do not support, or an empty string."""
        if not stack.cell_type.mode:
            return f"the {stack.cell_type.name} cell"
        if option := stack.beyond_torch():
            return option
        if call.lengths is not None:
            return "lengths"
        if call.reset is not None:
            return "reset"
        if not call.x.shape[0]:
            return "empty sequences"
        if stack.observed:
            return "observation"
        return "forward-mode derivatives" if forward_mode() else ""

    def run(self, stack: Stack, call: StackCall) -> tuple[Tensor, cells.State]:
        """Compute the whole stack."""
        operator: Any = getattr(torch, stack.cell_type.mode.lower())
        state = call.state[0] if len(call.state) == 1 else call.state
        weights = flat_weights(call.weights)
        options = (stack.bias, stack.num_layers, stack.dropout, stack.training, stack.bidirectional)
        if call.batch_sizes is not None:
            output, *new_state = operator(call.x[0], call.batch_sizes, state, weights, *options)
            output = output.unsqueeze(0)
        else:
            output, *new_state = operator(call.x, state, weights, *options, False)
        return output, tuple(new_state)

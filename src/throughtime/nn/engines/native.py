"""The engine of the native C++ kernels."""

from torch import Tensor

from throughtime.nn import cells
from throughtime.nn.calls import StackCall
from throughtime.nn.engines import autograd, kernels
from throughtime.nn.engines.base import Stack


class Native:
    """Computes whole layers in C++, forward and backward."""

    name = "native"
    description = "the native kernels"

    def lacks(self, stack: Stack, call: StackCall) -> str:
        """Return the name of a feature that the kernels do not support, or an empty string."""
        return kernels.lacking(
            stack.cell_type,
            call.tensors(),
            layer_norm=stack.layer_norm,
            zoned_projection=bool(stack.zoneout and stack.proj_size),
        )

    def run(self, stack: Stack, call: StackCall) -> tuple[Tensor, cells.State]:
        """Compute the layers one by one."""
        return stack.layer_by_layer(call, autograd.sequence)

"""The interface of engines."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from throughtime.nn import cells
from throughtime.nn.calls import LayerCall, StackCall
from throughtime.nn.cell_types import CellType

LayerRun = Callable[[LayerCall], tuple[Tensor, cells.State]]


class Path(NamedTuple):
    """Which engine computes a call, and why."""

    name: str  # name of the engine
    reason: str


class Stack(Protocol):
    """The part of a layer module that engines use."""

    num_layers: int
    bias: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    zoneout: float
    layer_norm: bool
    training: bool

    @property
    def cell_type(self) -> CellType:
        """The cell of the layer."""
        ...

    @property
    def observed(self) -> bool:
        """Whether an observer records this call."""
        ...

    def beyond_torch(self) -> str:
        """Return the first option in use that torch.nn's layers do not have, or an empty string."""
        ...

    def layer_by_layer(self, call: StackCall, run: LayerRun) -> tuple[Tensor, cells.State]:
        """Compute each layer of the stack with `run`, with dropout between layers."""
        ...


class Engine(Protocol):
    """An implementation of the forward and backward pass of a stack of layers."""

    name: str
    description: str

    def lacks(self, stack: Stack, call: StackCall) -> str:
        """Return the name of an unsupported feature of this call, or an empty string."""
        ...

    def run(self, stack: Stack, call: StackCall) -> tuple[Tensor, cells.State]:
        """Return the output [T',B',D*P] and the last state, [L*D,B,N] each."""
        ...

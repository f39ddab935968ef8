"""What an engine is: it says what it lacks for a call, and computes the calls that it can."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from throughtime.nn import cells
from throughtime.nn.calls import LayerCall, StackCall
from throughtime.nn.cell_types import CellType

LayerRun = Callable[[LayerCall], tuple[Tensor, cells.State]]


class Path(NamedTuple):
    """Which engine computes a call, and why."""

    name: str  # of an engine
    reason: str


class Stack(Protocol):
    """The layer module, as engines see it."""

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
        """What it computes."""
        ...

    @property
    def observed(self) -> bool:
        """Whether an observer wants this call's values."""
        ...

    def beyond_torch(self) -> str:
        """The first of its options that torch.nn's layers do not have, or nothing."""
        ...

    def layer_by_layer(self, call: StackCall, run: LayerRun) -> tuple[Tensor, cells.State]:
        """The stack of layers, each computed by `run`, with dropout between them."""
        ...


class Engine(Protocol):
    """A way to compute a stack of layers."""

    name: str
    description: str

    def lacks(self, stack: Stack, call: StackCall) -> str:
        """What it lacks for this call, in words; nothing where it can compute it."""
        ...

    def run(self, stack: Stack, call: StackCall) -> tuple[Tensor, cells.State]:
        """Output [T',B',D*P] and the last state, [L*D,B,N] each."""
        ...

"""Everything that is known of a cell, in one entry each.

Layers, initialization, observation, memory measures and diagnosis ask the entry; none of them asks
for a cell by name. A cell of one's own is a `CellType`, and a class that carries it:

    MIN_GRU = CellType("MinGRU", step, gates=(Gate("update"), Gate("new", "linear")), ...)

    class MinGRU(throughtime.RecurrentLayer):
        cell_type = MIN_GRU
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn

from throughtime.nn import cells

ACTIVATIONS = ("sigmoid", "tanh", "relu", "linear")


class Gate(NamedTuple):
    """A gate, or another value that a cell computes on its way to the new state.

    >>> Gate("forget"), Gate("cell", "tanh")
    """

    name: str  # "forget"; shown as "forget gate"
    activation: str = "sigmoid"  # of ACTIVATIONS: decides when a unit counts as saturated


@dataclass(frozen=True)
class CellType:
    """A recurrent cell: its equations, and what the rest of the project must know of them.

    >>> lstm = throughtime.LSTM.cell_type
    >>> [gate.name for gate in lstm.gates], lstm.states, lstm.keeps
    (['input', 'forget', 'cell', 'output'], ('hidden', 'cell'), 'forget')

    Args:
        name: What messages and tables call it.
        step: The pointwise part, see `cells.CellStep`.
        gates: What ``step`` returns, in the order of the weights' blocks.
        states: What is carried over; "hidden", the output, first.
        blocks: H rows each that W_ih has; by default as many as gates.
        recurrent_weights: Whether ``step`` reads W_hh h; without, there is no W_hh.
        keeps: The gate that decides how much of the state stays.
        keeps_when_open: Whether it keeps near 1, as f of f c + i g; False: z of (1 - z) h + z n.
        admits: A gate of its own for what is new, as the LSTM's input gate.
        hidden_activation: Of `ACTIVATIONS`, where h itself is an activation's result.
        further_values: What ``step`` returns behind its gates.
        projects: Whether it takes ``proj_size``.
        normalizes: Whether ``layer_norm`` acts on the second state, too.
        mode: torch.nn's name, and that of its fused operators.
        native: The kernels' name of it; empty: computed by the equations.

    Raises:
        ValueError: For names that do not fit together.
    """

    name: str  # of the layer's class
    step: cells.CellStep
    gates: tuple[Gate, ...] = ()  # what `step` returns, in the order of the weights' blocks
    states: tuple[str, ...] = ("hidden",)  # what is carried over; h, the output, first
    blocks: int = 0  # H rows each that W_ih has; 0: as many as gates
    recurrent_weights: bool = True  # whether `step` reads W_hh h; else there is no W_hh
    keeps: str = ""  # the gate that decides how much of the state stays
    keeps_when_open: bool = True  # f of f c + i g; False: z of (1 - z) h + z n
    admits: str = ""  # a gate of its own for what is new: the LSTM's input gate
    hidden_activation: str = ""  # of ACTIVATIONS, where h itself is an activation's result
    further_values: tuple[str, ...] = ()  # what `step` returns behind its gates
    projects: bool = False  # takes proj_size
    normalizes: bool = False  # layer_norm acts on the second state, too
    mode: str = ""  # torch.nn's name, and that of its fused operators: torch.lstm, torch.lstm_cell
    native: str = ""  # the kernels' name of it; empty: computed by the equations

    def __post_init__(self) -> None:
        if not all(isinstance(gate, Gate) for gate in self.gates):  # pyright: ignore
            raise ValueError(f"gates of {self.name} are Gate(...); got {self.gates}")
        names = [gate.name for gate in self.gates]
        if len({*names}) < len(names):
            raise ValueError(f"two gates of {self.name} have one name: {', '.join(names)}")
        for field, value in (("keeps", self.keeps), ("admits", self.admits)):
            if value and value not in names:
                raise ValueError(f"{field} of {self.name} is {value!r}, which is none of its gates")
        activations = [g.activation for g in self.gates] + [self.hidden_activation or "tanh"]
        for value in activations:
            if value not in ACTIVATIONS:
                known = ", ".join(ACTIVATIONS)
                raise ValueError(f"an activation is one of {known}; {self.name} has {value!r}")
        if self.states[:1] != ("hidden",) or len({*self.states}) < len(self.states):
            raise ValueError(f"states of {self.name} are 'hidden' and others; got {self.states}")
        if self.weight_blocks < 1:
            raise ValueError(f"{self.name} has neither gates nor blocks")
        if self.admits and not self.keeps:
            raise ValueError(f"{self.name} has a gate that admits and none that keeps")

    def check_step(self) -> None:
        """Raise ValueError unless a step returns the states and values that are declared."""
        part = torch.zeros(1, self.weight_blocks)
        h_part = part if self.recurrent_weights else part.new_zeros(())
        state = tuple(torch.zeros(1, 1) for _ in self.states)
        new, values = self.step(part, h_part, state)
        found, declared = len(values), len(self.gates) + len(self.further_values)
        if len(new) != len(self.states) or found != declared:
            raise ValueError(
                f"the step of {self.name} returns {len(new)} states and {found} values; "
                f"it declares {len(self.states)} ({', '.join(self.states)}) and {declared}"
            )

    @property
    def weight_blocks(self) -> int:
        """Rows of W_ih, in units of the hidden size."""
        return self.blocks or len(self.gates)

    @property
    def saved(self) -> tuple[str, ...]:
        """The values a unit and step that a forward pass keeps beside its output, in order."""
        gates = tuple(f"{gate.name} gate" for gate in self.gates)
        return (*gates, *self.further_values, *self.states[1:])

    def block_of(self, gate: str) -> int:
        """Which block of the weights is a gate's."""
        return [g.name for g in self.gates].index(gate)

    def activation_of(self, gate: str) -> str:
        """The activation of a gate, or of "state"."""
        return self.hidden_activation if gate == "state" else self.gates[self.block_of(gate)][1]


RNN_TANH = CellType(
    "RNN",
    cells.elman_tanh,
    blocks=1,
    hidden_activation="tanh",
    mode="RNN_TANH",
    native="RNN_TANH",
)
RNN_RELU = CellType(
    "RNN",
    cells.elman_relu,
    blocks=1,
    hidden_activation="relu",
    mode="RNN_RELU",
    native="RNN_RELU",
)
LSTM = CellType(
    "LSTM",
    cells.lstm,
    gates=(Gate("input"), Gate("forget"), Gate("cell", "tanh"), Gate("output")),
    states=("hidden", "cell"),
    keeps="forget",
    admits="input",
    projects=True,
    normalizes=True,
    mode="LSTM",
    native="LSTM",
)
GRU = CellType(
    "GRU",
    cells.gru,
    gates=(Gate("reset"), Gate("update"), Gate("new", "tanh")),
    keeps="update",
    further_values=("recurrent part of new",),
    mode="GRU",
    native="GRU",
)

# by torch.nn's name
CELL_TYPES: Mapping[str, CellType] = MappingProxyType(
    {cell.mode: cell for cell in (RNN_TANH, RNN_RELU, LSTM, GRU)}
)


def cell_type_of(module: nn.Module) -> CellType | None:
    """The cell of a recurrent layer, ours or torch.nn's; None for any other module.

    A cell module of torch.nn (`torch.nn.LSTMCell`) has none.
    """
    own = getattr(module, "cell_type", None)
    if isinstance(own, CellType):
        return own
    return CELL_TYPES.get(getattr(module, "mode", "")) if isinstance(module, nn.RNNBase) else None

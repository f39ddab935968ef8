"""Descriptions of recurrent cells, one `CellType` per cell.

Layers, initialization, observation, memory measures and diagnosis read this description; none of
them tests for a cell by name. To add your own cell, define a `CellType` and a class that uses it:

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
    """A gate, or another intermediate value that a cell computes.

    >>> Gate("forget"), Gate("cell", "tanh")
    """

    name: str  # "forget"; shown as "forget gate"
    activation: str = "sigmoid"  # one of ACTIVATIONS; determines when a unit is saturated


@dataclass(frozen=True)
class CellType:
    """A recurrent cell: its equations and the metadata that the rest of the library needs.

    >>> lstm = throughtime.LSTM.cell_type
    >>> [gate.name for gate in lstm.gates], lstm.states, lstm.keeps
    (['input', 'forget', 'cell', 'output'], ('hidden', 'cell'), 'forget')

    Args:
        name: Name used in messages and tables.
        step: The pointwise part, see `cells.CellStep`.
        gates: Gates that ``step`` returns, in the order of the weight blocks.
        states: Names of the states; the first is "hidden", which is also the output.
        blocks: Number of blocks of H rows in W_ih; by default the number of gates.
        recurrent_weights: Whether ``step`` uses W_hh h; if not, the layer has no W_hh.
        keeps: Name of the gate that controls how much of the state is kept.
        keeps_when_open: True if a value near 1 keeps the state, like f in f c + i g; False if a
            value near 0 does, like z in (1 - z) h + z n.
        admits: Name of a separate gate for new content, like the LSTM's input gate.
        hidden_activation: One of `ACTIVATIONS`, if h itself is the result of an activation.
        further_values: Names of the values that ``step`` returns after its gates.
        projects: Whether the cell supports ``proj_size``.
        normalizes: Whether ``layer_norm`` also normalizes the second state.
        mode: The name in torch.nn and of torch's fused operators.
        native: The name in the native kernels; if empty, the equations compute the cell.

    Raises:
        ValueError: If the fields are inconsistent.
    """

    name: str
    step: cells.CellStep
    gates: tuple[Gate, ...] = ()
    states: tuple[str, ...] = ("hidden",)
    blocks: int = 0  # 0: the number of gates
    recurrent_weights: bool = True
    keeps: str = ""
    keeps_when_open: bool = True
    admits: str = ""
    hidden_activation: str = ""
    further_values: tuple[str, ...] = ()
    projects: bool = False
    normalizes: bool = False
    mode: str = ""  # "LSTM": also names torch.lstm and torch.lstm_cell
    native: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(gate, Gate) for gate in self.gates):  # pyright: ignore
            raise ValueError(f"gates of {self.name} must be Gate objects; got {self.gates}")
        names = [gate.name for gate in self.gates]
        if len({*names}) < len(names):
            raise ValueError(
                f"gates of {self.name} must have different names; got {', '.join(names)}"
            )
        for field, value in (("keeps", self.keeps), ("admits", self.admits)):
            if value and value not in names:
                raise ValueError(
                    f"{field} of {self.name} must be one of its gates, "
                    f"{', '.join(names)}; got {value!r}"
                )
        activations = [g.activation for g in self.gates] + [self.hidden_activation or "tanh"]
        for value in activations:
            if value not in ACTIVATIONS:
                known = ", ".join(ACTIVATIONS)
                raise ValueError(
                    f"activations of {self.name} must be one of {known}; got {value!r}"
                )
        if self.states[:1] != ("hidden",) or len({*self.states}) < len(self.states):
            raise ValueError(
                f"states of {self.name} must start with 'hidden' and have different names; "
                f"got {self.states}"
            )
        if self.weight_blocks < 1:
            raise ValueError(f"{self.name} has neither gates nor blocks; give at least one of them")
        if self.admits and not self.keeps:
            raise ValueError(f"{self.name} has `admits` but no `keeps`; name the gate that keeps")

    def check_step(self) -> None:
        """Raise ValueError unless ``step`` returns the declared numbers of states and values."""
        part = torch.zeros(1, self.weight_blocks)
        h_part = part if self.recurrent_weights else part.new_zeros(())
        state = tuple(torch.zeros(1, 1) for _ in self.states)
        new, values = self.step(part, h_part, state)
        found, declared = len(values), len(self.gates) + len(self.further_values)
        if len(new) != len(self.states) or found != declared:
            raise ValueError(
                f"the step of {self.name} returns {len(new)} states and {found} values; "
                f"expected {len(self.states)} ({', '.join(self.states)}) and {declared}"
            )

    @property
    def weight_blocks(self) -> int:
        """Number of blocks of H rows in W_ih."""
        return self.blocks or len(self.gates)

    @property
    def saved(self) -> tuple[str, ...]:
        """Names of the values saved by a forward pass for each unit and step, besides h."""
        gates = tuple(f"{gate.name} gate" for gate in self.gates)
        return (*gates, *self.further_values, *self.states[1:])

    def block_of(self, gate: str) -> int:
        """Return the index of the weight block of a gate."""
        return [g.name for g in self.gates].index(gate)

    def activation_of(self, gate: str) -> str:
        """Return the activation of a gate, or of the hidden state for "state"."""
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

# by name in torch.nn
CELL_TYPES: Mapping[str, CellType] = MappingProxyType(
    {cell.mode: cell for cell in (RNN_TANH, RNN_RELU, LSTM, GRU)}
)


def cell_type_of(module: nn.Module) -> CellType | None:
    """Return the cell type of a recurrent layer of throughtime or torch.nn, otherwise None.

    The result is also None for cell modules of torch.nn such as `torch.nn.LSTMCell`.
    """
    own = getattr(module, "cell_type", None)
    if isinstance(own, CellType):
        return own
    return CELL_TYPES.get(getattr(module, "mode", "")) if isinstance(module, nn.RNNBase) else None

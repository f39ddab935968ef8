"""Weight initialization, which determines the memory of a recurrent layer before training.

Each function initializes all parameters of one module of throughtime or torch.nn in place.
`initialize` applies one of them, given by name, to a whole model. docs/memory.md shows the effects.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime.nn.cell_types import CellType, cell_type_of


def torch_default_(layer: nn.Module) -> None:
    """Draw every parameter uniformly from +-1/sqrt(H), in torch's order: the default.

    The spectral radius of W_hh is about 0.58, so an RNN forgets within a few steps. Gates start
    about half open, which gives a time scale of 1.44 steps.
    """
    bound = 1.0 / math.sqrt(_hidden_size(layer))
    for name, parameter in layer.named_parameters():
        if name.startswith("norm_"):
            nn.init.constant_(parameter, 0.0 if "bias" in name else 1.0)
        else:
            nn.init.uniform_(parameter, -bound, bound)


def orthogonal_(layer: nn.Module) -> None:
    """Orthogonal W_hh per gate (Saxe et al. 2014), W_ih as Glorot and Bengio (2010), biases 0.

    A linear RNN then preserves the norm of every gradient; tanh can only reduce it.
    """
    torch_default_(layer)
    blocks = _cell(layer).weight_blocks
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias_"):
                parameter.zero_()
            elif name.startswith("weight_"):
                draw = nn.init.xavier_uniform_ if name[7:9] == "ih" else nn.init.orthogonal_
                for block in [parameter] if name[7:9] == "hr" else parameter.chunk(blocks):
                    draw(block)


def identity_(layer: nn.Module) -> None:
    """W_hh = identity, W_ih normal with standard deviation 0.001, biases 0: IRNN (Le et al. 2015).

    For RNN; the paper uses ``nonlinearity="relu"``. Raises ValueError for cells with gates.
    """
    if _cell(layer).gates:
        raise ValueError(f"identity is only for an RNN (Le et al. 2015); got {_cell(layer).name}")
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight_hh"):
                nn.init.eye_(parameter)
            elif name.startswith("weight_ih"):
                nn.init.normal_(parameter, std=0.001)
            else:
                nn.init.constant_(parameter, float(name.startswith("norm_")))


def forget_bias_(layer: nn.Module, value: float = 1.0) -> None:
    """torch's default, with a total bias of `value` for the gate that keeps the state.

    This is the LSTM's forget gate (Gers et al. 2000; Jozefowicz et al. 2015) or the GRU's update
    gate. A gate that keeps the state near 0 (`CellType.keeps_when_open` is False) gets ``-value``.
    torch adds two biases: one is set to `value`, the other to 0. Raises ValueError for an RNN,
    which has no gate, and for layers without biases.
    """
    cell = _cell_that_keeps(layer)
    torch_default_(layer)
    for bias in _gate_biases(layer, cell.keeps):
        bias.fill_(value if cell.keeps_when_open else -value)


def chrono_(layer: nn.Module, longest: float) -> None:
    """torch's default, with time scales from 1 to `longest` steps (Tallec and Ollivier 2018).

    The bias of the gate that keeps the state is ln u, with u uniform in [1, longest - 1], or -ln u
    if the gate keeps the state near 0. The bias of the LSTM's input gate is the negative of its
    forget gate's. Raises ValueError for an RNN, for layers without biases, and for `longest` < 2.
    """
    if not longest >= 2:
        raise ValueError(f"chrono needs the longest time scale, 2 steps or more; got {longest}")
    cell = _cell_that_keeps(layer)
    torch_default_(layer)
    keeping = _gate_biases(layer, cell.keeps)
    for bias in keeping:
        bias.uniform_(1.0, longest - 1.0).log_()
        if not cell.keeps_when_open:
            bias.neg_()
    if cell.admits:
        for bias, other in zip(_gate_biases(layer, cell.admits), keeping, strict=True):
            bias.copy_(-other)


class Initialization(NamedTuple):
    """An initialization and its parameter."""

    draw: Callable[..., None]
    takes: str  # description of the number after the colon; empty if there is none
    required: bool = False


INITIALIZATIONS: Mapping[str, Initialization] = MappingProxyType(
    {
        "torch": Initialization(torch_default_, ""),
        "orthogonal": Initialization(orthogonal_, ""),
        "identity": Initialization(identity_, ""),
        "forget-bias": Initialization(forget_bias_, "the bias, e.g. forget-bias:2"),
        "chrono": Initialization(chrono_, "the longest time scale, e.g. chrono:784", required=True),
    }
)


def by_name(text: str) -> Callable[[nn.Module], None]:
    """Return the function for a name such as ``orthogonal`` or ``chrono:784``.

    Raises ValueError for an unknown name and for a missing, invalid or unexpected number.
    """
    name, colon, number = text.partition(":")
    if name not in INITIALIZATIONS:
        raise ValueError(
            f"initialization must be one of {', '.join(INITIALIZATIONS)}; got {text!r}"
        )
    draw, takes, required = INITIALIZATIONS[name]
    if not colon:
        if required:
            raise ValueError(f"{name} needs a number: {takes}")
        return draw
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not takes or not math.isfinite(value):
        expected = f"a number: {takes}" if takes else "no number"
        raise ValueError(f"{name} takes {expected}; got {text!r}")
    return lambda layer: draw(layer, value)


def initialize(model: nn.Module, how: str) -> list[str]:
    """Initialize all recurrent layers of a model, both throughtime's and torch.nn's.

    >>> throughtime.initialize(model, "chrono:784")
    ['encoder.rnn']

    For a single throughtime layer, use ``LSTM(8, 32, init="chrono:784")``.

    Args:
        model: Any model with recurrent layers.
        how: "torch", "orthogonal", "identity", "forget-bias" (or "forget-bias:2"), or
            "chrono:LONGEST", with the longest time scale in steps. See the functions of this module
            for details.

    Returns:
        The paths of the layers in the model.

    Raises:
        ValueError: If the model has no recurrent layer, or if the initialization does not apply to
            one of them. Then no weight is changed.
    """
    draw = by_name(how)
    layers = {path: m for path, m in model.named_modules() if _is_stack(m)}
    if not layers:
        raise ValueError(
            f"no recurrent layer in {type(model).__name__} to initialize; "
            "expected a model with an RNN, LSTM or GRU"
        )
    before = [(p, p.detach().clone()) for layer in layers.values() for p in layer.parameters()]
    try:
        for layer in layers.values():
            draw(layer)
    except ValueError:
        with torch.no_grad():
            for parameter, value in before:
                parameter.copy_(value)
        raise
    return list(layers)


def _is_stack(module: nn.Module) -> bool:
    return cell_type_of(module) is not None and hasattr(module, "weight_ih_l0")


def _cell(layer: nn.Module) -> CellType:
    cell = cell_type_of(layer)
    if cell is None or not hasattr(layer, "weight_ih_l0"):
        raise ValueError(f"expected an RNN, LSTM or GRU; got {type(layer).__name__}")
    if nn.utils.parametrize.is_parametrized(layer):
        raise ValueError(
            f"the weights of this {cell.name} are parametrized (for example by weight_norm): "
            "initialize the layer first, then parametrize it"
        )
    return cell


def _hidden_size(layer: nn.Module) -> int:
    _cell(layer)
    size: int = layer.hidden_size  # pyright: ignore[reportAssignmentType]
    return size


def _cell_that_keeps(layer: nn.Module) -> CellType:
    cell = _cell(layer)
    if not cell.keeps:
        raise ValueError(
            f"an {cell.name} has no gate whose bias controls its memory; use an LSTM or a GRU"
        )
    if not any(name.startswith("bias_ih") for name, _ in layer.named_parameters()):
        raise ValueError(f"this {cell.name} has no biases (bias=False) to set; use bias=True")
    return cell


def _gate_biases(layer: nn.Module, gate: str) -> list[Tensor]:
    """Views of a gate's bias_ih in every layer and direction; sets its bias_hh to 0."""
    size, block = _hidden_size(layer), _cell(layer).block_of(gate)
    own = slice(block * size, (block + 1) * size)
    named = {n: p.detach() for n, p in layer.named_parameters()}
    for name, bias in named.items():
        if name.startswith("bias_hh"):
            bias[own] = 0.0
    return [bias[own] for name, bias in named.items() if name.startswith("bias_ih")]

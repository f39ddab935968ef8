"""throughtime: recurrent networks you can see through.

Names are loaded when they are used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughtime.insight.observation import observe
    from throughtime.nn.cell_layers import GRUCell, LSTMCell, RNNCell
    from throughtime.nn.convert import convert, patched, revert
    from throughtime.nn.layers import GRU, LSTM, RNN, explain_path
    from throughtime.nn.native import forced_path

__version__ = "0.1.0"

_HOMES = {
    "GRU": "throughtime.nn.layers",
    "GRUCell": "throughtime.nn.cell_layers",
    "LSTM": "throughtime.nn.layers",
    "LSTMCell": "throughtime.nn.cell_layers",
    "RNN": "throughtime.nn.layers",
    "RNNCell": "throughtime.nn.cell_layers",
    "convert": "throughtime.nn.convert",
    "explain_path": "throughtime.nn.layers",
    "forced_path": "throughtime.nn.native",
    "observe": "throughtime.insight.observation",
    "patched": "throughtime.nn.convert",
    "revert": "throughtime.nn.convert",
}

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "convert",
    "explain_path",
    "forced_path",
    "observe",
    "patched",
    "revert",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'throughtime' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""throughtime: recurrent networks you can see through.

Public names are imported on first use, so importing the package is cheap.
"""

from importlib import import_module

TYPE_CHECKING = False  # importing `typing` is slow; type checkers recognize the name
if TYPE_CHECKING:
    from throughtime.api import Data, compare, fit, load, read
    from throughtime.catalogue import NetworkKind, register_network
    from throughtime.deploy.model import Model
    from throughtime.insight.callbacks import Monitor, lightning_callback
    from throughtime.insight.diagnosis import diagnose
    from throughtime.insight.memory import (
        context_curve,
        gradient_by_lag,
        jacobian_spectrum,
        lyapunov_spectrum,
        memory_horizon,
        time_scales,
    )
    from throughtime.insight.observation import observe
    from throughtime.nn.cell_layers import GRUCell, LSTMCell, RNNCell
    from throughtime.nn.cell_types import CellType, Gate
    from throughtime.nn.convert import convert, patched, revert
    from throughtime.nn.engines import forced_path
    from throughtime.nn.initialization import initialize
    from throughtime.nn.layers import GRU, LSTM, RNN, RecurrentLayer, explain_path
    from throughtime.result import Result

__version__ = "0.1.0"

_HOMES = {
    "Data": "throughtime.api",
    "Model": "throughtime.deploy.model",
    "NetworkKind": "throughtime.catalogue",
    "Result": "throughtime.result",
    "compare": "throughtime.api",
    "fit": "throughtime.api",
    "load": "throughtime.api",
    "read": "throughtime.api",
    "register_network": "throughtime.catalogue",
    "CellType": "throughtime.nn.cell_types",
    "GRU": "throughtime.nn.layers",
    "GRUCell": "throughtime.nn.cell_layers",
    "Gate": "throughtime.nn.cell_types",
    "LSTM": "throughtime.nn.layers",
    "Monitor": "throughtime.insight.callbacks",
    "LSTMCell": "throughtime.nn.cell_layers",
    "RNN": "throughtime.nn.layers",
    "RNNCell": "throughtime.nn.cell_layers",
    "RecurrentLayer": "throughtime.nn.layers",
    "context_curve": "throughtime.insight.memory",
    "convert": "throughtime.nn.convert",
    "diagnose": "throughtime.insight.diagnosis",
    "explain_path": "throughtime.nn.layers",
    "forced_path": "throughtime.nn.engines",
    "gradient_by_lag": "throughtime.insight.memory",
    "initialize": "throughtime.nn.initialization",
    "jacobian_spectrum": "throughtime.insight.memory",
    "lightning_callback": "throughtime.insight.callbacks",
    "lyapunov_spectrum": "throughtime.insight.memory",
    "memory_horizon": "throughtime.insight.memory",
    "observe": "throughtime.insight.observation",
    "patched": "throughtime.nn.convert",
    "revert": "throughtime.nn.convert",
    "time_scales": "throughtime.insight.memory",
}

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CellType",
    "Data",
    "GRUCell",
    "Gate",
    "LSTMCell",
    "Model",
    "Monitor",
    "NetworkKind",
    "RNNCell",
    "RecurrentLayer",
    "Result",
    "compare",
    "context_curve",
    "convert",
    "diagnose",
    "explain_path",
    "fit",
    "forced_path",
    "gradient_by_lag",
    "initialize",
    "jacobian_spectrum",
    "lightning_callback",
    "load",
    "lyapunov_spectrum",
    "memory_horizon",
    "observe",
    "patched",
    "read",
    "register_network",
    "revert",
    "time_scales",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'throughtime' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("throughtime"):
            raise
        raise ImportError(
            f"throughtime.{name} needs {error.name}: pip install 'throughtime[app]'"
        ) from error


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

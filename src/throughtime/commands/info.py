"""The command info."""

import json

from throughtime import __version__
from throughtime.options import (
    AsJson,
    NoSeed,
    Quiet,
)


def info(seed: NoSeed = 0, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Show versions, the processor, and which engine computes each layer and why.

    Example: throughtime info --json
    """
    import torch

    from throughtime.comparison.trials import versions
    from throughtime.nn.engines import kernels
    from throughtime.nn.layers import GRU, LSTM, RNN, explain_path

    x = torch.zeros(2, 1, 1)
    facts: dict[str, object] = {
        "throughtime": __version__,
        **versions(),
        "threads": torch.get_num_threads(),
        "native module": "built" if kernels.kernels else f"not built: {kernels.unavailable}",
        "cpu features": ", ".join(kernels.cpu_features()) or "unknown",
    }
    for layer in (RNN(1, 1), LSTM(1, 1), GRU(1, 1)):
        path = explain_path(layer, x)
        facts[f"path of {layer.cell_type.name}"] = (
            path.name if quiet else f"{path.name}: {path.reason}"
        )
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name:14} {value}")

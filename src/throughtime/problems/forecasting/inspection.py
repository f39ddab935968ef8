"""Inspection of a saved model on a table."""

import math
from pathlib import Path

import torch
from torch import Tensor

from throughtime import __version__
from throughtime.data.tables.windows import WindowPlan, Windows, every_window
from throughtime.errors import InputError
from throughtime.insight.memory import lyapunov_spectrum, time_scales
from throughtime.insight.observation import observe
from throughtime.network_records import Diagnosis
from throughtime.problems.forecasting.memory import context_of, diagnosis_of, loss_of
from throughtime.problems.forecasting.networks import Forecaster, Network, Recurrent
from throughtime.problems.forecasting.prediction import read_as_learned
from throughtime.runs import InspectionRecord, SeenRecord
from throughtime.specs import DataSpec

_CURVE = 512  # maximum number of windows for the context curve, spread over the table
_EXAMINED = 64  # windows of a diagnosis
_FOLLOWED = 4  # windows for the Lyapunov spectrum
_DRAWN_UNITS = 64
_FOLDER_ROWS = 20_000  # last rows read from a folder of files


def inspect(
    model: Forecaster,
    spec: DataSpec,
    path: Path,
    *,
    name: str,
    command: str,
    missing: str | None = None,
    delimiter: str | None = None,
    seed: int = 0,
) -> InspectionRecord:
    """Inspect a model on a table: verdict, memory, states and gates.

    >>> model, spec = load(Path("model"))
    >>> inspect(model, spec, Path("data.csv"), name="model", command="").diagnosis.verdict
    'healthy'

    Uses windows spread over the table. ``name`` and ``command`` are
    recorded. Raises InputError if the table does not fit the model, or its missing values
    leave no window.
    """
    config = model.config
    table = read_as_learned(spec, path, missing=missing, delimiter=delimiter, steps=_FOLDER_ROWS)
    windows = every_window(table, WindowPlan(config.context, config.horizon, config.season))
    window, target = windows.spread(_CURVE)
    with torch.no_grad():
        if not model(window).isfinite().all():
            raise InputError(
                table.source.path,
                "forecasts are not finite: the values are far outside those of the training data",
                "check the values",
            )
    first = table.targets[0]
    scale, unit = torch.ones(1, dtype=torch.float64), f"mean absolute error, {first}"
    if len(table.targets) > 1:
        known = target.flatten(0, 1)
        spread = (known - known.nanmean(dim=0)).square().nanmean(dim=0).sqrt()
        scale = torch.where(spread > 0, spread, 1.0)
        unit = "mean absolute error, standard deviations"
    diagnosis = diagnosis_of(model, *windows.spread(_EXAMINED), seed=seed)
    lyapunov: dict[str, tuple[float | None, ...]] = {}
    scales: dict[str, tuple[float | None, ...]] = {}
    seen: dict[str, SeenRecord] = {}
    if isinstance(model, Recurrent):
        with observe(model) as views, torch.no_grad():
            model(windows.spread(_FOLLOWED)[0])
        for layer, view in views.items():
            lyapunov[layer] = _finite_or_none(lyapunov_spectrum(view).exponents)
            if view.cell_type.keeps:
                scales[layer] = _finite_or_none(time_scales(view).units)
        seen = _last_window(model, windows)
    last = int(windows.starts[-1])
    rows = slice(last, last + config.context)
    return InspectionRecord(
        version=__version__,
        command=command,
        model=name,
        kind=config.kind,
        hidden_size=config.hidden_size if isinstance(model, Network) else 0,
        parameters=model.parameter_count(),
        data=table.source.path,
        fingerprint=table.source.fingerprint,
        windows=len(windows),
        step=table.clock.describe(),
        unit=unit,
        diagnosis=diagnosis or Diagnosis("healthy", (), (), ()),
        lyapunov=lyapunov,
        time_scales=scales,
        context=context_of(model, window, target, scale),
        target=first,
        times=tuple(table.clock.stamp(table.times[rows])),
        input=tuple(table.values[rows, 0].tolist()),
        seen=seen,
    )


def _last_window(model: Recurrent, windows: Windows) -> dict[str, SeenRecord]:
    """States, gates and gradients of the last window, step by step."""
    batch = windows.batch(torch.tensor([len(windows) - 1]))
    with observe(model) as views:
        torch.autograd.grad(loss_of(model, *batch), list(model.parameters()))
    found: dict[str, SeenRecord] = {}
    for name, view in views.items():
        values = {"hidden state": view.hidden}
        values |= {f"{s} state": v for s, v in view.states.items() if s != "hidden"}
        values |= {f"{gate} gate": gates for gate, gates in view.gates.items()}
        found[name] = SeenRecord(
            {
                quantity: tuple(
                    tuple(round(float(v), 4) for v in row) for row in grid[:, 0, :_DRAWN_UNITS]
                )
                for quantity, grid in values.items()
            },
            tuple(view.norms["hidden_grad"][:, 0].tolist()),
        )
    return found


def _finite_or_none(values: Tensor) -> tuple[float | None, ...]:
    return tuple(v if math.isfinite(v) else None for v in values.tolist())

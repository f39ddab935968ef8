"""Diagnosis of recurrent networks: evidence, verdict and advice.

`THRESHOLDS` lists all thresholds with their sources. docs/diagnosis.md shows the accuracy of the
verdicts on networks built to have each issue, and on healthy networks.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.insight.finiteness import computed, first_not_finite, without_trace
from throughtime.insight.memory import gradient_by_lag, kept_share, time_scales
from throughtime.insight.observation import Observation, observe
from throughtime.insight.views import View
from throughtime.network_records import Diagnosis, Finding, LayerDiagnosis

HEALTHY = "healthy"
# most severe first: an issue can hide those after it
ISSUES = (
    "not finite",
    "exploding",
    "saturated",
    "dead units",
    "flat output",
    "unused memory",
    "vanishing",
)


class Threshold(NamedTuple):
    """Threshold of an issue, with its source."""

    value: float
    source: str


_CALIBRATED = "set on the networks of docs/diagnosis.md"
THRESHOLDS: Mapping[str, Threshold] = MappingProxyType(
    {
        # gradient at any lag, relative to lag 0
        "exploding": Threshold(1e3, f"exponential growth: Pascanu et al. 2013; {_CALIBRATED}"),
        # share of a gate's units with a slope near 0 (see _STUCK_SLOPE)
        "saturated": Threshold(0.5, _CALIBRATED),
        # share of units whose state never changes
        "dead units": Threshold(0.25, _CALIBRATED),
        # standard deviation over samples, relative to the size of the values
        "flat output": Threshold(1e-3, _CALIBRATED),
        # gradient at lag 1, relative to lag 0
        "unused memory": Threshold(1e-2, _CALIBRATED),
    }
)  # the threshold of "vanishing" is the machine epsilon of the dtype: see `_vanishing`
_STUCK_SLOPE = 1e-3  # slope of a sigmoid, g (1 - g): 1/250 of its maximum
_STUCK_SHARE = 0.99  # share of steps
_STILL = 1e-6  # range of a constant state, relative to its size


@dataclass(frozen=True)
class _Evidence:
    """Measurements of one layer."""

    name: str
    view: View
    lag: int  # longest lag that was examined
    relative: Tensor  # [K]: gradient by lag relative to lag 0
    stuck: dict[str, float]  # gate: share of stuck units
    dead: float  # share of dead units
    variation: float | None  # over samples; None if it cannot be measured


def diagnose(
    model: nn.Module,
    *batch: Any,
    loss: Callable[..., Tensor] | None = None,
    lag: int | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Examine every recurrent layer of a model on one batch.

    >>> print(throughtime.diagnose(model, x))
    encoder.l0: vanishing
      only 6e-09 of the gradient of h_t reaches 40 steps back ...
      - initialize with throughtime.initialize(model, "chrono:41"), ...
    >>> throughtime.diagnose(model, x, y, loss=lambda model, x, y: criterion(model(x), y))

    The verdict is healthy, not finite, exploding, saturated, dead units, flat output, unused
    memory, vanishing, or unknown if no layer computed a step. Each finding has the measured value,
    the threshold, the location and advice. A NaN or infinity is traced to the first layer, step and
    quantity where it occurs.

    Does not change gradients, random states or buffers. If a layer is called more than once, every
    call is searched for NaN, but only the last call is measured.

    Args:
        model: Any model with recurrent layers.
        *batch: Arguments of the model.
        loss: Called as ``loss(model, *batch)`` instead of the model; returns one number. If given,
            gradients are searched for NaN, too.
        lag: Number of past steps that the task needs; by default the length of the batch.
        seed: Random seed for the directions of the gradients.

    Returns:
        The overall verdict, the verdict, findings and measures of each layer, and notes.

    Raises:
        ValueError: If ``lag`` is negative, and in the same cases as `observe` and the model.
    """
    if lag is not None and lag < 0:
        raise ValueError(f"lag must be 0 or more steps; got {lag}")
    batch = tuple(b.clone() if isinstance(b, Tensor) and b.is_inference() else b for b in batch)
    traceless = without_trace(model)
    with torch.inference_mode(False), torch.enable_grad(), traceless, observe(model) as observation:
        bad = first_not_finite(model, batch, observation, *computed(model, batch, loss))
        return _verdicts(observation, bad, lag, seed)


def _verdicts(
    observation: Observation, bad: Finding | None, lag: int | None, seed: int
) -> Diagnosis:
    layers: list[LayerDiagnosis] = []
    others: list[Finding] = []
    if bad is not None and bad.where.partition(",")[0] not in observation:
        others.append(bad)
    for name, view in observation.items():
        if bad is not None:
            # measures computed from a NaN have no meaning
            own = (bad,) if bad.where.partition(",")[0] == name else ()
            layers.append(LayerDiagnosis(name, own[0].issue if own else "unknown", own, {}, ()))
        elif view.inside.any():
            layers.append(_diagnose_layer(name, view, lag, seed))
    notes = tuple(f"{path or 'the model'}: {why}" for path, why in observation.unseen.items())
    notes += tuple(
        f"{name}: called {len(observation.passes(name))} times; only the last call was measured"
        for name in observation
        if len(observation.passes(name)) > 1
    )
    notes += tuple(
        f"{layer.name}: only one step, so its memory was not measured"
        for layer in layers
        if len(layer.gradient_by_lag) == 1
    )
    if not layers and not others:
        return Diagnosis("unknown", (), (), (*notes, "no recurrent layer computed a step"))
    found = [f.issue for layer in layers for f in layer.findings] + [f.issue for f in others]
    worst = min(found, key=ISSUES.index, default=HEALTHY)
    return Diagnosis(worst, tuple(layers), tuple(others), notes)


def _diagnose_layer(name: str, view: View, lag: int | None, seed: int) -> LayerDiagnosis:
    evidence = _measure(name, view, lag, seed)
    findings = [f for examine in _EXAMINATIONS for f in [examine(evidence)] if f is not None]
    findings.sort(key=lambda f: ISSUES.index(f.issue))
    measures: dict[str, float | None] = {
        "dead units (share)": evidence.dead,
        "largest gradient at any lag": _largest(evidence.relative)[0],
        **{f"stuck units (share), {_label(g)}": share for g, share in evidence.stuck.items()},
    }
    if evidence.variation is not None:
        measures["variation over samples"] = evidence.variation
    if len(evidence.relative) > 1:
        measures["gradient at lag 1"] = float(evidence.relative[1])
        measures[f"gradient at lag {len(evidence.relative) - 1}"] = float(evidence.relative[-1])
    if view.cell_type.keeps:
        scales = time_scales(view)
        measures[f"time scale (steps), {scales.gate} gate"] = scales.median
    return LayerDiagnosis(
        name,
        findings[0].issue if findings else HEALTHY,
        tuple(findings),
        {n: _finite(v) for n, v in measures.items()},
        tuple(_finite(v) for v in evidence.relative.tolist()),
    )


def _measure(name: str, view: View, lag: int | None, seed: int) -> _Evidence:
    longest = int(view.inside.sum(dim=0).max()) - 1
    longest_lag = longest if lag is None else min(lag, longest)
    # upper quartile: vanishing needs 3 of 4 samples to vanish, exploding 1 of 4 to explode
    norms = gradient_by_lag(view, lags=longest_lag + 1, seed=seed).high
    reached = (
        ~norms.isnan()
    ).nonzero()  # NaN at the end: no sample is this long; NaN before: overflow
    known = norms[: int(reached[-1]) + 1] if len(reached) else torch.tensor([1.0, math.inf])
    known = known.nan_to_num(nan=math.inf, posinf=math.inf)
    gates = [g.name for g in view.cell_type.gates if g.activation in ("sigmoid", "tanh")]
    if view.cell_type.hidden_activation in ("sigmoid", "tanh"):
        gates.append("state")
    hidden = view.hidden[view.inside]  # [N, H]
    spread = hidden.amax(dim=0) - hidden.amin(dim=0)
    still = spread <= _STILL * hidden.abs().amax(dim=0).clamp(min=1.0)
    x = view.input[view.inside]
    varies = bool(
        (x.amax(dim=0) > x.amin(dim=0)).any()
    )  # with constant input, a constant state is no issue
    return _Evidence(
        name,
        view,
        longest_lag,
        known / known[0],
        {gate: _stuck(view, gate) for gate in gates},
        float(still.double().mean()) if varies else 0.0,
        _variation(view.hidden, view.inside) if _variation(view.input, view.inside) else None,
    )


def _stuck(view: View, gate: str) -> float:
    """Return the share of units whose slope is near 0 at nearly every step.

    A gate that stays where it keeps the state passes the gradient on unchanged. That is memory and
    not counted. Nor is the closed input gate of such a unit, as chrono initialization sets it.
    """
    cell, values = view.cell_type, (view.hidden if gate == "state" else view.gates[gate])
    values = values[view.inside]
    slope = values * (1 - values)
    if cell.activation_of(gate) == "tanh":
        slope = (1 - values * values) / 4
    stuck = (slope < _STUCK_SLOPE).double().mean(dim=0) >= _STUCK_SHARE
    if gate == cell.keeps:
        stuck &= kept_share(view).mean(dim=0) < 0.5
    if gate == cell.admits:
        stuck &= kept_share(view).mean(dim=0) < 0.99
    return float(stuck.double().mean())


def _label(gate: str) -> str:
    return gate if gate == "state" else f"{gate} gate"


def _variation(values: Tensor, inside: Tensor) -> float | None:
    """Return the standard deviation over samples per step, relative to the size of the values.

    None if no step has two samples to compare.
    """
    steps = inside.sum(dim=1) > 1
    if not steps.any():
        return None
    here = torch.where(inside.unsqueeze(-1), values, math.nan)[steps].double()
    mean = here.nanmean(dim=1, keepdim=True)
    deviation = (here - mean).square().nanmean().sqrt()
    return float(deviation / here.square().nanmean().sqrt().clamp(min=1e-30))


def _largest(relative: Tensor) -> tuple[float, int]:
    """Return the largest gradient by lag, and its lag."""
    place = int(relative.argmax())
    return float(relative[place]), place


# ------------------------------------------------------------------ examinations, one an issue


def _exploding(evidence: _Evidence) -> Finding | None:
    threshold, source = THRESHOLDS["exploding"]
    value, lag = _largest(evidence.relative)
    if value <= threshold:
        return None
    first = int((evidence.relative > threshold).nonzero()[0])
    rate = value ** (1 / lag)
    return Finding(
        "exploding",
        f"the gradient of h_t grows by a factor of {value:.2g} over {lag} steps back in time "
        f"({rate:.3g} per step); it exceeds {threshold:g} from lag {first} on",
        _finite(value),
        threshold,
        source,
        f"{evidence.name}, lag {lag}",
        (
            "clip the gradient by its global norm (Pascanu et al. 2013): "
            "torch.nn.utils.clip_grad_norm_(parameters, 1.0)",
            "or clip it at every step: clip_hidden_grad=1.0 (option of throughtime's layers)",
            'initialize with throughtime.initialize(model, "orthogonal"): then no step increases '
            "the norm of a gradient"
            if not evidence.view.cell_type.gates
            else "lower the learning rate: gated cells explode when their weights become large",
        ),
    )


def _saturated(evidence: _Evidence) -> Finding | None:
    threshold, source = THRESHOLDS["saturated"]
    if not evidence.stuck:
        return None
    gate, share = max(evidence.stuck.items(), key=lambda item: item[1])
    if share <= threshold:
        return None
    view = evidence.view
    values = (view.hidden if gate == "state" else view.gates[gate])[view.inside]
    what = f"the {_label(gate)}"
    return Finding(
        "saturated",
        f"{share:.0%} of the units of {what} are stuck (mean {float(values.mean()):.3g}): in "
        f"{_STUCK_SHARE:.0%} of the steps their slope is below {_STUCK_SLOPE:g}, so almost no "
        "gradient passes",
        share,
        threshold,
        source,
        f"{evidence.name}, {what}",
        (
            "scale the inputs to about 1: large inputs saturate the gates",
            "lower the learning rate and initialize the weights again; add weight decay",
            "use layer_norm=True (option of throughtime's layers), which keeps the inputs of the "
            "gates near 0 (Ba et al. 2016)",
        ),
    )


def _dead(evidence: _Evidence) -> Finding | None:
    threshold, source = THRESHOLDS["dead units"]
    if evidence.dead <= threshold:
        return None
    relu = evidence.view.cell_type.hidden_activation == "relu"
    return Finding(
        "dead units",
        f"{evidence.dead:.0%} of the units have the same state at every step of every sample",
        evidence.dead,
        threshold,
        source,
        evidence.name,
        (
            "lower the learning rate: a large step can push a ReLU below 0 permanently"
            if relu
            else "lower the learning rate and initialize the weights again",
            'use nonlinearity="tanh", a GRU or an LSTM' if relu else "use fewer units",
        ),
    )


def _flat(evidence: _Evidence) -> Finding | None:
    threshold, source = THRESHOLDS["flat output"]
    if evidence.variation is None or evidence.variation >= threshold:
        return None
    return Finding(
        "flat output",
        f"the output hardly depends on the input: its standard deviation over samples is "
        f"{evidence.variation:.2g} of its size",
        evidence.variation,
        threshold,
        source,
        evidence.name,
        (
            "scale the inputs to about 1: they are negligible compared with the biases",
            "raise the learning rate or train longer: a network learns the mean first",
        ),
    )


def _unused(evidence: _Evidence) -> Finding | None:
    threshold, source = THRESHOLDS["unused memory"]
    if len(evidence.relative) < 2 or evidence.relative[1] >= threshold:
        return None
    value = float(evidence.relative[1])
    return Finding(
        "unused memory",
        f"only {value:.2g} of the gradient of h_t reaches the previous step",
        value,
        threshold,
        source,
        f"{evidence.name}, lag 1",
        (
            "if the task needs no past, use a dense network: it does the same at lower cost",
            *_memory_advice(evidence),
        ),
    )


def _vanishing(evidence: _Evidence) -> Finding | None:
    dtype = evidence.view.hidden.dtype
    threshold = torch.finfo(dtype).eps
    lost = (evidence.relative < threshold).nonzero()
    if not len(lost) or evidence.relative[-1] >= threshold:
        return None
    first, lag = int(lost[0]), len(evidence.relative) - 1
    value = float(evidence.relative[-1])
    rate = float(evidence.relative[first]) ** (1 / first)
    return Finding(
        "vanishing",
        f"only {value:.2g} of the gradient of h_t reaches {lag} steps back ({rate:.3g} per step); "
        f"it is below {threshold:.2g} from lag {first} on",
        value,
        threshold,
        f"machine epsilon of {str(dtype).removeprefix('torch.')}: added to the gradient at "
        "lag 0 it changes no bit (exponential decay: Pascanu et al. 2013)",
        f"{evidence.name}, lag {first}",
        (
            *_memory_advice(evidence),
            *(
                (
                    f"if the task needs at most {first - 1} steps, set lag={first - 1}: then this "
                    "is not an issue",
                )
                if first > 1
                else ()
            ),
        ),
    )


def _memory_advice(evidence: _Evidence) -> tuple[str, ...]:
    if not evidence.view.cell_type.keeps:
        return (
            "use a GRU or an LSTM, whose gates can keep the state",
            'initialize with throughtime.initialize(model, "orthogonal"), or "identity" for '
            'nonlinearity="relu" (Le et al. 2015)',
        )
    if evidence.view.weights.bias_ih is None:
        return ("use biases (bias=True) and chrono initialization: they keep the gates open",)
    return (
        f'initialize with throughtime.initialize(model, "chrono:{evidence.lag + 1}"), for time '
        f"scales from 1 to {evidence.lag + 1} steps (Tallec and Ollivier 2018)",
        'or with "forget-bias:3"',
    )


_EXAMINATIONS = (_exploding, _saturated, _dead, _flat, _unused, _vanishing)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

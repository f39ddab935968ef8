"""Is a recurrent network healthy? Evidence first, then a verdict, and what to do.

Thresholds stand in one table, `THRESHOLDS`, each with its source; docs/diagnosis.md shows how often
the verdicts are right on networks built to have each issue, and on healthy ones.
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
from throughtime.runs import Diagnosis, Finding, LayerDiagnosis

HEALTHY = "healthy"
# worst first: an issue hides those behind it
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
    """From where on it is an issue, and who says so."""

    value: float
    source: str


_CALIBRATED = "set on the networks of docs/diagnosis.md"
THRESHOLDS: Mapping[str, Threshold] = MappingProxyType(
    {
        # gradient at any lag, relative to lag 0
        "exploding": Threshold(1e3, f"growth by powers: Pascanu et al. 2013; {_CALIBRATED}"),
        # share of a gate's units of which the slope is next to nothing (see _STUCK_SLOPE)
        "saturated": Threshold(0.5, _CALIBRATED),
        # share of units whose state never moves
        "dead units": Threshold(0.25, _CALIBRATED),
        # deviation over samples, relative to the values
        "flat output": Threshold(1e-3, _CALIBRATED),
        # gradient at lag 1, relative to lag 0
        "unused memory": Threshold(1e-2, _CALIBRATED),
    }
)  # that of "vanishing" is the machine epsilon of the weights: see there
_STUCK_SLOPE = 1e-3  # of a sigmoid, g (1 - g): a 250th of its most
_STUCK_SHARE = 0.99  # of steps
_STILL = 1e-6  # range of a state that does not move, relative to its size


@dataclass(frozen=True)
class _Evidence:
    """What was measured of one layer."""

    name: str
    view: View
    lag: int  # as far back as it should remember
    relative: Tensor  # [K]: gradient by lag relative to lag 0
    stuck: dict[str, float]  # gate: share of units that are stuck
    dead: float  # share of units
    variation: float | None  # over samples; None where it says nothing


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
      of the gradient at h_t 6e-09 arrives 40 steps back; ...
      - initialize with init="chrono:41" ...
    >>> throughtime.diagnose(model, x, y, loss=lambda model, x, y: criterion(model(x), y))

    Verdicts: healthy, or not finite, exploding, saturated, dead units, flat output, unused memory,
    vanishing, each with what was measured, the threshold, where, and advice. A NaN or an infinity
    is followed to the first layer, step and quantity that has one.

    Leaves no trace: gradients, random states and buffers are as before. A layer that is called more
    than once is searched for a NaN in every call, and examined in the last. "unknown" where no
    layer computed a step.

    Args:
        model: Any model with recurrent layers.
        *batch: What it is called with.
        loss: Called as ``loss(model, *batch)`` in place of the model, returns one number; then
            gradients are examined, too.
        lag: How many steps back the task needs; by default as many as the batch has.
        seed: Of the directions in which gradients are sent.

    Returns:
        The verdict of the whole, of each layer with findings and measures, and notes.

    Raises:
        ValueError: For a negative ``lag``, and what `observe` and the model raise.
    """
    if lag is not None and lag < 0:
        raise ValueError(f"lag is a number of steps back, 0 or more; got {lag}")
    batch = tuple(b.clone() if isinstance(b, Tensor) and b.is_inference() else b for b in batch)
    traceless = without_trace(model)
    with torch.inference_mode(False), torch.enable_grad(), traceless, observe(model) as seen:
        bad = first_not_finite(model, batch, seen, *computed(model, batch, loss))
        return _judged(seen, bad, lag, seed)


def _judged(seen: Observation, bad: Finding | None, lag: int | None, seed: int) -> Diagnosis:
    layers: list[LayerDiagnosis] = []
    others: list[Finding] = []
    if bad is not None and bad.where.partition(",")[0] not in seen:
        others.append(bad)
    for name, view in seen.items():
        if bad is not None:
            # what a NaN went through says nothing of anything else
            own = (bad,) if bad.where.partition(",")[0] == name else ()
            layers.append(LayerDiagnosis(name, own[0].issue if own else "unknown", own, {}, ()))
        elif view.inside.any():
            layers.append(_examined(name, view, lag, seed))
    notes = tuple(f"{path or 'the model'}: {why}" for path, why in seen.unseen.items())
    notes += tuple(
        f"{name}: called {len(seen.passes(name))} times; the last call was examined"
        for name in seen
        if len(seen.passes(name)) > 1
    )
    notes += tuple(
        f"{layer.name}: one step, so its memory was not measured"
        for layer in layers
        if len(layer.gradient_by_lag) == 1
    )
    if not layers and not others:
        return Diagnosis("unknown", (), (), (*notes, "no recurrent layer computed a step"))
    found = [f.issue for layer in layers for f in layer.findings] + [f.issue for f in others]
    worst = min(found, key=ISSUES.index, default=HEALTHY)
    return Diagnosis(worst, tuple(layers), tuple(others), notes)


def _examined(name: str, view: View, lag: int | None, seed: int) -> LayerDiagnosis:
    evidence = _measured(name, view, lag, seed)
    findings = [f for examine in _EXAMINATIONS for f in [examine(evidence)] if f is not None]
    findings.sort(key=lambda f: ISSUES.index(f.issue))
    measures: dict[str, float | None] = {
        "dead units (share)": evidence.dead,
        "largest gradient at any lag": _largest(evidence.relative)[0],
        **{f"stuck units (share), {_named(g)}": share for g, share in evidence.stuck.items()},
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


def _measured(name: str, view: View, lag: int | None, seed: int) -> _Evidence:
    longest = int(view.inside.sum(dim=0).max()) - 1
    asked = longest if lag is None else min(lag, longest)
    # the upper quartile: an alarm needs three of four samples to be lost, or one to explode
    norms = gradient_by_lag(view, lags=asked + 1, seed=seed).high
    reached = (~norms.isnan()).nonzero()  # NaN behind: no sample is so long; before: overflow
    known = norms[: int(reached[-1]) + 1] if len(reached) else torch.tensor([1.0, math.inf])
    known = known.nan_to_num(nan=math.inf, posinf=math.inf)
    gates = [g.name for g in view.cell_type.gates if g.activation in ("sigmoid", "tanh")]
    if view.cell_type.hidden_activation in ("sigmoid", "tanh"):
        gates.append("state")
    hidden = view.hidden[view.inside]  # [N, H]
    spread = hidden.amax(dim=0) - hidden.amin(dim=0)
    still = spread <= _STILL * hidden.abs().amax(dim=0).clamp(min=1.0)
    x = view.input[view.inside]
    moved = bool((x.amax(dim=0) > x.amin(dim=0)).any())  # or else a state may well stand still
    return _Evidence(
        name,
        view,
        asked,
        known / known[0],
        {gate: _stuck(view, gate) for gate in gates},
        float(still.double().mean()) if moved else 0.0,
        _variation(view.hidden, view.inside) if _variation(view.input, view.inside) else None,
    )


def _stuck(view: View, gate: str) -> float:
    """Share of units whose slope is next to nothing at nearly every step.

    A gate that stays where it keeps the state hands the gradient on whole: that is memory, and no
    issue; nor is the input gate of such a unit that stays shut (as chrono has it).
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


def _named(gate: str) -> str:
    return gate if gate == "state" else f"{gate} gate"


def _variation(values: Tensor, inside: Tensor) -> float | None:
    """Deviation over samples at the same step, relative to the size of the values.

    None where there are not two samples to compare.
    """
    steps = inside.sum(dim=1) > 1
    if not steps.any():
        return None
    here = torch.where(inside.unsqueeze(-1), values, math.nan)[steps].double()
    mean = here.nanmean(dim=1, keepdim=True)
    deviation = (here - mean).square().nanmean().sqrt()
    return float(deviation / here.square().nanmean().sqrt().clamp(min=1e-30))


def _largest(relative: Tensor) -> tuple[float, int]:
    """The largest of the gradients by lag, and its lag."""
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
        f"the gradient at h_t is {value:.2g} times as large {lag} steps back, "
        f"{rate:.3g} times a step; more than {threshold:g} from lag {first} on",
        _finite(value),
        threshold,
        source,
        f"{evidence.name}, lag {lag}",
        (
            "clip the gradient by its global norm (Pascanu et al. 2013): "
            "torch.nn.utils.clip_grad_norm_(parameters, 1.0)",
            "bound it at every step instead: clip_hidden_grad=1.0 (of throughtime's layers)",
            'begin with throughtime.initialize(model, "orthogonal"): no step then makes a gradient '
            "longer"
            if not evidence.view.cell_type.gates
            else "lower the learning rate: gated cells explode when their weights have grown",
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
    what = f"the {_named(gate)}"
    return Finding(
        "saturated",
        f"{share:.0%} of the units of {what} are stuck (mean {float(values.mean()):.3g}): in "
        f"{_STUCK_SHARE:.0%} of the steps its slope is below {_STUCK_SLOPE:g}, and no gradient "
        "moves it",
        share,
        threshold,
        source,
        f"{evidence.name}, {what}",
        (
            "scale the inputs to about 1: large inputs drive the gates to their ends",
            "lower the learning rate and draw the weights anew; add weight decay",
            "layer_norm=True (of throughtime's layers) keeps what enters near 0 (Ba et al. 2016)",
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
            "lower the learning rate: a large step can push a ReLU below 0 for good"
            if relu
            else "lower the learning rate and draw the weights anew",
            'use nonlinearity="tanh", a GRU or an LSTM' if relu else "use fewer units",
        ),
    )


def _flat(evidence: _Evidence) -> Finding | None:
    threshold, source = THRESHOLDS["flat output"]
    if evidence.variation is None or evidence.variation >= threshold:
        return None
    return Finding(
        "flat output",
        f"the output is the same whatever the input: over samples it varies by "
        f"{evidence.variation:.2g} of its size",
        evidence.variation,
        threshold,
        source,
        evidence.name,
        (
            "scale the inputs to about 1: next to the biases they count for nothing",
            "raise the learning rate or train longer: the mean is what is learned first",
        ),
    )


def _unused(evidence: _Evidence) -> Finding | None:
    threshold, source = THRESHOLDS["unused memory"]
    if len(evidence.relative) < 2 or evidence.relative[1] >= threshold:
        return None
    value = float(evidence.relative[1])
    return Finding(
        "unused memory",
        f"of the gradient at h_t {value:.2g} arrives one step back: each step is for itself",
        value,
        threshold,
        source,
        f"{evidence.name}, lag 1",
        (
            "if the task needs no past, use a dense network: it does the same for less",
            *_how_to_remember(evidence),
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
        f"of the gradient at h_t {value:.2g} arrives {lag} steps back, {rate:.3g} times a step; "
        f"from lag {first} on less than {threshold:.2g}",
        value,
        threshold,
        f"machine epsilon of {str(dtype).removeprefix('torch.')}: added to what comes from lag 0 "
        "it changes no bit (Pascanu et al. 2013 on why it shrinks by powers)",
        f"{evidence.name}, lag {first}",
        (
            *_how_to_remember(evidence),
            *(
                (
                    f"if the task needs no more than {first - 1} steps, say so (lag={first - 1}): "
                    "then this is not an issue",
                )
                if first > 1
                else ()
            ),
        ),
    )


def _how_to_remember(evidence: _Evidence) -> tuple[str, ...]:
    if not evidence.view.cell_type.keeps:
        return (
            "use a GRU or an LSTM, whose gates can keep the state",
            'begin with throughtime.initialize(model, "orthogonal"), or "identity" for '
            'nonlinearity="relu" (Le et al. 2015)',
        )
    if evidence.view.weights.bias_ih is None:
        return ("give it biases (bias=True) and begin with chrono: they keep its gates open",)
    return (
        f'begin with throughtime.initialize(model, "chrono:{evidence.lag + 1}") (Tallec and '
        f"Ollivier 2018): units that keep for 1 to {evidence.lag + 1} steps",
        'or with "forget-bias:3"',
    )


_EXAMINATIONS = (_exploding, _saturated, _dead, _flat, _unused, _vanishing)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

"""Plotly figures of the inside of a network, for notebooks and reports.

They accept sequences, arrays or tensors of numbers, whatever program measured them.

    from throughtime.report import pictures
    pictures.gradient_by_lag({"LSTM": throughtime.gradient_by_lag(seen["l0"]).norms}).show()
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from throughtime.report.axes import INK, PALETTE, axes, logarithmic

# SIGNED: -1 to 1, with a middle colour visible on white and on black; UNSIGNED: 0 to 1
SIGNED = ((0.0, "#0072B2"), (0.5, "#bfbfbf"), (1.0, "#D55E00"))
UNSIGNED = "Viridis"
_SMALLEST = 1e-20  # lower end of logarithmic axes; smaller values are drawn there


def gradient_by_lag(
    profiles: Mapping[str, Any],
    *,
    lost: float | None = None,
    step: str = "steps",
    colors: Mapping[str, str] | None = None,
) -> go.Figure:
    """Gradient norm against lag on a logarithmic axis, one line per network.

    ``profiles``: name to norms ``[K]``, drawn relative to lag 0. ``lost``: level below which the
    gradient is lost, such as the machine epsilon. ``colors``: name to colour; default: a palette.
    """
    figure, shown = go.Figure(), [1.0]
    for number, (name, norms) in enumerate(profiles.items()):
        values = _plain(norms)
        first = values[0] if values else None
        relative = [max(v / first, _SMALLEST) if first and v is not None else None for v in values]
        shown += [v for v in relative if v is not None]
        figure.add_scatter(
            x=list(range(len(relative))),
            y=relative,
            mode="lines",
            name=name,
            line=_line(number, name, colors),
        )
    if lost is not None:
        last = max((len(_plain(p)) for p in profiles.values()), default=1) - 1
        figure.add_scatter(
            x=[0, last],
            y=[lost, lost],
            mode="lines",
            name="lost below",
            line={"dash": "dot", "color": "#7f7f7f"},
            meta=INK,
        )
        shown.append(lost)
    axes(figure, f"lag, {step}", "gradient norm, relative to lag 0")
    figure.update_yaxes(logarithmic(shown))
    return figure


def heat_map(
    values: Mapping[str, Any],
    *,
    input: Any = None,
    times: Sequence[Any] | None = None,
    time_title: str = "time step",
    input_title: str = "input",
) -> go.Figure:
    """States or gates over time, one row per unit, with the input above.

    ``values``: name to ``[T,H]``, such as ``{"forget gate": view.gates["forget"][:, 0]}``. A name
    that ends in "gate" is drawn from 0 to 1, except "cell gate" and "new gate", which are drawn
    like a state from -1 to 1. ``input``: ``[T]`` or ``[T,I]``. ``times``: labels of the steps;
    default: their numbers. Raises ValueError if ``values`` is empty.
    """
    grids = {name: _grid(grid) for name, grid in values.items()}
    if not grids:
        raise ValueError("nothing to draw: name at least one quantity")
    rows = len(grids) + (input is not None)
    figure = make_subplots(
        rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.22 / rows,
        subplot_titles=[*([escape(input_title, quote=False)] if input is not None else []), *grids],
        row_heights=[*([0.6] if input is not None else []), *([1.0] * len(grids))],
    )  # fmt: skip
    if input is not None:
        columns = _columns(_plain(input))
        for number, column in enumerate(columns):
            figure.add_scatter(
                x=_labels(times, len(column)), y=column, mode="lines", showlegend=False,
                line=_line(number), row=1, col=1,
            )  # fmt: skip
    first = 2 if input is not None else 1
    for row, (name, grid) in enumerate(grids.items(), start=first):
        low, high, scale = _range(name, grid)
        bottom, top = figure.layout[f"yaxis{row if row > 1 else ''}"].domain
        figure.add_heatmap(
            z=[list(unit) for unit in zip(*grid, strict=True)],
            x=_labels(times, len(grid)),
            zmin=low, zmax=high, colorscale=scale, row=row, col=1,
            colorbar={"len": top - bottom, "y": (bottom + top) / 2, "thickness": 12},
            hovertemplate=f"{name}<br>%{{x}}, unit %{{y}}: %{{z:.3g}}<extra></extra>",
        )  # fmt: skip
    axes(figure, "", "")
    figure.update_xaxes(title_text=time_title, row=rows, col=1)
    for row in range(first, rows + 1):
        figure.update_yaxes(title_text="unit", row=row, col=1)
    figure.update_layout(height=110 + 170 * rows, margin={"t": 40})
    return figure


def text_by_state(text: str, values: Any, *, columns: int = 60, name: str = "state") -> go.Figure:
    """The characters of a text, coloured by the state of a unit (Karpathy et al. 2016).

    ``values [T]``: one for each character. Raises ValueError if the counts differ.
    """
    states = _plain(values)
    if len(states) != len(text):
        raise ValueError(f"{len(text)} characters, but {len(states)} states")
    count = max(1, math.ceil(len(text) / columns))
    shown = list(text.replace("\n", "\u23ce"))
    grid = [states[row * columns : (row + 1) * columns] for row in range(count)]
    letters = [shown[row * columns : (row + 1) * columns] for row in range(count)]
    low, high, scale = _range(name, [[v] for v in states])
    figure = go.Figure(
        go.Heatmap(
            z=grid, text=letters, texttemplate="%{text}", zmin=low, zmax=high, colorscale=scale,
            textfont={"family": "ui-monospace, monospace", "size": 14, "color": "#000"},
            hovertemplate="%{text}: %{z:.3g}<extra></extra>", xgap=0, ygap=2,
            colorbar={"thickness": 12, "title": {"text": name, "side": "right"}},
        )
    )  # fmt: skip
    axes(figure, f"character, {columns} in a line", "line")
    figure.update_yaxes(autorange="reversed", dtick=1, showgrid=False)
    figure.update_xaxes(showgrid=False)
    figure.update_layout(height=130 + 26 * count)
    return figure


def lyapunov_spectrum(spectra: Mapping[str, Any], *, step: str = "step") -> go.Figure:
    """Growth rates of small changes, largest first, one line per network; above 0 they grow.

    ``spectra``: name to exponents ``[S]``; exponents of -inf are left out.
    """
    figure, last = go.Figure(), 1
    for number, (name, exponents) in enumerate(spectra.items()):
        values = [v for v in _plain(exponents) if v is not None and v > -20]
        last = max(last, len(values))
        figure.add_scatter(
            x=list(range(1, len(values) + 1)), y=values, mode="lines+markers", name=name,
            line=_line(number), marker={"size": 4},
        )  # fmt: skip
    figure.add_scatter(
        x=[1, last],
        y=[0, 0],
        mode="lines",
        name="neither grows nor shrinks",
        line={"dash": "dot", "color": "#7f7f7f"},
        meta=INK,
    )
    axes(figure, "direction of the state, by rank", f"Lyapunov exponent, 1 / {step}")
    return figure


def context_curve(
    curves: Mapping[str, tuple[Any, Any, Any]],
    *,
    unit: str = "loss",
    step: str = "steps",
    colors: Mapping[str, str] | None = None,
) -> go.Figure:
    """Loss against the number of input steps, with its standard error.

    ``curves``: name to (steps ``[N]``, loss ``[N]``, standard error ``[N]``).
    """
    figure, shown = go.Figure(), [1.0]
    for number, (name, (steps, loss, error)) in enumerate(curves.items()):
        # k = 0 has no place on a logarithmic axis
        rows = zip(_plain(steps), _plain(loss), _plain(error), strict=True)
        drawn = [row for row in rows if row[0] > 0]
        counts = [k for k, _, _ in drawn]
        shown += counts
        figure.add_scatter(
            x=counts, y=[y for _, y, _ in drawn], mode="lines+markers", name=name,
            line=_line(number, name, colors),
            error_y={"type": "data", "array": [e for _, _, e in drawn]},
        )  # fmt: skip
    axes(figure, f"own input: the last {step}", unit)
    figure.update_xaxes(logarithmic(shown))
    figure.update_layout(showlegend=len(curves) > 1)
    return figure


def scrub(
    values: Mapping[str, Any], input: Any, *, times: Sequence[Any] | None = None,
    input_title: str = "input",
) -> go.Figure:  # fmt: skip
    """One time step of the network at a time, selected by a slider.

    ``values``: name to ``[T,H]``, drawn as one bar per unit. ``input``: ``[T]``, drawn above with a
    marker at the current step. Raises ValueError if there is no step or the numbers of steps
    differ.
    """
    grids = {name: _grid(grid) for name, grid in values.items()}
    series = _plain(input)
    counts = {len(series), *(len(grid) for grid in grids.values())}
    if len(counts) != 1 or not series or isinstance(series[0], list):
        raise ValueError(
            "values and input need the same number of steps, at least one, and input one column; "
            f"got {sorted(counts)} steps"
        )
    labels = _labels(times, len(series))
    rows = 1 + len(grids)
    figure = make_subplots(
        rows=rows,
        cols=1,
        vertical_spacing=0.4 / rows,
        subplot_titles=[escape(input_title, quote=False), *grids],
    )
    figure.add_scatter(
        x=labels, y=series, mode="lines", line=_line(0), showlegend=False, row=1, col=1
    )
    mark = {"size": 12, "color": PALETTE[1]}
    figure.add_scatter(
        x=labels[:1], y=series[:1], mode="markers", marker=mark, showlegend=False, row=1, col=1
    )
    for row, (name, grid) in enumerate(grids.items(), start=2):
        low, high, _ = _range(name, grid)
        figure.add_bar(
            x=list(range(len(grid[0]))), y=grid[0], marker_color=PALETTE[row % len(PALETTE)],
            showlegend=False, row=row, col=1,
        )  # fmt: skip
        figure.update_yaxes(range=[low * 1.05, high * 1.05], row=row, col=1)
    changed = list(range(1, 2 + len(grids)))
    figure.frames = [
        go.Frame(
            name=str(t),
            data=[
                go.Scatter(x=[labels[t]], y=[series[t]]),
                *(go.Bar(y=grid[t]) for grid in grids.values()),
            ],
            traces=changed,
        )
        for t in range(len(series))
    ]
    animation = {
        "mode": "immediate",
        "frame": {"duration": 0, "redraw": True},
        "transition": {"duration": 0},
    }
    axes(figure, "", "")
    figure.update_xaxes(title_text="unit", row=rows, col=1)
    figure.update_layout(
        height=150 + 150 * rows,
        margin={"t": 40, "b": 110},
        sliders=[
            {
                "currentvalue": {"prefix": "step "},
                "pad": {"t": 50},
                "steps": [
                    {"label": str(label), "method": "animate", "args": [[str(t)], animation]}
                    for t, label in enumerate(labels)
                ],
            }
        ],
    )
    return figure


def _plain(values: Any) -> list[Any]:
    """Convert a sequence, an array or a tensor to lists; None for values that are not finite."""
    if hasattr(values, "detach"):
        values = values.detach()
    values = values.tolist() if hasattr(values, "tolist") else list(values)

    def clean(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [clean(v) for v in value]
        return None if value is None or not math.isfinite(value) else value

    return [clean(value) for value in values]


def _labels(times: Sequence[Any] | None, count: int) -> list[Any]:
    return list(range(count)) if times is None else list(times)


def _grid(values: Any) -> list[list[Any]]:
    """[T, H]; [T] is one unit."""
    rows = _plain(values)
    return [row if isinstance(row, list) else [row] for row in rows]


def _columns(values: list[Any]) -> list[list[Any]]:
    """[T] or [T, I] as columns."""
    if values and isinstance(values[0], list):
        return [list(column) for column in zip(*values, strict=True)]
    return [values]


def _range(name: str, grid: list[list[Any]]) -> tuple[float, float, Any]:
    """Lower and upper bound of a quantity, and its colour scale."""
    if name.endswith("gate") and name not in ("cell gate", "new gate"):
        return 0.0, 1.0, UNSIGNED
    largest = max((abs(v) for row in grid for v in row if v is not None), default=1.0)
    bound = 1.0 if largest <= 1.0 else largest
    return -bound, bound, SIGNED


def _line(number: int, name: str = "", colors: Mapping[str, str] | None = None) -> dict[str, Any]:
    color = (colors or {}).get(name, PALETTE[number % len(PALETTE)])
    return {"color": color, "width": 2}

"""Axes and colours shared by all figures, readable on light and dark backgrounds."""

import math
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

LOST = 2.0**-23  # machine epsilon of float32: a smaller addend changes no bit of 1
INK = "ink"  # marks a trace that the page draws in its text colour
# Okabe and Ito's palette, distinguishable for colour-blind readers
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_NEUTRAL = "#7f7f7f"  # text colour outside a page: readable on white and on black


def logarithmic(values: Sequence[float]) -> dict[str, object]:
    """A logarithmic axis that begins and ends at a labelled tick; plotly's may show only one tick.

    Ticks are at 1, 2 and 5 in every decade, or above three decades at whole decades, at most ten.
    """
    positive = [value for value in values if 1e-300 < value < 1e300] or [1.0]  # room for ticks
    low, high = min(positive), max(positive)
    decades = math.log10(high) - math.log10(low)
    digits, apart = ((1, 2, 5), 1) if decades < 3 else ((1,), math.ceil(decades / 8))
    exponents = range(
        math.floor(math.log10(low)) - apart, math.ceil(math.log10(high)) + apart + 1, apart
    )
    ticks = [digit * 10.0**exponent for exponent in exponents for digit in digits]
    first = max(tick for tick in ticks if tick < low)
    last = min(tick for tick in ticks if tick > high)
    ticks = [tick for tick in ticks if first <= tick <= last]
    return {
        "type": "log",
        "range": [math.log10(first), math.log10(last)],
        "tickvals": ticks,
        "ticktext": [f"{tick:,.10g}" for tick in ticks],
    }


def axes(figure: go.Figure, x: str, y: str) -> None:
    """Set axis titles and the layout; the page sets the colours for light or dark mode.

    Titles are escaped, because plotly renders some tags (<b>, <a href>) as markup.
    """
    figure.update_layout(
        xaxis_title=escape(x, quote=False),
        yaxis_title=escape(y, quote=False),
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": _NEUTRAL},
        margin={"l": 70, "r": 70, "t": 20, "b": 60},
        height=420,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(automargin=True, gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    figure.update_yaxes(automargin=True, gridcolor="rgba(128,128,128,0.25)", zeroline=False)

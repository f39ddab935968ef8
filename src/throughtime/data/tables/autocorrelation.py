"""How far back a series depends on itself: partial autocorrelation, and seasons."""

from collections.abc import Sequence

import numpy as np

_LEAST = 0.1  # partial autocorrelations below this explain under 1 % of the variance
_SIGMAS = 5.0  # standard errors that a lag must stand out by: hundreds of lags are looked at
_MOST = 512  # lags
_DIP = 0.9  # changes over a season, relative to those over half a season less and more
_BETTER = 0.95  # changes over a longer season, relative to those over a shorter one


def partial_autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """Partial autocorrelations at lags 0 to `lags`, by Durbin's recursion (Durbin 1960).

    >>> partial_autocorrelation(values, 2)
    array([1. , 0.8, 0. ])

    Args:
        values: A series [N] without gaps.
        lags: Largest lag, below N.
    """
    centered = values - values.mean()
    variance = float(centered @ centered)
    found = np.zeros(lags + 1)
    found[0] = 1.0
    if not variance > 0:
        return found
    r = np.array([float(centered[k:] @ centered[: len(centered) - k]) for k in range(lags + 1)])
    r /= variance
    coefficients = np.zeros(0)
    error = 1.0
    for lag in range(1, lags + 1):
        reflection = (r[lag] - float(coefficients @ r[lag - 1 : 0 : -1])) / error
        coefficients = np.append(coefficients - reflection * coefficients[::-1], reflection)
        error *= 1.0 - reflection**2
        found[lag] = reflection
        if error <= 1e-12:  # the values before say everything
            break
    return found


def longest_lag(values: np.ndarray) -> tuple[int, float]:
    """The largest lag at which a series depends on itself, and its partial autocorrelation.

    (0, 0.0): at none. Lags up to a tenth of the series, at most 512, are looked at.
    """
    lags = min(_MOST, len(values) // 10)
    if lags < 1:
        return 0, 0.0
    found = partial_autocorrelation(values, lags)
    standing_out = np.abs(found) > max(_LEAST, _SIGMAS / len(values) ** 0.5)
    standing_out[0] = False
    lag = int(np.flatnonzero(standing_out)[-1]) if standing_out.any() else 0
    return lag, float(found[lag]) if lag else 0.0


def seasons(
    values: np.ndarray, periods: Sequence[tuple[int, str]], most: int
) -> list[tuple[int, str]]:
    """Those of the natural periods with which a series repeats itself.

    A series has a season if it changes less over a period than over half a period less and more,
    which no trend and no random walk does; a longer one must also change less than a shorter one.

    >>> seasons(values, [(24, "day"), (168, "week")], most=500)
    [(24, 'day')]

    Args:
        values: A series [N] without gaps.
        periods: Periods in steps, with their names, shortest first.
        most: Longest season.
    """

    def change(lag: int) -> float:
        return float(np.abs(values[lag:] - values[: len(values) - lag]).mean())

    found: list[tuple[int, str]] = []
    least = np.inf
    for steps, name in periods:
        half = steps // 2
        if not 2 <= steps <= most or steps + half >= len(values):
            continue
        own = change(steps)
        around = (change(steps - half) + change(steps + half)) / 2
        if own < _DIP * around and own < _BETTER * least:
            found.append((steps, name))
            least = own
    return found

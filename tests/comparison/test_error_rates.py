"""How often a verdict is wrong, by simulation: what the 95 % in it have to mean.

Errors come in runs, as those of forecasts do; networks share the hard times with the trivial
forecasts; every seed has its luck, which it keeps from the validation to the test part.
"""

import numpy as np
import pytest

from throughtime.catalogue import is_trivial
from throughtime.comparison.verdict import judge
from throughtime.runs import TrialRecord

NETWORKS = ("dense", "window-dense", "rnn", "lstm", "gru")
RUNS = 0.6  # correlation of an error with the next


def in_runs(random, shape):
    steps = random.normal(size=shape)
    for i in range(1, shape[-1]):
        steps[..., i] = RUNS * steps[..., i - 1] + np.sqrt(1 - RUNS**2) * steps[..., i]
    return steps


def trial(kind, seed, validation, test):
    network = not is_trivial(kind)
    return TrialRecord(
        kind=kind,
        seed=seed,
        learning_rate=1e-3 * network,
        hidden_size=8 * network,
        parameters=100 * network,
        multiply_adds=100 * network,
        training=None,
        validation_error=float(validation.mean()),
        test_error=float(test.mean()),
        error_by_step=(float(test.mean()),),
        error_by_item=tuple(test),
        forecast=(),
        prediction_us=1.0,
    )


def comparison(random, seeds, origins, luck, gains):
    """Trials of five networks, better than persistence by ``gains``, and two trivial forecasts."""
    # every error but the mean's is 1 on average; half of its noise is that of the hard times
    shared = in_runs(random, (2 * origins,))
    own = in_runs(random, (len(NETWORKS) + 1, 1, 2 * origins))
    errors = 1 + 0.2 * shared + 0.2 * own
    networks = errors[1:] - np.reshape(gains, (-1, 1, 1))
    networks = networks + luck * random.normal(size=(len(NETWORKS), seeds, 1))
    networks = networks + 0.05 * random.normal(size=(len(NETWORKS), seeds, 2 * origins))
    kinds = {"persistence": errors[0], "mean": errors[0] + 0.5}
    kinds |= dict(zip(NETWORKS, networks, strict=True))
    return [
        trial(kind, seed, one[:origins], one[origins:])
        for kind, values in kinds.items()
        for seed, one in enumerate(values)
    ]


def verdicts(count, seeds, origins, luck, gains):
    random = np.random.default_rng(0)
    return [
        judge(comparison(random, seeds, origins, luck, gains), horizon=1, parameters=100)
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("seeds", "origins", "luck"), [(5, 300, 0.02), (5, 100, 0.2), (3, 20, 0.05), (5, 20, 0.0)]
)
def test_no_network_is_recommended_over_an_equally_good_trivial_forecast(seeds, origins, luck):
    found = verdicts(300, seeds, origins, luck, np.zeros(5))
    assert np.mean([v.outcome in ("network", "tie") for v in found]) <= 0.06


def test_networks_that_are_better_are_found():
    found = verdicts(100, 5, 300, 0.02, [0, 0, 0, 0.2, 0.0])
    assert np.mean([v.recommended == "lstm" for v in found]) > 0.95
    assert np.mean([v.outcome == "network" for v in found]) > 0.95


def test_equally_good_networks_are_tied():
    found = verdicts(100, 5, 300, 0.02, np.full(5, 0.2))
    assert np.mean([v.outcome == "tie" for v in found]) > 0.9

"""Variants of a problem that tell what a result depends on: on the order of steps, on their number.

A trial of a variant is trained and measured like any other, on other data.
"""

from throughtime.comparison.experiment import Experiment

SHUFFLED = "shuffled"  # the steps of each sequence in random order
_SHARE = "share"  # part of the training data, in percent
VARIANT_SEEDS = 3  # trainings of a network
SHARES = (10, 30)  # percent, of a learning curve


def share_of(percent: int) -> str:
    """The name of the variant with so many percent of the training data."""
    return f"{_SHARE}{percent}"


def variant_of(experiment: Experiment, name: str) -> Experiment:
    """The experiment on other data; "": the experiment itself.

    >>> variant_of(experiment, "share10").items < experiment.items
    True
    """
    if not name:
        return experiment
    if name == SHUFFLED:
        return experiment.shuffled()
    return experiment.with_share(int(name.removeprefix(_SHARE)) / 100)

"""Whether a training had converged, so that its result says something about the network."""

from throughtime.runs import TrainingRecord

_LAST = 0.25  # of the steps: what improves within them had not converged
_IMPROVEMENT = 0.02  # relative improvement within them that counts
_CHANCE = 0.02  # a network within this of the simple prediction has learned nothing
_ENOUGH = 800  # steps without improvement after which more are unlikely to help


def not_converged(
    training: TrainingRecord,
    *,
    chance: float | None = None,
    vanishing: bool = False,
    resolution: float = 0.0,
) -> str:
    """Why a training cannot be judged, in words; "" if it had converged.

    >>> not_converged(training, chance=0.5)
    'still improving after 150 steps'

    Args:
        training: A finished training.
        chance: The measure of the best simple prediction, in the unit of the training's measure.
        vanishing: Whether the gradient vanishes in one of its layers.
        resolution: Differences of the measure up to this are noise: two items of a share, say.
    """
    if not training.best:
        return ""  # it diverged, which its record says
    errors = [e.validation_error for e in training.evaluations]
    best, last = min(errors), training.evaluations[-1].step
    before = [e.validation_error for e in training.evaluations if e.step <= (1 - _LAST) * last]
    noise = max(_IMPROVEMENT * abs(best), resolution)
    steps = f"{training.steps} steps"
    if best < min(before, default=float("inf")) - noise:
        return f"still improving after {steps}"
    if chance is not None and best > chance - max(_CHANCE * abs(chance), resolution):
        if vanishing:
            return f"no better than a simple prediction after {steps}, and its gradient vanishes"
        if last - training.best_step < _ENOUGH:
            return f"no better than a simple prediction after only {steps}"
    return ""

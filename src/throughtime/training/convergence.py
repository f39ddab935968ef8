"""Whether a training had converged, so that its result says something about the network."""

from throughtime.network_records import TrainingRecord

SOLVED = "solved"  # how the reason of a training begins that had nothing left to learn
BEHIND = "far behind other trainings"  # how the reason of a pruned training begins
AT_CHANCE = "no better than a simple prediction"  # of one that has learned nothing
_LAST = 0.25  # of the steps: what improves within them had not converged
_IMPROVEMENT = 0.02  # relative improvement within them that counts
_NEGLIGIBLE = 0.002  # of the first evaluation: improvements up to this do not count
_CHANCE = 0.02  # a network within this of the simple prediction has learned nothing
_PLATEAU = 700  # steps without improvement at chance: plateaus of gated networks last as long
_SETTLED = 200  # steps without improvement elsewhere


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
    if training.stopped.startswith(BEHIND):
        return training.stopped
    if training.stopped.startswith(SOLVED):
        return ""
    errors = [e.validation_error for e in training.evaluations]
    best, last = min(errors), training.evaluations[-1].step
    noise = max(_IMPROVEMENT * abs(best), _NEGLIGIBLE * abs(errors[0]), resolution)
    settled = next(e.step for e in training.evaluations if e.validation_error <= best + noise)
    steps = f"{training.steps} steps"
    if settled > (1 - _LAST) * last:
        return f"still improving after {steps}"
    if chance is not None and best > chance - max(_CHANCE * abs(chance), resolution):
        if vanishing:
            return f"{AT_CHANCE} after {steps}, and its gradient vanishes"
        if last - settled < _PLATEAU:
            return f"{AT_CHANCE} after only {steps}"
    return f"ended after only {steps}" if last - settled < _SETTLED else ""

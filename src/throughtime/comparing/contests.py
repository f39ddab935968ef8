"""Which contest a problem is."""

from throughtime.comparing.contest import Contest
from throughtime.comparing.forecasts import ForecastingContest
from throughtime.comparing.labels import LabellingContest
from throughtime.comparing.tokens import TokenContest
from throughtime.data.opening import AnyProblem
from throughtime.data.sequences import SequenceProblem
from throughtime.data.text import TextProblem


def contest_of(problem: AnyProblem) -> Contest:
    """How networks are compared at this problem."""
    if isinstance(problem, SequenceProblem):
        return LabellingContest(problem)
    if isinstance(problem, TextProblem):
        return TokenContest(problem)
    return ForecastingContest(problem)

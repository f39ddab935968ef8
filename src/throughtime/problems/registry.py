"""Which contest a problem is."""

from throughtime.comparing.contest import Contest
from throughtime.data.opening import AnyProblem
from throughtime.data.sequences.sequences import SequenceProblem
from throughtime.data.text.documents import TextProblem
from throughtime.problems.forecasting.comparison import ForecastingContest
from throughtime.problems.labelling.comparison import LabellingContest
from throughtime.problems.language.comparison import TokenContest


def contest_of(problem: AnyProblem) -> Contest:
    """How networks are compared at this problem."""
    if isinstance(problem, SequenceProblem):
        return LabellingContest(problem)
    if isinstance(problem, TextProblem):
        return TokenContest(problem)
    return ForecastingContest(problem)

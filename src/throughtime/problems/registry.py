"""The experiment of each kind of problem."""

from throughtime.comparison.experiment import Experiment
from throughtime.data.opening import AnyProblem
from throughtime.data.sequences.sequences import SequenceProblem
from throughtime.data.text.documents import TextProblem
from throughtime.problems.forecasting.comparison import ForecastingExperiment
from throughtime.problems.labelling.comparison import LabellingExperiment
from throughtime.problems.language.comparison import TokenExperiment


def experiment_of(problem: AnyProblem) -> Experiment:
    """The experiment that compares networks on this problem."""
    if isinstance(problem, SequenceProblem):
        return LabellingExperiment(problem)
    if isinstance(problem, TextProblem):
        return TokenExperiment(problem)
    return ForecastingExperiment(problem)

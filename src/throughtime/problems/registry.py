"""The experiment of each kind of problem."""

from throughtime.comparison.experiment import Experiment
from throughtime.data.opening import AnyProblem
from throughtime.data.sequences.sequences import SequenceProblem
from throughtime.data.text.documents import TextProblem
from throughtime.errors import one_of
from throughtime.problems.forecasting.comparison import ForecastingExperiment
from throughtime.problems.labelling.comparison import LabellingExperiment
from throughtime.problems.language.comparison import TokenExperiment


def experiment_of(problem: AnyProblem, metric: str = "") -> Experiment:
    """The experiment that compares networks on this problem.

    Args:
        problem: The data.
        metric: The measure of errors; "": the usual one of this problem.

    Raises:
        InputError: If the measure is none of this problem.
    """
    experiment: Experiment
    if isinstance(problem, SequenceProblem):
        experiment = LabellingExperiment(problem, metric)
    elif isinstance(problem, TextProblem):
        experiment = TokenExperiment(problem)
    else:
        experiment = ForecastingExperiment(problem, metric)
    one_of("--metric", metric or experiment.metric, experiment.metrics)
    return experiment

"""Equal sizes: every network gets the same number of parameters, or the reader is told."""

from throughtime.data.problem import Problem
from throughtime.nn.models import ModelConfig, match_parameters, parameter_count
from throughtime.runs import NAMES, TRIVIAL, SettingsRecord

_FEWEST_UNITS = 4  # a narrower network fails for its size, whatever it is given to see
_FARTHEST_OFF = 0.10  # of the parameters asked for


def config_for(problem: Problem, kind: str, normalize: str, parameters: int) -> ModelConfig:
    """The configuration of a model for this problem, of about so many parameters."""
    config = ModelConfig(
        kind,
        problem.plan.context,
        problem.plan.horizon,
        columns=len(problem.table.columns),
        targets=len(problem.table.targets),
        normalize=normalize,
        season=problem.plan.season,
    )
    return config if kind in TRIVIAL else match_parameters(config, parameters)


def size_notes(problem: Problem, settings: SettingsRecord) -> list[str]:
    """What to know of the networks' sizes before time is spent on training them."""
    configs = [
        config_for(problem, kind, settings.normalize, settings.parameters)
        for kind in settings.networks
    ]
    notes = [
        size_note(c.kind, c.hidden_size, parameter_count(c), settings.parameters) for c in configs
    ]
    return [note for note in notes if note is not None]


def size_note(kind: str, hidden_size: int, parameters: int, asked: int) -> str | None:
    """Why a network of this size is no fair match to the others; None: it is one."""
    off = parameters - asked
    if hidden_size >= _FEWEST_UNITS and abs(off) <= _FARTHEST_OFF * asked:
        return None
    share = f" ({100 * abs(off) / asked:.0f} % {'more' if off > 0 else 'fewer'})" if off else ""
    return (
        f"{NAMES[kind]} is no fair match: hidden size {hidden_size}, {parameters:,} parameters "
        f"where {asked:,} were asked for{share}. Nothing is concluded from it about the past "
        f"or recurrence; raise --parameters."
    )

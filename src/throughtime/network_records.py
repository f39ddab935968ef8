"""Records of one network: its training, the diagnosis of its layers, how far back it remembers.

They hold only plain values, and this module imports only the standard library; see `runs`.
"""

from dataclasses import dataclass, field

from throughtime.serialization import added_later


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation on the validation part, and the training since the one before."""

    training_loss: float  # mean over steps since the evaluation before
    validation_error: float  # the measure that selects the best weights
    gradient_norm: float  # median over steps, before clipping
    clipped: float  # share of steps whose gradient was clipped
    seconds: float
    learning_rate: float = 0.0  # of the last step
    measures: dict[str, float] = field(default_factory=dict[str, float])  # all measures, by name
    step: int = added_later(0)  # optimizer steps taken; 0: not recorded


@dataclass(frozen=True)
class IncidentRecord:
    """A skipped training step."""

    step: int  # from 1
    cause: str  # what was not finite: input, loss, gradient, weights, buffer or optimizer
    where: str  # layer, step, parameter, as far as known
    evidence: str  # a sentence with the number
    action: str  # how training continued


@dataclass(frozen=True)
class TrainingRecord:
    """The course of a training."""

    formerly = {"epochs": "evaluations", "best_epoch": "best"}  # noqa: RUF012
    evaluations: tuple[EvaluationRecord, ...]
    best: int  # number of the best evaluation, from 1; 0: none was finite
    stopped: str  # why it ended
    skipped_steps: int  # steps skipped because something was not finite
    seconds: float
    steps: int = 0  # optimizer steps, including skipped ones
    retreats: int = 0  # returns to the last good weights, each halving the learning rate
    incidents: tuple[IncidentRecord, ...] = ()  # the first ten skipped steps
    limit: int = added_later(0)  # optimizer steps at most; 0: not recorded

    def __post_init__(self) -> None:
        if not 0 <= self.best <= len(self.evaluations):
            raise ValueError(f"best is {self.best} of {len(self.evaluations)} evaluations")

    @property
    def best_step(self) -> int:
        """The step whose weights were best; 0: none, or not recorded."""
        return self.evaluations[self.best - 1].step if self.best else 0

    def troubles(self) -> tuple[str, ...]:
        """Lines about skipped steps; empty if there were none."""
        if not self.skipped_steps:
            return ()
        counted = f"{self.skipped_steps} of {self.steps} steps were not taken"
        back = f", {self.retreats} times back to the last good weights" if self.retreats else ""
        lines = [
            f"  step {i.step}: {i.cause} not finite"
            + (f", {i.where}" if i.where else "")
            + f": {i.evidence} ({i.action})"
            for i in self.incidents
        ]
        left = self.skipped_steps - len(lines)
        return (f"{counted}{back}:", *lines, *([f"  and {left} more"] if left else []))


@dataclass(frozen=True)
class Finding:
    """An issue of a layer: what was measured, and what to do."""

    formerly = {"illness": "issue"}  # noqa: RUF012
    issue: str  # of insight.diagnosis.ISSUES
    evidence: str  # a sentence with the numbers
    value: float | None  # the measured value; None if not finite
    threshold: float | None  # values from this on are an issue
    source: str  # of the threshold
    where: str  # layer and direction; lag, step, sample or gate
    advice: tuple[str, ...]  # most promising first


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer in one direction."""

    name: str
    verdict: str  # "healthy", or the issue of the first finding
    findings: tuple[Finding, ...]  # worst first
    measures: dict[str, float | None]  # by name; None if not finite
    gradient_by_lag: tuple[float | None, ...]  # relative to lag 0


@dataclass(frozen=True)
class Diagnosis:
    """A whole model on one batch."""

    verdict: str  # "healthy", or the issue of the worst layer
    layers: tuple[LayerDiagnosis, ...]
    others: tuple[Finding, ...]  # outside recurrent layers: weights, output, loss
    notes: tuple[str, ...]  # what could not be examined

    def __str__(self) -> str:
        lines: list[str] = []
        for layer in self.layers:
            lines.append(f"{layer.name}: {layer.verdict}")
            found = [(f.evidence, f.advice) for f in layer.findings]
            for evidence, advice in found:
                lines.append(f"  {evidence}")
                lines += [f"  - {line}" for line in advice]
        for finding in self.others:
            lines.append(f"{finding.where}: {finding.issue}")
            lines += [f"  {finding.evidence}", *(f"  - {line}" for line in finding.advice)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class ContextRecord:
    """The error of a model when the steps older than the last k are those of another item."""

    steps: tuple[int, ...]  # k, ascending, from 0; the last is the whole context
    error: tuple[float, ...]
    standard_error: tuple[float, ...]
    horizon: int  # see `memory_horizon`; 0: the context is not used

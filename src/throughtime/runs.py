"""Records of what was done: enough to repeat it, and all that a report needs.

Training and comparing write them; tables, reports and other machines read them. They hold plain
values alone and this file needs the standard library alone, so records outlive the code.
Errors are mean absolute errors in the unit that `ComparisonRecord.unit` names.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from throughtime.bounded_reads import read_regular
from throughtime.catalogue import kind_of, registered, show_network
from throughtime.errors import InputError
from throughtime.files import write_whole
from throughtime.problem_kinds import PROBLEMS
from throughtime.serialization import ADDED_LATER, added_later, from_plain, to_json

T = TypeVar("T")

_MOST_RECORD = 1_000_000_000  # bytes of a record that is read
ENOUGH_SEEDS = 3  # with fewer, how seeds vary is not in the intervals, and has to be said


RECORD_FORMAT = 1


@dataclass(frozen=True)
class KindRecord:
    """A kind of network that is none of the project's, as tables and pages show it."""

    name: str
    label: str
    explanation: str
    memory: str
    cost: int
    color: str
    dash: str
    symbol: str


def kinds_of(names: Iterable[str]) -> tuple[KindRecord, ...]:
    """The entries of those kinds that are none of the project's."""
    own = {kind.name: kind for kind in registered()}
    wanted = [own[name] for name in dict.fromkeys(names) if name in own]
    shown = [f.name for f in fields(KindRecord)]
    return tuple(KindRecord(**{n: getattr(kind, n) for n in shown}) for kind in wanted)


def _check_kinds(kinds: Iterable[str]) -> None:
    """Raise ValueError for a kind that no table or page could show."""
    for kind in kinds:
        kind_of(kind)


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the training data, and what validation said after it."""

    training_loss: float
    validation_error: float  # the measure that decides
    gradient_norm: float  # median over steps, before clipping
    clipped: float  # share of steps whose gradient was clipped
    seconds: float
    learning_rate: float = 0.0  # of the last step
    measures: dict[str, float] = field(default_factory=dict[str, float])  # all, by name


@dataclass(frozen=True)
class IncidentRecord:
    """A step that was not taken."""

    step: int  # from 1
    cause: str  # what was not finite: input, loss, gradient, weights, buffer or optimizer
    where: str  # layer, step, parameter, as far as it could be found
    evidence: str  # in words, with the number
    action: str  # what was done


@dataclass(frozen=True)
class TrainingRecord:
    """How a training went."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int  # from 1; 0: none was finite
    stopped: str  # why it ended, in words
    skipped_steps: int  # steps that were not taken: something was not finite
    seconds: float
    steps: int = 0  # of the optimizer, skipped ones too
    retreats: int = 0  # to the last good weights, each with half the rate
    incidents: tuple[IncidentRecord, ...] = ()  # the first ten skipped steps

    def __post_init__(self) -> None:
        if not 0 <= self.best_epoch <= len(self.epochs):
            raise ValueError(f"best_epoch is {self.best_epoch} of {len(self.epochs)}")

    def troubles(self) -> tuple[str, ...]:
        """What went wrong, a line each; nothing where all went well."""
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
    """Something that is wrong with a layer: what was measured, and what to do."""

    formerly = {"illness": "issue"}  # noqa: RUF012
    issue: str  # of insight.diagnosis.ISSUES
    evidence: str  # in words, with the numbers
    value: float | None  # what was measured; None where it is not finite
    threshold: float | None  # from which on it is an issue
    source: str  # of the threshold
    where: str  # layer and direction; lag, step, sample or gate
    advice: tuple[str, ...]  # most promising first


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer in one direction."""

    name: str
    verdict: str  # "healthy", or the issue of the first finding
    findings: tuple[Finding, ...]  # worst first
    measures: dict[str, float | None]  # by name; None where it is not finite
    gradient_by_lag: tuple[float | None, ...]  # relative to lag 0


@dataclass(frozen=True)
class Diagnosis:
    """A whole model on one batch."""

    verdict: str  # "healthy", or the issue of the worst layer
    layers: tuple[LayerDiagnosis, ...]
    others: tuple[Finding, ...]  # of no recurrent layer: weights, output, loss
    notes: tuple[str, ...]  # what could not be seen

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
    """The error of a model that sees the last k steps alone."""

    steps: tuple[int, ...]  # k, rising; the last is the whole context
    error: tuple[float, ...]
    standard_error: tuple[float, ...]
    horizon: int  # fewest steps within one standard error of the whole context


@dataclass(frozen=True)
class TrialRecord:
    """One network trained once, or one trivial forecast, on the test part."""

    kind: str
    seed: int
    learning_rate: float  # 0: nothing to learn
    hidden_size: int
    parameters: int
    multiply_adds: int  # of one forecast
    training: TrainingRecord | None
    validation_error: float | None  # None: training diverged
    test_error: float | None
    error_by_step: tuple[float, ...]  # one per step of the horizon
    error_by_origin: tuple[float, ...]  # over time; neighbours averaged where there are many
    forecast: tuple[float, ...]  # last step of the horizon, first target, at the sampled origins
    prediction_us: float  # microseconds for one window, alone
    context: ContextRecord | None = None  # of a network, on the validation part
    diagnosis: Diagnosis | None = None  # of a recurrent network, on the training part
    measures: dict[str, float] = field(
        default_factory=dict[str, float]
    )  # further, of the test part

    def __post_init__(self) -> None:
        _check_kinds([self.kind])


@dataclass(frozen=True)
class Choice:
    """Something that the program decided, why, and the option that decides otherwise."""

    name: str
    value: str
    reason: str
    option: str = ""


@dataclass(frozen=True)
class DataRecord:
    """The data of a comparison."""

    path: str
    fingerprint: str
    rows: int
    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    time: str | None
    group: str | None
    series: int
    step: str
    context: int
    horizon: int
    season: int
    windows: tuple[int, int, int]  # training, validation, test
    borders: tuple[str, str]  # times at which validation and test begin
    choices: tuple[Choice, ...]
    kind: str = "forecasting"  # of PROBLEMS
    # what was asked, as it differs from the defaults
    options: dict[str, str] = field(default_factory=dict[str, str], metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if self.kind not in PROBLEMS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(PROBLEMS)}")


@dataclass(frozen=True)
class SettingsRecord:
    """What a comparison was asked to do; equal settings on equal data repeat it."""

    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]  # each tried with the first seed; validation decides
    parameters: int  # that every network is matched to
    normalize: str
    epochs: int
    batch_size: int
    clip_norm: float
    patience: int
    output: str = added_later("")  # of forecasts, where it is not the usual one

    def __post_init__(self) -> None:
        _check_kinds(self.networks)


@dataclass(frozen=True)
class Candidate:
    """One line of the result: a network over its seeds, or a trivial forecast."""

    kind: str
    trivial: bool
    validation_error: float | None  # what networks and trivial forecasts are chosen by
    error: float | None  # on the test part, as all that follows
    low: float | None  # 95 % interval, over blocks of time; from ENOUGH_SEEDS on over seeds too
    high: float | None
    relative: float | None  # error / error of the reference forecast
    error_last_step: float | None
    hidden_size: int
    parameters: int
    multiply_adds: int
    learning_rate: float
    seeds: int
    diverged: int
    steps_needed: int | None  # median over seeds; of a network
    health: str  # verdicts on its recurrent layers, "" where there is none
    training_seconds: float  # median of one training
    prediction_us: float

    def __post_init__(self) -> None:
        _check_kinds([self.kind])


@dataclass(frozen=True)
class Verdict:
    """What follows from the trials, in words and in numbers."""

    outcome: str  # "network", "tie" or "trivial"
    recommended: str  # kind
    headline: str
    reasons: tuple[str, ...]
    reference: str  # the trivial forecast that errors are relative to
    tied: tuple[str, ...]  # the network that validation chose, and those as good on the test part
    candidates: tuple[Candidate, ...]  # best first; those that diverged last

    def __post_init__(self) -> None:
        _check_kinds([self.recommended, self.reference, *self.tied])
        for kind in (self.recommended, self.reference):
            if kind not in [candidate.kind for candidate in self.candidates]:
                raise ValueError(f"{kind!r} is none of the candidates")


@dataclass(frozen=True)
class Sample:
    """A stretch of the test part to draw: one series, at most some hundred origins."""

    times: tuple[str, ...]  # of the forecast step
    truth: tuple[float, ...]
    target: str
    series: str
    context_times: tuple[str, ...]  # one window as a network sees it, for the page
    context_values: tuple[float, ...]
    context_scaled: tuple[float, ...]


@dataclass(frozen=True)
class ComparisonRecord:
    """A comparison: what was asked, on what, with what result."""

    version: str
    versions: dict[str, str]  # of python, torch, numpy
    threads: int  # of one trial
    cpu: str
    command: str
    data: DataRecord
    settings: SettingsRecord
    unit: str
    sample: Sample
    seconds: float
    trials: tuple[TrialRecord, ...]
    verdict: Verdict
    format: int = added_later(RECORD_FORMAT)
    kinds: tuple[KindRecord, ...] = added_later(())  # of networks that are none of the project's


@dataclass(frozen=True)
class SeenRecord:
    """One layer in one direction on one window, step by step."""

    values: dict[str, tuple[tuple[float, ...], ...]]  # by name, "hidden" first: [T][H]
    gradient: tuple[float, ...]  # length of dL/dh_t, [T]; empty where the model has no loss


@dataclass(frozen=True)
class InspectionRecord:
    """A saved model, looked into on a table."""

    version: str
    command: str
    model: str
    kind: str
    hidden_size: int
    parameters: int
    data: str
    fingerprint: str
    windows: int
    step: str  # of time
    unit: str  # of errors
    diagnosis: Diagnosis
    lyapunov: dict[str, tuple[float | None, ...]]  # by layer, 1 / step; None: forgotten at once
    time_scales: dict[str, tuple[float | None, ...]]  # by layer, a unit each; None: for ever
    context: ContextRecord
    target: str
    times: tuple[str, ...]  # of the window that is drawn
    input: tuple[float, ...]  # the target in it
    seen: dict[str, SeenRecord]  # by layer


def write_record(path: Path, record: object) -> None:
    """Write a record as JSON, whole."""
    write_whole(path, to_json(record))


def read_record(path: Path, kind: type[T]) -> T:
    """Read a record. Raises InputError for a file that is missing, cut, or no such record."""
    raw = read_regular(path, _MOST_RECORD)
    try:
        read = json.loads(raw)
        found = read.get("format", RECORD_FORMAT) if isinstance(read, dict) else RECORD_FORMAT
        if found != RECORD_FORMAT:
            raise InputError(
                str(path),
                f"format {found!r}, expected {RECORD_FORMAT}",
                "use the version that wrote it",
            )
        if isinstance(read, dict):
            for own in from_plain(tuple[KindRecord, ...], read.get("kinds", []), "kinds"):
                show_network(**vars(own))
        return from_plain(kind, read)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            str(path), f"not a whole {kind.__name__} ({error})", "run the comparison again"
        ) from None

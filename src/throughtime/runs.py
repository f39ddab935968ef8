"""Records of comparisons and inspections, with everything needed to report and repeat them.

Training and comparing write them; tables, reports and other programs read them. Records hold only
plain values, and this module imports only the standard library, so records outlive the code.
Errors are mean absolute errors in the unit `ComparisonRecord.unit`.
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
from throughtime.hyperparameters import NOTHING_CHOSEN, Hyperparameters
from throughtime.network_records import (
    ContextRecord,
    Diagnosis,
    TrainingRecord,
)
from throughtime.problem_kinds import PROBLEMS
from throughtime.serialization import ADDED_LATER, added_later, from_plain, to_json

T = TypeVar("T")

_MOST_RECORD = 1_000_000_000  # maximum bytes of a record
ENOUGH_SEEDS = 3  # with fewer, intervals omit the variance between seeds, which is then reported


RECORD_FORMAT = 1


@dataclass(frozen=True)
class KindRecord:
    """A user's own kind of network, as shown in tables and pages."""

    name: str
    label: str
    explanation: str
    memory: str
    cost: int
    color: str
    dash: str
    symbol: str


def kinds_of(names: Iterable[str]) -> tuple[KindRecord, ...]:
    """Records of the kinds that are registered by the user."""
    own = {kind.name: kind for kind in registered()}
    wanted = [own[name] for name in dict.fromkeys(names) if name in own]
    shown = [f.name for f in fields(KindRecord)]
    return tuple(KindRecord(**{n: getattr(kind, n) for n in shown}) for kind in wanted)


def _check_kinds(kinds: Iterable[str]) -> None:
    """Raise ValueError for a kind that is not in the catalogue."""
    for kind in kinds:
        kind_of(kind)


@dataclass(frozen=True)
class TrialRecord:
    """One network trained once, or one trivial forecast, on the test part."""

    formerly = {"error_by_origin": "error_by_item"}  # noqa: RUF012
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
    # one value for each test item (time of a forecast, sequence, token), whose mean is the error;
    # neighbours averaged where there are many
    error_by_item: tuple[float, ...]
    forecast: tuple[float, ...]  # last step of the horizon, first target, at the sampled origins
    prediction_us: float  # microseconds for one window, alone
    context: ContextRecord | None = None  # of a network, on the validation part
    diagnosis: Diagnosis | None = None  # of a recurrent network, on the training part
    chosen: Hyperparameters = added_later(NOTHING_CHOSEN)
    not_converged: str = added_later("")  # why it cannot be judged; "" if it had converged
    measures: dict[str, float] = field(
        default_factory=dict[str, float]
    )  # further, of the test part
    # of each of several series, by name
    error_by_series: dict[str, float] = field(
        default_factory=dict[str, float], metadata=ADDED_LATER
    )
    # of classes, on the test part: rows are the true ones, columns those predicted
    confusion: tuple[tuple[int, ...], ...] = added_later(())

    def __post_init__(self) -> None:
        _check_kinds([self.kind])


@dataclass(frozen=True)
class Choice:
    """A decision of the program, its reason, and the option that changes it."""

    name: str
    value: str
    reason: str
    option: str = ""


def length_choice(steps: int | None, epochs: int | None, patience: int | None) -> Choice:
    """How long each network is trained."""
    waits = f"; stops after {patience} steps without improvement" if patience else ""
    if epochs is not None:
        reason = f"passes over the data, at most{waits}"
        return Choice("epochs", str(epochs), reason, "--epochs")
    return Choice("steps", str(steps), f"of the optimizer, at most{waits}", "--steps")


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
    # data options that differ from their defaults
    options: dict[str, str] = field(default_factory=dict[str, str], metadata=ADDED_LATER)
    classes: dict[str, float] = field(default_factory=dict[str, float], metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if self.kind not in PROBLEMS:
            raise ValueError(f"kind is {self.kind!r}; expected one of {', '.join(PROBLEMS)}")


@dataclass(frozen=True)
class SettingsRecord:
    """Settings of a comparison; equal settings on equal data give the same result."""

    formerly = {"learning_rates": "", "clip_norm": ""}  # noqa: RUF012
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    parameters: int  # number of parameters that every network is matched to
    normalize: str
    epochs: int | None  # passes at most, instead of steps
    batch_size: int | None  # None: from the number of items
    patience: int | None  # steps without improvement; None: see `TrainingSettings`
    output: str = added_later("")  # for forecasts; "" for the default output
    steps: int | None = added_later(None)  # optimizer steps of a training, at most
    optimizer: str = added_later("adam")
    weight_decay: float = added_later(0.0)
    clip: str = added_later("norm:1")
    trials: int = added_later(1)  # choices tried for each network, with the first seed
    given: Hyperparameters = added_later(NOTHING_CHOSEN)  # choices that are not tuned
    extend: bool = added_later(False)  # whether trainings that still improve get more steps
    budget: float | None = added_later(None)  # seconds, which trials and steps were chosen for
    metric: str = added_later("")  # the measure of errors; "" in records that lack it
    worth: float = added_later(0.05)  # relative differences below it do not matter
    save: str = added_later("single")  # of the recommended network: "single" or "ensemble"
    learning_curve: bool = added_later(False)  # whether networks are trained on less data, too

    def __post_init__(self) -> None:
        _check_kinds(self.networks)


@dataclass(frozen=True)
class Candidate:
    """One row of the result: a network averaged over its seeds, or a trivial forecast."""

    kind: str
    trivial: bool
    validation_error: float | None  # networks and trivial forecasts are chosen by this
    error: float | None  # on the test part, like all errors below
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
    health: str  # verdicts on its recurrent layers, "" if it has none
    training_seconds: float  # median of one training
    prediction_us: float
    not_converged: str = added_later("")  # "2 of 5: still improving after 3000 steps", or ""
    members: int = added_later(1)  # trainings whose predictions are averaged
    shuffled: bool = added_later(False)  # whether on steps in random order
    steps_given: int | None = added_later(None)  # its context
    failed: int = added_later(0)  # trainings that stayed at chance while others learned
    # further measures of the test part, by name, mean over seeds
    measures: dict[str, float] = field(default_factory=dict[str, float], metadata=ADDED_LATER)
    recall: dict[str, float] = field(default_factory=dict[str, float], metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        _check_kinds([self.kind])


@dataclass(frozen=True)
class CurvePoint:
    """The error of a network that was trained on a part of the training data."""

    kind: str
    share: float  # of the training data
    items: int
    error: float | None  # on the whole test part; None: a training diverged
    low: float | None  # 95 % interval
    high: float | None

    def __post_init__(self) -> None:
        _check_kinds([self.kind])


# a network is better than every simple prediction; several are; none is by as much as matters; the
# evidence does not suffice; the networks were not trained long enough
OUTCOMES = ("network", "tie", "trivial", "undecided", "untrained")


@dataclass(frozen=True)
class Verdict:
    """The conclusion from the trials, with its numbers."""

    outcome: str  # one of OUTCOMES
    recommended: str  # kind
    headline: str
    reasons: tuple[str, ...]
    reference: str  # the trivial forecast that errors are relative to
    tied: tuple[str, ...]  # the network chosen by validation, and those as good on the test part
    candidates: tuple[Candidate, ...]  # best first; diverged networks last
    # the mean of the predictions of all trainings of the recommended network
    ensemble: Candidate | None = added_later(None)
    # the recommended network, or the best one, trained and tested on steps in random order
    shuffled: Candidate | None = added_later(None)
    curve: tuple[CurvePoint, ...] = added_later(())

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome is {self.outcome!r}; expected one of {', '.join(OUTCOMES)}")
        _check_kinds([self.recommended, self.reference, *self.tied])
        for kind in (self.recommended, self.reference):
            if kind not in [candidate.kind for candidate in self.candidates]:
                raise ValueError(f"{kind!r} is not one of the candidates")


@dataclass(frozen=True)
class Sample:
    """A section of the test part to plot: one series, at most some hundred origins."""

    times: tuple[str, ...]  # of the forecast step
    truth: tuple[float, ...]
    target: str
    series: str
    context_times: tuple[str, ...]  # one window as a network sees it
    context_values: tuple[float, ...]
    context_scaled: tuple[float, ...]


@dataclass(frozen=True)
class ComparisonRecord:
    """A comparison: data, settings, trials and verdict."""

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
    kinds: tuple[KindRecord, ...] = added_later(())  # the user's own kinds of networks
    stages: tuple[tuple[str, float], ...] = added_later(())  # seconds of each, in their order


@dataclass(frozen=True)
class SeenRecord:
    """States and gates of one layer in one direction on one window."""

    values: dict[str, tuple[tuple[float, ...], ...]]  # by name, "hidden" first: [T][H]
    gradient: tuple[float, ...]  # norm of dL/dh_t, [T]; empty if the model has no loss


@dataclass(frozen=True)
class InspectionRecord:
    """The inspection of a saved model on a table."""

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
    lyapunov: dict[str, tuple[float | None, ...]]  # by layer, 1 / step; None: minus infinity
    time_scales: dict[str, tuple[float | None, ...]]  # by layer, one per unit; None: infinite
    context: ContextRecord
    target: str
    times: tuple[str, ...]  # of the plotted window
    input: tuple[float, ...]  # the target in it
    seen: dict[str, SeenRecord]  # by layer


def write_record(path: Path, record: object) -> None:
    """Write a record as JSON, atomically."""
    write_whole(path, to_json(record))


def read_record(path: Path, kind: type[T]) -> T:
    """Read a record; raise InputError if the file is missing, truncated or not such a record."""
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
            str(path), f"not a valid {kind.__name__} ({error})", "run the comparison again"
        ) from None

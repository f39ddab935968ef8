"""Columns of the comparison table, for the terminal and for HTML pages."""

from collections.abc import Callable
from dataclasses import dataclass

from throughtime.catalogue import label_of
from throughtime.problem_kinds import PROBLEMS
from throughtime.runs import Candidate, ComparisonRecord


@dataclass(frozen=True)
class Column:
    """A column. Heads may contain {reference} and {horizon}; cells take a candidate and digits."""

    page: str
    terminal: str | None  # None: only on pages
    cell: Callable[[Candidate, int], str]
    by_step: bool = False  # only for problems with errors by step ahead


def _number(value: float | None, digits: int, missing: str = "") -> str:
    return missing if value is None else f"{value:.{digits}g}"


def _interval(c: Candidate, digits: int) -> str:
    known = c.low is not None and c.high is not None
    return f"{_number(c.low, digits)} to {_number(c.high, digits)}" if known else ""


def _seeds(c: Candidate, _: int) -> str:
    return "" if c.trivial else str(c.seeds) + (f" ({c.diverged} diverged)" if c.diverged else "")


def _label(c: Candidate) -> str:
    of = f", mean of {c.members}" if c.members > 1 else ""
    return label_of(c.kind) + of + (", shuffled steps" if c.shuffled else "")


def _training(c: Candidate, _: int) -> str:
    return "" if c.trivial else f"{c.training_seconds:.1f} s"


COLUMNS = (
    Column("", "", lambda c, _: _label(c)),
    Column("validation error", None, lambda c, d: _number(c.validation_error, d)),
    Column("test error", "error", lambda c, d: _number(c.error, d, "diverged")),
    Column("95 % interval", "95 % interval", _interval),
    Column(
        "relative to {reference}",
        "vs {reference}",
        lambda c, _: "" if c.relative is None else f"{c.relative:.2f}",
    ),
    Column("at step {horizon}", "step {horizon}", lambda c, d: _number(c.error_last_step, d), True),
    Column("parameters", "parameters", lambda c, _: f"{c.parameters:,}"),
    Column("multiply-adds", None, lambda c, _: f"{c.multiply_adds:,}"),
    Column("hidden size", None, lambda c, _: "" if c.trivial else str(c.hidden_size)),
    Column("learning rate", None, lambda c, _: "" if c.trivial else f"{c.learning_rate:.2g}"),
    Column("seeds", None, _seeds),
    Column(
        "steps needed", None, lambda c, _: "" if c.steps_needed is None else str(c.steps_needed)
    ),
    Column("recurrent layers", None, lambda c, _: c.health),
    Column("one training", "training", _training),
    Column("one prediction", "prediction", lambda c, _: f"{c.prediction_us:.0f} us"),
)


_ERRORS = [column.page for column in COLUMNS[:6]]


_HEADS = {"f1": "1 - F1", "auc": "1 - AUC"}  # all measures are errors


def _further(record: ComparisonRecord, *, page: bool) -> list[Column]:
    """Columns of the other measures; in a terminal only scaled errors in the target's own unit."""
    metric = record.settings.metric
    names = [name for name in record.verdict.candidates[0].measures if name != metric]
    if not page:
        names = [name for name in names if (metric, name) == ("mase", "mae")]

    def column(name: str) -> Column:
        head = _HEADS.get(name, name).replace("{", "{{").replace("}", "}}")
        return Column(head, head, lambda c, d: _number(c.measures.get(name), d))

    return [column(name) for name in names]


def is_recommended(candidate: Candidate, kind: str) -> bool:
    """Whether a row is that of the recommended kind itself."""
    return candidate.kind == kind and candidate.members == 1 and not candidate.shuffled


def comparison_rows(
    record: ComparisonRecord, *, page: bool
) -> tuple[list[str], list[tuple[Candidate, list[str]]]]:
    """Column heads, and each candidate with its cells, best first."""
    by_step = PROBLEMS[record.data.kind].by_step
    columns = [
        column
        for column in COLUMNS
        if (page or column.terminal is not None) and (by_step or not column.by_step)
    ]
    at = 1 + max(n for n, column in enumerate(columns) if column.page in _ERRORS)
    columns[at:at] = _further(record, page=page)
    words = {"reference": label_of(record.verdict.reference), "horizon": record.data.horizon}
    heads = [(c.page if page else c.terminal or "").format(**words) for c in columns]
    digits = 4 if page else 3
    candidates = list(record.verdict.candidates)
    for further in (record.verdict.ensemble, record.verdict.shuffled):
        if further is not None and further.error is not None:
            better = [c for c in candidates if c.error is not None and c.error < further.error]
            candidates.insert(len(better), further)
    rows = [(c, [column.cell(c, digits) for column in columns]) for c in candidates]
    return heads, rows

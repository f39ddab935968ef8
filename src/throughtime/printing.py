"""Printed output of the command line: tables, progress, the verdict."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from throughtime.catalogue import kind_of, label_of
from throughtime.comparison_columns import comparison_rows, is_recommended
from throughtime.escapes import visible
from throughtime.network_records import EvaluationRecord, TrainingRecord
from throughtime.problem_kinds import PROBLEMS
from throughtime.runs import (
    Choice,
    ComparisonRecord,
    DataRecord,
    SettingsRecord,
    Verdict,
    length_choice,
)
from throughtime.training.settings import TrainingSettings

if TYPE_CHECKING:
    from throughtime.comparison.trials import Progress as Step


class Reporter:
    """Prints results to standard output and, unless quiet, everything else to standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._aside = Console(stderr=True, quiet=quiet)
        # fixed width for files, so that lines are not cut; a terminal uses its own width
        console = Console()
        self._result = console if console.is_terminal else Console(width=120)

    @property
    def has_screen(self) -> bool:
        """Whether a progress bar can be shown: in a terminal or a notebook."""
        return self._aside.is_terminal or self._aside.is_jupyter

    def show(self, text: str) -> None:
        """Print a note to standard error."""
        self._aside.print(visible(text), highlight=False, markup=False, soft_wrap=True)

    def result(self, table: Table, verdict: Verdict) -> None:
        """Print the result of a comparison."""
        self._result.print(table)
        lines = [verdict.headline, *(f"- {reason}" for reason in verdict.reasons)]
        for number, line in enumerate(lines):
            self._result.print(
                visible(line),
                style=None if number else "bold",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    @contextmanager
    def bar(self) -> Generator[Callable[["Step"], None]]:
        """Show a progress bar over all trials of a comparison, updated at every evaluation."""
        with self._progress() as progress:
            task = progress.add_task("", total=None, note="starting")

            def watch(step: "Step") -> None:
                now, found = step.done, step.evaluation
                if found is not None:
                    note = f"{step.trial}, step {found.step}: {_note(found)}"
                    progress.update(task, total=step.total, note=note)
                    progress.update(task, advance=0)
                    return
                progress.update(
                    task,
                    total=step.total,
                    completed=now,
                    description=f"{step.done}/{step.total} trials",
                )
                if not self._aside.is_terminal:
                    self._aside.print(f"{step.done}/{step.total} {step.trial}", highlight=False)

            yield watch

    def show_troubles(self, training: TrainingRecord) -> None:
        """Print the skipped steps and their causes."""
        for line in training.troubles():
            self.show(line)

    @contextmanager
    def training(self, name: str) -> Generator["TrainingBar"]:
        """Show a progress bar over the steps of one training."""
        with self._progress() as progress:
            yield TrainingBar(progress, progress.add_task(name, total=1.0, note="starting"))

    @contextmanager
    def waiting(self, note: str) -> Generator[None]:
        """Show a spinner during work of unknown length."""
        with self._aside.status(escape(visible(note))):
            yield

    @contextmanager
    def counting(self, what: str) -> Generator[Callable[[int, int], None]]:
        """Show a progress bar over counted items, from the first item on."""
        with self._progress() as progress:
            tasks: list[TaskID] = []

            def watch(done: int, total: int) -> None:
                if not tasks:
                    tasks.append(progress.add_task(what, total=total, note=""))
                progress.update(tasks[0], completed=done)

            yield watch

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._aside,
            transient=True,
            disable=not self.has_screen,
        )


class TrainingBar:
    """A progress bar of one training that shows losses and gradient norms."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._validation = ""  # of the latest evaluation

    def __call__(self, evaluation: EvaluationRecord) -> None:
        """Show an evaluation."""
        self._validation = f", validation {evaluation.validation_error:.4g}"
        self._progress.update(self._task, note=_note(evaluation))

    def tick(self, done: float, loss: float, norm: float) -> None:
        """Show progress; ``done`` is the fraction of the steps at most."""
        note = f"loss {loss:.4g}{self._validation}, gradient norm {norm:.3g}"
        self._progress.update(self._task, completed=done, note=note)


def problem_text(data: DataRecord, further: Sequence[Choice]) -> str:
    """The data and the decisions made about it, one per line, with the option that sets each."""
    kind, (training, validation, test) = PROBLEMS[data.kind], data.windows
    windows = Choice(
        kind.items,
        f"{training} + {validation} + {test}",
        "training, validation, test",
        "",
    )
    head = f"{data.path}: {data.rows} {kind.rows}, {data.series} {kind.series}"
    return choices_text(head, [*data.choices, windows, *further])


def comparison_choices(settings: SettingsRecord, kind: str) -> list[Choice]:
    """Settings that a comparison uses for every network."""
    first, count = settings.seeds[0], len(settings.seeds)
    return [
        Choice(
            "parameters",
            str(settings.parameters),
            "at most, of each network",
            "--parameters",
        ),
        *_lengths(settings),
        Choice(
            "seeds",
            f"{first} to {first + count - 1}" if count > 1 else str(first),
            "of weights and the order of the data",
            "--seeds, --seed",
        ),
    ]


def _lengths(settings: SettingsRecord) -> list[Choice]:
    """How long networks are trained, and how many choices are tried."""
    if settings.budget is not None:
        reason = "for trials and steps, as many as short probes of every network allow"
        return [Choice("budget", f"{settings.budget:g} s", reason, "--budget")]
    return [
        length_choice(settings.steps, settings.epochs, settings.patience),
        Choice("trials", str(settings.trials), _tuned(settings), "--trials"),
    ]


def _tuned(settings: SettingsRecord) -> str:
    given = settings.given.described()
    tried = "choices tried for each network, with the first seed"
    return f"{tried}; given: {given}" if given else tried


def fit_choices(
    config: Any, settings: TrainingSettings, parameters: int, seed: int
) -> list[Choice]:
    """Settings of one training."""
    s = settings
    usual, rate = TrainingSettings(), f"{settings.learning_rate:g}"
    shape = s.schedule + (f", {s.warmup} steps of warm-up" if s.warmup else "")
    further = [
        Choice("budget", f"{s.budget:g} s", "at most", "--budget") if s.budget else None,
        Choice("schedule", shape, "of the learning rate", "--schedule, --warmup")
        if (s.schedule, s.warmup) != (usual.schedule, usual.warmup)
        else None,
    ]
    return [
        Choice("network", label_of(config.kind), "what is trained", "--network"),
        *([] if config.normalize == "none" else [_normalization(config.normalize)]),
        Choice("parameters", str(parameters), f"hidden size {config.hidden_size}", "--parameters"),
        length_choice(s.steps, s.epochs, s.patience),
        *(
            [Choice("initialization", config.init, "of the recurrent weights", "--init")]
            if kind_of(config.kind).recurrent
            else []
        ),
        Choice("learning rate", rate, s.optimizer, "--optimizer, --learning-rate"),
        Choice("clipping", s.clip, "of the gradient", "--clip"),
        *(choice for choice in further if choice is not None),
        Choice("seed", str(seed), "of weights and the order of windows", "--seed"),
    ]


def _normalization(how: str) -> Choice:
    return Choice("normalization", how, "how a network is given its values", "--normalize")


def choices_text(head: str, choices: Sequence[Choice]) -> str:
    """A heading and choices below it, one per line."""
    width = max(len(choice.name) for choice in choices)
    lines = [head]
    for choice in choices:
        option = f"; {choice.option}" if choice.option else ""
        lines.append(f"  {choice.name:{width}}  {choice.value} ({choice.reason}{option})")
    return "\n".join(lines)


def comparison_table(record: ComparisonRecord) -> Table:
    """A table with one row per candidate, best first."""
    verdict = record.verdict
    title = escape(visible(f"Test error: {record.unit}"))
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    heads, rows = comparison_rows(record, page=False)
    for number, head in enumerate(heads):
        table.add_column(escape(visible(head)), justify="right" if number else "left")
    for candidate, cells in rows:
        shown = [escape(visible(cell)) for cell in cells]
        recommended = is_recommended(candidate, verdict.recommended)
        table.add_row(*shown, style="bold" if recommended else None)
    return table


def _note(evaluation: EvaluationRecord) -> str:
    return (
        f"loss {evaluation.training_loss:.4g}, validation {evaluation.validation_error:.4g}, "
        f"gradient norm {evaluation.gradient_norm:.3g}"
    )

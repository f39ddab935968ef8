"""What the command line shows people: tables, progress, the verdict."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from throughtime.comparing.trials import Progress as Step
from throughtime.runs import (
    NAMES,
    Candidate,
    ComparisonRecord,
    DataRecord,
    EpochRecord,
    SettingsRecord,
    Verdict,
)


class Reporter:
    """Prints results to standard output, everything else to standard error, or not at all."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._aside = Console(stderr=True, quiet=quiet)
        # a file gets whole lines; a terminal its own width
        console = Console()
        self._result = console if console.is_terminal else Console(width=120)

    def show(self, text: str) -> None:
        """Something to know before the work begins."""
        self._aside.print(text, highlight=False, markup=False, soft_wrap=True)

    def result(self, table: Table, verdict: Verdict) -> None:
        """The result of a comparison."""
        self._result.print(table)
        self._result.print(verdict.headline, style="bold", highlight=False, soft_wrap=True)
        for reason in verdict.reasons:
            self._result.print(f"- {reason}", highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, epochs: int) -> Generator[Callable[[Step], None]]:
        """A progress bar over all trials of a comparison, moved by every epoch."""
        with self._progress() as progress:
            task = progress.add_task("", total=None, note="starting")

            def watch(step: Step) -> None:
                total = step.total * epochs
                now = step.done * epochs
                if step.epoch is not None:
                    note = f"{step.trial}, epoch {step.epoch_number}: {_note(step.epoch)}"
                    progress.update(task, total=total, note=note)
                    progress.update(task, advance=0)
                    return
                progress.update(
                    task, total=total, completed=now, description=f"{step.done}/{step.total} trials"
                )
                if not self._aside.is_terminal:
                    self._aside.print(f"{step.done}/{step.total} {step.trial}", highlight=False)

            yield watch

    @contextmanager
    def epochs(self, name: str, epochs: int) -> Generator[Callable[[EpochRecord], None]]:
        """A progress bar over the epochs of one training."""
        with self._progress() as progress:
            task = progress.add_task(name, total=epochs, note="starting")

            def watch(epoch: EpochRecord) -> None:
                progress.update(task, advance=1, note=_note(epoch))

            yield watch

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._aside,
            transient=True,
            disable=not self._aside.is_terminal,
        )


def problem_text(data: DataRecord, settings: SettingsRecord | None) -> str:
    """What was found in the data and decided, a line each, with the option that decides it."""
    training, validation, test = data.windows
    lines = [(c.name, c.value, c.reason, c.option) for c in data.choices]
    split = f"training, validation from {data.borders[0]}, test from {data.borders[1]}"
    lines.append(("windows", f"{training} + {validation} + {test}", split, ""))
    if settings is not None:
        s = settings
        rates = ", ".join(f"{rate:g}" for rate in s.learning_rates)
        lines += [
            ("normalization", s.normalize, "how a network is given its values", "--normalize"),
            ("parameters", str(s.parameters), "every network is matched to it", "--parameters"),
            ("seeds", str(len(s.seeds)), f"learning rates {rates} tried with the first", "--seeds"),
        ]
    width = max(len(line[0]) for line in lines)
    text = [f"{data.path}: {data.rows} rows, {data.series} series"]
    for name, value, reason, option in lines:
        text.append(f"  {name:{width}}  {value} ({reason}{'; ' + option if option else ''})")
    return "\n".join(text)


def comparison_table(record: ComparisonRecord) -> Table:
    """One line a candidate, best first."""
    verdict = record.verdict
    table = Table(
        title=escape(f"Test error: {record.unit}"), title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("")
    heads = (
        "error",
        "95 % interval",
        f"vs {NAMES[verdict.reference]}",
        f"step {record.data.horizon}",
        "parameters",
        "training",
        "prediction",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for candidate in verdict.candidates:
        style = "bold" if candidate.kind == verdict.recommended else None
        table.add_row(*_cells(candidate), style=style)
    return table


def _cells(c: Candidate) -> tuple[str, ...]:
    return (
        NAMES[c.kind],
        "diverged" if c.error is None else f"{c.error:.3g}",
        "" if c.low is None or c.high is None else f"{c.low:.3g} to {c.high:.3g}",
        "" if c.relative is None else f"{c.relative:.2f}",
        "" if c.error_last_step is None else f"{c.error_last_step:.3g}",
        f"{c.parameters:,}",
        "" if c.trivial else f"{c.training_seconds:.1f} s",
        f"{c.prediction_us:.0f} us",
    )


def _note(epoch: EpochRecord) -> str:
    return (
        f"loss {epoch.training_loss:.4g}, validation {epoch.validation_error:.4g}, "
        f"gradient norm {epoch.gradient_norm:.3g}"
    )

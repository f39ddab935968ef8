"""What people see: choices with their options, a moving bar, the table."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from throughtime import printing
from throughtime.comparison.trials import Progress
from throughtime.network_records import EvaluationRecord
from throughtime.printing import (
    Reporter,
    comparison_choices,
    comparison_table,
    fit_choices,
    problem_text,
)
from throughtime.problems.forecasting.networks import ModelConfig
from throughtime.training.loop import TrainingSettings

EVALUATION = EvaluationRecord(0.123, 0.456, 7.89, 0.5, 1.0, step=75)


@pytest.fixture
def terminal(monkeypatch):
    """What is written to a terminal 160 columns wide."""
    stream = io.StringIO()

    def console(**options):
        return Console(file=stream, force_terminal=True, width=160, quiet=options.get("quiet"))

    monkeypatch.setattr(printing, "Console", console)
    return stream


def test_the_bar_shows_trial_step_loss_gradient_norm_and_time_left(terminal):
    with Reporter(quiet=False).bar() as watch:
        watch(Progress("gru-seed0", None, 2, 10))
        watch(Progress("gru-seed1", EVALUATION, 2, 10))
    shown = terminal.getvalue()
    assert "2/10 trials" in shown
    assert "gru-seed1, step 75: loss 0.123, validation 0.456, gradient norm 7.89" in shown
    assert "-:--:--" in shown or "0:00:" in shown


def test_one_training_has_a_bar_too(terminal):
    with Reporter(quiet=False).training("gru") as watch:
        watch(EVALUATION)
    assert "loss 0.123" in terminal.getvalue()


def test_quiet_is_quiet(terminal):
    reporter = Reporter(quiet=True)
    reporter.show("something")
    with reporter.bar() as watch:
        watch(Progress("gru-seed0", None, 2, 10))
    assert terminal.getvalue() == ""


def test_every_choice_is_told_with_its_option(comparison):
    record, _ = comparison
    given = comparison_choices(record.settings, record.data.kind)
    text = problem_text(record.data, given)
    assert "split" in {choice.name for choice in record.data.choices}
    for choice in (*record.data.choices, *given):
        line = next(line for line in text.splitlines() if line.startswith(f"  {choice.name} "))
        assert choice.value in line
        assert choice.option in line
    words = " ".join(text.split())
    assert "epochs 3 (passes over the data, at most; --epochs)" in words
    assert "seeds 0 to 1 (" in words and "trials 2 (choices tried for each network" in words


def test_a_fit_tells_what_it_gives_its_network(comparison):
    config = ModelConfig("gru", 8, 2, columns=1, hidden_size=10, normalize="global")
    how = TrainingSettings(budget=600.0, schedule="cosine", warmup=20).resolved(items=500)
    given = fit_choices(config, how, 398, seed=7)
    text = " ".join(problem_text(comparison[0].data, given).split())
    for line in (
        "network GRU (what is trained; --network)",
        "normalization global (how a network is given its values; --normalize)",
        "parameters 398 (hidden size 10; --parameters)",
        "steps 3000 (of the optimizer, at most; stops after 800 steps without "
        "improvement; --steps)",
        "initialization torch (of the recurrent weights; --init)",
        "learning rate 0.003 (adam; --optimizer, --learning-rate)",
        "clipping norm:1 (of the gradient; --clip)",
        "budget 600 s (at most; --budget)",
        "schedule cosine, 20 steps of warm-up (of the learning rate; --schedule, --warmup)",
        "seed 7 (of weights and the order of windows; --seed)",
    ):
        assert line in text
    plain = {choice.name for choice in fit_choices(config, TrainingSettings(), 398, seed=7)}
    assert not {"budget", "schedule"} & plain


def test_brackets_in_a_name_are_no_markup(comparison):
    record = replace(comparison[0], unit="co2 [ppm] [/b]")
    stream = io.StringIO()
    Console(file=stream, width=140).print(comparison_table(record))
    assert "co2 [ppm] [/b]" in stream.getvalue()


def test_the_table_has_a_line_for_every_candidate(comparison):
    record, _ = comparison
    stream = io.StringIO()
    Console(file=stream, width=140).print(comparison_table(record))
    lines = stream.getvalue().splitlines()
    for candidate in record.verdict.candidates:
        assert any(f"{candidate.error:.3g}" in line for line in lines)

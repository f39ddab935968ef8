"""Comparisons: fair, kept, resumed, repeatable, however many run side by side."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from helpers import assert_same
from throughtime.comparison import running, trials
from throughtime.comparison.ensembles import averaged
from throughtime.comparison.experiment import Evaluation
from throughtime.comparison.trials import Trial, compare, run_trial
from throughtime.data.tables.forecast_problem import read_problem
from throughtime.data.tables.windows import WindowPlan
from throughtime.data_options import DataOptions
from throughtime.deploy.storage import load
from throughtime.errors import InputError
from throughtime.files import alone_in
from throughtime.hyperparameters import Hyperparameters
from throughtime.problems.forecasting.comparison import config_for
from throughtime.problems.forecasting.networks import Forecaster
from throughtime.problems.registry import experiment_of
from throughtime.runs import TrialRecord, read_record, write_record


def without_times(record):
    """What must repeat: everything but what a clock measured."""
    training = record.training
    if training is not None:
        evaluations = tuple(replace(e, seconds=0.0) for e in training.evaluations)
        training = replace(training, evaluations=evaluations, seconds=0.0)
    return replace(record, training=training, prediction_us=0.0)


def number_of(folder, trial):
    """The number of a trial's choices, which its folder is named after."""
    found = folder.glob(f"trials/{trial.kind}-*-seed0/record.json")
    numbers = {read_record(p, TrialRecord).chosen: int(p.parent.name.split("-")[-2]) for p in found}
    return numbers[trial.chosen]


def test_everyone_gets_the_same(comparison, problem, small_settings):
    record, _ = comparison
    by_kind = {}
    for trial in record.trials:
        by_kind.setdefault(trial.kind, []).append(trial)
    assert set(by_kind) == {*experiment_of(problem).trivial_kinds(), *small_settings.networks}
    for kind in small_settings.networks:
        group = by_kind[kind]
        assert [t.seed for t in group] == [0, 1]
        assert len({t.chosen for t in group}) == 1
        assert group[0].parameters <= 300 or group[0].hidden_size == 8
        assert all(len(t.training.evaluations) == 3 for t in group)
    times = len(problem.parts.test) + problem.plan.horizon - 1  # that were forecast
    assert {len(t.error_by_item) for t in record.trials} == {times}
    assert {len(t.forecast) for t in record.trials} == {len(record.sample.truth)}


def test_the_record_says_where_the_time_went(comparison):
    record, _ = comparison
    names = [name for name, _ in record.stages]
    assert names[0] == "preparation" and names[-1] == "verdict and model" and "tuning" in names
    assert all(seconds >= 0 for _, seconds in record.stages)
    assert sum(seconds for _, seconds in record.stages) == pytest.approx(record.seconds, abs=0.1)


def test_validation_selects_the_choices(comparison, small_settings):
    record, folder = comparison
    for kind in small_settings.networks:
        tuned = [
            read_record(folder / "trials" / Trial(kind, 0, n).name / "record.json", TrialRecord)
            for n in range(small_settings.trials)
        ]
        best = min(tuned, key=lambda t: t.validation_error)
        assert len({t.chosen for t in tuned}) == len(tuned)
        assert {t.chosen for t in record.trials if t.kind == kind} == {best.chosen}


def test_errors_are_what_the_saved_model_makes(comparison, problem):
    record, folder = comparison
    trial = next(t for t in record.trials if t.kind == "gru" and t.seed == 1)
    model, _ = load(folder / "trials" / Trial("gru", 1, number_of(folder, trial)).name / "model")
    x, y = problem.parts.test.batch(torch.arange(len(problem.parts.test)))
    with torch.no_grad():
        error = (model(x) - y).abs()[..., 0]
    assert trial.test_error == pytest.approx(float(error.mean()), rel=1e-9)
    assert trial.error_by_step == pytest.approx(error.mean(dim=0).tolist(), rel=1e-9)
    of_time = [error.flip(1).diagonal(k).sum() for k in range(error.shape[1] - 1, -len(error), -1)]
    expected = [float(total) * len(of_time) / error.numel() for total in of_time]
    assert trial.error_by_item == pytest.approx(expected, rel=1e-9)


def test_the_recommended_model_is_handed_over(comparison, problem):
    record, folder = comparison
    model, spec = load(folder / "model")
    assert model.config.kind == record.verdict.recommended
    assert spec.targets == ("co2",)
    assert record.verdict.headline in (folder / "model" / "README.md").read_text()


def test_validation_chooses_the_seed_that_is_handed_over(
    comparison, problem, small_settings, tmp_path
):
    """Kept trials, their errors rewritten: GRU's seed 1 is best on validation, 0 on test."""
    _, folder = comparison
    again = tmp_path / "co2"
    shutil.copytree(folder, again)
    (again / "comparison.json").unlink()
    shutil.rmtree(again / "model")
    origins = len(problem.parts.test) + problem.plan.horizon - 1
    before, _ = comparison
    number = number_of(again, next(t for t in before.trials if t.kind == "gru"))
    errors = {f"gru-{number}-seed0": (0.2, 0.10), f"gru-{number}-seed1": (0.1, 0.11)}
    for path in again.glob("trials/*/record.json"):
        record = read_record(path, TrialRecord)
        validation, test = errors.get(path.parent.name, (0.5, 0.5))
        write_record(
            path,
            replace(
                record,
                validation_error=validation,
                test_error=test,
                error_by_item=tuple(test + 0.01 * (i % 2) for i in range(origins)),
            ),
        )
    record = compare(experiment_of(problem), small_settings, again)
    assert record.verdict.recommended == "gru"
    model, _ = load(again / "model")
    chosen, _ = load(again / "trials" / Trial("gru", 1, number).name / "model")
    other, _ = load(again / "trials" / Trial("gru", 0, number).name / "model")
    assert_same(model.state_dict(), chosen.state_dict())
    with pytest.raises(AssertionError):
        assert_same(model.state_dict(), other.state_dict())


def test_a_finished_comparison_is_read_back_and_not_done_again(
    comparison, problem, small_settings, monkeypatch
):
    record, folder = comparison

    def fail(*args):
        raise AssertionError("a trial was run again")

    monkeypatch.setattr(trials, "run_trial", fail)
    assert compare(experiment_of(problem), small_settings, folder) == record


def test_an_interrupted_comparison_goes_on_and_ends_the_same(
    comparison, problem, small_settings, tmp_path
):
    record, _ = comparison
    done = []

    def stop_after_five(progress):
        done.append(progress.trial)
        if progress.evaluation is None and progress.done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(experiment_of(problem), small_settings, tmp_path / "co2", watch=stop_after_five)
    assert not (tmp_path / "co2" / "comparison.json").exists()
    finished = {p.parent.name for p in (tmp_path / "co2" / "trials").glob("*/record.json")}
    assert len(finished) == 7
    done.clear()
    resumed = compare(
        experiment_of(problem),
        small_settings,
        tmp_path / "co2",
        watch=lambda p: done.append(p.trial),
    )
    assert not finished & set(done)
    assert [without_times(t) for t in resumed.trials] == [without_times(t) for t in record.trials]


def test_side_by_side_gives_the_same_numbers(comparison, problem, small_settings, tmp_path):
    record, _ = comparison
    seen = []
    parallel = compare(
        experiment_of(problem), small_settings, tmp_path / "co2", jobs=2, watch=seen.append
    )
    assert [without_times(t) for t in parallel.trials] == [without_times(t) for t in record.trials]
    assert parallel.verdict.headline == record.verdict.headline or parallel.verdict.outcome == "tie"
    # 6 tuning trials and 3 more of 3 epochs each, and 16 ends of trials
    assert sum(p.evaluation is not None for p in seen) == 27
    assert [p.done for p in seen if p.evaluation is None][-1] == 16


def test_another_comparison_is_not_mixed_in(comparison, problem, small_settings):
    _, folder = comparison
    with pytest.raises(InputError, match="holds another comparison"):
        compare(experiment_of(problem), replace(small_settings, epochs=4), folder)


def test_damaged_records_and_a_lost_model_are_made_anew(problem, small_settings, tmp_path):
    first = compare(experiment_of(problem), small_settings, tmp_path / "co2")
    (tmp_path / "co2" / "comparison.json").write_text("{")
    path = next((tmp_path / "co2" / "trials").glob("gru*/record.json"))
    path.write_bytes(path.read_bytes()[:100])
    shutil.rmtree(tmp_path / "co2" / "model")
    told = []
    again = compare(
        experiment_of(problem),
        small_settings,
        tmp_path / "co2",
        watch=lambda p: told.append(p.trial),
    )
    assert set(told) == {path.parent.name}
    assert [without_times(t) for t in again.trials] == [without_times(t) for t in first.trials]
    assert load(tmp_path / "co2" / "model")


def test_a_folder_with_other_files_is_left_alone(problem, small_settings, tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        compare(experiment_of(problem), small_settings, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_a_folder_with_what_a_killed_run_left_is_taken(tmp_path):
    (tmp_path / ".identity.x7f3").write_text("hal")
    trials.check_claim(tmp_path, "whole")
    (tmp_path / "identity").write_text("whole")
    trials.check_claim(tmp_path, "whole")


def test_two_comparisons_at_once_in_one_folder_are_one_too_many(problem, small_settings, tmp_path):
    with (
        alone_in(tmp_path),
        pytest.raises(InputError, match=r"process \d+ is using this folder; wait until it ends"),
    ):
        trials.compare(experiment_of(problem), small_settings, tmp_path)
    assert not (tmp_path / "trials").exists()


def test_a_damaged_mark_is_another_comparisons(tmp_path):
    (tmp_path / "identity").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="holds another comparison"):
        trials.check_claim(tmp_path, "whole")


def test_a_training_that_diverges_is_a_result(problem, small_settings, tmp_path):
    spec = Trial(
        "dense", 0, 0, Hyperparameters(learning_rate=3e37, batch_size=64)
    )  # the first step takes the weights to the end of float32
    record = run_trial(
        experiment_of(problem), small_settings, tmp_path, spec, lambda evaluation: None
    )
    assert record.validation_error is None
    assert record.training.stopped.startswith("diverged")
    assert read_record(tmp_path / "trials" / spec.name / "record.json", TrialRecord) == record


def test_forecasts_that_are_not_finite_are_a_divergence(problem, small_settings, tmp_path):
    class Overflowing(Forecaster):
        def forward(self, window):
            return window[:, -4:, :1] * torch.inf

    config = config_for(problem, "persistence", Hyperparameters(normalize="window"), 1)
    experiment = experiment_of(problem)
    model = Overflowing(config)
    found = running._recorded(
        experiment, Trial("persistence"), model, [None], experiment.measured(model)
    )
    assert (found.test_error, found.error_by_step, found.forecast) == (None, (), ())


def test_trials_leave_the_callers_torch_alone(problem, small_settings, tmp_path):
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run_trial(
        experiment_of(problem),
        small_settings,
        tmp_path,
        Trial("dense", 0, 0, Hyperparameters(learning_rate=1e-3, batch_size=64)),
        lambda evaluation: None,
    )
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_seasonal_forecasts_need_a_season_that_fits(problem):
    kinds = ["mean", "persistence", "seasonal", "seasonal-drift"]

    def found(plan):
        simple = experiment_of(replace(problem, plan=plan)).trivial_kinds()
        assert {"median", "drift", "ridge"} < set(simple) and "zero" not in simple
        return [kind for kind in simple if kind in kinds]

    for plan, count in ((WindowPlan(54, 4, 52), 4), (WindowPlan(52, 4, 52), 3)):
        assert found(plan) == kinds[:count]
    assert found(WindowPlan(54, 4, 3)) == kinds  # seasons repeat
    for plan in (WindowPlan(51, 4, 52), WindowPlan(54, 4, 1)):
        assert found(plan) == kinds[:2]


def test_a_killed_comparison_resumes(co2_cut, tmp_path):
    """SIGKILL in the middle, then the same command: it ends, and does nothing twice."""
    command = [sys.executable, "-m", "throughtime", "compare", str(co2_cut), "--target", "co2"]
    command += ["--time", "date", "--missing", "interpolate", "--horizon", "2", "--context", "10"]
    command += [
        "--season",
        "1",
        "--networks",
        "rnn,gru",
        "--seeds",
        "2",
        "--trials",
        "3",
        "--epochs",
        "3",
    ]
    command += ["--parameters", "200", "--out", str(tmp_path / "run"), "--jobs", "1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("run/trials/*/record.json"))) < 4 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("run/trials/*/record.json")}
    assert before
    result = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert {c["kind"] for c in result["verdict"]["candidates"]} >= {"rnn", "gru", "persistence"}
    assert all(p.stat().st_mtime_ns == time_before for p, time_before in before.items())


def test_folds_weigh_by_what_they_tested_and_the_first_one_chooses():
    def fold(count, error, validation):
        return Evaluation(validation, error, np.array([error]), np.full(count, error))

    found = running._combined([fold(2000, 1.0, 5.0), fold(2001, 3.0, 7.0)])
    assert found.test_error == pytest.approx(2.0, abs=1e-3)
    assert found.validation_error == 5.0  # later folds' is tested on in this one
    kept = averaged(found.error_by_item)
    assert len(kept) <= 2000 and np.mean(kept) == pytest.approx(found.test_error, abs=2e-3)


def test_a_rolling_origin_is_one_trial_over_all_folds(co2_cut, small_settings, tmp_path):
    asked = DataOptions(target=("co2",), time="date", missing="interpolate", horizon=4, context=20)
    whole = read_problem(co2_cut, asked)
    folds = read_problem(co2_cut, replace(asked, folds=3))
    spec = Trial("persistence")
    one, three = (
        run_trial(
            experiment_of(p),
            small_settings,
            tmp_path / str(len(p.folds)),
            spec,
            lambda evaluation: None,
        )
        for p in (whole, folds)
    )
    # nothing is learned, so the times tested are the same
    assert len(one.error_by_item) == len(three.error_by_item)
    assert three.test_error == pytest.approx(one.test_error, rel=0.05)


def test_wider_contexts_are_tried(tmp_path):
    """The answer lies 40 steps back in an input, where the target's own past does not point to."""
    x = np.random.default_rng(0).normal(size=3000)
    data = {"x": x, "y": np.roll(x, 40) + 0.1 * np.random.default_rng(1).normal(size=3000)}
    read = tt.read(pl.DataFrame(data), target="y")
    assert (read.problem.plan.context, read.problem.plan.wider) == (16, (32, 64, 128))
    options = {"networks": ["dense", "window-dense"], "seeds": 2, "trials": 1, "steps": 1000}
    options |= {"parameters": 1200, "learning_rate": 0.01, "normalize": "global"}
    run = tt.compare(read, **options, folder=tmp_path / "run")
    trials = {t.kind: t for t in run.record.trials}
    assert trials["window-dense"].chosen.context == 64  # 32 does not help, 128 hardly more
    assert trials["dense"].chosen.context is None
    error = {c.kind: c.error for c in run.record.verdict.candidates}
    assert error["window-dense"] < 0.2 and error["dense"] > 0.7
    assert run.model.network.config.context == 64
    assert "Contexts of up to 128 steps were tried" in " ".join(run.record.verdict.reasons)
    forecast = run.model.predict(pl.DataFrame(data)[:-1])
    assert forecast["y"][0] == pytest.approx(data["y"][-1], abs=0.6)

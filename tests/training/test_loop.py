"""The training loop: it learns, keeps the best, repeats itself, and survives bad numbers."""

import signal
import time

import pytest
import torch

from helpers import assert_same
from throughtime.data.tables.windows import WindowPlan, Windows
from throughtime.errors import PausedError
from throughtime.problems.forecasting.networks import ModelConfig, build_network
from throughtime.problems.forecasting.training import Forecasting, errors
from throughtime.training.checkpoints import Checkpoints
from throughtime.training.loop import TrainingSettings, train

ONE = torch.ones(1, dtype=torch.float64)


def windows(values, start, stop, context=8, horizon=2):
    plan = WindowPlan(context, horizon, 1)
    return Windows(values, torch.arange(start, stop - context - horizon + 1), plan, 1)


def wave(steps=300):
    t = torch.arange(steps, dtype=torch.float64)
    return torch.sin(t / 3).unsqueeze(1)


def model_of(kind="gru", seed=0):
    torch.manual_seed(seed)
    model = build_network(ModelConfig(kind, 8, 2, columns=1, hidden_size=8))
    model.normalizer.fit(wave()[:200])
    return model


def run(model, values=None, watch=None, seed=0, **options):
    values = wave() if values is None else values
    settings = TrainingSettings(**{"epochs": 5, "learning_rate": 1e-2, **options})
    parts = windows(values, 0, 200), windows(values, 200, 300)
    task = Forecasting(
        model, *parts, error_scale=ONE, batch_size=settings.batch_size or 64, seed=seed
    )
    return train(task, settings, watch=watch).record


@pytest.mark.parametrize("kind", ["window-dense", "rnn", "lstm", "gru"])
def test_it_learns_a_wave(kind):
    model = model_of(kind)
    before = errors(model, windows(wave(), 200, 300), ONE).mean()
    seen = []
    record = run(model, watch=seen.append, epochs=15, batch_size=16)
    after = errors(model, windows(wave(), 200, 300), ONE).mean()
    assert after < before / 4
    assert record.evaluations[record.best - 1].validation_error == pytest.approx(float(after))
    assert record.best == min(range(1, len(seen) + 1), key=lambda e: seen[e - 1].validation_error)
    assert tuple(seen) == record.evaluations
    assert record.skipped_steps == 0
    assert not model.training


def test_it_repeats_itself_to_the_bit_and_the_seed_matters():
    weights = []
    for seed in (0, 0, 1):
        model = model_of()
        run(model, seed=seed)
        weights.append(model.state_dict())
    assert_same(weights[0], weights[1])
    with pytest.raises(AssertionError):
        assert_same(weights[0], weights[2])


def test_it_stops_early_and_keeps_the_best_weights():
    model = model_of()
    record = run(model, epochs=50, learning_rate=0.3, patience=9)
    assert record.stopped == "no improvement for 9 steps"
    assert len(record.evaluations) == record.best + 3
    best = min(e.validation_error for e in record.evaluations)
    found = float(errors(model, windows(wave(), 200, 300), ONE).mean())
    assert found == pytest.approx(best)
    assert run(model_of(), epochs=2).stopped == "all 6 steps taken"


def test_the_gradient_is_clipped_and_counted():
    records = [run(model_of(), epochs=1, clip=f"norm:{c}").evaluations[0] for c in (1e-6, 1e6)]
    assert [r.clipped for r in records] == [1.0, 0.0]
    assert all(r.gradient_norm > 1e-6 for r in records)  # measured before clipping


def test_a_bad_window_is_skipped_and_never_reaches_the_weights():
    values = wave()
    values[100] = torch.nan
    model = model_of()
    record = run(model, values, batch_size=8)
    assert 0 < record.skipped_steps < 5 * len(range(0, 190, 8))
    assert all(p.isfinite().all() for p in model.parameters())
    assert record.best > 0


def test_a_training_without_hope_ends_with_the_weights_it_began_with():
    model = model_of()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = run(model, torch.full((300, 1), torch.nan, dtype=torch.float64), batch_size=8)
    assert record.stopped.startswith(
        "diverged after 24 steps: input not finite since step 1: nan in "
    )
    assert (record.steps, record.skipped_steps, record.retreats) == (24, 24, 0)
    assert (record.best, record.evaluations) == (0, ())
    assert_same(model.state_dict(), before)


def test_bad_validation_ends_training_too():
    values = wave()
    values[250] = torch.nan
    assert run(model_of(), values).stopped == "diverged after 3 steps: predictions not finite"


def task_of(model, **options):
    parts = windows(wave(), 0, 200), windows(wave(), 200, 300)
    return Forecasting(model, *parts, error_scale=ONE, **{"batch_size": 64, "seed": 0, **options})


def test_batches_whose_gradients_are_summed_are_as_one_batch():
    weights = []
    for size, together in ((63, 1), (21, 3)):  # 191 windows: the last of each is ragged
        task = task_of(model_of(), batch_size=size)
        how = TrainingSettings(epochs=2, accumulate=together, optimizer="sgd", learning_rate=0.1)
        record, _ = train(task, how)
        assert record.steps == 2 * 4
        weights.append(task.model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value)


def test_the_last_weights_are_there_beside_the_best():
    task = task_of(model_of())
    record, last = train(task, TrainingSettings(epochs=12, learning_rate=0.3, patience=9))
    assert record.best < len(record.evaluations)
    best = float(errors(task.model, task.validation, ONE).mean())
    task.model.load_state_dict(last)
    measured = [epoch.validation_error for epoch in record.evaluations]
    assert best == pytest.approx(min(measured))
    assert float(errors(task.model, task.validation, ONE).mean()) == pytest.approx(measured[-1])


def test_several_measures_and_one_that_decides():
    task = task_of(model_of(), decided_by="rmse")
    record, _ = train(task, TrainingSettings(epochs=2))
    for epoch in record.evaluations:
        assert list(epoch.measures) == ["rmse", "mae"]
        assert epoch.validation_error == epoch.measures["rmse"] >= epoch.measures["mae"]
    assert list(task_of(task.model).measure()) == ["mae", "rmse"]


def test_the_rate_follows_its_schedule():
    how = TrainingSettings(epochs=4, learning_rate=0.02, schedule="linear", warmup=2)
    record, _ = train(task_of(model_of()), how)
    # three steps an epoch: the last of each is step 2, 5, 8, 11 of 12
    assert [e.learning_rate for e in record.evaluations] == pytest.approx(
        [0.02 * (1 - s / 12) for s in (2, 5, 8, 11)]
    )


def test_a_plateau_halves_the_rate():
    how = TrainingSettings(epochs=30, learning_rate=0.3, schedule="plateau", patience=18)
    record, _ = train(task_of(model_of()), how)
    best, waited, rate, expected = float("inf"), 0, 0.3, []
    for epoch in record.evaluations:  # three epochs without a better one halve it
        expected.append(rate)
        waited = 0 if epoch.validation_error < best else waited + 1
        best = min(best, epoch.validation_error)
        if waited == 3:
            rate, waited = rate / 2, 0
    assert [e.learning_rate for e in record.evaluations] == expected
    assert rate < 0.3


def test_a_budget_ends_it_and_what_was_learned_is_measured():
    began = time.perf_counter()
    record, _ = train(task_of(model_of(), batch_size=1), TrainingSettings(epochs=10_000, budget=1))
    assert 1 <= time.perf_counter() - began < 20
    assert record.stopped == "the budget of 1 s is used up"
    assert record.evaluations and record.best


def test_within_a_budget_the_rate_comes_to_its_end():
    how = TrainingSettings(epochs=10_000, budget=0.5, schedule="linear")
    record, _ = train(task_of(model_of()), how)
    assert record.evaluations[-1].learning_rate < 0.2 * how.learning_rate
    assert record.evaluations[0].learning_rate > record.evaluations[-1].learning_rate


class Noisy(Forecasting):
    """Draws from torch's own generator, as dropout does."""

    def loss(self, model, *tensors):
        return super().loss(model, *tensors) * (1 + 0.1 * torch.rand(()))


class Interrupted(Noisy):
    """Gets a signal in the midst of an epoch."""

    at = 5

    def loss(self, model, *tensors):
        self.at -= 1
        if not self.at:
            signal.raise_signal(signal.SIGINT)
        return super().loss(model, *tensors)


@pytest.mark.parametrize("patience", [None, 4])  # 4: fewer than it had taken when interrupted
def test_interrupted_and_resumed_it_is_as_if_nothing_had_been(tmp_path, patience):
    how = TrainingSettings(
        epochs=4, patience=patience, clip="auto:0.3", schedule="cosine", optimizer="nadam"
    )
    whole = task_of(model_of(), batch_size=30)
    whole.__class__ = Noisy
    expected, expected_last = train(whole, how)

    parts = windows(wave(), 0, 200), windows(wave(), 200, 300)
    first = Interrupted(model_of(), *parts, error_scale=ONE, batch_size=30, seed=0)
    with Checkpoints(tmp_path, "one") as kept, pytest.raises(PausedError) as paused:
        train(first, how, kept=kept)
    told = f"interrupted after step 5 of 28; saved in {tmp_path}: run the same command again"
    assert str(paused.value).startswith(told)
    second = task_of(model_of(seed=3), batch_size=30, seed=9)  # all of it comes from the checkpoint
    second.__class__ = Noisy
    with Checkpoints(tmp_path, "one") as kept:
        found, last = train(second, how, kept=kept)
    assert_same(second.model.state_dict(), whole.model.state_dict())
    assert_same(last, expected_last)
    same = [(e.training_loss, e.validation_error, e.gradient_norm) for e in expected.evaluations]
    assert [
        (e.training_loss, e.validation_error, e.gradient_norm) for e in found.evaluations
    ] == same
    assert found.steps == expected.steps and found.seconds > 0


class Listener:
    """All that a training tells."""

    def __init__(self):
        self.evaluations, self.ticks, self.scalars, self.texts = [], [], [], []

    def __call__(self, evaluation):
        self.evaluations.append(evaluation)

    def tick(self, done, loss, norm):
        self.ticks.append(done)
        assert loss != 0 and norm != 0

    def add_scalar(self, tag, scalar_value, global_step):
        self.scalars.append((tag, scalar_value, global_step))

    def add_text(self, tag, text_string, global_step):
        self.texts.append((tag, text_string, global_step))


def test_bars_and_logs_are_told(monkeypatch):
    monkeypatch.setattr("throughtime.training.loop._TICK", 0.0)
    values = wave()
    values[100] = torch.nan
    parts = windows(values, 0, 200), windows(values, 200, 300)
    task = Forecasting(model_of(), *parts, error_scale=ONE, batch_size=10, seed=0)
    listener = Listener()
    record, _ = train(task, TrainingSettings(epochs=2), watch=listener, writer=listener)
    assert tuple(listener.evaluations) == record.evaluations
    assert len(listener.ticks) == record.steps == 40
    assert listener.ticks == pytest.approx([step / 40 for step in range(1, 41)])
    logged = {tag: step for tag, _, step in listener.scalars}
    assert logged == {
        "training/loss": 40,
        "training/gradient norm": 40,
        "training/learning rate": 40,
        "validation/mae": 40,
        "validation/rmse": 40,
        "training/clipped (share)": 40,
    }
    assert len(listener.texts) == record.skipped_steps > 0
    tag, words, step = listener.texts[0]
    assert (tag, step) == ("training/incident", record.incidents[0].step)
    assert words.startswith("input, input 0: nan in the batch") and words.endswith("; skipped")
    lines = record.troubles()
    assert lines[0] == f"{record.skipped_steps} of 40 steps were not taken:"
    assert lines[1].startswith(f"  step {step}: input not finite, input 0: nan in the batch")
    assert not train(task_of(model_of()), TrainingSettings(epochs=1)).record.troubles()


def test_a_loss_that_fails_for_good_ends_with_a_report_and_the_last_good_weights():
    class Failing(Forecasting):
        steps_left = 120

        def loss(self, model, *tensors):
            self.steps_left -= 1
            return super().loss(model, *tensors) * (1.0 if self.steps_left >= 0 else torch.inf)

    parts = windows(wave(), 0, 200), windows(wave(), 200, 300)
    task = Failing(model_of(), *parts, error_scale=ONE, batch_size=1, seed=0)
    record, last = train(task, TrainingSettings(epochs=3))
    assert record.stopped == (
        "diverged after 160 steps: loss not finite since step 121: the loss is inf; every "
        "recurrent layer is finite, after 3 rollbacks"
    )
    assert (record.retreats, record.skipped_steps, record.steps) == (4, 40, 160)

    class EnoughError(Exception):
        pass

    class Hundred(Forecasting):
        left = 100

        def loss(self, model, *tensors):
            if not self.left:
                raise EnoughError
            self.left -= 1
            return super().loss(model, *tensors)

    stopped = Hundred(model_of(), *parts, error_scale=ONE, batch_size=1, seed=0)
    with pytest.raises(EnoughError):
        train(stopped, TrainingSettings(epochs=3))
    assert_same(last, stopped.model.state_dict())  # as after step 100
    assert_same(task.model.state_dict(), last)

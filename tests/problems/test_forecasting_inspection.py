"""What is seen inside a saved model at work on a table."""

import json
import math

import numpy as np
import pytest
import torch
from test_forecasting_prediction import model_of, spec_of, weekly

from throughtime.errors import InputError
from throughtime.problems.forecasting.inspection import inspect
from throughtime.problems.forecasting.networks import ModelConfig, build
from throughtime.runs import InspectionRecord
from throughtime.serialization import from_plain, to_json


def wave(count=60):
    return [round(10 + 3 * math.sin(0.7 * t) + 0.1 * (t % 5), 4) for t in range(count)]


def run(tmp_path, model, text=None, spec=None, **options):
    path = tmp_path / "new.csv"
    path.write_text(text or "t,y\n" + weekly(wave()))
    return inspect(model, spec or spec_of(), path, name="model", command="words", **options)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_recurrent_model_is_seen_whole(tmp_path, kind):
    torch.manual_seed(0)
    model = build(ModelConfig(kind, 8, 2, 1, hidden_size=5, num_layers=2))
    before = {n: v.clone() for n, v in model.state_dict().items()}
    record = run(tmp_path, model)
    assert (record.kind, record.windows, record.step, record.target) == (kind, 51, "7 days", "y")
    assert record.parameters == sum(p.numel() for p in model.parameters())
    assert [layer.name for layer in record.diagnosis.layers] == ["body.l0", "body.l1"]
    states = 10 if kind == "lstm" else 5
    assert {n: len(e) for n, e in record.lyapunov.items()} == dict.fromkeys(record.seen, states)
    assert {n: len(s) for n, s in record.time_scales.items()} == (
        {} if kind == "rnn" else dict.fromkeys(record.seen, 5)
    )
    assert record.input == tuple(wave()[50:58])  # the last window, without what it forecasts
    assert record.times[-1] == "2001-02-03"
    gates = {"rnn": 0, "gru": 3, "lstm": 5}[kind]  # with the cell state
    for seen in record.seen.values():
        assert len(seen.values) == 1 + gates
        assert all(np.array(v).shape == (8, 5) for v in seen.values.values())
        assert len(seen.gradient) == 8 and all(g > 0 for g in seen.gradient)
    # the last hidden state is what the head sees
    window = torch.tensor(record.input, dtype=torch.float64).view(1, 8, 1)
    last = model.body(model.frame(window)[0].float())[0][0, -1]
    top = record.seen["body.l1"].values["hidden state"][-1]
    assert top == pytest.approx(last.tolist(), abs=1e-4)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert from_plain(InspectionRecord, json.loads(to_json(record))) == record
    assert run(tmp_path, model, seed=1).diagnosis != record.diagnosis  # other directions
    assert run(tmp_path, model) == record


def test_the_context_curve_is_the_error_with_the_last_steps_alone(tmp_path):
    """Persistence needs one step, the seasonal forecast the three of a season."""
    walk = "t,y\n" + weekly(np.cumsum(np.random.default_rng(0).normal(size=60)).tolist())
    season = "t,y\n" + weekly([1.0, 5.0, 9.0] * 20)
    for kind, text, horizons in (
        ("persistence", walk, (1,)),
        ("dense", walk, (0, 1)),
        ("seasonal", season, (3,)),
    ):
        model = model_of(kind) if kind != "dense" else build(ModelConfig("dense", 4, 2, 1))
        record = run(tmp_path, model, text)
        assert record.context.steps[0] == 0 and record.context.steps[-1] == 4
        assert record.context.horizon in horizons, kind
        assert record.diagnosis.layers == () and not record.seen
    values = np.array(wave())
    expected = np.mean([abs(values[4:] - values[3:-1])[:55], abs(values[5:] - values[3:-2])[:55]])
    record = run(tmp_path, model_of())
    assert record.context.error[-1] == pytest.approx(expected)
    assert record.unit == "mean absolute error, y"


def test_a_recurrent_model_is_given_less_but_scaled_the_same(tmp_path):
    torch.manual_seed(0)
    model = build(ModelConfig("gru", 8, 2, 1, hidden_size=5))
    record = run(tmp_path, model)
    values = torch.tensor(wave(), dtype=torch.float64)
    windows = values.unfold(0, 10, 1)
    scaled, center, spread = model.frame(windows[:, :8].unsqueeze(-1))
    other = scaled.roll(len(scaled) // 2, dims=0)  # another window's steps, in their own scale
    mixed = torch.cat([other[:, :-2], scaled[:, -2:]], dim=1)
    with torch.no_grad():
        forecast = model.compute(mixed.float()).unsqueeze(-1) * spread + center
    errors = (forecast - windows[:, 8:].unsqueeze(-1)).abs().mean(dim=(1, 2))
    two = record.context.steps.index(2)
    assert record.context.error[two] == pytest.approx(errors.mean().item())
    assert record.context.standard_error[two] == pytest.approx(errors.std().item() / 51**0.5)


def test_several_targets_are_measured_in_their_deviations(tmp_path):
    text = "t,y,z\n" + "".join(
        line + f",{1000 * n % 7}\n" for n, line in enumerate(weekly(wave()).splitlines())
    )
    record = run(tmp_path, model_of(columns=2, targets=2), text, spec_of(target=("y", "z")))
    assert record.unit == "mean absolute error, standard deviations"
    assert 0.1 < record.context.error[-1] < 10


def test_an_ill_network_is_told(tmp_path):
    model = build(ModelConfig("gru", 40, 2, 1, hidden_size=5))
    with torch.no_grad():
        model.body.bias_ih_l0[0:5] = 30.0
    record = run(tmp_path, model, "t,y\n" + weekly(wave(90)))
    assert record.diagnosis.verdict == "saturated"


def test_a_table_that_does_not_fit_is_told(tmp_path):
    model = build(ModelConfig("gru", 8, 2, 1, hidden_size=5))
    with pytest.raises(InputError) as found:
        run(tmp_path, model, "t,y\n" + weekly(wave(9)))
    assert "no series has 10 rows (context 8 plus horizon 2)" in str(found.value)
    gaps = ["" if t % 8 == 7 else v for t, v in enumerate(wave(60))]
    with pytest.raises(InputError) as found:
        run(tmp_path, model, "t,y\n" + weekly(gaps), missing="drop")
    assert "set --missing interpolate" in str(found.value)
    with pytest.raises(InputError, match="no column 'y'; there are: t, z"):
        run(tmp_path, model, "t,z\n" + weekly(wave()))


def test_one_window_of_several_targets_is_enough_to_look(tmp_path):
    lines = weekly(wave(10)).splitlines()
    text = "t,y,z\n" + "".join(f"{line},{n % 3}\n" for n, line in enumerate(lines))
    model = build(ModelConfig("gru", 9, 1, 2, targets=2, hidden_size=3))
    record = run(tmp_path, model, text, spec_of(target=("y", "z")))
    assert record.windows == 1 and math.isfinite(record.context.error[-1])

"""Tests of outputs: losses on numbers computed by hand, and user-defined outputs."""

import math

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from helpers import assert_same
from throughtime.errors import InputError
from throughtime.nn import outputs
from throughtime.nn.outputs import Binary, Classes, Numbers, Output, Point
from throughtime.problems.forecasting.networks import ModelConfig, build_network

ZERO, ONE = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)


@pytest.fixture(autouse=True)
def only_the_projects_own():
    yield
    for output in outputs.registered_outputs():
        outputs.forget_output(output.name)


class Squared(Point):
    name = "squared"

    def loss(self, output, wanted):
        return (output - wanted).square().mean()


class Quantiles(Output):
    """Quantiles of each target, by the pinball loss; the middle one is the forecast."""

    name = "quantiles"
    levels = (0.1, 0.5, 0.9)

    def width(self, targets):
        return targets * len(self.levels)

    def split(self, output):
        return output.unflatten(-1, (-1, len(self.levels)))  # [B, horizon, K, Q]

    def loss(self, output, wanted):
        off = wanted.unsqueeze(-1) - self.split(output)
        levels = output.new_tensor(self.levels)
        return torch.maximum(levels * off, (levels - 1) * off).mean()

    def prediction(self, output):
        return self.split(output)[..., len(self.levels) // 2]


def assert_near(found, expected, by):
    off = [abs(f - e) for f, e in zip(found.tolist(), expected, strict=True)]
    assert max(off) < by, found


def noisy():
    random = np.random.default_rng(0)
    return pl.DataFrame({"y": np.where(random.random(600) < 0.8, 0.0, random.exponential(9, 600))})


def test_a_loss_from_outside_is_what_a_network_learns():
    data = tt.read(noisy(), target="y", horizon=1, context=4)
    how = {"network": "dense", "epochs": 60, "parameters": 60, "normalize": "global"}
    median, mean = tt.fit(data, **how), tt.fit(data, **how, output=Squared())
    assert (mean.network.config.output, median.network.config.output) == ("squared", "point")
    # most values are 0, so the median is 0 and the mean is not
    assert mean.predict(noisy())["y"][0] > 1.0
    assert abs(median.predict(noisy())["y"][0]) < 0.5


def test_quantiles_need_one_class(tmp_path):
    noise = pl.DataFrame({"y": np.random.default_rng(0).normal(size=2000)})
    data = tt.read(noise, target="y", horizon=2, context=4)
    how = {"epochs": 20, "parameters": 90, "normalize": "global", "output": Quantiles()}
    model = tt.fit(data, network="dense", **how)
    window, wanted = data.problem.parts.validation.batch(torch.arange(250))
    output, center, spread = model.network.scaled_output(window)
    assert output.shape == (250, 2, 3)
    bands = Quantiles().split(output).detach().double() * spread.unsqueeze(-1) + center.unsqueeze(
        -1
    )
    below = (wanted.unsqueeze(-1) < bands).double().mean(dim=(0, 1, 2))
    assert_near(below, Quantiles.levels, 0.08)
    assert len(tt.load(model.save(tmp_path / "m")).predict(noise)) == 2
    result = tt.compare(
        data,
        networks=["dense", "gru"],
        seeds=1,
        epochs=1,
        parameters=90,
        output="quantiles",
        jobs=2,
    )
    assert result.record.settings.output == "quantiles"


def test_an_output_whose_prediction_has_another_shape_is_refused():
    class Wide(Quantiles):
        name = "wide"
        prediction = Point.prediction

    data = tt.read(noisy(), target="y", horizon=2, context=4)
    with pytest.raises(
        InputError, match=r"predicts \[1, 2, 3\] from \[1, 2, 3\]; expected \[1, 2, 1"
    ):
        tt.fit(data, output=Wide(), epochs=1)


def test_point_is_the_absolute_error_and_quadratic_near_zero():
    loss = Point().loss(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[2.0], [0.0]]]))
    assert loss == pytest.approx((1 + 3) / 2 - 0.05)  # Huber: |error| - delta / 2
    small = Point().loss(torch.tensor([[[0.02]]]), torch.zeros(1, 1, 1))
    assert small == pytest.approx(0.02**2 / (2 * 0.1))


def test_classes_on_numbers():
    output = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [5.0, 0.0]], dtype=torch.float64)
    wanted = torch.tensor([0, 1, -1])
    expected = torch.tensor([math.log(2), math.log(4)], dtype=torch.float64)
    one = Classes()
    assert one.known(wanted).tolist() == [True, True, False]
    assert_same(one.loss(output, wanted, ZERO, ONE).double(), expected.mean().float().double())
    wrong, nats = one.errors(output[:2], wanted[:2], ZERO, ONE)
    assert wrong.tolist() == [0.0, 1.0]
    assert_same(nats, expected)
    assert one.measured(0.25, 0.5) == {"cross-entropy": 0.5, "error": 0.25}


def test_binary_on_numbers():
    output = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]], dtype=torch.float64)
    wanted = torch.tensor([[1.0, 0.0], [1.0, math.nan]], dtype=torch.float64)
    one, expected = Binary(), math.log(2) + math.log(4)
    assert_same(one.loss(output, wanted, ZERO, ONE), torch.tensor(expected, dtype=torch.float64))
    wrong, nats = one.errors(output[:1], wanted[:1], ZERO, ONE)
    assert (wrong.item(), nats.item()) == (1.0, pytest.approx(expected))  # a logit of 0 predicts 0
    assert_same(one.prediction(output, ZERO, ONE)[0, 1], torch.tensor(0.75, dtype=torch.float64))


def test_numbers_on_numbers():
    output = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    wanted = torch.tensor([[4.0, 0.0], [math.nan, 0.0]], dtype=torch.float64)
    center, spread = torch.tensor([1.0, 0.0]).double(), torch.tensor([2.0, 4.0]).double()
    one = Numbers()
    assert one.loss(output, wanted, center, spread).item() == (0.5**2 + 2**2) / 2
    assert one.prediction(output, center, spread)[0].tolist() == [3.0, 8.0]
    absolute, squared = one.errors(output[:1], wanted[:1], center, spread)
    assert (absolute.item(), squared.item()) == ((0.5 + 2) / 2, (0.25 + 4) / 2)
    assert one.measured(1.0, 4.0) == {"mae": 1.0, "rmse": 2.0}


def test_unknown_names_are_refused():
    with pytest.raises(
        ValueError, match=r"output must be one of point; got 'median' .for an output of your own"
    ):
        ModelConfig("gru", 4, 1, 1, output="median")
    with pytest.raises(ValueError, match="'point' is the name of a built-in output"):
        outputs.register_output(Point())
    x = np.random.default_rng(0).normal(size=(60, 8, 1))
    with pytest.raises(
        InputError, match=r"^output: 'squared'; remove this option; it applies only to"
    ):
        tt.fit(tt.read(x, np.arange(60) % 2), output=Squared())
    assert build_network(ModelConfig("gru", 4, 3, 1, output="squared")).outputs == 3

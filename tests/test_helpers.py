"""The comparison helper must fail on every kind of wrong answer it will be asked about."""

import pytest
import torch

from helpers import assert_same, flat, gradients, outcome, throughtime


def lstm_gates() -> torch.Tensor:
    return torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(0))


WRONG = {
    "sign": lambda x: -x,
    "zeros": torch.zeros_like,
    "one entry": lambda x: x.index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(0.0)),
    "swapped gates": lambda x: x[:, [1, 0, 2, 3]],
    "shifted in time": lambda x: x.roll(1, 0),
    "one NaN": lambda x: x.index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(torch.nan)),
    "infinity": lambda x: x.index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(torch.inf)),
    "broadcastable shape": lambda x: x[:1],
    "other dtype": lambda x: x.double(),
    "a thousandth off": lambda x: x * 1.001,
    "no tensor": lambda x: None,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_tensor_fails(wrong):
    expected = lstm_gates()
    assert_same(expected.clone(), expected)
    with pytest.raises(AssertionError):
        assert_same(wrong(expected), expected)


def test_wrong_structures_fail():
    x = lstm_gates()
    for actual, expected in [
        ((x,), (x, x)),
        ({"a": x}, {"b": x}),
        ({"a": x}, {"a": x, "b": x}),
        (x, None),
        (x, "text"),
        ([x, -x], [x, x]),
    ]:
        with pytest.raises(AssertionError):
            assert_same(actual, expected)


def test_an_expected_nan_is_no_expectation():
    bad = torch.full((2,), torch.nan)
    with pytest.raises(AssertionError, match="expected value itself"):
        assert_same(bad, bad)


def test_exact_zeros_must_be_met_exactly():
    with pytest.raises(AssertionError):
        assert_same(torch.full((2,), 1e-30), torch.zeros(2))


def test_the_tolerance_is_as_tight_as_the_dtype():
    x = lstm_gates().double()
    with pytest.raises(AssertionError):
        assert_same(x + 1e-10, x)


def test_gradients_depend_on_every_output_and_entry():
    x = torch.randn(3, requires_grad=True)
    outputs = {"double": 2 * x, "square": x**2}
    found = gradients(outputs.values(), {"x": x}, torch.Generator().manual_seed(1))["x"]
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(3, generator=generator), torch.randn(3, generator=generator)
    assert_same(found, (2 * a + 2 * x * b).detach())
    with pytest.raises(AssertionError):
        assert_same(found, 2 * torch.ones(3) + 2 * x.detach())  # what an all-ones cotangent gives


def test_flat_keeps_order():
    a, b, c = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)
    assert [t.item() for t in flat((a, (b, [c])))] == [0, 1, 2]


def test_a_command_must_end_as_expected():
    assert throughtime("nothing", code=2).stderr
    for code in (0, 1):
        with pytest.raises(AssertionError):
            throughtime("nothing", code=code)


def test_an_outcome_is_a_result_or_the_very_type_of_an_error():
    assert outcome(lambda: 3) == 3
    assert_same(outcome([].pop), IndexError)
    for wrong in (LookupError, torch.zeros(1)):
        with pytest.raises(AssertionError):
            assert_same(IndexError, wrong)
    with pytest.raises(AssertionError):
        assert_same(torch.zeros(1), IndexError)

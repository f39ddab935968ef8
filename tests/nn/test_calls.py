"""Tests of the checks and the conversion of layer calls."""

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import throughtime
from throughtime.nn import calls
from throughtime.nn.engines import kernels


def test_every_form_becomes_time_first_with_a_whole_state():
    layer = throughtime.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    x = torch.randn(5, 7, 3)
    call = calls.read(layer, x, None, None, None, layer.weights())
    assert torch.equal(call.x, x.transpose(0, 1))
    assert [s.shape for s in call.state] == [(4, 5, 4)] * 2
    call = calls.read(layer, x[0], None, torch.tensor(2), None, layer.weights())
    assert call.x.shape == (7, 1, 3)
    assert call.lengths.tolist() == [2]
    packed = pack_sequence([x[0], x[1, :2]])
    call = calls.read(layer, packed, None, None, None, layer.weights())
    assert call.x.shape == (1, 9, 3)
    assert torch.equal(call.batch_sizes, packed.batch_sizes)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"proj_size": 2, "bidirectional": True}])
def test_a_call_is_the_same_after_it_was_flattened_for_the_kernels(bias, options):
    layer = throughtime.LSTM(3, 4, bias=bias, **options)
    call = calls.read(layer, torch.zeros(6, 2, 3), None, None, None, layer.weights())
    one = calls.LayerCall(layer.cell_type, call.x, call.state, call.weights)
    given = kernels.KernelCall.of(one)
    again = kernels.KernelCall.from_flat(given.flat())
    assert all(a is b for a, b in zip(again.flat(), given.flat(), strict=True))
    for d, weights in enumerate(one.weights):
        for expected, found in zip(weights, again.direction(d), strict=True):
            assert found is expected
    assert (one.steps, one.directions) == (6, len(one.weights))
    assert one._replace(batch_sizes=torch.tensor([2, 2, 1])).steps == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lengths": torch.tensor([1.0, 2.0])}, r"integers of shape \[2\]"),
        ({"lengths": torch.tensor([1])}, r"integers of shape \[2\]"),
        ({"lengths": torch.tensor([6, 1])}, "between 0 and 5, .* got values from 1 to 6"),
        ({"reset": torch.zeros(5, 2)}, "reset must be bool"),
        ({"reset": torch.zeros(2, 5, dtype=torch.bool)}, r"\[5, 2\] \(time first\)"),
    ],
)
def test_lengths_and_resets_that_do_not_fit_are_named(options, text):
    with pytest.raises(RuntimeError, match=text):
        throughtime.GRU(3, 4)(torch.zeros(5, 2, 3), **options)


def test_a_packed_sequence_brings_its_own_lengths():
    packed = pack_sequence([torch.zeros(3, 3)])
    with pytest.raises(ValueError, match="a PackedSequence already has its lengths"):
        throughtime.GRU(3, 4)(packed, lengths=torch.tensor([3]))

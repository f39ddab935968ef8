"""A call brought to its one form, and held against the layer."""

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import throughtime
from throughtime.nn import calls


def test_every_form_becomes_time_first_with_a_whole_state():
    layer = throughtime.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    x = torch.randn(5, 7, 3)
    call = calls.read(layer, x, None, None, None)
    assert torch.equal(call.x, x.transpose(0, 1))
    assert [s.shape for s in call.state] == [(4, 5, 4)] * 2
    call = calls.read(layer, x[0], None, torch.tensor(2), None)
    assert call.x.shape == (7, 1, 3)
    assert call.lengths.tolist() == [2]
    packed = pack_sequence([x[0], x[1, :2]])
    call = calls.read(layer, packed, None, None, None)
    assert call.x.shape == (1, 9, 3)
    assert torch.equal(call.batch_sizes, packed.batch_sizes)


def test_sizes_come_from_the_arrays():
    x, h = torch.zeros(6, 2, 3), torch.zeros(2, 2, 4)
    plain = [torch.zeros(12, 3), torch.zeros(12, 4)] * 2
    given = calls.Given(x, h, None, None, None, None, None, None, None, plain)
    assert given.sizes == (6, 2, 4)
    projected = [torch.zeros(20, 3), torch.zeros(20, 4), torch.zeros(4, 5)] * 2
    assert given._replace(weights=projected).sizes == (6, 2, 5)
    packed = given._replace(batch_sizes=torch.tensor([2, 2, 1]))
    assert packed.sizes == (3, 2, 4)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lengths": torch.tensor([1.0, 2.0])}, r"whole numbers of shape \[2\]"),
        ({"lengths": torch.tensor([1])}, r"whole numbers of shape \[2\]"),
        ({"lengths": torch.tensor([6, 1])}, r"lie in 0\.\.5, the steps of the input; got 1\.\.6"),
        ({"reset": torch.zeros(5, 2)}, "reset must be bool"),
        ({"reset": torch.zeros(2, 5, dtype=torch.bool)}, r"\[5, 2\] when time is first"),
    ],
)
def test_lengths_and_resets_that_do_not_fit_are_named(options, text):
    with pytest.raises(RuntimeError, match=text):
        throughtime.GRU(3, 4)(torch.zeros(5, 2, 3), **options)


def test_a_packed_sequence_brings_its_own_lengths():
    packed = pack_sequence([torch.zeros(3, 3)])
    with pytest.raises(ValueError, match="a PackedSequence brings its lengths"):
        throughtime.GRU(3, 4)(packed, lengths=torch.tensor([3]))

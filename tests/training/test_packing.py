"""A state as bytes: back to the bit, or refused."""

import math

import pytest
import torch

from throughtime.training.packing import DamagedError, pack, unpack

STATE = {
    "tensors": [torch.tensor([1.0, -0.0, math.nan, math.inf]), torch.arange(3), torch.tensor(7.0)],
    "bits": torch.tensor([True, False]),
    "wide": torch.rand(2, 3, dtype=torch.float64).T,
    "low": torch.tensor([1.5], dtype=torch.bfloat16),
    0: {"betas": (0.9, 0.999), "none": None, "text": "ü", "yes": True, "big": 2**80, "pi": math.pi},
    "inf": math.inf,
    "empty": [{}, [], (), torch.zeros(0, 4)],
}


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape
        as_bytes = [t.contiguous().view(-1).view(torch.uint8).tolist() for t in (one, other)]
        assert as_bytes[0] == as_bytes[1]
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other


def test_everything_comes_back_to_the_bit():
    same(unpack(pack(STATE)), STATE)
    with pytest.raises(AssertionError):
        same(unpack(pack(STATE)), {**STATE, "wide": STATE["wide"].clone()[:2]})


def test_weights_that_are_one_come_back_as_two():
    shared = torch.rand(4)
    back = unpack(pack({"a": shared, "b": shared}))
    assert torch.equal(back["a"], back["b"])
    back["a"].zero_()
    assert not torch.equal(back["a"], back["b"])


def test_every_flipped_bit_and_every_cut_is_seen():
    data = pack({"step": 7, "weights": torch.rand(5)})
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            unpack(bytes(flipped))
        with pytest.raises(DamagedError):
            unpack(data[:place])
    with pytest.raises(DamagedError, match="not a checkpoint of this version"):
        unpack(b"")


@pytest.mark.parametrize("wrong", [{"a": object()}, {"a": {1.5: 1}}, {"a": {3}}])
def test_what_is_no_data_is_refused(wrong):
    with pytest.raises(TypeError):
        pack(wrong)

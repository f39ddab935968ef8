"""Batches of like length: all sequences once, little padding, resumable to the batch."""

import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.sequences.length_batches import Buckets, answered, in_order, prefetched
from throughtime.data.sequences.sequences import Sequences


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(1, 200),
)
def test_every_epoch_has_all_once_within_the_limits(lengths, size, steps):
    sizes = torch.tensor(lengths)
    buckets = Buckets(sizes, batch_size=size, batch_steps=steps, seed=0)
    for _ in range(2):
        batches = buckets.rest()
        assert len(batches) == len(buckets)
        assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
        for index in batches:
            longest = int(sizes[index].max())
            assert len(index) <= size
            assert longest * len(index) <= steps or len(index) == 1
            assert int(sizes[index].min()) >= 0.8 * longest
        buckets.end()
    assert sorted(
        torch.cat(list(in_order(sizes, batch_size=size, batch_steps=steps))).tolist()
    ) == (list(range(len(lengths))))


def test_the_order_is_drawn_anew_and_by_the_seed():
    lengths = torch.full((200,), 7)

    def epochs(seed):
        buckets = Buckets(lengths, batch_size=10, batch_steps=1000, seed=seed)
        first = torch.cat(buckets.rest())
        buckets.end()
        return first, torch.cat(buckets.rest())

    one, two = epochs(0)
    assert not torch.equal(one, two)
    assert torch.equal(one, epochs(0)[0]) and torch.equal(two, epochs(0)[1])
    assert not torch.equal(one, epochs(1)[0])


def test_it_goes_on_where_it_was_to_the_batch():
    lengths = torch.randint(1, 50, (90,), generator=torch.Generator().manual_seed(0))
    whole = Buckets(lengths, batch_size=4, batch_steps=90, seed=5)
    whole.end()
    expected = whole.rest()
    for _ in range(7):
        whole.took()
    state = whole.state_dict()
    again = Buckets(lengths, batch_size=4, batch_steps=90, seed=99)
    again.load_state_dict(state)
    assert [b.tolist() for b in again.rest()] == [b.tolist() for b in expected[7:]]


def test_padding_is_small():
    lengths = torch.randint(10, 1000, (2000,), generator=torch.Generator().manual_seed(0))
    buckets = Buckets(lengths, batch_size=32, batch_steps=100_000, seed=0)
    padded = sum(int(lengths[b].max()) * len(b) for b in buckets.rest())
    assert padded < 1.15 * int(lengths.sum())


def test_a_limit_that_is_none_is_told():
    with pytest.raises(ValueError, match="batch_size and batch_steps must be 1 or more"):
        Buckets(torch.tensor([3]), batch_size=0, batch_steps=1, seed=0)


@pytest.mark.parametrize("every_step", [True, False])
def test_answers_come_in_the_order_of_the_index(every_step):
    lengths = torch.tensor([4, 1, 9, 3])
    sequences = Sequences(torch.arange(17.0).unsqueeze(1), lengths)

    def answer(x, sizes):
        return x if every_step else x[sizes - 1, torch.arange(len(sizes))]

    index = torch.tensor([3, 0, 2])
    found = answered(answer, sequences, index, every_step)
    rows = sequences.steps_of(index) if every_step else sequences.starts[index + 1] - 1
    assert found[:, 0].tolist() == rows.tolist()


def test_two_are_made_ahead_and_no_more():
    made = []

    def make(item):
        made.append(item)
        return item * 10

    found = prefetched(make, range(6))
    assert next(found) == (0, 0)
    time.sleep(0.1)
    assert made == [0, 1, 2]
    assert list(found) == [(k, 10 * k) for k in range(1, 6)]


def test_what_goes_wrong_is_raised_in_its_place_and_no_thread_is_left():
    def make(item):
        if item == 2:
            raise ValueError("two")
        return item

    before = threading.active_count()
    found = prefetched(make, range(5))
    assert [next(found)[0], next(found)[0]] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(found)
    stopped = prefetched(make, range(5))
    next(stopped)
    stopped.close()
    assert threading.active_count() == before

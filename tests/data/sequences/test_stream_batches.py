"""Lanes over documents: every step once, in order, borders marked."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from throughtime.data.sequences.stream_batches import CodeStreams, Streams


def numbered(*lengths):
    """Documents whose entries are their places in all of them end to end."""
    ends = np.cumsum([0, *lengths])
    return [np.arange(a, b, dtype=np.float32).reshape(-1, 1) for a, b in pairwise(ends)]


def test_lanes_go_on_where_they_were_and_borders_are_marked():
    documents = numbered(5, 2, 7)
    streams = Streams(documents, documents, lanes=3)
    assert (streams.length, streams.left_out) == (4, 2)
    first, second = streams.piece(0, 3), streams.piece(3, 4)
    assert first.input[..., 0].T.tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10]]
    assert second.input[..., 0].T.tolist() == [[3], [7], [11]]
    assert torch.equal(first.input, first.target)
    assert first.reset.T.tolist() == [[True, False, False], [False, True, False], [False] * 3]
    assert second.reset.T.tolist() == [[False], [True], [False]]


def test_the_next_step_is_the_target_and_never_another_documents():
    streams = Streams(numbered(4, 3), lanes=1)
    assert streams.length == 5
    piece = streams.piece(0, 5)
    assert piece.input.flatten().tolist() == [0, 1, 2, 4, 5]
    assert piece.target.flatten().tolist() == [1, 2, 3, 5, 6]
    assert piece.reset.flatten().tolist() == [True, False, False, True, False]


def test_a_process_reads_its_lanes_alone():
    documents = numbered(40)
    whole, own = Streams(documents, lanes=4), Streams(documents, lanes=4, of=[1, 3])
    assert torch.equal(own.piece(2, 7).input, whole.piece(2, 7).input[:, [1, 3]])


def test_what_is_given_is_not_what_is_handed_out():
    document = torch.zeros(10, 1)
    Streams([document], lanes=1).piece(0, 4).input.fill_(7)
    assert not document.any()


@pytest.mark.parametrize(
    "documents, options, told",
    [
        ([], {"lanes": 1}, "every document needs at least two steps"),
        (numbered(5, 1), {"lanes": 1}, "every document needs at least two steps"),
        (numbered(5), {"lanes": 0}, "1 or more; got 0"),
        (numbered(5), {"lanes": 5}, "4 steps are too few for 5 lanes"),
        (numbered(5), {"lanes": 1, "targets": numbered(4)}, "must have the same numbers of steps"),
    ],
)
def test_what_cannot_be_is_told(documents, options, told):
    with pytest.raises(ValueError, match=told):
        Streams(documents, **options)


def test_codes_in_memory_lie_in_the_same_lanes():
    documents = [np.arange(a, b, dtype=np.int32) for a, b in ((0, 9), (9, 12), (12, 30))]
    for of in (None, [1, 2]):
        by_parts = Streams([d[:, None] for d in documents], lanes=3, of=of)
        flat = CodeStreams(documents, lanes=3, of=of)
        assert (flat.length, flat.left_out, flat.lanes) == (
            by_parts.length,
            by_parts.left_out,
            by_parts.lanes,
        )
        for begin, end in ((0, 4), (4, 9)):
            pieces = flat.piece(begin, end), by_parts.piece(begin, end)
            assert all(torch.equal(a, b) for a, b in zip(*pieces, strict=True))
    with pytest.raises(ValueError, match="27 steps are too few for 28 lanes"):
        CodeStreams(documents, lanes=28)

"""Truncated backpropagation: its gradient, its carried state, resumed, and bad pieces."""

import pytest
import torch
from torch import nn

import throughtime
from helpers import assert_same
from throughtime.data.sequences.stream_batches import Streams
from throughtime.errors import PausedError
from throughtime.training.checkpoints import Checkpoints
from throughtime.training.loop import TrainingSettings, train
from throughtime.training.streams import TruncatedBPTT

SETTINGS = TrainingSettings(epochs=3, learning_rate=0.01)


class Net(nn.Module):
    def __init__(self, kind="GRU", dtype=torch.float64):
        super().__init__()
        self.body = getattr(throughtime, kind)(2, 5, num_layers=2, dtype=dtype)
        self.head = nn.Linear(5, 2, dtype=dtype)

    def forward(self, x, state=None, *, reset=None):
        output, state = self.body(x, state, reset=reset)
        return self.head(output), state


def documents(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 2, dtype=torch.float64, generator=generator) for n in lengths]


def task_of(kind="GRU", k1=4, k2=None, seed=0, lanes=3, given=None):
    torch.manual_seed(seed)
    training = Streams(given or documents(30, 9, 26), lanes=lanes)
    validation = Streams(documents(12, seed=1), lanes=2)
    return TruncatedBPTT(Net(kind), training, validation, nn.functional.mse_loss, k1=k1, k2=k2)


def by_the_definition(model, streams, k1, k2):
    """Gradients of every piece, one step after the other, cut with detach at the piece's begin."""
    found = []
    whole = streams.piece(0, streams.length)
    for end in [*range(k1, streams.length, k1), streams.length]:
        last = (end - 1) // k1 * k1  # losses from there on
        cut = max(0, last + k1 - k2)
        state, losses = None, []
        for t in range(end):
            if t == cut and state is not None:
                state = (
                    state.detach()
                    if isinstance(state, torch.Tensor)
                    else tuple(s.detach() for s in state)
                )
            step = slice(t, t + 1)
            output, state = model(whole.input[step], state, reset=whole.reset[step])
            if t >= last:
                losses.append((output - whole.target[step]).square().mean())
        loss = torch.stack(losses).mean()
        found.append(torch.autograd.grad(loss, list(model.parameters())))
    return found


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("k1, k2", [(4, 4), (4, 7), (3, 9), (5, 5), (1, 6), (21, 21)])
def test_each_gradient_is_that_of_the_definition(kind, k1, k2):
    task = task_of(kind, k1, k2)
    expected = by_the_definition(task.model, task.training, k1, k2)
    seen = 0
    for batch, gradients in zip(task.batches(), expected, strict=True):
        loss = task.loss(task.model, *batch.tensors)
        found = torch.autograd.grad(loss, list(task.model.parameters()))
        for a, b in zip(found, gradients, strict=True):
            torch.testing.assert_close(a, b)
        seen += batch.weight
    assert (
        seen
        == 3 * task.training.length
        == task.steps * k1 * 3 - 3 * (task.steps * k1 - task.training.length)
    )


def test_a_longer_look_back_gives_another_gradient():
    short, long = (by_the_definition(task_of(k1=4, k2=k).model, task_of().training, 4, k)
                   for k in (4, 8))  # fmt: skip
    assert not torch.allclose(short[2][0], long[2][0])


def test_it_learns_and_an_echo_is_remembered_across_the_cuts():
    torch.manual_seed(0)
    x = torch.randn(4000, 1)
    y = torch.zeros(4000, 1)
    y[3:] = x[:-3]

    class Echo(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = throughtime.GRU(1, 24)
            self.head = nn.Linear(24, 1)

        def forward(self, x, state, *, reset):
            output, state = self.body(x, state, reset=reset)
            return self.head(output), state

    losses = []
    for k2 in (2, 8):  # pieces of two steps; the echo lies three back
        torch.manual_seed(0)
        parts = [
            Streams([x[part]], [y[part]], lanes=8) for part in (slice(3000), slice(3000, None))
        ]
        task = TruncatedBPTT(Echo(), *parts, nn.functional.mse_loss, k1=2, k2=k2)
        record, _ = train(task, TrainingSettings(epochs=12, learning_rate=0.01))
        losses.append(min(e.validation_error for e in record.evaluations))
    # the state of three steps back is there either way; only a gradient that reaches it teaches it
    assert losses[1] < 0.1 < losses[0]


class Interrupted(TruncatedBPTT):
    left = 8

    def loss(self, model, *tensors):
        self.left -= 1
        if not self.left:
            import signal

            signal.raise_signal(signal.SIGTERM)
        return super().loss(model, *tensors)


def test_the_carried_state_is_resumed_to_the_bit(tmp_path):
    whole = task_of("LSTM", k1=4, k2=6)
    train(whole, SETTINGS)
    first = task_of("LSTM", k1=4, k2=6)
    first.__class__ = Interrupted
    with Checkpoints(tmp_path, "one") as kept, pytest.raises(PausedError, match="step 8 of 15"):
        train(first, SETTINGS, kept=kept)
    second = task_of("LSTM", k1=4, k2=6, seed=5)
    with Checkpoints(tmp_path, "one") as kept:
        train(second, SETTINGS, kept=kept)
    assert_same(second.model.state_dict(), whole.model.state_dict())


def test_a_bad_piece_is_skipped_and_its_lanes_alone_begin_anew():
    given = documents(60)
    given[0][25, 1] = torch.nan  # lane 1 of 3, step 6 of 19: in the second piece
    task = task_of(given=given)
    carried = []
    for batch in task.batches():
        loss = task.loss(task.model, *batch.tensors)
        if not loss.isfinite():
            assert not all(bool(s.isfinite().all()) for s in task._carried)
            before = task._carried[0].clone()
            task.mend()
            assert torch.equal(task._carried[0][:, [0, 2]], before[:, [0, 2]])
            assert not task._carried[0][:, 1].any()
        carried.append(task._carried[0].clone())
    assert all(bool(s.isfinite().all()) for s in carried)
    record, _ = train(task_of(given=given), SETTINGS)
    assert record.skipped_steps == 3  # the NaN is seen once an epoch, and not for ever after
    assert record.incidents[0].cause == "input"


def test_memory_does_not_grow_with_the_stream():
    """Of what a stream touches at a time: pieces, never the whole."""
    read = []

    class Recorded:
        def __init__(self, length):
            self.length = length

        def __len__(self):
            return self.length

        def __getitem__(self, part):
            read.append(part.stop - part.start)
            return torch.zeros(part.stop - part.start, 2, dtype=torch.float64)

    task = task_of(given=[Recorded(4000)], lanes=4, k1=10, k2=20)
    train(task, TrainingSettings(epochs=1))
    assert max(read) == 21 and sum(read) >= 2 * 3999


@pytest.mark.parametrize("k1, k2", [(0, 3), (4, 3)])
def test_cuts_that_cannot_be_are_told(k1, k2):
    with pytest.raises(ValueError, match=f"got k1 {k1}, k2 {k2}"):
        task_of(k1=k1, k2=k2)


@pytest.mark.parametrize("k2", [4, 7])
def test_accumulated_pieces_carry_the_state_from_one_to_the_next(k2):
    seen = []

    class Recorded(TruncatedBPTT):
        def loss(self, model, *tensors):
            seen.append(float(tensors[3].sum()) if len(tensors) > 3 else 0.0)
            return super().loss(model, *tensors)

    for together in (1, 3):
        task = task_of(k2=k2)
        task.__class__ = Recorded
        train(task, TrainingSettings(epochs=1, learning_rate=1e-12, accumulate=together))
    half = len(seen) // 2
    assert seen[:half] == pytest.approx(seen[half:], abs=1e-9) and len(set(seen)) > 4


def test_looking_for_a_fault_leaves_the_carried_state_where_it_was():
    given = documents(60)
    given[0][25, 1] = torch.nan
    plain, looked = task_of(given=given), task_of(given=given)
    train(plain, TrainingSettings(epochs=1, accumulate=2))
    before = looked.state_dict()
    looked.load_state_dict(before)
    train(looked, TrainingSettings(epochs=1, accumulate=2))
    assert_same(plain.model.state_dict(), looked.model.state_dict())

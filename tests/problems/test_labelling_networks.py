"""Tests of sequence models: dependence on the past, and independence of other samples."""

import math

import pytest
import torch

from helpers import assert_same
from throughtime.catalogue import SEQUENCES, names
from throughtime.problems.labelling.networks import (
    Bigram,
    Constant,
    SequenceConfig,
    build_sequence_network,
)

NETWORKS = names(SEQUENCES, trained=True)
every_network = pytest.mark.parametrize("kind", NETWORKS)


def network(kind="gru", seed=0, **options):
    torch.manual_seed(seed)
    defaults = {"columns": 3, "outputs": 4, "classes": True, "every_step": True, "hidden_size": 5}
    return build_sequence_network(SequenceConfig(kind, **{**defaults, "context": 3, **options}))


def steps(length=9, batch=4, columns=3, seed=1):
    return torch.randn(length, batch, columns, generator=torch.Generator().manual_seed(seed))


@every_network
@pytest.mark.parametrize("every_step", [True, False])
def test_a_padded_batch_answers_as_each_sequence_alone(kind, every_step):
    model = network(kind, every_step=every_step)
    x, lengths = steps(), torch.tensor([9, 1, 4, 7])
    together = model.answer(x, lengths)
    for number, length in enumerate(lengths.tolist()):
        alone = model.answer(x[:length, number : number + 1], torch.tensor([length]))[..., 0, :]
        own = together[:length, number] if every_step else together[number]
        torch.testing.assert_close(own, alone.squeeze(0) if not every_step else alone)


@every_network
def test_pieces_with_a_carried_state_are_the_whole(kind):
    """Documents end at different steps in each sample; one ends where a piece ends."""
    model = network(kind)
    x = steps(12)
    reset = torch.zeros(12, 4, dtype=torch.bool)
    reset[0] = True
    reset[5, 0] = reset[4, 1] = reset[7, 2] = reset[8, 2] = True
    whole, _ = model(x, reset=reset)
    state, found = None, []
    for begin, end in ((0, 1), (1, 4), (4, 9), (9, 12)):
        output, state = model(x[begin:end], state, reset=reset[begin:end])
        found.append(output)
    torch.testing.assert_close(torch.cat(found), whole)
    # and each document is independent of the others
    torch.testing.assert_close(whole[5:, 0:1], model(x[5:, 0:1])[0])
    torch.testing.assert_close(whole[8:, 2:3], model(x[8:, 2:3])[0])


@every_network
def test_how_far_each_looks_back(kind):
    """Dense: no past; WindowDense: `context` steps; recurrent networks: the whole past."""
    model = network(kind)
    x = steps(8, batch=1).requires_grad_()
    output, _ = model(x)
    output[-1].square().sum().backward()
    seen = x.grad.abs().sum(dim=(1, 2)) > 0
    reach = {"dense": 1, "window-dense": 3}.get(kind, 8)
    assert seen.tolist() == [False] * (8 - reach) + [True] * reach


def test_codes_are_embedded_and_numbers_scaled():
    model = network(columns=3, categories=(5, 2))
    assert [e.weight.shape for e in model.embeddings] == [(5, 4), (2, 2)]
    rows = torch.tensor([[10.0, 4, 1], [20.0, 0, 0], [float("nan"), 2, 1]])
    model.fit_scale(rows)
    assert model.center.tolist() == [15] and model.spread.tolist() == [5]
    seen = model.embed(rows.unsqueeze(1))
    assert seen[:, 0, 0].tolist() == [
        -1,
        1,
        0,
    ]  # a feature without training values is set to its mean
    torch.testing.assert_close(seen[0, 0, 1:5], model.embeddings[0].weight[4])


@every_network
def test_the_loss_leaves_out_what_has_no_answer(kind):
    model = network(kind)
    x, lengths = steps(), torch.tensor([9, 5, 9, 2])
    target = torch.randint(0, 4, (9, 4))
    inside = torch.arange(9).unsqueeze(1) < lengths
    ignored = torch.where(inside, target, -1)
    answers = model.answer(x, lengths)[inside]
    expected = torch.nn.functional.cross_entropy(answers, target[inside])
    torch.testing.assert_close(model.loss(x, lengths, ignored), expected)
    numbers = network(kind, classes=False)
    numbers.fit_scale(x.flatten(0, 1), 10 + 3 * torch.randn(30, 4))
    wanted = torch.randn(9, 4, 4, dtype=torch.float64)
    unknown = torch.where(inside.unsqueeze(-1), wanted, math.nan)
    off = (numbers.answer(x, lengths) - wanted) / numbers.answer_spread
    expected = off[inside].square().mean().float()
    torch.testing.assert_close(numbers.loss(x, lengths, unknown), expected)


def test_numbers_that_are_0_or_1_are_told_by_their_likelihood():
    model = network(classes=False, binary=True)
    x, wanted = steps(), torch.randint(0, 2, (9, 4, 4)).double()
    chance = model.answer(x, torch.full((4,), 9))
    assert ((chance > 0) & (chance < 1)).all()
    likely = torch.where(wanted > 0, chance, 1 - chance).log().sum(dim=-1)
    loss = model.loss(x, torch.full((4,), 9), wanted).detach()
    assert float(loss) == pytest.approx(-float(likely.detach().mean()), rel=1e-5)


def test_constant_answers_by_hand():
    majority = network("majority", every_step=False, outputs=3)
    assert isinstance(majority, Constant)
    majority.learn(torch.tensor([0, 0, 0, 1, -1]))
    shares = majority.answer(steps(batch=2), torch.tensor([9, 3])).exp()
    torch.testing.assert_close(shares[1], torch.tensor([4 / 7, 2 / 7, 1 / 7]))
    mean = network("average", every_step=False, outputs=1, classes=False)
    mean.fit_scale(steps().flatten(0, 1), torch.tensor([[1.0], [5.0]]))
    assert mean.answer(steps(batch=1), torch.tensor([9])).tolist() == [[3.0]]


def test_bigrams_by_hand():
    model = network("bigram", columns=1, categories=(3,), outputs=3)
    assert isinstance(model, Bigram)
    model.learn(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 2]))
    output, _ = model(torch.tensor([0, 1, 2]).view(3, 1, 1))
    expected = [[1 / 5, 3 / 5, 1 / 5], [1 / 4, 1 / 4, 2 / 4], [1 / 3, 1 / 3, 1 / 3]]
    torch.testing.assert_close(output[:, 0].exp(), torch.tensor(expected))


def test_costs_by_hand():
    """Three columns, five units, four outputs; a recurrent body computes every step."""
    costs = {kind: network(kind).multiply_adds(10) for kind in NETWORKS}
    assert costs["dense"] == 3 * 5 + 5 * 5 + 5 * 4
    assert costs["window-dense"] == 9 * 5 + 5 * 5 + 5 * 4
    assert costs["gru"] == 10 * 3 * (3 * 5 + 5 * 5) + 5 * 4
    assert network("dense", categories=(50,)).multiply_adds() == (2 + 14) * 5 + 25 + 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gpt"}, "kind is one of"),
        ({"normalize": "window"}, "normalize must be one of global, none"),
        ({"hidden_size": 0}, "hidden_size must be 1 or more"),
        ({"categories": (2, 2, 2, 2)}, "do not fit 3 columns"),
        ({"categories": (0,)}, "do not fit"),
    ],
)
def test_what_cannot_be_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        network(**{"kind": "gru", **options})


def test_the_same_seed_builds_the_same():
    assert_same(network().state_dict(), network().state_dict())


def test_bidirectional_and_mean_answers_are_what_the_layers_give():
    x, lengths = torch.randn(7, 3, 2), torch.tensor([7, 2, 5])
    for kind in ("rnn", "gru", "lstm"):
        for pooling in ("last", "mean"):
            config = SequenceConfig(
                kind,
                columns=2,
                outputs=4,
                classes=True,
                every_step=False,
                hidden_size=5,
                bidirectional=True,
                pooling=pooling,
                dropout=0.5,
            )
            model = build_sequence_network(config).eval()
            found = model.scaled_answer(x, lengths)
            for sample, length in enumerate(lengths.tolist()):
                output, _ = model.body(x[:length, sample : sample + 1])
                ends = torch.cat([output[-1, 0, :5], output[0, 0, 5:]])
                wanted = output[:, 0].mean(dim=0) if pooling == "mean" else ends
                assert_same(found[sample], model.head(wanted))
            model.train()
            assert not torch.equal(model.scaled_answer(x, lengths), found)  # dropout

"""Tests of the equations on numbers computed by hand."""

import math

import pytest
import torch

from throughtime.nn import cells
from throughtime.nn.cell_types import CELL_TYPES


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_elman_is_the_function_of_the_sum():
    (h,), _ = cells.elman_tanh(row(0.5, -2.0), row(0.25, 1.0), (row(9.0, 9.0),))
    torch.testing.assert_close(h, row(math.tanh(0.75), math.tanh(-1.0)))
    (h,), _ = cells.elman_relu(row(0.5, -2.0), row(0.25, 1.0), (row(9.0, 9.0),))
    assert h.tolist() == [[0.75, 0.0]]


def test_lstm_takes_input_forget_cell_output_in_this_order():
    i, f, g, o, c = 0.1, 0.2, 0.3, 0.4, 0.5
    (h, new_c), gates = cells.lstm(row(i, f, g, 0.0), row(0.0, 0.0, 0.0, o), (row(9.0), row(c)))
    expected = sigmoid(f) * c + sigmoid(i) * math.tanh(g)
    torch.testing.assert_close(new_c, row(expected))
    torch.testing.assert_close(h, row(sigmoid(o) * math.tanh(expected)))
    gate_values = (sigmoid(i), sigmoid(f), math.tanh(g), sigmoid(o))
    torch.testing.assert_close(
        torch.cat(gates), torch.tensor(gate_values, dtype=h.dtype).view(4, 1)
    )


def test_gru_takes_reset_update_new_and_resets_after_the_product():
    r, z, x_n, h_n, h = 0.1, 0.2, 0.3, 0.4, 0.5
    (new,), gates = cells.gru(row(r, 0.0, x_n), row(0.0, z, h_n), (row(h),))
    n = math.tanh(x_n + sigmoid(r) * h_n)
    torch.testing.assert_close(new, row((1 - sigmoid(z)) * n + sigmoid(z) * h))
    gate_values = (sigmoid(r), sigmoid(z), n, h_n)
    torch.testing.assert_close(
        torch.cat(gates), torch.tensor(gate_values, dtype=new.dtype).view(4, 1)
    )


def test_a_linear_network_counts_its_steps_in_both_directions():
    one = torch.ones(1, 1, dtype=torch.float64)
    weights = cells.Weights(one, 2 * one)
    x = torch.zeros(4, 1, 1, dtype=torch.float64)
    for backwards, expected in ((False, [2, 4, 8, 16]), (True, [16, 8, 4, 2])):
        y, (last,) = cells.sequence(cells.elman_relu, x, (one,), weights, backwards=backwards)
        assert y.flatten().tolist() == expected
        assert last.item() == 16


def test_a_clipped_gradient_keeps_its_direction():
    h = torch.zeros(2, 2, requires_grad=True)
    (dh,) = torch.autograd.grad(
        cells.clip_gradient(h, 1.0), h, torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    )
    torch.testing.assert_close(dh, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


@pytest.mark.parametrize("cell", CELL_TYPES.values(), ids=CELL_TYPES)
def test_every_cell_has_as_many_blocks_of_weights_and_states_as_its_entry_says(cell):
    rows = 3 * cell.weight_blocks
    weights = cells.Weights(torch.randn(rows, 2), torch.randn(rows, 3))
    state = (torch.zeros(4, 3),) * len(cell.states)
    new, values = cells.step(cell.step, torch.randn(4, rows), state, weights)
    assert [s.shape for s in new] == [s.shape for s in state]
    assert len(values) == len(cell.gates) + len(cell.further_values)

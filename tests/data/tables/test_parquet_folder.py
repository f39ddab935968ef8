"""Folders of Parquet: every training window once, nothing of later parts, whatever the blocks."""

import numpy as np
import polars as pl
import pytest
import torch

from throughtime.data.tables import parquet_folder as module
from throughtime.data.tables.parquet_folder import open_shards, shard_problem, tail_table
from throughtime.data_options import DataOptions
from throughtime.errors import InputError
from throughtime.problems.forecasting.networks import ModelConfig, build_network
from throughtime.problems.forecasting.training import StreamedForecasting

ROWS = 5000


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    return np.column_stack([np.arange(ROWS, dtype=float), rng.normal(5, 3, ROWS)])


@pytest.fixture
def folder(tmp_path, values):
    for number, part in enumerate(np.split(values, [100, 2500, 2501])):
        frame = pl.DataFrame({"n": part[:, 0], "x": part[:, 1]})
        frame.write_parquet(tmp_path / f"{number}.parquet", row_group_size=700)
    return tmp_path


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks, and stretches that do not cover everything."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", 16 * 1024)
    monkeypatch.setattr(module, "_STRETCH", 40)
    monkeypatch.setattr(module, "_SAMPLED", 3)


def problem_of(folder, watch=None):
    return shard_problem(folder, DataOptions(target=("n",), horizon=2, context=8), watch=watch)


def test_rows_are_read_across_files(folder, values):
    shards, options, _ = open_shards(folder, DataOptions(target=("n",)))
    assert (shards.rows, shards.columns) == (ROWS, ("n", "x"))
    assert (options.target, options.inputs, options.time) == (("n",), ("x",), "none")
    for begin, end in ((0, 5), (90, 110), (2499, 2502), (0, ROWS), (4999, 5000)):
        np.testing.assert_array_equal(shards.read(begin, end), values[begin:end])


def test_every_training_window_comes_once_and_no_other(folder, small_blocks):
    problem = problem_of(folder)
    begins = [
        int(w) for part in problem.stream for w in part.batch(torch.arange(len(part)))[0][:, 0, 0]
    ]
    assert len(problem.stream.starts) > 2
    assert sorted(begins) == list(range(3500 - 10 + 1))
    for part, low, high in (("validation", 3500, 4250), ("test", 4250, 5000)):
        windows = getattr(problem.parts, part)
        x, y = windows.batch(torch.arange(len(windows)))
        assert low <= int(y.min()) <= int(y.max()) < high
        assert torch.equal(y[:, 0, 0] - x[:, -1, 0], torch.ones(len(x), dtype=torch.float64))


def test_the_scale_is_that_of_all_training_rows_alone(folder, values, small_blocks):
    seen = []
    problem = problem_of(folder, watch=lambda done, total: seen.append((done, total)))
    rows = problem.parts.training_rows.numpy()
    np.testing.assert_allclose(rows.mean(axis=0), values[:3500].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(rows.std(axis=0), values[:3500].std(axis=0), rtol=1e-12)
    assert seen[-1] == (ROWS, ROWS) and len(seen) > 3


def test_a_stream_goes_on_where_it_was(folder, small_blocks):
    problem = problem_of(folder)

    def task():
        model = build_network(ModelConfig("dense", 8, 2, 2, hidden_size=2))
        return StreamedForecasting(
            model,
            problem.stream,
            problem.parts.validation,
            error_scale=torch.ones(1),
            batch_size=64,
            seed=3,
        )

    whole = task()
    epochs = [[b.tensors[0] for b in whole.batches()] for _ in range(2)]
    assert len(epochs[0]) == whole.steps
    assert not torch.equal(epochs[0][0], epochs[1][0])
    order = torch.cat(epochs[0])[:, 0, 0]
    assert sorted(order.int().tolist()) == list(range(3491))
    for stop in (0, 1, 17, 33, whole.steps - 1):
        first = task()
        batches = first.batches()
        for _ in range(stop):
            next(batches)
        state = first.state_dict()
        batches.close()
        again = task()
        again.load_state_dict(state)
        rest = [b.tensors[0] for b in again.batches()]
        assert len(rest) == whole.steps - stop
        assert all(torch.equal(a, b) for a, b in zip(rest, epochs[0][stop:], strict=True))
        following = [b.tensors[0] for b in again.batches()]
        assert torch.equal(torch.cat(following), torch.cat(epochs[1]))


def test_the_tail_is_the_last_rows(folder, values):
    table = tail_table(folder, DataOptions(target=("n",), inputs=("x",)), 7)
    np.testing.assert_array_equal(table.values, values[-7:])
    assert table.times.tolist() == list(range(4994, 5001))


def harm(folder, number=2, **columns):
    frame = pl.DataFrame({"n": [1.0, 2.0], "x": [1.0, 2.0]} | columns)
    frame.write_parquet(folder / f"{number}.parquet")


BAD = {
    "a missing value": (
        lambda f: harm(f, x=[1.0, None]),
        r"2.parquet, row 2, column 'x': a missing",
    ),
    "an infinite value": (lambda f: harm(f, n=[np.inf, 1.0]), r"2.parquet, row 1, column 'n': inf"),
    "other columns": (lambda f: harm(f, y=[1.0, 2.0]), r"2.parquet: column 'y' differs from 0"),
    "another type": (lambda f: harm(f, x=["a", "b"]), r"2.parquet: column 'x' differs from 0"),
    "a damaged file": (
        lambda f: (f / "1.parquet").write_bytes(b"PAR1 nothing"),
        r"1.parquet: this Parquet file cannot be read",
    ),
    "a file cut": (
        lambda f: (f / "1.parquet").write_bytes((f / "1.parquet").read_bytes()[:-50]),
        r"1.parquet: this Parquet file cannot be read",
    ),
}


@pytest.mark.parametrize(("spoil", "told"), BAD.values(), ids=BAD.keys())
def test_bad_folders_get_one_line(folder, spoil, told):
    spoil(folder)
    with pytest.raises(InputError, match=told):
        problem_of(folder)


def test_what_cannot_be_learned_from_is_told(folder):
    with pytest.raises(InputError, match="2 numeric columns"):
        shard_problem(folder, DataOptions())
    with pytest.raises(InputError, match="no numeric column 'z'"):
        shard_problem(folder, DataOptions(target=("z",)))
    with pytest.raises(InputError, match="too few for context 4000"):
        shard_problem(folder, DataOptions(target=("n",), context=4000))
    for number in range(4):
        harm(folder, number, n=[1.0] * 50, x=[1.0] * 50)
    with pytest.raises(InputError, match="column 'n': the target is constant"):
        problem_of(folder)

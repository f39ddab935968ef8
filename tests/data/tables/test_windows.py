"""Windows: what they hold, where the split lies, and that nothing leaks across it."""

import numpy as np
import pytest
import torch

from throughtime.data.split import Split
from throughtime.data.tables.tables import read_table
from throughtime.data.tables.windows import WindowPlan, every_window, plan_windows, split_by_time
from throughtime.data_options import DataOptions
from throughtime.errors import InputError


def table_of(tmp_path, values, missing="error", **options):
    path = tmp_path / "data.csv"
    path.write_text("t,y\n" + "".join(f"{t},{v}\n" for t, v in enumerate(values)))
    options = {"target": ("y",), "time": "t", "missing": missing, **options}
    return read_table(path, DataOptions(**options))


def test_windows_hold_context_then_horizon_and_are_views(tmp_path):
    parts = split_by_time(table_of(tmp_path, range(100)), WindowPlan(5, 2, 1))
    x, y = parts.training.batch(torch.tensor([0, 3]))
    assert x[:, :, 0].tolist() == [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]]
    assert y[:, :, 0].tolist() == [[5, 6], [8, 9]]
    assert x.dtype == torch.float64
    whole = parts.training.view
    assert whole.untyped_storage().nbytes() == 100 * 8
    assert whole.data_ptr() == parts.test.view.data_ptr()


def test_each_target_belongs_to_one_part(tmp_path):
    parts = split_by_time(table_of(tmp_path, range(100)), WindowPlan(5, 2, 1))
    scored = {}
    for name in ("training", "validation", "test"):
        windows = getattr(parts, name)
        scored[name] = {int(v) for _, y in windows.in_order(7) for v in y.flatten()}
    assert scored["training"] == set(range(5, 70))
    assert scored["validation"] == set(range(70, 85))
    assert scored["test"] == set(range(85, 100))
    assert parts.borders == (70, 85)
    assert parts.training_rows[:, 0].tolist() == list(range(70))


def test_an_answer_planted_in_the_future_cannot_be_seen(tmp_path):
    """No context holds a value from its own horizon or later, whatever the part."""
    parts = split_by_time(table_of(tmp_path, range(200)), WindowPlan(12, 4, 1))
    for windows in (parts.training, parts.validation, parts.test):
        for x, y in windows.in_order(16):
            assert (x.amax(dim=(1, 2)) < y.amin(dim=(1, 2))).all()
    for windows in (parts.validation, parts.test):
        seen = parts.training_rows.max()
        assert all((y > seen).all() for _, y in windows.in_order(16))


def test_series_are_split_at_the_same_time_and_never_joined(tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"{g},{t},{1000 * ord(g) + t}\n" for g in "ab" for t in range(50)]
    path.write_text("g,t,y\n" + "".join(rows))
    table = read_table(path, DataOptions(target=("y",), time="t", group="g"))
    parts = split_by_time(table, WindowPlan(4, 1, 1))
    for windows, low, high in ((parts.training, 0, 35), (parts.test, 42, 50)):
        for x, y in windows.in_order(8):
            both = torch.cat([x[:, :, 0], y[:, :, 0]], dim=1)
            assert (both.diff(dim=1) == 1).all()
            assert ((y % 1000 >= low) & (y % 1000 < high)).all()
    assert len(parts.test) == 2 * 8


def test_shuffling_is_seeded_and_complete(tmp_path):
    windows = split_by_time(table_of(tmp_path, range(100)), WindowPlan(5, 2, 1)).training

    def firsts(seed):
        generator = torch.Generator().manual_seed(seed)
        return [int(v) for x, _ in windows.shuffled(8, generator) for v in x[:, 0, 0]]

    assert firsts(1) == firsts(1) != firsts(2)
    assert sorted(firsts(1)) == list(range(len(windows)))


def test_filled_values_are_neither_scored_nor_used_from_the_future(tmp_path):
    values = [*range(88), "", "", *range(90, 100)]  # the gap lies in the test part
    plan = WindowPlan(5, 2, 1)
    parts = split_by_time(table_of(tmp_path, values, "interpolate"), plan)
    origins = [int(x[0, -1, 0]) for x, _ in parts.test.in_order(1)]
    # 86: half of its horizon is observed; 88, 89: their last seen value is filled from row 90
    assert origins == [84, 85, 86, *range(90, 98)]
    dropped = split_by_time(table_of(tmp_path, values, "drop"), plan)
    assert [int(x[0, -1, 0]) for x, _ in dropped.test.in_order(1)] == [84, 85, 86, *range(94, 98)]
    for windows in (parts.test, dropped.test):
        _, y = windows.batch(torch.tensor([1, 2]))
        assert y[0].flatten().tolist() == [86, 87] and y[1, 0] == 87 and y[1, 1].isnan()


@pytest.mark.parametrize("missing", ["interpolate", "drop", "mask"])
def test_gaps_cost_their_own_steps_alone(tmp_path, missing):
    """A twentieth of the values is missing: hardly any window of 100 steps is whole."""
    values = np.arange(3000.0)
    holes = np.random.default_rng(0).random(3000) < 0.05
    holes[[0, -1]] = False
    cells = ["" if hole else v for v, hole in zip(values, holes, strict=True)]
    plan = WindowPlan(2, 100, 1)
    whole = split_by_time(table_of(tmp_path, values), plan)
    parts = split_by_time(table_of(tmp_path, cells, missing), plan)
    for windows, complete in ((parts.training, whole.training), (parts.test, whole.test)):
        assert len(windows) > 0.85 * len(complete)
        y = windows.batch(torch.arange(len(windows)))[1]
        assert 0.9 < float(y.isfinite().double().mean()) < 0.97
        ahead = windows.starts[:, None] + torch.arange(2, 102)
        assert torch.equal(y[..., 0].isnan(), torch.from_numpy(holes)[ahead])
        assert torch.equal(y[..., 0].nan_to_num(), ahead.where(~y[..., 0].isnan(), 0).double())


def test_each_target_has_its_own_gaps(tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"{t},{t if t % 3 else ''},{t if t % 4 else ''}\n" for t in range(1, 108)]
    path.write_text("t,y,z\n" + "".join(rows))
    table = read_table(path, DataOptions(target=("y", "z"), time="t", missing="interpolate"))
    windows = split_by_time(table, WindowPlan(2, 3, 1)).training
    y = windows.batch(torch.arange(len(windows)))[1]
    times = torch.from_numpy(table.times)[windows.starts[:, None] + torch.arange(2, 5)]
    assert torch.equal(y[..., 0].isnan(), times % 3 == 0)
    assert torch.equal(y[..., 1].isnan(), times % 4 == 0)


@pytest.mark.parametrize("gap", [1, 3, 8])
def test_no_value_of_a_later_part_leaks_through_a_gap_at_the_border(tmp_path, gap):
    """The same table but for the values after the border: training must not see a difference."""
    plan = WindowPlan(5, 2, 1)
    before = 70 - (gap + 1) // 2  # the gap lies across the border at 70
    values = [float(v % 9) for v in range(100)]
    values[before : before + gap] = [""] * gap
    changed = [v if v == "" or t < 70 else v + 1000 for t, v in enumerate(values)]
    one, other = (
        split_by_time(table_of(tmp_path, v, "interpolate"), plan) for v in (values, changed)
    )
    assert one.borders == (70, 85)
    assert torch.equal(one.training_rows, other.training_rows)
    assert len(one.training_rows) == before
    assert len(one.training) == before - 5  # the last one has one observed target
    whole = torch.arange(len(one.training))
    for a, b in zip(one.training.batch(whole), other.training.batch(whole), strict=True):
        assert torch.equal(a.isnan(), b.isnan())
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


def test_a_gap_of_one_column_keeps_its_row_from_training(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        "t,y,x\n" + "".join(f"{t},{t},{'' if t in (68, 69) else t}\n" for t in range(100))
    )
    table = read_table(path, DataOptions(target=("y",), time="t", missing="interpolate"))
    parts = split_by_time(table, WindowPlan(5, 2, 1))
    assert parts.training_rows[:, 0].tolist() == list(range(68))
    # the filled rows are in no context, but their target was observed
    assert max(float(x.max()) for x, _ in parts.training.in_order(9)) == 67
    assert max(float(y.max()) for _, y in parts.training.in_order(9)) == 69


def test_a_split_is_read_and_kept(tmp_path):
    parts = split_by_time(
        table_of(tmp_path, range(100)), WindowPlan(5, 2, 1), Split.read("50/20/30")
    )
    assert parts.borders == (50, 70)
    assert len(parts.training_rows) == 50
    assert str(Split.read("70/12.5/17.5")) == "70/12.5/17.5"
    assert str(Split.read("70/15/15")) == "70/15/15"
    for wrong in ("70/15", "70/15/20", "80/20/0", "a/b/c", "", "70/15/nan", "1e400/1/1"):
        with pytest.raises(
            InputError, match=r"--split: '.*' is not three percentages .*such as 70"
        ):
            Split.read(wrong)


def test_series_too_short_for_a_window_are_told(tmp_path):
    path = tmp_path / "data.csv"
    rows = [
        f"{g},{t},{t}\n" for g, n in (("a", 60), ("b", 60), ("c", 3), ("d", 1)) for t in range(n)
    ]
    path.write_text("g,t,y\n" + "".join(rows))
    table = read_table(path, DataOptions(target=("y",), time="t", group="g"))
    _, told = plan_windows(table, 2, 4, 1)
    assert [(c.name, c.value) for c in told] == [("series left out", "c: 3 rows, d: 1 rows")]
    assert told[0].reason == "too short for context 4 plus horizon 2"


def test_what_is_not_asked_is_planned_and_told(tmp_path):
    path = tmp_path / "data.csv"
    months = np.datetime64("1950-01") + np.arange(240)
    path.write_text("date,y\n" + "".join(f"{m},{i % 12}\n" for i, m in enumerate(months)))
    table = read_table(path, DataOptions())
    plan, choices = plan_windows(table, None, None, None)
    assert plan == WindowPlan(context=16, horizon=1, season=12, seasons=(12,))
    assert {c.name for c in choices} == {"horizon", "season", "context"}
    plan, choices = plan_windows(table, 4, 30, 6)
    assert plan == WindowPlan(30, 4, 6, seasons=(6,))
    assert not choices
    assert plan_windows(table, 30, None, None)[0] == WindowPlan(
        43, 30, 12, seasons=(12,)
    )  # and one step
    told = plan_windows(table, 2, 5, 12)[1]
    assert [c.value for c in told] == ["left out"]  # the seasonal forecasts, and why
    with pytest.raises(InputError, match="too short for context 10000000000"):
        plan_windows(table, 1, 10**22, None)


def test_impossible_plans_are_refused(tmp_path):
    table = table_of(tmp_path, range(100))
    for values in ((0, None, None), (None, -1, None), (None, None, 0)):
        with pytest.raises(InputError, match="1 or more"):
            plan_windows(table, *values)
    with pytest.raises(InputError, match="too short for context 90 plus horizon 20"):
        split_by_time(table, WindowPlan(90, 20, 1))
    with pytest.raises(InputError, match="100 rows, too short"):
        split_by_time(table, WindowPlan(5, 20, 1))
    holes = table_of(tmp_path, [v if v % 5 else "" for v in range(1, 100)], "drop")
    with pytest.raises(
        InputError, match="19 of 99 rows have missing values: too few windows have 5 succ"
    ):
        split_by_time(holes, WindowPlan(5, 2, 1))
    tiny = table_of(tmp_path, [f"{v}e-310" for v in range(100)])
    with pytest.raises(
        InputError, match=r"column 'y': the target is within a range of \S+e-309 in .* unit"
    ):
        split_by_time(tiny, WindowPlan(5, 2, 1))
    flat = table_of(tmp_path, [7] * 80 + list(range(20)))
    with pytest.raises(InputError, match=r"column 'y': the target is constant \(7\) in the train"):
        split_by_time(flat, WindowPlan(5, 2, 1))


def test_every_window_of_whole_rows_is_there(tmp_path):
    values = [1, 2, 3, 4, "", 6, 7, 8, 9]
    table = table_of(tmp_path, values, missing="drop")
    windows = every_window(table, WindowPlan(2, 1, 1))
    assert windows.starts.tolist() == [0, 1, 5, 6]
    x, y = windows.batch(torch.tensor([3]))
    assert x.flatten().tolist() == [7, 8] and y.flatten().tolist() == [9]
    assert windows.spread(2)[0][:, 0].flatten().tolist() == [1, 7]
    assert windows.spread(9)[0][:, 0].flatten().tolist() == [1, 2, 6, 7]
    with pytest.raises(InputError, match="too few windows have 5 successive rows that can be used"):
        every_window(table, WindowPlan(5, 1, 1))
    with pytest.raises(InputError, match=r"no series has 12 rows \(context 10 plus horizon 2"):
        every_window(table, WindowPlan(10, 2, 1))

"""Tests of training monitors, with TensorBoard and Lightning themselves."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import throughtime
from throughtime import Monitor, lightning_callback

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of the two libraries


class Sums(nn.Module):
    """A network that sums its inputs."""

    def __init__(self):
        super().__init__()
        self.body = throughtime.GRU(1, 8, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])


def batches(count=40):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(16, 10, 1, generator=generator)
        yield x, x.sum(dim=1)


def read(folder):
    """Logged scalars and texts by tag, as (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    scalars = {t: [(e.step, e.value) for e in events.Scalars(t)] for t in events.Tags()["scalars"]}
    texts = {
        tag.removesuffix("/text_summary"): [
            (e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(tag)
        ]
        for tag in events.Tags()["tensors"]
    }
    return scalars, texts


def trained(monitor_of, folder):
    """Weights after a training with or without a monitor."""
    torch.manual_seed(0)
    model = Sums()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    monitor = monitor_of(model, folder)
    found = []
    for step, (x, y) in enumerate(batches()):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
        if monitor:
            found.append(monitor(step, x))
    return [p.detach() for p in model.parameters()], found


def test_any_loop_logs_gradient_by_lag_and_verdicts(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    plain, _ = trained(lambda model, folder: None, tmp_path)
    with SummaryWriter(str(tmp_path)) as writer:
        watched, found = trained(lambda m, _: Monitor(m, writer, every=10), tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(plain, watched, strict=True)
    )  # same weights as without a monitor
    seen = [(step, one) for step, one in enumerate(found) if one]
    assert [step for step, _ in seen] == [0, 10, 20, 30]
    scalars, texts = read(tmp_path)
    for lag in (1, 2, 4, 8):
        expected = [(step, one.layers[0].gradient_by_lag[lag]) for step, one in seen]
        logged = scalars[f"throughtime/body.l0/gradient by lag/{lag}"]
        assert [s for s, _ in logged] == [s for s, _ in expected]
        assert [v for _, v in logged] == pytest.approx([v for _, v in expected])
    assert "throughtime/body.l0/gradient by lag/16" not in scalars
    scale = scalars["throughtime/body.l0/time scale (steps), update gate"]
    assert scale[0][1] == pytest.approx(1.44, abs=0.5)
    assert texts["throughtime/body.l0/verdict"] == [
        (0, "healthy")
    ]  # logged once, because it did not change


def test_a_verdict_is_told_when_it_changes_with_evidence_and_advice(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    torch.manual_seed(0)
    model = Sums()
    x = torch.randn(16, 10, 1)
    with SummaryWriter(str(tmp_path)) as writer:
        monitor = Monitor(
            model, writer, every=1, prefix="gru", loss=lambda m, x: m(x).square().mean()
        )
        monitor(0, x)
        with torch.no_grad():
            model.body.bias_ih_l0[0:8] = 30.0
        monitor(1, x)
        monitor(2, x)
        with torch.no_grad():
            model.head.weight[0, 3] = float("nan")
        monitor(3, x)
    scalars, texts = read(tmp_path)
    (first, healthy), (second, ill), (third, _) = texts["gru/body.l0/verdict"]
    assert (first, healthy, second, third) == (0, "healthy", 1, 3)
    assert ill.startswith("saturated\n\n100% of the units of the reset gate are stuck")
    assert "\n- scale the inputs to about 1" in ill
    ((step, text),) = texts["gru/weight head.weight"]
    assert step == 3 and "nan in the weights, at head.weight[0, 3]" in text
    logged = []
    monitor.writer = SimpleNamespace(
        add_scalar=lambda *_: None, add_text=lambda tag, text, step: logged.append((tag, step))
    )
    with torch.no_grad():
        model.head.weight[0, 3] = 1.0
    monitor(4, x)
    monitor(5, x * float("nan"))
    monitor(6, x)
    monitor(7, x * float("nan"))
    assert [step for tag, step in logged if tag == "gru/input 0"] == [
        5,
        7,
    ]  # logged each time it returns
    assert len(scalars["gru/body.l0/stuck units (share), reset gate"]) == 3


def lightning_model():
    import pytorch_lightning

    class Module(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = Sums()

        def forward(self, x):
            return self.network(x)

        def training_step(self, batch, batch_idx):
            x, y = batch
            return (self(x) - y).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    return Module()


def fit(folder, callbacks, logger=True, **options):
    import pytorch_lightning
    from pytorch_lightning.loggers import TensorBoardLogger

    torch.manual_seed(0)
    model = lightning_model()
    data = torch.utils.data.DataLoader(list(batches(20)), batch_size=None)
    trainer = pytorch_lightning.Trainer(
        max_epochs=1, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, callbacks=callbacks,
        logger=TensorBoardLogger(str(folder), name="", version="") if logger else False, **options,
    )  # fmt: skip
    trainer.fit(model, data)
    return [p.detach() for p in model.parameters()]


def test_lightning_logs_the_same(tmp_path):
    plain = fit(tmp_path / "plain", [])
    watched = fit(tmp_path / "watched", [lightning_callback(every=5)])
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    scalars, texts = read(tmp_path / "watched")
    logged = scalars["throughtime/network.body.l0/gradient by lag/4"]
    assert [step for step, _ in logged] == [5, 10, 15, 20]
    assert all(0 < value < 10 for _, value in logged)
    assert texts["throughtime/network.body.l0/verdict"] == [(5, "healthy")]


def test_accumulated_gradients_are_one_step(tmp_path):
    fit(tmp_path, [lightning_callback(every=2, lag=3)], accumulate_grad_batches=4)
    scalars, _ = read(tmp_path)
    assert [s for s, _ in scalars["throughtime/network.body.l0/gradient by lag/1"]] == [0, 2, 4]
    assert "throughtime/network.body.l0/gradient by lag/4" not in scalars  # lag=3


def test_batches_of_other_forms_are_taken_apart(tmp_path):
    taken = []

    def inputs(batch):
        taken.append(batch)
        return batch[0] * 2

    fit(tmp_path, [lightning_callback(every=10, inputs=inputs)])
    assert len(taken) == 2  # only for supported batches


def test_what_cannot_be_is_told(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="every must be 1 or more; got 0"):
        Monitor(Sums(), None, every=0)
    with pytest.raises(ValueError, match="every must be 1 or more; got 0"):
        lightning_callback(every=0)
    with pytest.raises(RuntimeError, match="no TensorBoard logger to write to"):
        fit(tmp_path, [lightning_callback()], logger=False)
    for home in ("pytorch_lightning", "lightning.pytorch", "lightning"):
        monkeypatch.setitem(sys.modules, home, None)
    with pytest.raises(ImportError, match="neither lightning nor pytorch_lightning"):
        lightning_callback()

"""What an fp16 step that overflows leaves behind, and what is never saved."""

import processes
import pytest
import torch
from fakes import FakeBatch, FakeModel, lines, make_trainer
from process_runner import run_in_processes
from torch import nn

from segkit.engine.buffer_backup import BufferBackup
from segkit.engine.hooks import Hook
from segkit.solver.schedules import Constant
from segkit.utils.errors import SegkitError

BAD = 1e30  # whose variance is infinite


class Calm(FakeModel):
    """Without anything random; with buffers of several kinds, one of which it replaces."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.aside = nn.BatchNorm1d(3)  # no loss depends on it
        self.register_buffer("seen", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("unsaved", torch.zeros(3), persistent=False)

    def losses(self, images, targets, generator):
        self.calls += 1
        self.seen = self.seen + len(images)
        self.largest = torch.maximum(self.largest, images.abs().max())
        self.unsaved += images.mean(0)
        self.aside(images)
        bad = float(images.abs().max()) > 1e20
        root = (self.layers[0].weight * (not bad)).square().sum().sqrt()  # of 0 it has no gradient
        return {"fit": (self.layers(images) - targets).float().square().mean(), "root": 0.01 * root}


class Batches:
    """Batches of which those of the given numbers hold a value that overflows."""

    def __init__(self, bad, skipped=()):
        self.bad, self.skipped = bad, skipped

    def __iter__(self):
        for i in range(10**6):
            images = torch.randn(4, 3, generator=torch.Generator().manual_seed(i))
            targets = images.sum(1, keepdim=True)
            if i in self.bad:
                images[0, 0] = BAD
            if i not in self.skipped:
                yield FakeBatch(images, targets)


def fp16_trainer(folder, loader, *, model=None, fused=False, device="cpu", **settings):
    """fp16's scaler without autocast, whose arithmetic the CPU lacks."""
    model = (model or Calm()).to(device)
    settings = {"val_loader": None, "checkpoint_period": 1000, "log_period": 1, **settings}
    trainer = make_trainer(folder, model=model, precision="fp16", device=device, **settings)
    trainer.batch_losses = lambda batch, step, part: model.losses(batch.images, batch.targets, None)
    trainer.scaler = torch.amp.GradScaler(device, init_scale=1024.0, growth_interval=1000)
    trainer.optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=fused)
    trainer.schedule, trainer.loader = Constant(), loader
    return trainer


def everything(trainer):
    state = {f"model {name}": value.clone() for name, value in trainer.model.state_dict().items()}
    state["unsaved"] = trainer.model.unsaved.clone()
    if trainer.ema is not None:
        state |= {f"average {name}": value.clone() for name, value in trainer.ema.model_state().items()}
    for i, moments in enumerate(trainer.optimizer.state.values()):
        state |= {f"moment {i} {name}": value.clone() for name, value in moments.items() if value is not None}
    return state


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


class Watch(Hook):
    def __init__(self):
        self.states = {}

    def before_step(self, trainer):
        self.states[trainer.iteration] = everything(trainer)

    after_step = before_step


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize(
    ("accumulate", "bad", "steps"),
    [
        (1, [2], [2]),
        (1, [0], [0]),
        (1, [1, 2, 3], [1, 2, 3]),
        (2, [4], [2]),  # the first part of a step
        (2, [5], [2]),  # and the last
        (3, [1, 8], [0, 2]),
    ],
)
def test_a_step_that_overflows_changes_nothing(tmp_path, accumulate, bad, steps, ema_decay, fused):
    watch = Watch()
    settings = {"accumulate": accumulate, "ema_decay": ema_decay, "iterations": 5, "extra": [watch]}
    trainer = fp16_trainer(tmp_path, Batches(bad), fused=fused, **settings)
    trainer.train()
    for step in range(5):
        before, after = watch.states[step], watch.states[step + 1]
        if step in steps and step:
            assert_equal(after, before)
        elif step not in steps:
            assert not torch.equal(after["model layers.1.running_var"], before["model layers.1.running_var"])
    assert all(torch.isfinite(value).all() for name, value in watch.states[5].items() if "mask" not in name)
    assert trainer.model.layers[1].num_batches_tracked == accumulate * (5 - len(steps))
    assert trainer.model.seen.tolist() == [4 * accumulate * (5 - len(steps))] * 2
    assert sum(line.get("overflowed_steps", 0) for line in lines(tmp_path)) == len(steps)


def test_the_run_is_that_without_the_batches_that_overflowed(tmp_path):
    """The scale is halved twice, which rounds nothing."""
    bad = (1, 4)
    found = fp16_trainer(tmp_path / "a", Batches(bad), iterations=8)
    found.train()
    expected = fp16_trainer(tmp_path / "b", Batches((), skipped=bad), iterations=6)
    expected.train()
    assert found.scaler.get_scale() == 256 and expected.scaler.get_scale() == 1024
    assert_equal(everything(found), everything(expected))


def test_statistics_that_no_loss_depends_on(tmp_path):
    """The gradients are finite and the step is taken; only the buffers are as before it."""

    class Branch(Calm):
        def losses(self, images, targets, generator):
            losses = super().losses(images, targets, generator)
            self.aside(images * (1e30 if self.calls == 3 else 1) * 1e10)
            return losses

    watch = Watch()
    fp16_trainer(tmp_path, Batches(()), model=Branch(), iterations=4, extra=[watch]).train()
    before, after = watch.states[2], watch.states[3]
    assert torch.isfinite(after["model aside.running_var"]).all()
    for name in ("aside.running_var", "aside.num_batches_tracked", "layers.1.running_mean", "seen"):
        assert torch.equal(after[f"model {name}"], before[f"model {name}"]), name
    assert not torch.equal(after["model layers.0.weight"], before["model layers.0.weight"])


def test_buffers_are_restored_by_a_flag_on_the_device():
    for flag in (True, False):
        model = Calm()
        copies = BufferBackup(model)
        copies.save()
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        objects = {name: id(buffer) for name, buffer in model.named_buffers()}
        model.losses(torch.randn(4, 3), torch.zeros(4, 1), None)
        now = {name: buffer.clone() for name, buffer in model.named_buffers()}
        assert not copies.became_nonfinite() and not torch.equal(now["seen"], before["seen"])
        copies.restore(torch.tensor(flag))
        assert_equal(dict(model.named_buffers()), before if flag else now)
        assert {name: id(buffer) for name, buffer in model.named_buffers()} == objects
    model.aside.running_var[1] = torch.nan
    assert copies.became_nonfinite()  # the mask's infinity was there before


def test_a_buffer_of_another_shape_is_restored():
    model = Calm()
    copies = BufferBackup(model)
    for flag in (None, torch.tensor(True), torch.tensor(False)):
        model.seen = torch.arange(2)
        copies.save()
        model.seen = torch.arange(5)
        copies.restore(flag)
        assert model.seen.tolist() == ([0, 1] if flag is None or flag else [0, 1, 2, 3, 4])


def test_all_processes_skip_the_step_of_one(tmp_path):
    for before, after, other, tracked in run_in_processes(processes.overflow_in_one, 2, tmp_path):
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert not torch.equal(other["layers.1.running_var"], before["layers.1.running_var"]) and tracked == 4


@pytest.mark.gpu
@pytest.mark.parametrize("fused", [False, True])
def test_on_a_gpu(tmp_path, fused):
    watch = Watch()
    trainer = fp16_trainer(
        tmp_path, Batches([2, 4]), fused=fused, device="cuda", iterations=6, extra=[watch], ema_decay=0.9
    )
    trainer.train()
    for step in range(6):
        same = torch.equal(watch.states[step + 1]["model seen"], watch.states[step]["model seen"])
        assert same == (step in (2, 4))
        if same:
            assert_equal(watch.states[step + 1], watch.states[step])


def test_a_run_without_writers_that_only_overflows_is_an_error(tmp_path):
    """Without the hook that reads the metrics nothing else would say so."""
    trainer = fp16_trainer(tmp_path, Batches(range(100)), iterations=45)
    trainer.hooks = []
    with pytest.raises(SegkitError, match=r"diverged"):
        trainer.train()


class Odd(Calm):
    """Buffers that torch cannot copy into or look at, and some that come to be in the forward pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("expanded", torch.zeros(1, 1).expand(3, 3))
        self.register_buffer("sparse", torch.eye(3).to_sparse())
        self.register_buffer("tiny", torch.ones(3).to(torch.float8_e4m3fn))
        self.register_buffer("complex", torch.zeros(2, dtype=torch.complex64))
        self.register_buffer("late", None)

    def losses(self, images, targets, generator):
        self.late = images.max() if self.late is None else self.late + images.max()
        self.complex += images.square().sum()
        if "new" not in self._buffers:
            self.register_buffer("new", torch.zeros(()))
        self.new += images.max()
        return super().losses(images, targets, generator)


@pytest.mark.parametrize("bad", [{0}, {1}], ids=["first", "second"])
def test_buffers_of_every_kind(tmp_path, bad):
    with_bad = fp16_trainer(tmp_path / "a", Batches(bad), model=Odd(), iterations=3, log_period=3)
    without = fp16_trainer(tmp_path / "b", Batches((), skipped=bad), model=Odd(), iterations=2, log_period=2)
    with_bad.train(), without.train()
    found, expected = with_bad.model, without.model
    for name in ("late", "complex", "new", "seen", "largest", "unsaved"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name

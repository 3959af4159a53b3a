import logging

import pytest
import torch
from fakes import FakeModel, lines, make_trainer
from torch import nn

from segkit.engine.buffer_backup import BufferBackup
from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.engine.hooks import Hook
from segkit.solver.schedules import Constant
from segkit.utils.errors import SegkitError


def test_it_learns(tmp_path):
    model = FakeModel()
    model.layers = nn.Sequential(nn.Linear(3, 1))
    make_trainer(tmp_path, iterations=80, model=model, clip_norm=None).train()
    totals = [line["loss/total"] for line in lines(tmp_path)]
    assert totals[-1] < 0.1 * totals[0]
    norms = [line["grad_norm"] for line in lines(tmp_path)]  # although nothing is clipped
    assert 0 < norms[-1] < 0.5 * norms[0]


def test_what_hooks_see(tmp_path):
    calls = []

    class Watch(Hook):
        def before_train(self, trainer):
            calls.append(("before_train", trainer.iteration))

        def before_step(self, trainer):
            assert trainer.batch is None or trainer.iteration == 0 or not trainer.done
            calls.append(("before_step", trainer.iteration))

        def after_step(self, trainer):
            assert trainer.batch is not None and trainer.model.training
            assert set(trainer.losses) == {"total", "fit", "size"}
            assert not any(loss.requires_grad for loss in trainer.losses.values())
            assert torch.isclose(trainer.losses["total"], trainer.losses["fit"] + trainer.losses["size"])
            assert all(p.grad is not None for p in trainer.model.parameters())
            assert trainer.done == (trainer.iteration == 5) and trainer.epoch == trainer.iteration // 4
            trainer.log("watched", torch.tensor(float(trainer.iteration)))
            calls.append(("after_step", trainer.iteration))

        def after_train(self, trainer):
            assert trainer.evaluated_at == 5 and trainer.evaluation["segm/AP"] > 0
            calls.append(("after_train", trainer.iteration))

    make_trainer(tmp_path, iterations=5, extra=[Watch()]).train()
    steps = [call for i in range(5) for call in (("before_step", i), ("after_step", i + 1))]
    assert calls == [("before_train", 0), *steps, ("after_train", 5)]
    assert [line["watched"] for line in lines(tmp_path)] == [line["iteration"] for line in lines(tmp_path)]


def test_stop_ends_the_run_as_if_it_were_the_last_step(tmp_path):
    class Stop(Hook):
        def after_step(self, trainer):
            if trainer.iteration == 7:
                trainer.stop()

    make_trainer(tmp_path, extra=[Stop()]).train()
    assert lines(tmp_path)[-1]["iteration"] == 7
    assert read_checkpoint(tmp_path / "model_final.pth")["iteration"] == 7


def test_clipping_bounds_the_step(tmp_path):
    model = FakeModel()
    trainer = make_trainer(tmp_path, clip_norm=1e-3, model=model)
    norms = []

    class Watch(Hook):
        def after_step(self, trainer):
            norms.append(nn.utils.get_total_norm([p.grad for p in model.parameters()]).item())

    trainer.hooks.append(Watch())
    trainer.train()
    assert max(norms) <= 1.001e-3
    assert lines(tmp_path)[0]["grad_norm"] > 0.01  # what is written is the norm before


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("clipping", [{"clip_norm": None}, {"clip_norm": 0.1}, {"clip_norm": None, "clip_value": 0.02}])
def test_bounds_are_for_the_gradient_without_the_loss_scale(tmp_path, clipping, accumulate):
    """fp16's gradients come 64 times as large here. SGD, for Adam's steps do not tell."""
    found = {}
    for precision in ("fp32", "fp16"):
        trainer = make_trainer(
            tmp_path / precision, iterations=2, precision=precision, accumulate=accumulate, val_loader=None, **clipping
        )
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=64.0, enabled=precision == "fp16")
        before = [p.detach().clone() for p in trainer.model.parameters()]
        trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
        trainer.schedule = Constant()
        trainer.train()
        found[precision] = [p - q for p, q in zip(trainer.model.parameters(), before, strict=True)]
    for change, expected in zip(found["fp16"], found["fp32"], strict=True):
        torch.testing.assert_close(change, expected, rtol=0.05, atol=2e-3)
    norms = [lines(tmp_path / precision)[0]["grad_norm"] for precision in found]
    assert norms[0] == pytest.approx(norms[1], rel=0.02) and norms[0] > 0.1


def test_bf16_on_the_cpu(tmp_path):
    class Watch(FakeModel):
        def losses(self, images, targets, generator):
            assert self.layers[0](images).dtype == torch.bfloat16
            return super().losses(images, targets, generator)

    make_trainer(tmp_path, precision="bf16", model=Watch()).train()
    assert lines(tmp_path)[-1]["loss/total"] > 0


def test_learning_rate_follows_the_schedule(tmp_path):
    seen = []

    class Watch(Hook):
        def after_step(self, trainer):
            seen.append(trainer.optimizer.param_groups[0]["lr"])

    trainer = make_trainer(tmp_path, extra=[Watch()])
    trainer.train()
    assert seen == pytest.approx([0.05 * trainer.schedule.factor(i, 12, 4, 0.05) for i in range(12)])


class Exploding(FakeModel):
    def losses(self, images, targets, generator):
        losses = super().losses(images, targets, generator)
        if self.calls >= 7:
            losses["size"] = losses["size"] * float("nan")
        return losses


@pytest.mark.parametrize("check_period", [1, 100])
@pytest.mark.parametrize("log_period, checkpoint_period", [(3, 5), (100, 8), (100, 100)])
def test_nan_is_named_and_never_saved(tmp_path, log_period, checkpoint_period, check_period, caplog):
    trainer = make_trainer(
        tmp_path,
        model=Exploding(),
        log_period=log_period,
        checkpoint_period=checkpoint_period,
        check_period=check_period,
        val_loader=None,
    )
    with pytest.raises(SegkitError, match=r"diverged: loss/size became NaN or infinite.* in iteration 7"):
        trainer.train()
    for path in tmp_path.glob("model_*.pth"):
        state = read_checkpoint(path)
        assert state["iteration"] < 7 and all(torch.isfinite(v).all() for v in state["model"].values())
    last = find_last_checkpoint(tmp_path)
    assert (last is not None) == (checkpoint_period == 5)
    assert "its state was not saved" in caplog.text
    assert ("--resume" in caplog.text) == (last is not None)


def test_an_error_of_a_hook_at_the_end_does_not_hide_the_first(tmp_path, caplog):
    class Bad(Hook):
        def before_step(self, trainer):
            if trainer.iteration == 2:
                raise ZeroDivisionError("first")

        def on_exception(self, trainer, error):
            raise KeyError("second")

    with pytest.raises(ZeroDivisionError, match=r"first"), caplog.at_level(logging.ERROR):
        make_trainer(tmp_path, extra=[Bad()]).train()
    assert "second" in caplog.text
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == 2


@pytest.mark.gpu
def test_fp16_on_the_gpu(tmp_path):
    model, images = FakeModel().cuda(), torch.randn(500, 3, device="cuda")

    def error():
        return (model.eval().predict(images)[0] - images.sum(1, keepdim=True)).square().mean()

    before = error()
    trainer = make_trainer(tmp_path, precision="fp16", device="cuda", model=model, val_loader=None, iterations=40)
    trainer.train()
    assert error() < before / 2
    state = read_checkpoint(tmp_path / "model_final.pth")
    assert state["scaler"]["scale"] == trainer.scaler.get_scale()


def test_copies_of_buffers():
    model = FakeModel()
    model.register_buffer("queue", torch.arange(3))
    model.register_buffer("nothing", None)
    copies = BufferBackup(model)
    for queue in (model.queue, torch.arange(10, 15)):  # a hook may put another in its place between two steps
        model.queue = queue
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        copies.save()
        for buffer in model.buffers():
            buffer.add_(1)
        copies.restore()
        found = dict(model.named_buffers())
        assert found.keys() == before.keys() and len(found) == 4
        assert all(torch.equal(found[name], value) for name, value in before.items())

"""The host reads values from the device where metrics are written, and nowhere else: on a GPU each read waits."""

from contextlib import contextmanager

import pytest
import torch
from fakes import FakeModel, make_trainer
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.data import build_dataset, build_train_loader, build_transforms
from segkit.data.samplers import ShuffleSampler
from segkit.engine.hooks import Hook

ATEN = torch.ops.aten
# Operations that return a Python value, or a tensor whose shape depends on values.
WAITING = {ATEN._local_scalar_dense, ATEN.is_nonzero, ATEN.equal, ATEN.nonzero, ATEN.masked_select, ATEN._unique2}
COPYING = ("tolist", "numpy", "cpu", "__array__")  # these do not come by the dispatcher on a CPU


class Reads(TorchDispatchMode):
    """Notes during which step a value went from a tensor to Python."""

    def __init__(self):
        super().__init__()
        self.step, self.found = 0, {}

    def note(self, what):
        self.found.setdefault(self.step, set()).add(str(what))

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        bools = function.overloadpacket is ATEN.index and any(i is not None and i.dtype == torch.bool for i in args[1])
        if function.overloadpacket in WAITING or bools:
            self.note(function)
        return function(*args, **(kwargs or {}))


@contextmanager
def noting(monkeypatch):
    reads = Reads()

    def wrapped(name, method):
        def call(self, *args, **kwargs):
            if not (name == "cpu" and self.dtype == torch.uint8 and self.dim() == 1):  # a generator's state
                reads.note(name)
            return method(self, *args, **kwargs)

        return call

    with monkeypatch.context() as patch, reads:
        for name in COPYING:
            patch.setattr(torch.Tensor, name, wrapped(name, getattr(torch.Tensor, name)))
        yield reads


class Count(Hook):
    """Tells ``reads`` which step it is."""

    def __init__(self, reads):
        self.reads = reads

    def before_step(self, trainer):
        self.reads.step = trainer.iteration + 1


EVERYTHING = {"accumulate": 2, "ema_decay": 0.9, "clip_norm": 0.1, "clip_value": 0.1}


@pytest.mark.parametrize(
    "settings",
    [{}, EVERYTHING, {"precision": "bf16"}, {"precision": "fp16"}, {**EVERYTHING, "precision": "fp16"}],
    ids=["default", "everything", "bf16", "fp16", "everything in fp16"],
)
def test_the_host_reads_where_it_writes(tmp_path, monkeypatch, settings):
    settings = {"val_loader": None, "log_period": 4, "check_period": 4, "checkpoint_period": 100, **settings}
    trainer = make_trainer(tmp_path, **settings)
    trainer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=0.01, fused=True)  # as build_optimizer's
    with noting(monkeypatch) as reads:
        trainer.hooks.insert(0, Count(reads))
        trainer.train()
    assert reads.found.keys() == {1, 4, 8, 12}  # where it writes, as after the first step


@pytest.mark.parametrize("what", ["item", "tolist", "numpy", "cpu", "nonzero", "bools"])
def test_a_read_in_each_step_would_be_seen(tmp_path, monkeypatch, what):
    class Reading(FakeModel):
        def losses(self, images, targets, generator):
            images[images > 0] if what == "bools" else getattr(images.sum(), what)()
            return super().losses(images, targets, generator)

    trainer = make_trainer(tmp_path, model=Reading(), iterations=3, val_loader=None, log_period=4, check_period=4)
    with noting(monkeypatch) as reads:
        trainer.hooks.insert(0, Count(reads))
        trainer.train()
    assert 2 in reads.found


def test_bringing_a_batch_to_the_device_reads_nothing_of_it():
    """What is on the device ``meta`` has no values: reading one is an error."""
    spec = {"format": "synthetic", "num_images": 3, "image_size": [64, 64], "min_objects": 1, "max_objects": 3}
    dataset = build_dataset(spec, path="data.train")
    transforms = build_transforms((), path="data.train_transforms")
    sampler = ShuffleSampler(num_samples=3, seed=0)
    batch = next(iter(build_train_loader(dataset, transforms, sampler=sampler, batch_size=3, seed=0)))
    moved = batch.to("meta", non_blocking=True).to("meta", non_blocking=True)
    assert moved.file_names == batch.file_names
    assert all(image.device.type == "meta" for image in moved.images)
    assert all(targets.masks.bits.device.type == "meta" for targets in moved.targets)

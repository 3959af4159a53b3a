"""The host reads values from the device where metrics are written, and nowhere else: on a GPU each read waits."""

import torch
from fakes import make_trainer
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.engine.hooks import Hook


class Reads(TorchDispatchMode):
    """Notes during which step a value went from a tensor to Python."""

    def __init__(self):
        super().__init__()
        self.step, self.found = 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default):
            self.found.append(self.step)
        return function(*args, **(kwargs or {}))


def test_the_host_reads_where_it_writes(tmp_path):
    reads = Reads()

    class Count(Hook):
        def before_step(self, trainer):
            reads.step = trainer.iteration + 1

    settings = {"accumulate": 2, "ema_decay": 0.9, "clip_norm": 0.1, "clip_value": 0.1, "check_period": 4}
    trainer = make_trainer(tmp_path, val_loader=None, log_period=4, checkpoint_period=100, extra=[Count()], **settings)
    trainer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=0.01, fused=True)  # as build_optimizer's
    with reads:
        trainer.train()
    assert set(reads.found) <= {1, 4, 8, 12} and {4, 8, 12} <= set(reads.found)

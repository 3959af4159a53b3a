"""What the processes of test_data_parallel do: in a module that they can import."""

import torch
from fakes import FakeModel
from processes import Plain, a_trainer
from torch import nn

from segkit.engine.data_parallel import ParallelModel
from segkit.engine.hooks import Hook
from segkit.modeling.layers.recompute import recomputed
from segkit.utils import distributed


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


class Freezing(Hook):
    """Trains the last layer alone until the third step."""

    def before_step(self, trainer):
        trainer.model.layers[0].requires_grad_(trainer.iteration >= 2)


def unfrozen_later(folder):
    trainer = a_trainer(folder, model=Plain(), val=False, iterations=5, extra=[Freezing()], clip_norm=None)
    before = weights(trainer)
    trainer.train()
    return before, weights(trainer)


class Recomputed(Plain):
    """Its layers run again in the backward pass, and the first two are compiled."""

    def losses(self, images, targets, generator):
        found = recomputed(self.layers, images, [self.layers])
        return {"fit": (found - targets).square().mean(), "odd": self.odd.square().sum()}


def recomputed_weights(folder, compiled):
    model = Recomputed()
    if compiled:
        model.layers[0].compile(backend="eager")
    trainer = a_trainer(folder, model=model, val=False, iterations=3, accumulate=2, ema_decay=0.5, precision="bf16")
    trainer.train()
    return weights(trainer), trainer.ema.model_state()


def gradient_of_a_part(folder):
    """The gradients after the first of two batches, and after both."""
    trainer = a_trainer(folder, model=Plain(), val=False, accumulate=2)
    trainer.parallel.connect()
    found = []
    for part, batch in zip(range(2), trainer.loader, strict=False):
        with trainer.parallel.batch(last=part == 1):
            sum(trainer.batch_losses(batch, 0, part).values()).backward()
        found.append(trainer.model.layers[0].weight.grad.clone())
    return found


def exchanges(folder, settings):
    """What the hosts sum up in the last step."""
    seen, sums = [], distributed.sum_integers

    class Clear(Hook):
        def before_step(self, trainer):
            seen.clear()

    def counting(integers):
        seen.append(len(integers))
        return sums(integers)

    distributed.sum_integers = counting
    trainer = a_trainer(folder, model=Plain(), val=False, iterations=2, extra=[Clear()], **settings)
    trainer.train()
    return list(seen)


class OtherLosses(Plain):
    """Each process has a loss that the others lack: rank 0 ``r0`` = 1, rank 1 ``r1`` = 2, in another order."""

    def losses(self, images, targets, generator):
        losses = super().losses(images, targets, generator)
        rank = distributed.rank()
        own = {f"r{rank}": torch.tensor(rank + 1.0)} if rank < 2 else {}
        return {**own, **losses} if rank == 1 else {**losses, **own}


def other_losses(folder):
    trainer = a_trainer(folder, model=OtherLosses(), val=False, iterations=2)
    trainer.train()
    return trainer.losses, weights(trainer)


class WithNorm(FakeModel):
    def __init__(self):
        super().__init__()
        self.layers.append(nn.SyncBatchNorm(1))


def connect_with_sync_norm():
    ParallelModel(WithNorm()).connect()


def saved(folder):
    a_trainer(folder, model=Plain(), val=False, iterations=2).train()

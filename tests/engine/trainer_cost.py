"""The trainer's own time in a step: hooks, metrics, writers, with a model that does next to nothing. Run it by hand.

    PYTHONPATH=tests/engine python tests/engine/trainer_cost.py

It prints the medians over runs of the milliseconds an iteration, for a small model and for one with the parameters and
buffers of a Mask R-CNN R50-FPN (in number, not in size), with and without what can be switched on. ``bare`` is the step's
arithmetic alone (forward, backward, optimizer), which is in the others; what is left is the trainer's.
"""

import logging
import statistics
import tempfile
import time
from pathlib import Path

import torch
from fakes import FakeLoader, FakeModel, make_trainer
from torch import nn

ITERATIONS = 200
SETTINGS = {
    "default": {},
    "all": {"ema_decay": 0.99, "clip_value": 1.0, "max_skipped": 5},
    "all, 2 batches a step": {"accumulate": 2, "ema_decay": 0.99, "clip_value": 1.0, "max_skipped": 5},
}


class ManyParts(FakeModel):
    """53 norms and 65 other layers that take part with a term of the loss each, computed in one go."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in range(53))
        self.others = nn.ModuleList(nn.Linear(2, 2) for _ in range(65))
        self.parts = [*self.norms.parameters(), *self.others.parameters()]

    def losses(self, images, targets, generator):
        size = torch.cat([p.flatten() for p in self.parts]).square().mean()
        return {**super().losses(images, targets, generator), "parts": size}


def run(model, settings):
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            Path(folder), iterations=ITERATIONS, log_period=20, checkpoint_period=10**9, val_loader=None,
            all_writers=True, model=model(), **settings,
        )  # fmt: skip
        trainer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=0.05, fused=True)  # as build_optimizer's
        trainer.hooks[-2].writers.pop()  # curves.png, once in a run
        started = time.process_time()
        trainer.train()
        return 1000 * (time.process_time() - started) / ITERATIONS


def bare(kind, accumulate):
    model = kind()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, fused=True)
    generator = torch.Generator()
    loader = iter(FakeLoader())
    started = time.process_time()
    for _ in range(ITERATIONS):
        optimizer.zero_grad()
        for _ in range(accumulate):
            batch = next(loader)
            torch.stack(list(model.losses(batch.images, batch.targets, generator).values())).sum().backward()
        optimizer.step()
    return 1000 * (time.process_time() - started) / ITERATIONS


if __name__ == "__main__":
    logging.disable()
    torch.set_num_threads(1)
    times = {}
    for _ in range(9):  # in turns
        for model in (FakeModel, ManyParts):
            for name, settings in SETTINGS.items():
                pair = bare(model, settings.get("accumulate", 1)), run(model, settings)
                times.setdefault((model.__name__, name), []).append(pair)
    for (model, name), pairs in times.items():
        alone, whole = (statistics.median(values) for values in zip(*pairs, strict=True))
        own = f"{whole - alone:.2f} ms of its own: {whole:.2f} (to {max(whole for _, whole in pairs):.2f})"
        print(f"{model:10} {name:22} {own}, bare {alone:.2f}")

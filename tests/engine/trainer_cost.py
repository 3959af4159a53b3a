"""The trainer's own time in a step: hooks, metrics, writers, with a model that does next to nothing. Run it by hand.

    PYTHONPATH=tests/engine python tests/engine/trainer_cost.py

It prints the median over runs of the milliseconds an iteration, with and without what can be switched on, and what the
step's bare arithmetic takes (forward, backward, optimizer), which is in them.
"""

import logging
import statistics
import tempfile
import time
from pathlib import Path

import torch
from fakes import FakeLoader, FakeModel, make_trainer

ITERATIONS = 200
SETTINGS = {
    "default": {},
    "all": {"accumulate": 1, "ema_decay": 0.99, "clip_value": 1.0, "max_skipped": 5},
}


def run(settings):
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            Path(folder), iterations=ITERATIONS, log_period=20, checkpoint_period=10**9, val_loader=None,
            all_writers=True, **settings,
        )  # fmt: skip
        trainer.hooks[-2].writers.pop()  # curves.png, once in a run
        started = time.process_time()
        trainer.train()
        return 1000 * (time.process_time() - started) / ITERATIONS


def bare():
    model = FakeModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    generator = torch.Generator()
    started = time.process_time()
    for _, batch in zip(range(ITERATIONS), FakeLoader(), strict=False):
        optimizer.zero_grad()
        torch.stack(list(model.losses(batch.images, batch.targets, generator).values())).sum().backward()
        optimizer.step()
    return 1000 * (time.process_time() - started) / ITERATIONS


if __name__ == "__main__":
    logging.disable()
    torch.set_num_threads(1)
    times = {name: [] for name in ("bare", *SETTINGS)}
    for _ in range(15):  # in turns
        times["bare"].append(bare())
        for name, settings in SETTINGS.items():
            times[name].append(run(settings))
    for name, values in times.items():
        print(f"{name:8} {statistics.median(values):.2f} ms (of {min(values):.2f} to {max(values):.2f})")

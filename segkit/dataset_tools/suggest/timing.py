"""Times a few real steps of a run, its end and its evaluation, on the machine at hand."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from segkit.config.schema import Config
from segkit.data.formats.base import Dataset
from segkit.dataset_tools.suggest.schedule import RunTimes
from segkit.engine.amp import autocast
from segkit.engine.build import build_evaluators, build_trainer, prepare_model
from segkit.engine.datasets import RunData, build_data, val_loader
from segkit.engine.environment import seed_everything
from segkit.engine.hooks.base import Hook
from segkit.engine.hooks.timer import peak_memory_mb
from segkit.engine.train_loop import TrainerBase
from segkit.evaluation import evaluate
from segkit.utils.cli import sigterm_interrupts
from segkit.utils.device import choose_device
from segkit.utils.errors import RunInterrupted
from segkit.utils.logging import logging_from
from segkit.utils.out_of_memory import is_out_of_memory

WARM_UP = 2  # steps, not counted
LEAST_STEPS, MOST_STEPS = 3, 12  # that are counted
EVALUATED = 4  # images at most


class OutOfMemory(Exception):
    """The steps need more memory than there is."""


class StepClock(Hook):
    """Notes when each step ended, and stops after enough of them.

    Args:
        seconds: after this time no further step begins, if ``LEAST_STEPS`` were counted.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ends: list[float] = []

    def after_step(self, trainer: TrainerBase) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        self.ends.append(time.perf_counter())
        counted = len(self.ends) - WARM_UP
        if counted >= LEAST_STEPS and self.ends[-1] - self.ends[0] > self.seconds:
            trainer.stop()

    @property
    def step(self) -> float:
        """Mean seconds of a step after the warm-up."""
        return (self.ends[-1] - self.ends[WARM_UP - 1]) / (len(self.ends) - WARM_UP)


def measure_run(cfg: Config, seconds: float) -> RunTimes:
    """Trains a few steps in a temporary folder, writes a checkpoint, and evaluates a few images.

    Args:
        cfg: the configuration of the run.
        seconds: about how long the steps may take, and the evaluation.
    Raises:
        OutOfMemory: a step does not fit into the memory.
        SegkitError: a mistake in the configuration or the data.
        KeyboardInterrupt: SIGINT or SIGTERM arrived; there is no run yet that could be resumed.
    """
    device = choose_device(cfg.train.device)
    # SIGTERM ends the block as Ctrl-C does, so that the folder is removed.
    with (
        sigterm_interrupts(),
        tempfile.TemporaryDirectory(prefix="segkit_fit_") as folder,
        logging_from(logging.CRITICAL),
    ):
        cfg = cfg.with_values({"output_dir": folder, "train.iterations": WARM_UP + MOST_STEPS}, "measurement")
        try:
            return _measure(cfg, device, seconds)
        except RunInterrupted as interruption:
            raise KeyboardInterrupt("while steps were timed; nothing was trained yet") from interruption
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory from error
            raise


def _measure(cfg: Config, device: torch.device, seconds: float) -> RunTimes:
    memory = peak_memory_mb(device)
    began = time.perf_counter()
    seed_everything(cfg.train.seed)
    data = build_data(cfg)
    cfg = cfg.with_values({"data.classes": data.classes, **data.measured})
    model = prepare_model(cfg, data, device)
    # Without validation data the trainer evaluates nothing at its end, which is timed by itself below.
    trainer = build_trainer(cfg, model, replace(data, val=None), device)
    clock = StepClock(seconds)
    trainer.hooks = [clock, *trainer.hooks]
    trainer.train()
    end = time.perf_counter()
    start = clock.ends[0] - began - clock.step
    evaluation = 0.0 if data.val is None else _seconds_of_evaluation(cfg, data, data.val, model, device, seconds)
    used = (peak_memory_mb(device) - memory) * 2**20
    return RunTimes(max(start, 0.0), clock.step, evaluation, end - clock.ends[-1], max(used, 0.0))


def _seconds_of_evaluation(
    cfg: Config, data: RunData, val: Dataset, model: nn.Module, device: torch.device, seconds: float
) -> float:
    """Seconds that the evaluation of a typical image takes: of one image, and of several if ``seconds`` allow it."""
    each = 0.0
    for count in (1, EVALUATED):
        began = time.perf_counter()
        few = val.subset(_typical(val, count))
        part = replace(data, val=few)
        evaluate(
            model,
            val_loader(cfg, part, device),
            build_evaluators(cfg, model, part),
            device,
            autocast(cfg.train.precision, device),
            losses=cfg.train.eval_losses,
        )
        spent = time.perf_counter() - began
        each = spent / len(few)
        if spent > seconds:
            break
    return each


def _typical(dataset: Dataset, count: int) -> list[int]:
    """Indices of at most ``count`` images whose mean size is about that of all: of evenly spaced ranks by size."""
    areas = np.array([math.prod(dataset.size(i)) for i in range(len(dataset))])
    order = np.argsort(areas, kind="stable")
    count = min(count, len(order))
    return sorted(int(order[int((k + 0.5) * len(order) / count)]) for k in range(count))

"""Dry run: trains, evaluates, saves and draws one batch, to find mistakes early.

It finds in seconds the errors that would end a run after hours.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from tabulate import tabulate

from segkit.config.schema import Config
from segkit.engine.build import build_trainer, prepare_model
from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.datasets import RunData, build_data
from segkit.engine.environment import environment_table, nondeterminism_errors, seed_everything
from segkit.engine.hooks.logging import Writers
from segkit.engine.hooks.pictures import Pictures
from segkit.engine.hooks.timer import peak_memory_mb
from segkit.engine.hooks.trackers import Tracker
from segkit.engine.recognized_data import with_recognized_data
from segkit.engine.train_state import restore
from segkit.utils import distributed
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError
from segkit.utils.logging import setup_logging
from segkit.utils.paths import output_folder

logger = logging.getLogger(__name__)


def dry_run(cfg: Config, *, weights: str | None = None) -> None:
    """Trains one step, evaluates one batch, writes all files, reads a checkpoint, draws.

    Everything is written to a temporary directory; ``cfg.output_dir`` is checked and not changed. The log ends with the
    seconds that each part took. Errors are those of the run.

    Args:
        cfg: the whole configuration.
        weights: start from these, as in :func:`segkit.engine.run.train`.
    """
    if distributed.launched():
        raise SegkitError("--dry-run tries a run in one process; start it without torchrun and --num-gpus")
    output_folder(cfg.output_dir, "output_dir")
    device = choose_device(cfg.train.device)
    check_precision(cfg.train.precision, device)
    setup_logging()
    logger.info("environment\n%s", environment_table(device))
    seconds: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="segkit_dry_run_") as name, nondeterminism_errors():
        run_dir = Path(name)
        overrides = {"output_dir": name, "train.iterations": 1}
        if weights is not None:
            overrides["train.init_weights"] = weights
        cfg = cfg.with_values(overrides, "--dry-run")
        seed_everything(cfg.train.seed, deterministic=cfg.train.deterministic)
        with _timed(seconds, "data: opened"):
            cfg = with_recognized_data(cfg)
            data = with_one_val_batch(build_data(cfg), cfg)
        cfg = cfg.with_values({"data.classes": data.classes, **data.measured})
        with _timed(seconds, "model: built"):
            model = prepare_model(cfg, data, device)
            if cfg.train.compile:
                model.compile_trunk()  # type: ignore[operator]
        images = cfg.data.batch_size * cfg.train.accumulate
        evaluated = f", evaluation of {len(data.val)} images" if data.val is not None else ""
        with _timed(seconds, f"training: a step of {images} images{evaluated}, files written"):
            trainer = build_trainer(cfg, model, data, device)
            pictures = [hook for hook in trainer.hooks if isinstance(hook, Pictures)]
            trainer.hooks = [hook for hook in trainer.hooks if hook not in pictures]
            for hook in trainer.hooks:
                if isinstance(hook, Writers):  # a dry run leaves nothing behind in a tracker
                    hook.writers = [writer for writer in hook.writers if not isinstance(writer, Tracker)]
            trainer.train()
        with _timed(seconds, "checkpoint: read back"):
            restore(trainer, read_checkpoint(run_dir / "model_final.pth"))
        for drawing in pictures:
            with _timed(seconds, "pictures: drawn"):
                drawing.after_train(trainer)
        files = sorted(path.name for path in run_dir.iterdir())
        size = (run_dir / "model_final.pth").stat().st_size / 2**20
    table = tabulate(seconds, headers=["part", "seconds"], disable_numparse=True)
    logger.info(
        "dry run done, peak memory %.0f MB, a checkpoint is %.0f MB\n%s\nfiles of a run: %s",
        peak_memory_mb(device), size, table, ", ".join(files),
    )  # fmt: skip


def with_one_val_batch(data: RunData, cfg: Config) -> RunData:
    """Returns the data with only as many validation images as one batch of the evaluation has."""
    if data.val is None:
        return data
    return replace(data, val=data.val.subset(range(min(len(data.val), cfg.data.test_batch_size))))


@contextmanager
def _timed(seconds: list[tuple[str, str]], title: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds.append((title, f"{time.perf_counter() - started:.1f}"))

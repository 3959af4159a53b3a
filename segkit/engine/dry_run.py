"""One batch through all that a run does, to find in seconds what would end it after hours."""

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
from segkit.engine.checkpoint import read_checkpoint, restore
from segkit.engine.environment import environment_table, nondeterminism_told, seed_everything
from segkit.engine.hooks.timer import peak_memory_mb
from segkit.engine.report import draw_pictures
from segkit.engine.run_data import RunData, build_data, check_data, val_loader
from segkit.engine.setup import build_trainer, prepare_model
from segkit.utils import distributed
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError
from segkit.utils.logging import setup_logging
from segkit.utils.paths import output_folder

logger = logging.getLogger(__name__)


def dry_run(cfg: Config, *, weights: str | None = None) -> None:
    """One training step, the evaluation of one batch, all files, a checkpoint that is read back, pictures.

    It happens in a temporary folder: nothing in ``cfg.output_dir`` is touched, which is only looked at. What is told at the
    end are the parts with the seconds that they took; errors are those of the run.

    Args:
        weights: to start from, as for :func:`segkit.engine.train`.
    """
    if distributed.launched():
        raise SegkitError("--dry-run tries a run in one process; start it without torchrun and --num-gpus")
    output_folder(cfg.output_dir, "output_dir")
    device = choose_device(cfg.train.device)
    check_precision(cfg.train.precision, device)
    setup_logging()
    logger.info("environment\n%s", environment_table(device))
    parts: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="segkit_dry_run_") as name, nondeterminism_told():
        folder = Path(name)
        values = {"output_dir": name, "train.iterations": 1}
        if weights is not None:
            values["train.init_weights"] = weights
        cfg = cfg.with_values(values, "--dry-run")
        seed_everything(cfg.train.seed, deterministic=cfg.train.deterministic)
        with _timed(parts, "data: opened"):
            data = build_data(cfg)
            check_data(cfg, data)
            data = first_batch_of(data, cfg)
        cfg = cfg.with_values({"data.classes": data.classes})
        with _timed(parts, "model: built"):
            model = prepare_model(cfg, data, device)
            if cfg.train.compile:
                model.compile_trunk()  # type: ignore[operator]
        images = cfg.data.batch_size * cfg.train.accumulate
        evaluated = f", evaluation of {len(data.val)} images" if data.val is not None else ""
        with _timed(parts, f"training: a step of {images} images{evaluated}, files written"):
            trainer = build_trainer(cfg, model, data, device)
            trainer.train()
        with _timed(parts, "checkpoint: read back"):
            restore(trainer, read_checkpoint(folder / "model_final.pth"))
        if data.val is not None:
            with _timed(parts, "pictures: drawn"), trainer.ema_weights():
                draw_pictures(
                    model,
                    val_loader(cfg, data.val, device),
                    data.classes,
                    cfg.predict.score_threshold,
                    folder / "inference",
                    context=trainer.autocast(),
                )
        files = sorted(path.name for path in folder.iterdir())
        size = (folder / "model_final.pth").stat().st_size / 2**20
    logger.info(
        "dry run done, peak memory %.0f MB, a checkpoint is %.0f MB\n%s\nfiles of a run: %s",
        peak_memory_mb(device), size, tabulate(parts, headers=["part", "seconds"], disable_numparse=True), ", ".join(files),
    )  # fmt: skip


def first_batch_of(data: RunData, cfg: Config) -> RunData:
    """The data with no more validation images than one batch of the evaluation."""
    if data.val is None:
        return data
    return replace(data, val=data.val.subset(range(min(len(data.val), cfg.data.test_batch_size))))


@contextmanager
def _timed(parts: list[tuple[str, str]], title: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    parts.append((title, f"{time.perf_counter() - started:.1f}"))

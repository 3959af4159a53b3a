"""From a configuration to a run: the one place where all parts meet."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from segkit.config.schema import Config
from segkit.engine.build_trainer import build_early_stopping, build_evaluators, build_trainer
from segkit.engine.changes import changes_table, check_classes, config_changes, without_incomparable
from segkit.engine.checkpoint import METRICS, newest_good_checkpoint, read_checkpoint
from segkit.engine.environment import environment_table, nondeterminism_told, seed_everything
from segkit.engine.evaluate_only import evaluate_only
from segkit.engine.hooks.timer import peak_memory_mb
from segkit.engine.prepare_model import prepare_model
from segkit.engine.report import draw_pictures
from segkit.engine.run_data import build_data, check_data, val_loader
from segkit.engine.run_folder import (
    full_disk_told,
    lock_folder,
    log_length,
    make_folder,
    refuse_earlier_run,
    set_aside_earlier_run,
)
from segkit.utils import distributed
from segkit.utils.atomic import atomic_write
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError
from segkit.utils.logging import error_logged, setup_logging

__all__ = [
    "build_early_stopping",
    "build_evaluators",
    "build_trainer",
    "checkpoint_to_resume",
    "prepare_model",
    "train",
]
logger = logging.getLogger(__name__)


def train(
    cfg: Config,
    *,
    resume: bool = False,
    restart: bool = False,
    eval_only: bool = False,
    weights: str | None = None,
    resume_command: str | None = None,
) -> dict[str, float]:
    """Trains, or with ``eval_only`` evaluates, what ``cfg`` describes, in ``cfg.output_dir``.

    Args:
        resume: go on from the checkpoint that ``last_checkpoint`` names, or the newest good one where that is damaged;
            where there is none, start, and say so.
        restart: begin anew in a folder that holds a run, whose files are moved aside; without it that is refused.
        weights: to start from (as ``train.init_weights``), or to evaluate; by default the best of this folder, the
            final, the last, or ``train.init_weights``.
        resume_command: what to tell the user to type after Ctrl-C.
    Returns:
        The metrics of the last evaluation; empty where ``data.val`` is null.
    Raises:
        SegkitError: a mistake in ``cfg`` or the data, a folder that is in use, a disk that is full.
        RunInterrupted: SIGINT or SIGTERM came; the run is saved.

    Started in several processes (torchrun) it is one run of them all: ``data.batch_size`` is over all, the first one writes.
    """
    if weights is not None and resume and not eval_only:
        raise SegkitError(
            "--weights starts a new run; --resume goes on with one", key="train.init_weights", value=weights
        )
    if resume and restart:
        raise SegkitError("--resume goes on with a run, --restart begins anew; give one of the two")
    folder = make_folder(cfg.output_dir)
    device = choose_device(cfg.train.device)
    if distributed.launched() and device.type == "cuda" and device.index != distributed.local_rank():
        raise SegkitError(
            f"train.device: {device} is one GPU for all processes; set train.device=cuda", key="train.device"
        )
    check_precision(cfg.train.precision, device)
    if weights is not None:
        cfg = cfg.with_values({"train.init_weights": weights}, "--weights")
    with (
        distributed.process_group(device, cfg.train.distributed_timeout),
        full_disk_told(folder),
        nondeterminism_told(),
    ):
        if eval_only:
            _set_up(cfg, folder, device)
            with error_logged():
                return evaluate_only(cfg, device, folder, weights)
        with lock_folder(folder) if distributed.is_main() else nullcontext():
            if distributed.is_main() and not resume and not restart:
                refuse_earlier_run(folder)
            distributed.barrier()
            earlier_log = log_length(folder)
            _set_up(cfg, folder, device)
            with error_logged():
                return _train(
                    cfg, folder, device, resume=resume, resume_command=resume_command, earlier_log=earlier_log
                )


def _set_up(cfg: Config, folder: Path, device: torch.device) -> None:
    setup_logging(folder, distributed.rank())
    if distributed.world_size() > 1:
        logger.info("%d processes train together; this is the log of the first", distributed.world_size())
    logger.info("environment\n%s", environment_table(device))
    seed_everything(cfg.train.seed, deterministic=cfg.train.deterministic)


def _train(
    cfg: Config, folder: Path, device: torch.device, *, resume: bool, resume_command: str | None, earlier_log: int
) -> dict[str, float]:
    started = time.perf_counter()
    with distributed.leader_first():
        data = build_data(cfg)
        check_data(cfg, data)
    last, state = checkpoint_to_resume(folder) if resume else (None, None)
    if resume and state is None:
        logger.warning("--resume: there is no checkpoint in %s yet; starting from the beginning", folder)
    if state is not None:
        check_classes(state, data.classes, last)
    cfg = cfg.with_values({"data.classes": data.classes})
    if state is not None and (changes := config_changes(state.get("config", {}), cfg.to_dict())):
        if distributed.is_main():  # it holds for all
            logger.warning("not as when the checkpoint was written:\n%s", changes_table(changes))
        state = without_incomparable(state, changes)
    with distributed.leader_first():
        model = prepare_model(cfg, data, device, initialize=state is None)
    if state is None and distributed.is_main():
        set_aside_earlier_run(folder, earlier_log)  # only now: the initial weights may be among its files
    if distributed.is_main():
        with atomic_write(folder / "config.yaml") as temporary:
            temporary.write_text(cfg.to_yaml(), encoding="utf-8")
    if cfg.train.compile:
        model.compile_trunk()  # type: ignore[operator]
    trainer = build_trainer(cfg, model, data, device, state=state, resume_command=resume_command)
    if state is not None:
        epochs = (trainer.iteration + trainer.epoch_shift) / trainer.iterations_per_epoch
        done = f"{trainer.iteration} of {trainer.max_iterations} iterations"
        logger.info("going on from %s: %s are done, which is %.1f epochs", last, done, epochs)
    if trainer.done and not trainer.pending:
        logger.warning(
            "nothing is left to train: %d iterations are done, of %d; raise train.epochs or train.iterations to train on",
            trainer.iteration, trainer.max_iterations,
        )  # fmt: skip
    else:
        trainer.train()
    if not distributed.is_main():
        return trainer.evaluation
    if data.val is not None:  # also where nothing was left to train: it may have been killed right here
        with trainer.ema_weights():
            draw_pictures(
                model,
                val_loader(cfg, data.val, device, whole=True),
                data.classes,
                cfg.predict.score_threshold,
                folder / "inference",
                context=trainer.autocast(),
            )
    _say_where(folder, device, time.perf_counter() - started)
    return trainer.evaluation


def checkpoint_to_resume(folder: Path) -> tuple[Path | None, dict[str, Any] | None]:
    """The newest good checkpoint and its content, the same in all processes; None, None where there is none."""
    found = newest_good_checkpoint(folder) if distributed.is_main() else None
    path = distributed.broadcast(found and found[0])
    if found is None and path is not None:
        found = path, read_checkpoint(path)
    return found or (None, None)


def _say_where(folder: Path, device: torch.device, seconds: float) -> None:
    places = {
        "curves": folder / "curves.png",
        "metrics": folder / METRICS,
        "pictures": folder / "inference",
        "best model": folder / "model_best.pth",
        "final model": folder / "model_final.pth",
    }
    rows = [(title, str(path)) for title, path in places.items() if path.exists()]
    table = tabulate(rows, tablefmt="plain", disable_numparse=True)
    memory = peak_memory_mb(device)
    logger.info("done in %s, peak memory %.0f MB\n%s", timedelta(seconds=round(seconds)), memory, table)

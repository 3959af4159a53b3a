"""A run from its configuration to its results: training, and evaluation without training.

``dry_run.py`` takes one batch through the same steps.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from tabulate import tabulate

from segkit.config.schema import Config
from segkit.data.measuring import with_measured_values
from segkit.engine.amp import autocast
from segkit.engine.build import build_evaluators, build_trainer, prepare_model
from segkit.engine.checkpoint import METRICS, find_last_checkpoint
from segkit.engine.datasets import build_data, check_something_to_evaluate_on, checkpoint_labels, val_loader
from segkit.engine.environment import environment_rows, environment_table, nondeterminism_errors, seed_everything
from segkit.engine.hooks.evaluation import best_score_thresholds
from segkit.engine.hooks.pictures import Pictures
from segkit.engine.hooks.timer import peak_memory_mb
from segkit.engine.pictures import draw_figures, draw_pictures, remove_stale_curves, threshold_of_pictures
from segkit.engine.recognized_data import with_recognized_data
from segkit.engine.resume import checkpoint_to_resume, fit_to_config
from segkit.engine.run_dir import (
    ENVIRONMENT,
    REPORT,
    full_disk_errors,
    lock_run_dir,
    log_length,
    make_run_dir,
    refuse_earlier_run,
    set_aside_earlier_run,
)
from segkit.evaluation import evaluate, metrics_table
from segkit.inference.pipeline import build_pipeline
from segkit.modeling.weights.loading import load_checkpoint
from segkit.modeling.weights.reading import checkpoint_content
from segkit.structures.object_sides import saved_object_sides
from segkit.structures.score_thresholds import saved_thresholds
from segkit.utils import distributed
from segkit.utils.atomic import atomic_write
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError
from segkit.utils.logging import error_logged, setup_logging

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
    """Trains the model of ``cfg`` on its data, in the directory ``cfg.output_dir``.

    In several processes (torchrun) this is one run: ``data.batch_size`` is the total over all of them, and the first one
    writes.

    Args:
        cfg: the whole configuration.
        resume: resume the run in the directory from the checkpoint that ``last_checkpoint`` names, or from the newest good
            one if that is damaged. Without any checkpoint the run starts from the beginning, with a warning.
        restart: move an earlier run's files aside and start a new run. Without it a directory that holds a run is refused.
        eval_only: evaluate instead, as :func:`evaluate_only` does.
        weights: start from these, as with ``train.init_weights``.
        resume_command: what the user types to resume the run, for the message after an interruption.
    Returns:
        The metrics of the last evaluation; empty if ``data.val`` is null.
    Raises:
        SegkitError: a mistake in ``cfg`` or the data, a directory that is in use, a full disk.
        RunInterrupted: SIGINT or SIGTERM arrived; the run is saved.
    """
    if resume and restart:
        raise SegkitError("--resume continues the run, --restart starts a new one; give one of the two")
    if eval_only:
        return evaluate_only(cfg, weights=weights)
    if weights is not None:
        if resume:
            raise SegkitError(
                "--weights starts a new run, --resume continues one; give one of the two",
                key="train.init_weights",
                value=weights,
            )
        cfg = cfg.with_values({"train.init_weights": weights}, "--weights")
    with _start(cfg) as (run_dir, device), lock_run_dir(run_dir) if distributed.is_main() else nullcontext():
        if distributed.is_main() and not resume and not restart:
            refuse_earlier_run(run_dir)
        distributed.barrier()
        earlier_log = log_length(run_dir)
        _set_up_logging_and_seeds(cfg, run_dir, device)
        with error_logged():
            return _train(cfg, run_dir, device, resume=resume, resume_command=resume_command, earlier_log=earlier_log)


def _train(
    cfg: Config, run_dir: Path, device: torch.device, *, resume: bool, resume_command: str | None, earlier_log: int
) -> dict[str, float]:
    """The steps of a training, in order."""
    started = time.perf_counter()
    cfg = with_recognized_data(cfg)
    checkpoint = checkpoint_to_resume(run_dir) if resume else None
    if checkpoint is not None:
        cfg = with_measured_values(cfg, checkpoint[1].get("config"))
    with distributed.leader_first():
        data = build_data(cfg)
    cfg = cfg.with_values({"data.classes": data.classes, **data.measured})
    if resume and checkpoint is None:
        logger.warning("--resume: there is no checkpoint in %s yet; starting from the beginning", run_dir)
    state = None if checkpoint is None else fit_to_config(*checkpoint, cfg)

    with distributed.leader_first():
        model = prepare_model(cfg, data, device, initialize=state is None)
    if distributed.is_main():
        if state is None:
            set_aside_earlier_run(run_dir, earlier_log)  # after the initial weights were read: they may be in it
        with atomic_write(run_dir / "config.yaml") as temporary:
            temporary.write_text(cfg.to_yaml(), encoding="utf-8")
    if cfg.train.compile:
        model.compile_trunk()  # type: ignore[operator]

    trainer = build_trainer(cfg, model, data, device, state=state, resume_command=resume_command)
    if checkpoint is not None:
        epochs = (trainer.iteration + trainer.epoch_shift) / trainer.iterations_per_epoch
        done = f"{trainer.iteration} of {trainer.max_iterations} iterations"
        logger.info("resuming from %s: %s are done, which is %.1f epochs", checkpoint[0], done, epochs)
    if trainer.done and not trainer.pending:
        logger.warning(
            "nothing is left to train: %d iterations are done, of %d; raise train.epochs or train.iterations to train on",
            trainer.iteration, trainer.max_iterations,
        )  # fmt: skip
        for hook in trainer.hooks:
            if isinstance(hook, Pictures):
                hook.after_train(trainer)  # an earlier run may have been killed while it drew
    else:
        if distributed.is_main():
            with atomic_write(run_dir / ENVIRONMENT) as temporary:
                temporary.write_text(json.dumps(dict(environment_rows(device)), indent=1) + "\n", encoding="utf-8")
        trainer.train()

    if distributed.is_main():
        _log_results(run_dir, device, time.perf_counter() - started)
    return trainer.evaluation


def evaluate_only(cfg: Config, *, weights: str | None = None) -> dict[str, float]:
    """Evaluates a model on ``data.val`` and draws pictures in the run's ``inference/``.

    Args:
        cfg: the whole configuration.
        weights: a checkpoint; None: the directory's best model, else its final or last one, else ``train.init_weights``.
    Returns:
        The metrics, in all processes.
    Raises:
        SegkitError: ``data.val`` is null, there are no weights, or the configuration or the data have a mistake.
    """
    with _start(cfg) as (run_dir, device):
        _set_up_logging_and_seeds(cfg, run_dir, device)
        with error_logged():
            return _evaluate(cfg, run_dir, device, weights)


def _evaluate(cfg: Config, run_dir: Path, device: torch.device, weights: str | None) -> dict[str, float]:
    """The steps of an evaluation, in order."""
    cfg = with_recognized_data(cfg)
    check_something_to_evaluate_on(cfg)
    path = weights or _weights_to_evaluate(cfg, run_dir)
    with distributed.leader_first():
        content = checkpoint_content(path)
        classes, category_ids = checkpoint_labels(content)
        cfg = with_measured_values(cfg, content.get("config"), required=True)
        data = build_data(cfg, eval_only=True, classes=classes, category_ids=category_ids)
        model = prepare_model(cfg, data, device, initialize=False)
        logger.info("evaluating %s", path)
        load_checkpoint(model, path, content=content)
        saved, sides = saved_thresholds(content), saved_object_sides(content)
        del content  # the optimizer's moments take twice the model's memory
    evaluators = build_evaluators(cfg, model, data)
    context = autocast(cfg.train.precision, device)
    pipeline = build_pipeline(cfg, model, object_sides=sides)
    loader = val_loader(cfg, data, device)
    metrics = evaluate(model, loader, evaluators, device, context, losses=cfg.train.eval_losses, pipeline=pipeline)
    best = best_score_thresholds(evaluators)
    if distributed.is_main():
        logger.info("metrics of %s\n%s", path, metrics_table(metrics, data.classes))
        loader = val_loader(cfg, data, device, whole=True)
        folder = run_dir / "inference"
        threshold = threshold_of_pictures(cfg.predict.score_threshold, best or saved, model, data.classes)
        draw_pictures(model, loader, data.classes, threshold, folder, context=context, pipeline=pipeline)
        remove_stale_curves(folder, evaluators)
        draw_figures(folder)
        logger.info("results and pictures are in %s", folder)
    return metrics


def _weights_to_evaluate(cfg: Config, run_dir: Path) -> str:
    for path in (run_dir / "model_best.pth", run_dir / "model_final.pth", find_last_checkpoint(run_dir)):
        if path is not None and path.is_file():
            return str(path)
    if cfg.train.init_weights is not None:
        return cfg.train.init_weights
    raise SegkitError(f"--eval-only: there is no checkpoint in {run_dir}; give one with --weights FILE")


@contextmanager
def _start(cfg: Config) -> Iterator[tuple[Path, torch.device]]:
    """Makes the run's directory, chooses the device, and connects the processes for the block.

    Errors of a full disk and of missing deterministic kernels become SegkitErrors.
    """
    run_dir = make_run_dir(cfg.output_dir)
    device = choose_device(cfg.train.device)
    if distributed.launched() and device.type == "cuda" and device.index != distributed.local_rank():
        raise SegkitError(
            f"train.device: {device} is one GPU for all processes; set train.device=cuda", key="train.device"
        )
    check_precision(cfg.train.precision, device)
    with (
        distributed.process_group(device, cfg.train.distributed_timeout),
        full_disk_errors(run_dir),
        nondeterminism_errors(),
    ):
        yield run_dir, device


def _set_up_logging_and_seeds(cfg: Config, run_dir: Path, device: torch.device) -> None:
    setup_logging(run_dir, distributed.rank())
    if distributed.world_size() > 1:
        logger.info("%d processes train together; this is the log of the first one", distributed.world_size())
    logger.info("environment\n%s", environment_table(device))
    seed_everything(cfg.train.seed, deterministic=cfg.train.deterministic)


def _log_results(run_dir: Path, device: torch.device, seconds: float) -> None:
    """Logs the paths of a finished run's results, its time and its memory."""
    paths = {
        "curves": run_dir / "curves.png",
        "metrics": run_dir / METRICS,
        "pictures": run_dir / "inference",
        "report": run_dir / REPORT,
        "best model": run_dir / "model_best.pth",
        "final model": run_dir / "model_final.pth",
    }
    rows = [(title, str(path)) for title, path in paths.items() if path.exists()]
    table = tabulate(rows, tablefmt="plain", disable_numparse=True)
    memory = peak_memory_mb(device)
    logger.info("done in %s, peak memory %.0f MB\n%s", timedelta(seconds=round(seconds)), memory, table)

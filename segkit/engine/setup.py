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
from torch import nn

from segkit.config.schema import Config
from segkit.engine.changes import changes_table, check_classes, config_changes
from segkit.engine.checkpoint import METRICS, find_last_checkpoint, newest_good_checkpoint, read_checkpoint, restore
from segkit.engine.environment import (
    environment_table,
    nondeterminism_told,
    seed_everything,
)
from segkit.engine.hooks.chosen_metric import choose_metric
from segkit.engine.hooks.defaults import build_default_hooks
from segkit.engine.hooks.early_stopping import EarlyStopping
from segkit.engine.hooks.timer import peak_memory_mb
from segkit.engine.parameters import build_optimizer, freeze
from segkit.engine.precision import autocast, check_precision, choose_device
from segkit.engine.report import count_parameters, draw_pictures, parameter_table
from segkit.engine.run_data import (
    RunData,
    build_data,
    check_something_to_evaluate_on,
    checkpoint_labels,
    train_loader,
    val_loader,
)
from segkit.engine.run_folder import (
    full_disk_told,
    lock_folder,
    log_length,
    make_folder,
    refuse_earlier_run,
    set_aside_earlier_run,
)
from segkit.engine.trainer import Trainer
from segkit.evaluation import evaluate, metrics_table
from segkit.modeling.build import build_model
from segkit.modeling.weights.loading import load_checkpoint
from segkit.registry import EVALUATOR_REGISTRY, HOOK_REGISTRY, SCHEDULE_REGISTRY
from segkit.utils import distributed
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError
from segkit.utils.logging import setup_logging

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
    with distributed.process_group(device), full_disk_told(folder), nondeterminism_told():
        if eval_only:
            _set_up(cfg, folder, device)
            return _evaluate_only(cfg, device, folder, weights)
        with lock_folder(folder) if distributed.is_main() else nullcontext():
            if distributed.is_main() and not resume and not restart:
                refuse_earlier_run(folder)
            distributed.barrier()
            return _train(cfg, folder, device, resume=resume, resume_command=resume_command)


def _set_up(cfg: Config, folder: Path, device: torch.device) -> None:
    setup_logging(folder, distributed.rank())
    if distributed.world_size() > 1:
        logger.info("%d processes train together; this is the log of the first", distributed.world_size())
    logger.info("environment\n%s", environment_table(device))
    seed_everything(cfg.train.seed, deterministic=cfg.train.deterministic)


def _train(
    cfg: Config, folder: Path, device: torch.device, *, resume: bool, resume_command: str | None
) -> dict[str, float]:
    started = time.perf_counter()
    earlier_log = log_length(folder)
    _set_up(cfg, folder, device)
    with distributed.leader_first():
        data = build_data(cfg)
    last, state = checkpoint_to_resume(folder) if resume else (None, None)
    if resume and state is None:
        logger.warning("--resume: there is no checkpoint in %s yet; starting from the beginning", folder)
    if state is not None:
        check_classes(state, data.classes, last)
    cfg = cfg.with_values({"data.classes": data.classes})
    if state is not None and (changes := config_changes(state.get("config", {}), cfg.to_dict())):
        logger.warning("not as when the checkpoint was written:\n%s", changes_table(changes))
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
        logger.info("going on from %s: %d of %d iterations are done", last, trainer.iteration, trainer.max_iterations)
        if trainer.done and not trainer.pending:
            logger.warning("nothing is left to do; raise train.epochs or train.iterations to train on")
            return trainer.evaluation
    trainer.train()
    if not distributed.is_main():
        return trainer.evaluation
    if data.val is not None:
        with trainer.averaged_weights():
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


def prepare_model(cfg: Config, data: RunData, device: torch.device, *, initialize: bool = True) -> nn.Module:
    """The model on its device, with ``train.init_weights`` unless a checkpoint will follow.

    Raises:
        SegkitError: it has more parameters than ``train.max_parameters``.
    """
    model = build_model(cfg, len(data.classes))
    model.classes = list(data.classes)  # type: ignore[assignment]
    total, _ = count_parameters(model)
    limit = cfg.train.max_parameters
    if limit is not None and total > limit:
        raise SegkitError(
            f"train.max_parameters: the model has {total:,} parameters, at most {limit:,} are allowed",
            key="train.max_parameters",
            value=total,
        )
    if initialize and cfg.train.init_weights is not None:
        load_checkpoint(model, cfg.train.init_weights, on_mismatch="reinitialize")
    freeze(model, cfg.solver.parameters)
    logger.info("model %s\n%s", cfg.model["name"], parameter_table(model))
    return model.to(device)


def build_trainer(
    cfg: Config,
    model: nn.Module,
    data: RunData,
    device: torch.device,
    *,
    state: dict[str, Any] | None = None,
    resume_command: str | None = None,
) -> Trainer:
    """The trainer with its loaders, optimizer, schedule and hooks; where ``state`` is given, put back to it."""
    assert data.train is not None
    optimizer = build_optimizer(cfg, model)
    schedule = SCHEDULE_REGISTRY.build(cfg.solver.schedule, path="solver.schedule")
    loader = train_loader(cfg, data.train, device, start_iteration=state["iteration"] if state else 0)
    epoch = loader.iterations_per_epoch
    train_cfg = cfg.train
    extra = [
        HOOK_REGISTRY.build(spec, path=f"hooks[{i}]", period=train_cfg.log_period) for i, spec in enumerate(cfg.hooks)
    ]
    evaluators = build_evaluators(cfg, model, data) if data.val is not None else []
    best_metric = choose_metric(train_cfg.best_metric, evaluators, losses=train_cfg.eval_losses)
    hooks = build_default_hooks(
        log_period=train_cfg.log_period,
        checkpoint_period=train_cfg.checkpoint_period.iterations(epoch),
        keep_checkpoints=train_cfg.keep_checkpoints,
        keep_every=train_cfg.keep_every.iterations(epoch),
        val_loader=val_loader(cfg, data.val, device) if data.val is not None else None,
        evaluators=evaluators,
        eval_period=train_cfg.eval_period.iterations(epoch),
        eval_losses=train_cfg.eval_losses,
        best_metric=best_metric,
        best_min_gain=train_cfg.best_min_gain,
        early_stopping=build_early_stopping(cfg, evaluators, best_metric),
        classes=data.classes,
        extra=extra,
        resume_command=resume_command,
    )
    trainer = Trainer(
        model,
        optimizer,
        schedule,
        loader,
        max_iterations=train_cfg.total_iterations(epoch),
        iterations_per_epoch=epoch,
        output_dir=cfg.output_dir,
        device=device,
        accumulate=train_cfg.accumulate,
        precision=train_cfg.precision,
        clip_norm=cfg.solver.clip_norm,
        clip_value=cfg.solver.clip_value,
        ema_decay=train_cfg.ema_decay,
        # Except on the CPU a look waits, as a write does.
        check_period=1 if device.type == "cpu" or train_cfg.skip_nonfinite else train_cfg.log_period,
        max_skipped=train_cfg.skip_nonfinite,
        seed=train_cfg.seed,
        hooks=hooks,
        about={"config": cfg.to_dict(), "classes": data.classes, "category_ids": data.category_ids},
    )
    if state is not None:
        restore(trainer, state)
    return trainer


def build_early_stopping(cfg: Config, evaluators: list[Any], best_metric: str) -> EarlyStopping | None:
    """The hook of ``train.early_stopping``; None where it is null.

    Args:
        best_metric: what has to gain where no other metric is named.
    Raises:
        SegkitError: nothing is evaluated, or not that metric.
    """
    settings, metric = cfg.train.early_stopping, best_metric
    if settings is None:
        return None
    if cfg.data.val is None:
        raise SegkitError(
            "train.early_stopping: data.val is null, so nothing is evaluated; set train.early_stopping=null",
            key="train.early_stopping",
        )
    if settings.metric is not None:
        key = "train.early_stopping.metric"
        metric = choose_metric(settings.metric, evaluators, losses=cfg.train.eval_losses, key=key)
    return EarlyStopping(metric, patience=settings.patience, min_gain=settings.min_gain)


def build_evaluators(cfg: Config, model: nn.Module, data: RunData) -> list[Any]:
    """The evaluators of ``cfg``, which write their files to ``inference/``."""
    runtime = {
        "classes": data.classes,
        "category_ids": data.category_ids,
        "max_detections": model.detections_per_image,
        "results_dir": str(Path(cfg.output_dir).expanduser() / "inference"),
        "class_agnostic": getattr(model, "class_agnostic", False),
        "predicts_masks": getattr(model, "predicts_masks", True),
    }
    return [EVALUATOR_REGISTRY.build(spec, path=f"evaluators[{i}]", **runtime) for i, spec in enumerate(cfg.evaluators)]


def _evaluate_only(cfg: Config, device: torch.device, folder: Path, weights: str | None) -> dict[str, float]:
    check_something_to_evaluate_on(cfg)
    path = weights or _weights_to_evaluate(cfg, folder)
    with distributed.leader_first():
        classes, category_ids = checkpoint_labels(path)
        data = build_data(cfg, eval_only=True, classes=classes, category_ids=category_ids)
        assert data.val is not None
        model = prepare_model(cfg, data, device, initialize=False)
        logger.info("evaluating %s", path)
        load_checkpoint(model, path)
    evaluators = build_evaluators(cfg, model, data)
    loader = val_loader(cfg, data.val, device)
    context = autocast(cfg.train.precision, device)
    metrics = evaluate(model, loader, evaluators, device, context, losses=cfg.train.eval_losses)
    if not distributed.is_main():
        return metrics
    logger.info("metrics of %s\n%s", path, metrics_table(metrics, data.classes))
    loader = val_loader(cfg, data.val, device, whole=True)
    draw_pictures(model, loader, data.classes, cfg.predict.score_threshold, folder / "inference", context=context)
    logger.info("results and pictures are in %s", folder / "inference")
    return metrics


def _weights_to_evaluate(cfg: Config, folder: Path) -> str:
    candidates = [folder / "model_best.pth", folder / "model_final.pth", find_last_checkpoint(folder)]
    for path in candidates:
        if path is not None and path.is_file():
            return str(path)
    if cfg.train.init_weights is not None:
        return cfg.train.init_weights
    raise SegkitError(f"--eval-only: there is no checkpoint in {folder}; give one with --weights FILE")


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

"""The trainer of a configuration, with its loaders, optimizer, schedule and hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.config.schema import Config
from segkit.engine.checkpoint import restore
from segkit.engine.epoch_shift import epoch_shift
from segkit.engine.hooks.defaults import build_default_hooks
from segkit.engine.hooks.evaluation import EarlyStopping, choose_metric
from segkit.engine.missing_masks import warn_of_missing_masks
from segkit.engine.parameters import build_optimizer
from segkit.engine.run_data import RunData, check_test_transforms, train_loader, val_loader
from segkit.engine.trainer import Trainer
from segkit.registry import EVALUATOR_REGISTRY, HOOK_REGISTRY, SCHEDULE_REGISTRY
from segkit.utils.errors import SegkitError


def build_trainer(
    cfg: Config,
    model: nn.Module,
    data: RunData,
    device: torch.device,
    *,
    state: dict[str, Any] | None = None,
    resume_command: str | None = None,
) -> Trainer:
    """The trainer with its loaders, optimizer, schedule and hooks; where ``state`` is given, put back to it.

    Warns of objects that the model's mask head does not train on.
    """
    assert data.train is not None
    warn_of_missing_masks(model, data.train)
    optimizer = build_optimizer(cfg, model)
    schedule = SCHEDULE_REGISTRY.build(cfg.solver.schedule, path="solver.schedule")
    loader = train_loader(cfg, data.train, device)
    epoch = loader.iterations_per_epoch
    train_cfg = cfg.train
    shift = epoch_shift(state, epoch, in_epochs=train_cfg.epochs is not None)
    extra = [
        HOOK_REGISTRY.build(spec, path=f"hooks[{i}]", period=train_cfg.log_period) for i, spec in enumerate(cfg.hooks)
    ]
    if data.val is None:
        check_test_transforms(cfg)  # now, and not when somebody predicts with this run's checkpoints
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
        max_iterations=train_cfg.total_iterations(epoch) - shift,
        iterations_per_epoch=epoch,
        epoch_shift=shift,
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
        SegkitError: nothing is evaluated while there is something to stop, or not that metric.
    """
    settings, metric = cfg.train.early_stopping, best_metric
    if settings is None:
        return None
    if cfg.data.val is None:
        raise SegkitError(
            "train.early_stopping: data.val is null, so nothing is evaluated; set train.early_stopping=null",
            key="train.early_stopping",
        )
    if not cfg.train.eval_period.count:
        raise SegkitError(
            "train.early_stopping: train.eval_period is 0, so nothing is evaluated before the end; set "
            "train.eval_period='1 epoch', or train.early_stopping=null",
            key="train.early_stopping",
        )
    if settings.metric is not None:
        key = "train.early_stopping.metric"
        metric = choose_metric(settings.metric, evaluators, losses=cfg.train.eval_losses, key=key)
    return EarlyStopping(metric, patience=settings.patience, min_gain=settings.min_gain)


def build_evaluators(cfg: Config, model: nn.Module, data: RunData) -> list[Any]:
    """The evaluators of ``cfg``, which write their files to ``inference/`` with the ids of the data evaluated."""
    evaluated = data.category_ids if data.val is None else list(data.val.category_ids)
    runtime = {
        "classes": data.classes,
        "category_ids": evaluated,
        "max_detections": model.detections_per_image,
        "results_dir": str(Path(cfg.output_dir).expanduser() / "inference"),
        "class_agnostic": getattr(model, "class_agnostic", False),
        "predicts_masks": getattr(model, "predicts_masks", True),
    }
    return [EVALUATOR_REGISTRY.build(spec, path=f"evaluators[{i}]", **runtime) for i, spec in enumerate(cfg.evaluators)]

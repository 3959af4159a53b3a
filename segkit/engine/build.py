"""Builds the parts of a run from its configuration: model, evaluators, hooks, trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.config.schema import Config
from segkit.data.object_sides import measured_object_sides
from segkit.engine.datasets import RunData, train_loader, val_loader
from segkit.engine.detection_limits import warn_of_detection_limits
from segkit.engine.hooks.base import Hook
from segkit.engine.hooks.defaults import build_default_hooks
from segkit.engine.hooks.evaluation import EarlyStopping, choose_metric
from segkit.engine.hooks.logging import Writers
from segkit.engine.hooks.pictures import Pictures
from segkit.engine.missing_masks import warn_of_missing_masks
from segkit.engine.parameters import build_optimizer, count_parameters, freeze, parameter_table
from segkit.engine.resume import epoch_shift
from segkit.engine.train_state import restore
from segkit.engine.trainer import Trainer
from segkit.evaluation.build import build_from_specs
from segkit.evaluation.validation_losses import LOSS_PREFIX
from segkit.inference.pipeline import build_pipeline
from segkit.modeling.build import build_model
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.registry import HOOK_REGISTRY, SCHEDULE_REGISTRY, WRITER_REGISTRY
from segkit.structures.object_sides import ObjectSides
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


def prepare_model(cfg: Config, data: RunData, device: torch.device, *, initialize: bool = True) -> nn.Module:
    """Builds the model on its device, with frozen parameters; warns of limits on its detections.

    Args:
        cfg: sections ``model``, ``solver`` and ``train`` are used.
        data: for its classes and object counts.
        device: where the model's parameters are.
        initialize: load the pretrained weights and ``train.init_weights``. False if a checkpoint follows, which holds all
            weights: the files of the others may be gone, or on a server that is down.
    Raises:
        SegkitError: the model has more parameters than ``train.max_parameters``.
    """
    with nullcontext() if initialize else skip_pretrained():
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
    warn_of_detection_limits(model, data)
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
    """Builds the trainer with its loaders, optimizer, schedule and hooks.

    Warns of training objects without a mask.

    Args:
        cfg: the whole configuration.
        model: of :func:`prepare_model`, compiled if it is to be.
        data: of :func:`segkit.engine.datasets.build_data`.
        device: the model's.
        state: the checkpoint that the trainer is restored from; None: a new run.
        resume_command: what the user types to resume the run after an interruption.
    """
    assert data.train is not None
    warn_of_missing_masks(model, data.train)
    loader = train_loader(cfg, data, device)
    shift = epoch_shift(state, loader.iterations_per_epoch, in_epochs=cfg.train.epochs is not None)
    sides = measured_object_sides(data.train)
    hooks = build_hooks(
        cfg,
        model,
        data,
        device,
        iterations_per_epoch=loader.iterations_per_epoch,
        resume_command=resume_command,
        object_sides=sides,
    )
    trainer = Trainer(
        model,
        build_optimizer(cfg, model),
        SCHEDULE_REGISTRY.build(cfg.solver.schedule, path="solver.schedule"),
        loader,
        max_iterations=cfg.train.total_iterations(loader.iterations_per_epoch) - shift,
        iterations_per_epoch=loader.iterations_per_epoch,
        epoch_shift=shift,
        output_dir=cfg.output_dir,
        device=device,
        accumulate=cfg.train.accumulate,
        precision=cfg.train.precision,
        clip_norm=cfg.solver.clip_norm,
        clip_value=cfg.solver.clip_value,
        ema_decay=cfg.train.ema_decay,
        # On a GPU, reading the losses on the host waits for the device, as writing a line of metrics does.
        check_period=1 if device.type == "cpu" or cfg.train.skip_nonfinite else cfg.train.log_period,
        max_skipped=cfg.train.skip_nonfinite,
        seed=cfg.train.seed,
        hooks=hooks,
        about={
            "config": cfg.to_dict(),
            "classes": data.classes,
            "category_ids": data.category_ids,
            "object_sides": sides and sides.to_dict(),
        },
    )
    if state is not None:
        restore(trainer, state)
    return trainer


def build_hooks(
    cfg: Config,
    model: nn.Module,
    data: RunData,
    device: torch.device,
    *,
    iterations_per_epoch: int,
    resume_command: str | None = None,
    object_sides: ObjectSides | None = None,
) -> list[Hook]:
    """Builds the default hooks, those of ``cfg`` and its writers; periods become iterations."""
    train_cfg = cfg.train
    extra = [
        HOOK_REGISTRY.build(spec, path=f"hooks[{i}]", period=train_cfg.log_period) for i, spec in enumerate(cfg.hooks)
    ]
    writers = [
        WRITER_REGISTRY.build(spec, path=f"writers[{i}]", period=train_cfg.log_period)
        for i, spec in enumerate(cfg.writers)
    ]
    extra.append(Writers(train_cfg.log_period, writers=writers))
    pictures, pipeline = None, build_pipeline(cfg, model, object_sides=object_sides)
    if data.val is not None:
        loader = val_loader(cfg, data, device, whole=True)
        pictures = Pictures(loader, data.classes, cfg.predict.score_threshold, pipeline)
    evaluators = build_evaluators(cfg, model, data) if data.val is not None else []
    losses = train_cfg.eval_losses and not pipeline.replaces_model
    if pipeline.replaces_model and train_cfg.best_metric.startswith(LOSS_PREFIX):
        raise SegkitError(
            f"train.best_metric: {train_cfg.best_metric} is not measured with predict.tile; choose a metric of the evaluators",
            key="train.best_metric",
            value=train_cfg.best_metric,
        )
    best_metric = choose_metric(train_cfg.best_metric, evaluators, losses=losses)
    return build_default_hooks(
        log_period=train_cfg.log_period,
        checkpoint_period=train_cfg.checkpoint_period.iterations(iterations_per_epoch),
        keep_checkpoints=train_cfg.keep_checkpoints,
        keep_every=train_cfg.keep_every.iterations(iterations_per_epoch),
        val_loader=val_loader(cfg, data, device) if data.val is not None else None,
        evaluators=evaluators,
        eval_period=train_cfg.eval_period.iterations(iterations_per_epoch),
        eval_losses=losses,
        best_metric=best_metric,
        best_min_gain=train_cfg.best_min_gain,
        early_stopping=build_early_stopping(cfg, evaluators, best_metric),
        pictures=pictures,
        pipeline=pipeline,
        classes=data.classes,
        extra=extra,
        resume_command=resume_command,
    )


def build_early_stopping(cfg: Config, evaluators: list[Any], best_metric: str) -> EarlyStopping | None:
    """Builds the hook of ``train.early_stopping``; returns None if that is null.

    Args:
        cfg: sections ``data`` and ``train`` are used.
        evaluators: the run's, which know their metrics' names.
        best_metric: the metric that has to gain if ``early_stopping.metric`` is null.
    Raises:
        SegkitError: nothing is evaluated before the run's end, or the evaluators have no such metric.
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
    """Builds the evaluators of ``cfg``, which write their files to ``inference/``.

    Their files have the category ids of the evaluated data.
    """
    evaluated = data.category_ids if data.val is None else list(data.val.category_ids)
    results_dir = str(Path(cfg.output_dir).expanduser() / "inference")
    frequencies = () if data.val is None else data.val.frequencies
    return evaluators_from_specs(cfg.evaluators, model, data.classes, evaluated, results_dir, frequencies)


def evaluators_from_specs(
    specs: Sequence[Mapping[str, Any]],
    model: nn.Module,
    classes: Sequence[str],
    category_ids: Sequence[int],
    results_dir: str | None,
    frequencies: Sequence[str | None] = (),
) -> list[Any]:
    """Builds evaluators for a model.

    Args:
        specs: of ``EVALUATOR_REGISTRY``.
        model: its attributes say the detection limit and whether it predicts classes and masks.
        classes, category_ids, frequencies: of the evaluated data.
        results_dir: the folder of the evaluators' files; None: none are written.
    """
    return build_from_specs(
        specs,
        classes=classes,
        category_ids=category_ids,
        max_detections=getattr(model, "detections_per_image", 100),
        results_dir=results_dir,
        class_agnostic=getattr(model, "class_agnostic", False),
        predicts_masks=getattr(model, "predicts_masks", True),
        frequencies=frequencies,
    )

"""``--eval-only``: how good a run's model is, without training."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from segkit.config.schema import Config
from segkit.engine.amp import autocast
from segkit.engine.build_trainer import build_evaluators
from segkit.engine.checkpoint import find_last_checkpoint
from segkit.engine.prepare_model import prepare_model
from segkit.engine.report import draw_pictures
from segkit.engine.run_data import build_data, check_data, check_something_to_evaluate_on, checkpoint_labels, val_loader
from segkit.evaluation import evaluate, metrics_table
from segkit.modeling.weights.loading import load_checkpoint
from segkit.modeling.weights.reading import checkpoint_content
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


def evaluate_only(cfg: Config, device: torch.device, folder: Path, weights: str | None) -> dict[str, float]:
    """Evaluates ``weights``, or without them the best that the folder has, and draws pictures.

    Returns:
        the metrics, in all processes.
    Raises:
        SegkitError: there is nothing to evaluate on, or no weights.
    """
    check_something_to_evaluate_on(cfg)
    path = weights or _weights_to_evaluate(cfg, folder)
    with distributed.leader_first():
        content = checkpoint_content(path)
        classes, category_ids = checkpoint_labels(content)
        data = build_data(cfg, eval_only=True, classes=classes, category_ids=category_ids)
        check_data(cfg, data)
        assert data.val is not None
        model = prepare_model(cfg, data, device, initialize=False)
        logger.info("evaluating %s", path)
        load_checkpoint(model, path, content=content)
        del content  # the optimizer's moments are twice the model
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

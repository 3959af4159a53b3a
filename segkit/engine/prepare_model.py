"""The model of a configuration, ready to train or to be evaluated."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import torch
from torch import nn

from segkit.config.schema import Config
from segkit.engine.limits import warn_of_limits
from segkit.engine.parameters import freeze
from segkit.engine.report import count_parameters, parameter_table
from segkit.engine.run_data import RunData
from segkit.modeling.build import build_model
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


def prepare_model(cfg: Config, data: RunData, device: torch.device, *, initialize: bool = True) -> nn.Module:
    """The model on its device; limits that lose objects are told.

    Args:
        initialize: with its pretrained weights and ``train.init_weights``; not where a checkpoint will follow, which has all
            weights: those files may be gone, or on the other side of a network that is down.
    Raises:
        SegkitError: it has more parameters than ``train.max_parameters``.
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
    warn_of_limits(model, data)
    return model.to(device)

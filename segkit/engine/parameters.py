"""What of the model trains, and at which rate: from the configuration to the optimizer's parameter groups."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from segkit.config.parameter_rule import ParameterRule
from segkit.config.schema import Config
from segkit.modeling.layers.freezing import freeze_parameters
from segkit.registry import OPTIMIZER_REGISTRY
from segkit.solver.parameter_groups import parameter_settings, regroup
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


def freeze(model: nn.Module, rules: Iterable[ParameterRule]) -> None:
    """Freezes what rules of ``solver.parameters`` say; SegkitError for one that matches nothing."""
    for i, rule in enumerate(rules):
        if rule.freeze:
            freeze_parameters(model, [rule.match], key=f"solver.parameters[{i}].match")


def build_optimizer(cfg: Config, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of ``cfg.solver`` over what of ``model`` trains, with its groups told in the log.

    Raises:
        SegkitError: a rule that matches nothing, or ``layer_decay`` for a backbone that tells of no stages.
    """
    solver, trainable = cfg.solver, [p for p in model.parameters() if p.requires_grad]
    optimizer = OPTIMIZER_REGISTRY.build(solver.optimizer, path="solver.optimizer", model=model, params=trainable)
    images, scale = cfg.data.batch_size * cfg.train.accumulate, 1.0
    if solver.base_batch_size is not None:
        scale = images / solver.base_batch_size
        logger.info(
            "solver.base_batch_size: learning rates times %d / %d = %g, for a step takes %d images",
            images, solver.base_batch_size, scale, images,
        )  # fmt: skip
    depths = stage_depths(model) if solver.layer_decay is not None else {}
    settings = parameter_settings(
        [name for name, _ in model.named_parameters()],
        solver.parameters,
        scale=scale,
        layer_decay={name: (solver.layer_decay or 1.0) ** depth for name, depth in depths.items()},
    )
    regroup(optimizer, model, settings)
    logger.info("parameter groups\n%s", group_table(optimizer, model))
    return optimizer


def stage_depths(model: nn.Module) -> dict[str, int]:
    """How far before the end of the backbone each of its stages' parameters is: 1 in the last stage, ..., most in the stem.

    Raises:
        SegkitError: the backbone does not say what its stages are.
    """
    backbone: Any = getattr(model, "backbone", None)
    paths: Sequence[Sequence[str]] | None = getattr(backbone, "stage_paths", None)
    if paths is None:
        raise SegkitError(
            f"solver.layer_decay: {type(backbone).__name__} does not say what its stages are (stage_paths); "
            "give rules in solver.parameters instead",
            key="solver.layer_decay",
        )
    depths = {f"backbone.{path}.": len(paths) - i for i, stage in enumerate(paths) for path in stage}
    names = [name for name, _ in model.named_parameters()]
    return {name: depth for name in names for prefix, depth in depths.items() if name.startswith(prefix)}


def group_table(optimizer: torch.optim.Optimizer, model: nn.Module) -> str:
    """The optimizer's parameter groups: of which parts, how many parameters, learning rate (the base), weight decay."""
    rows = [
        [
            shortened(group["param_names"]),
            f"{sum(p.numel() for p in group['params']):,}",
            f"{group['lr']:.3g}",
            f"{group['weight_decay']:g}" if "weight_decay" in group else "",
        ]
        for group in optimizer.param_groups
    ]
    frozen = {name: p.numel() for name, p in model.named_parameters() if not p.requires_grad}
    if frozen:
        rows.append([shortened(list(frozen)), f"{sum(frozen.values()):,}", "frozen", ""])
    headers = ["of", "parameters", "learning rate", "weight decay"]
    return tabulate(rows, headers=headers, colalign=("left", "right", "right", "right"), disable_numparse=True)


def shortened(names: Sequence[str], limit: int = 4) -> str:
    """Dotted names in a few words: their longest beginnings of which there are at most ``limit``."""
    for depth in (4, 3, 2, 1):
        parts = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in names))
        if len(parts) <= limit:
            return ", ".join(parts)
    return ", ".join(parts[:limit]) + f" and {len(parts) - limit} more"

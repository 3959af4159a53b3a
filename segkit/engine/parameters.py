"""The model's parameters: freezing, optimizer groups, counts."""

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
    """Freezes the parameters that rules match; raises SegkitError if a rule matches none."""
    for i, rule in enumerate(rules):
        if rule.freeze:
            freeze_parameters(model, [rule.match], key=f"solver.parameters[{i}].match")


def build_optimizer(cfg: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Builds the optimizer over the model's trainable parameters and logs its groups.

    Raises:
        SegkitError: a rule matches no parameter, or ``layer_decay`` is set and the backbone does not name its stages.
    """
    solver, trainable = cfg.solver, [p for p in model.parameters() if p.requires_grad]
    optimizer = OPTIMIZER_REGISTRY.build(solver.optimizer, path="solver.optimizer", model=model, params=trainable)
    images, scale = cfg.data.batch_size * cfg.train.accumulate, 1.0
    if solver.base_batch_size is not None:
        scale = images / solver.base_batch_size
        logger.info(
            "solver.base_batch_size: learning rates times %d / %d = %g, as a step has %d images",
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
    """Returns each backbone parameter's number of stages to the end: 1 in the last stage.

    The stem has the largest distance. Parameters outside of the stages are not in the result.

    Raises:
        SegkitError: the backbone has no ``stage_paths``.
    """
    backbone: Any = getattr(model, "backbone", None)
    paths: Sequence[Sequence[str]] | None = getattr(backbone, "stage_paths", None)
    if paths is None:
        raise SegkitError(
            f"solver.layer_decay: {type(backbone).__name__} does not name its stages (stage_paths); write rules in "
            "solver.parameters instead",
            key="solver.layer_decay",
        )
    depths = {f"backbone.{path}.": len(paths) - i for i, stage in enumerate(paths) for path in stage}
    names = [name for name, _ in model.named_parameters()]
    return {name: depth for name in names for prefix, depth in depths.items() if name.startswith(prefix)}


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Returns the numbers of all and of trainable parameters; a shared parameter counts once."""
    parameters = list(module.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def parameter_table(model: nn.Module) -> str:
    """Formats the numbers of all and of trainable parameters of each part of the model."""
    rows = [(name, *count_parameters(part)) for name, part in model.named_children() if count_parameters(part)[0]]
    rows.append(("total", *count_parameters(model)))
    shown = [(name, f"{total:,}", f"{trainable:,}") for name, total, trainable in rows]
    return tabulate(shown, headers=["part", "parameters", "trainable"], colalign=("left", "right", "right"))


def group_table(optimizer: torch.optim.Optimizer, model: nn.Module) -> str:
    """Formats the optimizer's groups: parts, parameter counts, learning rates, weight decays."""
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
    headers = ["parts", "parameters", "learning rate", "weight decay"]
    return tabulate(rows, headers=headers, colalign=("left", "right", "right", "right"), disable_numparse=True)


def shortened(names: Sequence[str], limit: int = 4) -> str:
    """Returns dotted names as at most ``limit`` of their prefixes, as long as possible."""
    for depth in (4, 3, 2, 1):
        prefixes = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in names))
        if len(prefixes) <= limit:
            return ", ".join(prefixes)
    return ", ".join(prefixes[:limit]) + f" and {len(prefixes) - limit} more"

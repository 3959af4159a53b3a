"""Builds a model from a loaded configuration."""

from __future__ import annotations

from torch import nn

from segkit.config.schema import Config
from segkit.registry import META_ARCH_REGISTRY
from segkit.utils.errors import SegkitError


def build_model(cfg: Config, num_classes: int | None = None) -> nn.Module:
    """Builds ``cfg.model``, with its backbone's pretrained weights unless ``skip_pretrained()``.

    Args:
        cfg: a loaded configuration.
        num_classes: K; None: the number of ``cfg.data.classes``.
    Raises:
        SegkitError: the number of classes is unknown, or differs from the configuration's.
    """
    names = cfg.data.classes
    if num_classes is None:
        if names is None:
            raise SegkitError("data.classes is null, so build_model needs num_classes", key="data.classes")
        num_classes = len(names)
    elif names is not None and len(names) != num_classes:
        raise SegkitError(
            f"data.classes names {len(names)} classes ({', '.join(names)}), but num_classes is {num_classes}",
            key="data.classes",
        )
    return META_ARCH_REGISTRY.build(cfg.model, path="model", num_classes=num_classes)

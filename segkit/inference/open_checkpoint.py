"""What a Predictor is built from: a checkpoint's configuration, class names and model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.config.schema import Config


def check_source(source: Any, weights: Any, model: Any, overrides: Sequence[str]) -> None:
    """Raises unless exactly one model is specified, in one of the three ways."""
    if isinstance(source, (str, os.PathLike)):
        if weights is not None or model is not None:
            raise SegkitError(
                "Predictor(checkpoint) takes no weights or model; these need a configuration as first argument"
            )
        if Path(source).suffix.lower() in (".yaml", ".yml"):
            raise SegkitError(
                f"{source} is a configuration, not a checkpoint; pass the weights of a training run (.pth), in Python as "
                f"Predictor(segkit.load_config('{source}'), weights=...)",
                value=str(source),
            )
    elif (weights is None) == (model is None):
        raise SegkitError("Predictor(cfg, ...) needs either weights=PATH or model=MODULE")
    elif overrides:
        raise SegkitError(
            "overrides change a checkpoint's configuration; use Predictor(cfg.with_overrides([...]), ...)"
        )
    if isinstance(overrides, str):
        raise SegkitError(f"overrides: expected a list, as ['KEY=VALUE'], got the text '{overrides}'", value=overrides)


def config_of(content: dict[str, Any], path: str, overrides: Sequence[str]) -> Config:
    """Returns the configuration of a checkpoint."""
    from segkit.config.loader import load_config_dict

    if "config" not in content:
        raise SegkitError(
            f"{path} holds no configuration, so it is not a checkpoint of segkit's training; "
            "use Predictor(segkit.load_config(FILE), weights=...)",
            value=path,
        )
    return load_config_dict(content["config"], path, overrides)


def class_names(content: dict[str, Any], cfg: Config, model: Any, weights: Any) -> list[str]:
    """Returns the class names of the checkpoint, else of the model, else of the configuration.

    Raises:
        SegkitError: checkpoint and configuration differ, or there are none.
    """
    stored, configured = content.get("classes"), cfg.data.classes
    if stored is not None and configured is not None and list(stored) != list(configured):
        raise SegkitError(
            f"{weights} was trained for the classes {', '.join(stored)}, but data.classes says {', '.join(configured)}",
            key="data.classes",
        )
    names = stored or getattr(model, "classes", None) or configured
    if names:
        return [str(name) for name in names]
    if model is not None:
        return [f"class{k}" for k in range(1, int(model.num_classes) + 1)]
    raise SegkitError(f"{weights} has no class names, and data.classes is null: set data.classes", key="data.classes")


def build_loaded(cfg: Config, classes: list[str], weights: str, content: dict[str, Any]) -> nn.Module:
    """Builds the model of a configuration and loads a checkpoint's weights."""
    from segkit.modeling.build import build_model
    from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained

    with skip_pretrained():  # the checkpoint overwrites all weights that the backbone would fetch
        model = build_model(cfg, len(classes))
    model.classes = classes  # type: ignore[assignment]  # load_checkpoint compares them with the checkpoint's
    load_checkpoint(model, weights, content=content)
    return model


def checked_order(order: Any, cfg: Config) -> str:
    """The order of colours; raises SegkitError if it is unknown, or the channels are no colours."""
    if order not in ("rgb", "bgr"):
        raise SegkitError(f"channel_order: expected rgb or bgr, not {order!r}", key="channel_order", value=order)
    if order == "bgr" and cfg.data.channels is not None:
        raise SegkitError(
            "channel_order: bgr is for colour images, but data.channels chooses channels, which arrays have in that order",
            key="channel_order",
            value=order,
        )
    return order

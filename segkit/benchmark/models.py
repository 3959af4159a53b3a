"""The device and the model that a tool's flags select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from segkit.benchmark.options import Options
from segkit.config.schema import Config
from segkit.modeling.build import build_model
from segkit.modeling.weights.reading import skip_pretrained
from segkit.utils.device import check_precision, choose_device

DEFAULT_CLASSES = 80


def chosen_device(options: Options) -> torch.device:
    """The selected device; messages name the tools' flags, not the configuration's keys."""
    device = choose_device(options.device, key="--device")
    check_precision(options.precision, device, key="--precision")
    return device


def build_random(cfg: Config, num_classes: int | None, classes: Sequence[str] | None = None) -> Any:
    """A configuration's model with random weights, on the CPU; nothing is downloaded.

    Args:
        num_classes: K; None: the number of the configuration's classes or ``classes``, else 80.
        classes: of a checkpoint that will be loaded.
    """
    if num_classes is None:
        known = cfg.data.classes or classes
        num_classes = DEFAULT_CLASSES if known is None else len(known)
    with skip_pretrained():
        return build_model(cfg, num_classes)

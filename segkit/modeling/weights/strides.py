"""Where the bottlenecks of a ResNet have their stride: weights fit one place only, and do not show which."""

from __future__ import annotations

import re

from torch import nn

from segkit.utils.errors import SegkitError


def stride_in_1x1(model: nn.Module) -> bool | None:
    """Whether bottlenecks have their stride in the first 1x1 convolution; None: the model has none with a stride."""
    for name, module in model.named_modules():
        if re.search(r"(^|\.)layer\d\.0$", name) and hasattr(module, "conv3"):
            first, middle = module.conv1.stride[0], module.conv2.stride[0]
            if first != middle:
                return bool(first > middle)
    return None


def check_stride(backbone: nn.Module, wanted: bool, source: str) -> None:
    """Raise SegkitError if the weights of ``source`` want the stride elsewhere than ``backbone`` has it."""
    place = stride_in_1x1(backbone)
    if place is not None and place != wanted:
        raise SegkitError(
            f"weights '{source}' were trained with the stride in the {'1x1' if wanted else '3x3'} convolution of a "
            f"bottleneck: they need stride_in_1x1: {str(wanted).lower()}",
            key="stride_in_1x1", value=source,
        )  # fmt: skip

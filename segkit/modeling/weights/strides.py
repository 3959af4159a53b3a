"""Position of the stride in a ResNet's bottlenecks, which weights depend on but do not show."""

from __future__ import annotations

import re

from torch import nn

from segkit.utils.errors import SegkitError


def stride_in_1x1(model: nn.Module) -> bool | None:
    """Whether bottlenecks have their stride in the first 1x1 convolution; None: none has one."""
    for name, module in model.named_modules():
        if re.search(r"(^|\.)layer\d\.0$", name) and hasattr(module, "conv3"):
            first, middle = module.conv1.stride[0], module.conv2.stride[0]
            if first != middle:
                return bool(first > middle)
    return None


def check_stride(backbone: nn.Module, expected: bool, source: str) -> None:
    """Raises a SegkitError if ``backbone`` has the stride elsewhere than the weights.

    Args:
        backbone: any network.
        expected: whether the weights were trained with the stride in the 1x1 convolution.
        source: of the weights, for the message.
    """
    found = stride_in_1x1(backbone)
    if found is not None and found != expected:
        raise SegkitError(
            f"weights '{source}' were trained with the stride in the {'1x1' if expected else '3x3'} convolution of a "
            f"bottleneck: they need stride_in_1x1: {str(expected).lower()}",
            key="stride_in_1x1", value=source,
        )  # fmt: skip

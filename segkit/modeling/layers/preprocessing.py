"""Checks and normalises images before the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.utils.errors import SegkitError

# Of torchvision's and most other weights from ImageNet; RGB in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def check_images(images: Sequence[Tensor], channels: int) -> None:
    """Raises a SegkitError for the first image that a model with ``channels`` cannot take."""
    if len(images) == 0:
        raise SegkitError("no images were given")
    for i, image in enumerate(images):
        if not isinstance(image, Tensor):
            raise SegkitError(f"images[{i}]: expected a tensor [{channels}, H, W], got {type(image).__name__}")
        if image.dim() != 3 or image.shape[0] != channels or 0 in image.shape:
            raise SegkitError(f"images[{i}]: expected a tensor [{channels}, H, W], got {list(image.shape)}")
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise SegkitError(f"images[{i}]: expected uint8, or float in 0..1, got {image.dtype}")


def normalize(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """``(image - mean) / std`` of an image [C, H, W], uint8 or float in 0..1.

    ``mean`` and ``std`` [C, 1, 1] are for values in 0..1.
    """
    scale = 255.0 if image.dtype == torch.uint8 else 1.0
    return (image.float() / scale - mean) / std

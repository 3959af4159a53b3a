"""Folds the pixel format of pretrained weights (BGR or RGB, range, deviation) into the stem.

The format is a permutation and a factor for each input channel, which the stem's weights can absorb. The mean cannot be
folded: every framework pads images with 0 after subtracting it, so that it must be the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segkit.modeling.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD

# Largest difference of two means that count as equal, for values in 0..255.
TOLERANCE = 0.01


@dataclass(frozen=True)
class PixelFormat:
    """Pixel format of a stem's input.

    Attributes:
        mean: of each channel in the stem's order, for values in 0..255.
        std: standard deviation of each channel, likewise.
        bgr: whether the order is blue, green, red.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False

    def __str__(self) -> str:
        std = "" if all(value == 1 for value in self.std) else f", deviation {list(self.std)}"
        return f"{'BGR' if self.bgr else 'RGB'} in 0..255{std}"


IMAGENET_RGB = PixelFormat(
    tuple(round(255 * m, 3) for m in IMAGENET_MEAN), tuple(round(255 * s, 3) for s in IMAGENET_STD)
)


def mean_of(pixels: PixelFormat) -> Tensor:
    """Mean [C] in RGB order for values in 0..1: the ``pixel_mean`` that a model needs."""
    mean = torch.tensor(pixels.mean, dtype=torch.float64)
    return (mean.flip(0) if pixels.bgr else mean) / 255


def fold_pixels(stem: Tensor, pixels: PixelFormat, std: Tensor) -> Tensor:
    """Converts a stem's weights to RGB input in 0..1.

    Args:
        stem: [O, C, h, w] weights for input in the format ``pixels``.
        pixels: format that the weights were trained with.
        std: [C] standard deviations that the new input is divided by, RGB, for values in 0..1.
    Returns:
        [O, C, h, w] weights with the same outputs, given the same mean.
    """
    old = torch.tensor(pixels.std, dtype=torch.float64)
    if pixels.bgr:
        stem, old = stem.flip(1), old.flip(0)
    factor = 255 * std.double().flatten() / old
    if torch.allclose(factor, torch.ones_like(factor), atol=1e-6):
        return stem
    return (stem.double() * factor[:, None, None]).to(stem.dtype)


def same_mean(pixels: PixelFormat, mean: Tensor) -> bool:
    """Whether a model's ``pixel_mean`` (any shape, C values) is that of the weights."""
    expected = mean_of(pixels)
    return expected.numel() == mean.numel() and bool(
        ((expected - mean.double().flatten()).abs() * 255 < TOLERANCE).all()
    )

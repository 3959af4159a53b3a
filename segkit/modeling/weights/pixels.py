"""What a stem expects of its input, folded into its weights.

Networks were trained on RGB or BGR, on values in 0..1 or 0..255, with a deviation or without. All that is a permutation
and a factor for each input channel, so the stem's weights can take it up. A mean cannot be folded: the padding around
an image is 0 after the mean was taken off, in every framework, and so the mean must be the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segkit.modeling.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD

# How far two means may lie apart and still be called the same, for values in 0..255.
TOLERANCE = 0.01


@dataclass(frozen=True)
class PixelFormat:
    """What a stem's input channels are.

    Attributes:
        mean: of each channel in the stem's order, for values in 0..255.
        std: likewise.
        bgr: whether blue comes first.
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
    """[C] mean in RGB order for values in 0..1: what a model's ``pixel_mean`` has to be."""
    mean = torch.tensor(pixels.mean, dtype=torch.float64)
    return (mean.flip(0) if pixels.bgr else mean) / 255


def fold_pixels(stem: Tensor, pixels: PixelFormat, std: Tensor) -> Tensor:
    """A stem's weights for RGB input in 0..1.

    Args:
        stem: [O, C, h, w] weights for input as in ``pixels``.
        pixels: what the weights were trained on.
        std: [C] the deviations that the new input is divided by, RGB, for values in 0..1.
    Returns:
        [O, C, h, w]: the same outputs, given the same mean.
    """
    old = torch.tensor(pixels.std, dtype=torch.float64)
    if pixels.bgr:
        stem, old = stem.flip(1), old.flip(0)
    factor = 255 * std.double().flatten() / old
    if torch.allclose(factor, torch.ones_like(factor), atol=1e-6):
        return stem
    return (stem.double() * factor[:, None, None]).to(stem.dtype)


def same_mean(pixels: PixelFormat, mean: Tensor) -> bool:
    """Whether a model's ``pixel_mean`` (any shape, C values) is the one that the weights were trained with."""
    wanted = mean_of(pixels)
    return wanted.numel() == mean.numel() and bool(((wanted - mean.double().flatten()).abs() * 255 < TOLERANCE).all())

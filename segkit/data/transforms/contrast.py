"""Normalises the contrast of images: percentile stretch, dark background.

Used in the training transforms *and* the test transforms.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from segkit.data.transforms.photometric import Photometric
from segkit.registry import TRANSFORM_REGISTRY


@TRANSFORM_REGISTRY.register
class PercentileContrast(Photometric):
    """Stretches the range between two percentiles of the image to 0..255 and clips the rest.

    Made for microscopy, where the exposure of images differs by factors. Use it in the training *and* the test
    transforms, before any crop, because the percentiles of a crop differ from those of its image. All channels are
    stretched by the same factor, so that hues stay.

    Args:
        low: percentile that becomes 0, from 0 to 100.
        high: percentile that becomes 255.
        min_range: smallest range that is stretched, as a share of 0..255, so that noise in an almost constant image is
            not amplified to full contrast.
        p: probability; below 1 for an augmentation.
    """

    examples = ({}, {"low": 2.0, "high": 98.0, "p": 0.5})

    def __init__(self, *, low: float = 0.1, high: float = 99.9, min_range: float = 0.05, p: float = 1.0) -> None:
        if not 0 <= low < high <= 100:
            raise ValueError(f"expected percentiles 0 <= low < high <= 100; got {low} and {high}")
        if not 0 < min_range <= 1:
            raise ValueError(f"min_range: expected above 0, to 1; got {min_range}")
        super().__init__(partial(stretch, low=low, high=high, min_range=min_range), p)
        self.low = low
        self.high = high
        self.min_range = min_range

    def __repr__(self) -> str:
        return f"PercentileContrast(low={self.low}, high={self.high}, min_range={self.min_range}, p={self.p})"


@TRANSFORM_REGISTRY.register
class DarkBackground(Photometric):
    """Inverts images with a light background, so that all images have a dark one.

    For data sets that mix fluorescence and brightfield images: the network learns one polarity, and a few images of the
    rarer kind suffice. The image's median is taken as its background.

    Args:
        threshold: images with a median above it are inverted; 1 is white.
    """

    def __init__(self, *, threshold: float = 0.5) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected 0 to 1; got {threshold}")
        super().__init__(partial(darken, threshold=threshold), p=1.0)
        self.threshold = threshold

    def __repr__(self) -> str:
        return f"DarkBackground(threshold={self.threshold})"


def stretch(image: torch.Tensor, low: float, high: float, min_range: float) -> torch.Tensor:
    """Stretches a uint8 image [C, H, W]: percentiles ``low`` and ``high`` become 0 and 255."""
    black, white = percentiles(image, low, high)
    width = max(float(white - black), min_range * 255)
    table = np.clip((np.arange(256) - black) * (255 / width), 0, 255).round().astype(np.uint8)
    return torch.from_numpy(table[image.numpy()])


def darken(image: torch.Tensor, threshold: float) -> torch.Tensor:
    """Inverts a uint8 image [C, H, W] if its median is above ``threshold`` (1 is white)."""
    return 255 - image if percentiles(image, 50)[0] > threshold * 255 else image


def percentiles(image: torch.Tensor, *percents: float) -> list[int]:
    """Percentiles of a uint8 image's samples by nearest rank, from a histogram."""
    counts = np.cumsum(np.bincount(image.numpy().reshape(-1), minlength=256))
    return np.searchsorted(counts, np.maximum(1, np.ceil(np.array(percents) / 100 * counts[-1]))).tolist()

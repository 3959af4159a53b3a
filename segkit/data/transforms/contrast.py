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
    """Stretches the range between two percentiles to black and white and clips the rest.

    Made for microscopy, where the exposure of images differs by factors. Use it in the training *and* the test
    transforms, before any crop, because the percentiles of a crop differ from those of its image. The channels of a grey
    or RGB image are stretched by the same factor, so that hues stay; those of an image of any other number of channels
    each by its own.

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
    rarer kind suffice. The image's median is taken as its background; if it has other than one or three channels, each
    channel has its own median and is inverted by itself.

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
    """Stretches an image: percentiles ``low`` and ``high`` become black and white.

    [C, H, W], uint8 or float in 0..1.
    """
    if len(image) not in (1, 3):
        return torch.cat([stretch(channel, low, high, min_range) for channel in image[:, None]])
    black, white = percentiles(image, low, high)
    if image.is_floating_point():
        return ((image - black) / max(white - black, min_range)).clamp_(0, 1)
    width = max(float(white - black), min_range * 255)
    table = np.clip((np.arange(256) - black) * (255 / width), 0, 255).round().astype(np.uint8)
    return torch.from_numpy(table[image.numpy()])


def darken(image: torch.Tensor, threshold: float) -> torch.Tensor:
    """Inverts an image whose median is above ``threshold`` (1 is white).

    [C, H, W], uint8 or float in 0..1.
    """
    if len(image) not in (1, 3):
        return torch.cat([darken(channel, threshold) for channel in image[:, None]])
    white = 1 if image.is_floating_point() else 255
    return white - image if percentiles(image, 50)[0] > threshold * white else image


def percentiles(image: torch.Tensor, *percents: float) -> list[float]:
    """Percentiles of the samples of a uint8 or float image by nearest rank."""
    samples = image.numpy().reshape(-1)
    ranks = np.maximum(1, np.ceil(np.array(percents) / 100 * samples.size))
    if image.is_floating_point():
        indices = ranks.astype(np.int64) - 1
        return [float(v) for v in np.partition(samples, np.unique(indices))[indices]]
    return np.searchsorted(np.cumsum(np.bincount(samples, minlength=256)), ranks).tolist()

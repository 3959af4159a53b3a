"""Bringing images of different exposure and polarity to one look: no augmentation, part of training *and* test transforms."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from segkit.data.transforms.photometric import Photometric
from segkit.registry import TRANSFORM_REGISTRY


@TRANSFORM_REGISTRY.register
class PercentileContrast(Photometric):
    """Stretch the values between two percentiles of the image to the full range; what lies outside is clipped.

    For microscopy, where exposure differs from image to image by factors. It belongs in the training *and* the test
    transforms, before any crop: the percentiles of a crop are not those of its image. All channels are stretched by the
    same factor, so that colours keep their hue.

    Args:
        low: percentile that becomes black, 0 to 100.
        high: percentile that becomes white.
        min_range: the least difference of the two, where white is 1: an image with less in it is stretched only as if
            it had so much, and is not blown up to noise.
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
    """Make the negative of images whose background is light, so that objects are light on dark in all.

    For sets that mix fluorescence with brightfield: the network learns one polarity, and a few images of the rarer
    kind are enough. The background is taken to be the image's median.

    Args:
        threshold: a median above this is light; white is 1.
    """

    def __init__(self, *, threshold: float = 0.5) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected 0 to 1; got {threshold}")
        super().__init__(partial(darken, threshold=threshold), p=1.0)
        self.threshold = threshold

    def __repr__(self) -> str:
        return f"DarkBackground(threshold={self.threshold})"


def stretch(image: torch.Tensor, low: float, high: float, min_range: float) -> torch.Tensor:
    """A uint8 image [C, H, W] with the ``low`` percentile of all its values at 0 and the ``high`` one at 255."""
    black, white = percentiles(image, low, high)
    width = max(float(white - black), min_range * 255)
    table = np.clip((np.arange(256) - black) * (255 / width), 0, 255).round().astype(np.uint8)
    return torch.from_numpy(table[image.numpy()])


def darken(image: torch.Tensor, threshold: float) -> torch.Tensor:
    """The negative of a uint8 image [C, H, W] whose median is above ``threshold``, where white is 1."""
    return 255 - image if percentiles(image, 50)[0] > threshold * 255 else image


def percentiles(image: torch.Tensor, *shares: float) -> list[int]:
    """The smallest values that so many percent of a uint8 image's values do not exceed (nearest rank)."""
    counts = np.cumsum(np.bincount(image.numpy().reshape(-1), minlength=256))
    return np.searchsorted(counts, np.maximum(1, np.ceil(np.array(shares) / 100 * counts[-1]))).tolist()

"""Resizes images bilinearly, by default with antialiasing.

Models never resize; only transforms do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import Transform, randint, uniform
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample


@TRANSFORM_REGISTRY.register
class ResizeShortestEdge(Transform):
    """Resizes the shorter side to one of ``sizes``, the longer one to at most ``max_size``.

    The aspect ratio stays.

    Args:
        sizes: pixels of the shorter side; one of several is drawn for each sample.
        max_size: most pixels of the longer side; None: no limit.
        antialias: turn it off only for models that were trained without (torchvision's detection models).
    """

    examples = ({"sizes": [24]}, {"sizes": [40, 56], "max_size": 60}, {"sizes": [100], "antialias": False})
    inversion = "recorded"

    def __init__(self, *, sizes: Sequence[int], max_size: int | None = None, antialias: bool = True) -> None:
        if not sizes or min(sizes) < 1:
            raise ValueError(f"sizes: expected one or more sizes in pixels; got {list(sizes)}")
        if max_size is not None and max_size < 1:
            raise ValueError(f"max_size: expected pixels or null; got {max_size}")
        self.sizes = list(sizes)
        self.max_size = max_size
        self.antialias = antialias

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        size = self.sizes[randint(0, len(self.sizes) - 1, generator)]
        height, width = sample.image.shape[1:]
        return geometry.resize(sample, shortest_edge_size(height, width, size, self.max_size), self.antialias)


def shortest_edge_size(height: int, width: int, size: int, max_size: int | None) -> tuple[int, int]:
    """(H, W) with a shorter side of ``size`` and a longer side of at most ``max_size``.

    >>> shortest_edge_size(600, 1000, 800, 1333)
    (800, 1333)
    """
    scale = size / min(height, width)
    if max_size is not None and scale * max(height, width) > max_size:
        scale = max_size / max(height, width)
    # Rounded as in Detectron2 (torchvision rounds down), but never to 0.
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


@TRANSFORM_REGISTRY.register
class Resize(Transform):
    """Resizes to a fixed size; the aspect ratio may change.

    Args:
        size: one number for a square, or [height, width].
        antialias: as in ResizeShortestEdge.
    """

    examples = ({"size": 32}, {"size": [70, 45], "antialias": False})
    inversion = "recorded"

    def __init__(self, *, size: int | Sequence[int], antialias: bool = True) -> None:
        self.size = height_and_width(size)
        self.antialias = antialias

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        return geometry.resize(sample, self.size, self.antialias)


@TRANSFORM_REGISTRY.register
class RandomScale(Transform):
    """Scales by a random factor, uniform on a logarithmic scale; keeps the aspect ratio.

    Args:
        min_scale: smallest scale factor.
        max_scale: largest scale factor.
        antialias: as in ResizeShortestEdge.
    """

    inversion = "recorded"

    def __init__(self, *, min_scale: float = 0.8, max_scale: float = 1.25, antialias: bool = True) -> None:
        check_scales(min_scale, max_scale)
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.antialias = antialias

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        factor = draw_scale(self.min_scale, self.max_scale, generator)
        height, width = sample.image.shape[1:]
        size = (max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5)))
        return geometry.resize(sample, size, self.antialias)


def check_scales(min_scale: float, max_scale: float) -> None:
    """Raises a ValueError unless 0 < min_scale <= max_scale."""
    if not 0 < min_scale <= max_scale:
        raise ValueError(f"expected 0 < min_scale <= max_scale; got {min_scale} and {max_scale}")


def draw_scale(min_scale: float, max_scale: float, generator: torch.Generator) -> float:
    """Draws a factor uniformly on a logarithmic scale: 1/2 is as likely as 2."""
    return min_scale * (max_scale / min_scale) ** uniform(0, 1, generator)


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Converts one number or a pair to (H, W); ValueError for anything else."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"size: expected one number of pixels, or [height, width]; got {size}")
    return int(sides[0]), int(sides[1])

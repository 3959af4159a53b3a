"""Random crops, with or without random scaling."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import Transform, check_probability, randint
from segkit.data.transforms.resizing import check_scales, draw_scale, height_and_width
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample

RANDOM_CROP_WARNING = (
    "crops each image at a random position: objects outside of the crop are not detected, and evaluation counts them as "
    "missed"
)


@TRANSFORM_REGISTRY.register
class RandomCrop(Transform):
    """Crops to ``size`` at a random position; a side that is shorter than that stays as it is.

    Objects outside of the crop are removed; ``sample.dropped`` counts them.

    Args:
        size: one number of pixels for a square, or [height, width].
        min_visibility: share of its area that an object must keep, 0 to 1; others are removed. The pixels of removed
            objects remain in the image as background: values far above 0 teach the model to miss objects at the border.
    """

    examples = ({"size": 20}, {"size": [30, 1000], "min_visibility": 0.3}, {"size": 1})
    inversion = "recorded"
    reads_windows = True

    def __init__(self, *, size: int | Sequence[int], min_visibility: float = 0.0) -> None:
        check_probability(min_visibility)
        self.size = height_and_width(size)
        self.min_visibility = min_visibility

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        return random_crop(sample, self.size, self.min_visibility, generator)

    def test_warning(self) -> str:
        return RANDOM_CROP_WARNING


@TRANSFORM_REGISTRY.register
class RandomScaledCrop(Transform):
    """Scales by a random factor and crops, as RandomScale and RandomCrop together do.

    The image is cropped before it is resized, which is faster for images much larger than the crop. Factors are uniform
    on a logarithmic scale.

    Args:
        size: of the result: one number of pixels for a square, or [height, width]; smaller if the scaled image is.
        min_scale: smallest scale factor.
        max_scale: largest scale factor.
        min_visibility: as in RandomCrop.
        antialias: as in ResizeShortestEdge.
    """

    examples = (
        {"size": 20, "min_scale": 0.5, "max_scale": 2.0},
        {"size": [30, 1000], "min_scale": 1.5, "max_scale": 1.5},
        {"size": 200, "antialias": False},
    )
    inversion = "recorded"
    reads_windows = True

    def __init__(
        self,
        *,
        size: int | Sequence[int],
        min_scale: float = 0.8,
        max_scale: float = 1.25,
        min_visibility: float = 0.0,
        antialias: bool = True,
    ) -> None:
        check_probability(min_visibility)
        check_scales(min_scale, max_scale)
        self.size = height_and_width(size)
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.min_visibility = min_visibility
        self.antialias = antialias

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        factor = draw_scale(self.min_scale, self.max_scale, generator)
        return scaled_crop(sample, factor, self.size, self.min_visibility, self.antialias, generator)

    def test_warning(self) -> str:
        return RANDOM_CROP_WARNING


def scaled_crop(
    sample: Sample,
    factor: float,
    size: tuple[int, int],
    min_visibility: float,
    antialias: bool,
    generator: torch.Generator,
) -> Sample:
    """Scales by ``factor`` and crops to at most ``size`` (H, W) at a random position.

    The other arguments are those of RandomCrop.
    """
    window = tuple(max(1, round(side / factor)) for side in size)
    full = sample.image.shape[1:]
    sample = random_crop(sample, (window[0], window[1]), min_visibility, generator)
    height, width = (
        target if cut < side else max(1, min(target, round(side * factor)))
        for target, cut, side in zip(size, window, full, strict=True)
    )
    return geometry.resize(sample.materialised(), (height, width), antialias)


def random_crop(sample: Sample, size: tuple[int, int], min_visibility: float, generator: torch.Generator) -> Sample:
    """Crops to at most ``size`` (H, W) at a random position.

    ``min_visibility`` is that of RandomCrop.
    """
    height, width = sample.image.shape[1:]
    rows, columns = min(size[0], height), min(size[1], width)
    top, left = randint(0, height - rows, generator), randint(0, width - columns, generator)
    if (rows, columns) == (height, width):
        return sample
    return geometry.crop(sample, (left, top, left + columns, top + rows), min_visibility)

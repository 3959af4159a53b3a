"""Random crops."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import Transform, check_probability, randint
from segkit.data.transforms.resizing import height_and_width
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample


@TRANSFORM_REGISTRY.register
class RandomCrop(Transform):
    """Cut out a window at a random place; where the image is smaller than the window, that side stays as it is.

    Objects of which nothing is left go with their box and label; ``sample.dropped`` counts them.

    Args:
        size: one number of pixels for a square, or [height, width].
        min_visibility: share of its area that an object must keep to stay, 0 to 1. The pixels of those removed remain
            in the image, as background to the model: values much above 0 teach it to overlook objects at the border.
    """

    examples = ({"size": 20}, {"size": [30, 1000], "min_visibility": 0.3}, {"size": 1})

    def __init__(self, *, size: int | Sequence[int], min_visibility: float = 0.0) -> None:
        check_probability(min_visibility)
        self.size = height_and_width(size)
        self.min_visibility = min_visibility

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        height, width = sample.image.shape[1:]
        rows, columns = min(self.size[0], height), min(self.size[1], width)
        top, left = randint(0, height - rows, generator), randint(0, width - columns, generator)
        if (rows, columns) == (height, width):
            return sample
        return geometry.crop(sample, (left, top, left + columns, top + rows), self.min_visibility)

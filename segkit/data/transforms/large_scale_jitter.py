"""Large-scale jittering: random scaling by large factors to an image of fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import Transform, check_probability, uniform
from segkit.data.transforms.cropping import RANDOM_CROP_WARNING, scaled_crop
from segkit.data.transforms.resizing import check_scales, height_and_width
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample


@TRANSFORM_REGISTRY.register
class LargeScaleJitter(Transform):
    """Large-scale jittering to a fixed size (Ghiasi et al. 2021, Simple Copy-Paste, section 3).

    The image is scaled, with its aspect ratio, to fit into ``size`` times a factor that is uniform between ``min_scale``
    and ``max_scale``. Where it is then larger than ``size`` it is cropped at a random position, where it is smaller it is
    padded at the right and bottom. As in RandomScaledCrop, it is cropped before it is resized.

    Args:
        size: of the result: one number of pixels for a square, or [height, width].
        min_scale: smallest scale factor.
        max_scale: largest scale factor.
        fill: colour of the padding, 0 to 255: one value, or one a channel.
        min_visibility: as in RandomCrop.
        antialias: as in ResizeShortestEdge.
    """

    examples = (
        {"size": 64},
        {"size": [40, 90], "min_scale": 0.5, "max_scale": 0.9, "min_visibility": 0.2},
        {"size": 50, "min_scale": 3.0, "max_scale": 3.0, "antialias": False},
    )
    inversion = "recorded"
    reads_windows = True

    def __init__(
        self,
        *,
        size: int | Sequence[int],
        min_scale: float = 0.1,
        max_scale: float = 2.0,
        fill: int | Sequence[int] = 0,
        min_visibility: float = 0.0,
        antialias: bool = True,
    ) -> None:
        check_scales(min_scale, max_scale)
        check_probability(min_visibility)
        geometry.check_fill(fill)
        self.size = height_and_width(size)
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.fill = fill
        self.min_visibility = min_visibility
        self.antialias = antialias

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        height, width = sample.image.shape[1:]
        fitting = min(self.size[0] / height, self.size[1] / width)
        factor = fitting * uniform(self.min_scale, self.max_scale, generator)
        sample = scaled_crop(sample, factor, self.size, self.min_visibility, self.antialias, generator)
        return geometry.pad(sample, self.size, self.fill)

    def test_warning(self) -> str:
        return RANDOM_CROP_WARNING if self.max_scale > 1 else ""

"""Mosaic: combines four images into one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import MixingTransform, check_probability, randint, uniform
from segkit.data.transforms.cropping import random_crop
from segkit.data.transforms.resizing import height_and_width
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets


@TRANSFORM_REGISTRY.register
class Mosaic(MixingTransform):
    """Combines four images into one with probability ``p`` (YOLOv4, section 3.3).

    Bochkovskiy et al. 2020. The sample's image is at the top left; the others are random images of the data set, after
    the transforms before this one. Each image is cropped at a random position to the size of its quadrant; a smaller image
    touches the point where the quadrants meet, and the rest is filled. Nothing is resized: put resizing transforms before
    this one.

    Args:
        size: of the result: one number of pixels for a square, or [height, width].
        min_share: smallest share of height and width of a quadrant, above 0, at most 0.5.
        fill: colour of uncovered pixels, 0 to 255: one value, or one a channel.
        min_visibility: as in RandomCrop.
        p: probability.
    """

    examples = (
        {"size": 64},
        {"size": [100, 150], "min_visibility": 0.3},
        {"size": [301, 300], "min_share": 0.5},
        {"size": 2},
    )

    def __init__(
        self,
        *,
        size: int | Sequence[int],
        min_share: float = 0.25,
        fill: int | Sequence[int] = 0,
        min_visibility: float = 0.0,
        p: float = 1.0,
    ) -> None:
        check_probability(p)
        check_probability(min_visibility)
        geometry.check_fill(fill)
        self.size = height_and_width(size)
        if min(self.size) < 2:
            raise ValueError(f"size: four images need at least 2 x 2 pixels; got {size}")
        if not 0 < min_share <= 0.5:
            raise ValueError(f"min_share: expected above 0, to 0.5; got {min_share}")
        self.min_share = min_share
        self.fill = fill
        self.min_visibility = min_visibility
        self.p = p

    def mix(self, sample: Sample, draw_other: Callable[[], Sample], generator: torch.Generator) -> Sample:
        if uniform(0, 1, generator) >= self.p:
            return sample
        height, width = self.size
        y, x = (self._meeting_point(side, generator) for side in self.size)
        parts: list[Sample] = []
        corners, targets = [], []
        for right, below in ((False, False), (True, False), (False, True), (True, True)):
            room = (height - y if below else y, width - x if right else x)
            part = random_crop(draw_other() if parts else sample, room, self.min_visibility, generator)
            rows, columns = part.image.shape[1:]
            top, left = y if below else y - rows, x if right else x - columns
            corners.append((top, left))
            targets.append(geometry.place(part.targets, self.size, left, top))
            parts.append(part)
        images = geometry.of_one_type([part.image for part in parts])
        image = geometry.blank(self.size, self.fill, images[0])
        for (top, left), quadrant in zip(corners, images, strict=True):
            image[:, top : top + quadrant.shape[1], left : left + quadrant.shape[2]] = quadrant
        return dataclasses.replace(
            sample,
            image=image,
            targets=Targets.cat(targets),
            dropped=sum(part.dropped for part in parts),
            rescued=sum(part.rescued for part in parts),
            geometry=sample.known_geometry.not_invertible("a mosaic", self.size),
        )

    def _meeting_point(self, side: int, generator: torch.Generator) -> int:
        least = max(1, round(side * self.min_share))
        return randint(min(least, side // 2), max(side - least, side // 2), generator)

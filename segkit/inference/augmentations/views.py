"""Test-time augmentations: flips, quarter turns, scales."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated

from segkit.config.typecheck import Bounds
from segkit.data.transforms import geometry
from segkit.inference.augmentations.base import TestAugmentation, View, unchanged
from segkit.registry import TEST_AUGMENTATION_REGISTRY
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError


@TEST_AUGMENTATION_REGISTRY.register
class Flips(TestAugmentation):
    """The image and its mirror images.

    Args:
        horizontal: mirrored left and right.
        vertical: mirrored top and bottom; with ``horizontal`` also both ways, so that there are four views.
    """

    def __init__(self, *, horizontal: bool = True, vertical: bool = False) -> None:
        if not (horizontal or vertical):
            raise SegkitError("Flips: neither horizontal nor vertical; set one of them or remove Flips")
        self.horizontal, self.vertical = horizontal, vertical

    def views(self) -> list[View]:
        flips: list[View] = [unchanged]
        if self.horizontal:
            flips.append(geometry.hflip)
        if self.vertical:
            flips.append(geometry.vflip)
        if self.horizontal and self.vertical:
            flips.append(functools.partial(geometry.rot90, k=2))
        return flips


@TEST_AUGMENTATION_REGISTRY.register
class QuarterTurns(TestAugmentation):
    """The image turned by 0, 90, 180 and 270 degrees.

    With ``Flips`` these are all eight positions of a square.
    """

    def views(self) -> list[View]:
        return [unchanged, *(functools.partial(geometry.rot90, k=k) for k in (1, 2, 3))]


@TEST_AUGMENTATION_REGISTRY.register
class Scales(TestAugmentation):
    """The image and resized ones.

    Args:
        factors: sizes relative to the network's input, which the test transforms make; 1 is always a view.
    """

    def __init__(self, *, factors: Sequence[Annotated[float, Bounds(0.1, 10)]] = (0.75, 1.25)) -> None:
        if not factors:
            raise SegkitError("Scales: no factors; name one or remove Scales", key="factors")
        self.factors = list(factors)

    def views(self) -> list[View]:
        return [unchanged, *(functools.partial(_scaled, factor=factor) for factor in self.factors)]


def _scaled(sample: Sample, factor: float) -> Sample:
    height, width = sample.image.shape[1:]
    return geometry.resize(sample, (max(1, round(height * factor)), max(1, round(width * factor))))

"""Random flips and quarter turns, which lose no pixels."""

from __future__ import annotations

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import Transform, check_probability, randint, uniform
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample


@TRANSFORM_REGISTRY.register
class RandomHorizontalFlip(Transform):
    """Flips left and right with probability ``p``."""

    inversion = "recorded"

    def __init__(self, *, p: float = 0.5) -> None:
        check_probability(p)
        self.p = p

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        return geometry.hflip(sample) if uniform(0, 1, generator) < self.p else sample


@TRANSFORM_REGISTRY.register
class RandomVerticalFlip(Transform):
    """Flips top and bottom with probability ``p``."""

    inversion = "recorded"

    def __init__(self, *, p: float = 0.5) -> None:
        check_probability(p)
        self.p = p

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        return geometry.vflip(sample) if uniform(0, 1, generator) < self.p else sample


@TRANSFORM_REGISTRY.register
class RandomQuarterTurn(Transform):
    """With probability ``p``, rotates by 90, 180 or 270 degrees.

    With ``p`` = 0.75 all four orientations are equally likely.
    """

    inversion = "recorded"

    def __init__(self, *, p: float = 0.75) -> None:
        check_probability(p)
        self.p = p

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        turn = uniform(0, 1, generator) < self.p
        turns = randint(1, 3, generator)
        return geometry.rot90(sample, turns) if turn else sample

"""Rotation by any angle, and general affine maps, about the image's centre."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import Transform, check_probability, interval, uniform
from segkit.data.transforms.resizing import check_scales, draw_scale
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.affine import affine_matrix, turned_size
from segkit.structures.sample import Sample


@TRANSFORM_REGISTRY.register
class RandomRotation(Transform):
    """With probability ``p``, rotates by a random angle.

    For right angles use RandomQuarterTurn, which is lossless.

    Objects outside of the image are removed; ``sample.dropped`` counts them.

    Args:
        degrees: counterclockwise: one number d for -d..d, or [low, high].
        expand: enlarge the image so that it holds the whole rotated image, instead of keeping its size.
        fill: colour of the corners, 0 to 255: one value, or one a channel.
        p: probability.
    """

    examples = ({"degrees": 180}, {"degrees": [20, 70], "expand": True}, {"degrees": [90, 90], "expand": True})
    inversion = "none"

    def __init__(
        self,
        *,
        degrees: float | Sequence[float] = 15.0,
        expand: bool = False,
        fill: int | Sequence[int] = 0,
        p: float = 1.0,
    ) -> None:
        check_probability(p)
        geometry.check_fill(fill)
        self.degrees = interval(degrees, "degrees")
        self.expand = expand
        self.fill = fill
        self.p = p

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        turn = uniform(0, 1, generator) < self.p
        angle = uniform(*self.degrees, generator)
        if not turn:
            return sample
        height, width = sample.image.shape[1:]
        size = turned_size((height, width), angle) if self.expand else (height, width)
        return geometry.affine(sample, affine_matrix((height, width), size, angle=angle), size, self.fill)


@TRANSFORM_REGISTRY.register
class RandomAffine(Transform):
    """With probability ``p``, shears, scales, rotates and shifts in one interpolation.

    The image keeps its size.

    The interpolation has no antialiasing: to shrink to less than half, put RandomScale before it. Objects outside of the
    image are removed; ``sample.dropped`` counts them.

    Args:
        degrees: of rotation, counterclockwise: one number d for -d..d, or [low, high].
        translate: largest shift to either side, as shares of width and height: one number, or [x, y].
        min_scale: smallest scale factor; factors are uniform on a logarithmic scale.
        max_scale: largest scale factor.
        shear: angles of both axes, below 45 degrees: one number d for -d..d, or [low, high].
        fill: colour of pixels from outside the image, 0 to 255: one value, or one a channel.
        p: probability.
    """

    examples = (
        {"degrees": 180, "translate": 0.2, "min_scale": 0.5, "max_scale": 2.0, "shear": 20},
        {"degrees": 0, "translate": [1, 0], "min_scale": 1, "max_scale": 1, "shear": 0},
        {"degrees": 0, "translate": 0, "min_scale": 0.1, "max_scale": 0.1, "shear": 0},
    )
    inversion = "none"

    def __init__(
        self,
        *,
        degrees: float | Sequence[float] = 10.0,
        translate: float | Sequence[float] = 0.1,
        min_scale: float = 0.8,
        max_scale: float = 1.25,
        shear: float | Sequence[float] = 5.0,
        fill: int | Sequence[int] = 0,
        p: float = 1.0,
    ) -> None:
        check_probability(p)
        check_scales(min_scale, max_scale)
        geometry.check_fill(fill)
        shares = (translate, translate) if isinstance(translate, (int, float)) else tuple(translate)
        if len(shares) != 2 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"translate: expected shares of the image's sides, 0 to 1; got {translate}")
        self.degrees = interval(degrees, "degrees")
        self.translate = (float(shares[0]), float(shares[1]))
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.shear = interval(shear, "shear")
        if not -45 < self.shear[0] <= self.shear[1] < 45:
            raise ValueError(f"shear: expected angles within -45 and 45 degrees; got {shear}")
        self.fill = fill
        self.p = p

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        move = uniform(0, 1, generator) < self.p
        height, width = sample.image.shape[1:]
        across, down = self.translate
        matrix = affine_matrix(
            (height, width),
            (height, width),
            angle=uniform(*self.degrees, generator),
            scale=draw_scale(self.min_scale, self.max_scale, generator),
            shear=(uniform(*self.shear, generator), uniform(*self.shear, generator)),
            shift=(uniform(-across, across, generator) * width, uniform(-down, down, generator) * height),
        )
        return geometry.affine(sample, matrix, (height, width), self.fill) if move else sample

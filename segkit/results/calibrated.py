"""The pixel size that writers measure with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from segkit.inference.predicted_image import PredictedImage
from segkit.utils.errors import SegkitError
from segkit.utils.images import PixelSize


class PixelSizeOption:
    """The pixel size of images: that of their files, or one for all.

    Args:
        value: the side of a pixel in micrometres, or its width and height; None: as the image's file says.
    Raises:
        SegkitError: not one or two numbers above 0.
    """

    def __init__(self, value: float | Sequence[float] | None) -> None:
        self.fixed: PixelSize | None = None
        if value is None:
            return
        sides: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value, value]
        if len(sides) != 2 or not all(
            isinstance(side, (int, float)) and not isinstance(side, bool) and math.isfinite(side) and side > 0
            for side in sides
        ):
            raise SegkitError(
                f"pixel_size is {value!r}; expected micrometres above 0: one number, or width and height",
                key="pixel_size",
                value=value,
            )
        self.fixed = PixelSize(float(sides[0]), float(sides[1]))

    def of(self, image: PredictedImage) -> PixelSize | None:
        """The pixel size of an image; None if it is unknown."""
        return self.fixed or image.pixel_size

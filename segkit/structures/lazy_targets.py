"""The objects of a large image, of which only those in a window are decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from segkit.structures.targets import Targets
from segkit.utils.errors import image_errors

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels


@dataclass(frozen=True)
class LazyTargets:
    """The objects of an image that are decoded by window.

    It stands for :class:`Targets` in a sample.

    Attributes:
        read_objects: returns the objects that may have a pixel in a window (None: all objects), whole and in the image's
            pixels, and the number of the image's other objects.
    """

    read_objects: Callable[[Window | None], tuple[Targets, int]]

    def read(self, window: Window | None = None) -> tuple[Targets, int]:
        """The objects that may have a pixel in ``window`` (None: all), and the number of the others.

        Objects without an area count as others.

        Raises:
            UnreadableImage: the annotations cannot be read.
        """
        with image_errors():
            return self.read_objects(window)

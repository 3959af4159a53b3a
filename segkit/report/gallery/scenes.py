"""A picture of an image or of a window of it, with the outlines of all masks there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.structures.outline_polygons import mask_outlines
from segkit.utils.images import LazyImage
from segkit.utils.images.overview import overview
from segkit.visualization.data_uris import SMALL_SIDE, bounded_picture_uri, enlargement, thumbnail_size
from segkit.visualization.svg_paths import TOLERANCE, svg_paths

MAX_SIDE = 1024  # longer side of a picture
CONTEXT = 3.5  # side of a crop by the side of its object
SMALLEST_CROP = 96  # pixels of the image
COARSER = 4  # times that the tolerance of outlines is doubled to save bytes

Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """A picture with its outlines.

    Attributes:
        window: x0, y0, x1, y1 in pixels of the image.
        picture: data URI.
        small: whether the picture is shown with square pixels.
        unit: units of the paths for a pixel of the image; they begin at the window's corner.
        truth: SVG path of each object; empty without a mask, None outside of the window.
        runs: likewise of the detections of each run; None for a run without results of the image.
    """

    window: Window
    picture: str
    small: bool
    unit: float
    truth: list[str | None]
    runs: list[list[str | None] | None]

    def record(self, image: int) -> dict[str, Any]:
        """What the page knows about the scene; ``image`` is the position of the image's record."""
        x0, y0, x1, y1 = self.window
        return {
            "i": image,
            "v": [x0, y0, x1 - x0, y1 - y0],
            "u": round(self.unit, 6),
            "px": self.picture,
            "sm": int(self.small),
            "t": self.truth,
            "r": self.runs,
        }


def crop_window(box: Sequence[float], size: tuple[int, int]) -> Window:
    """The window around an object: square where the image allows it.

    Args:
        box: x0, y0, x1, y1 of the object.
        size: (H, W) of the image.
    """
    x0, y0, x1, y1 = box
    side = max(SMALLEST_CROP, CONTEXT * (x1 - x0), CONTEXT * (y1 - y0))
    starts, ends = [], []
    for low, high, limit in ((x0, x1, size[1]), (y0, y1, size[0])):
        length = min(round(side), limit)
        start = min(max(round((low + high - length) / 2), 0), limit - length)
        starts.append(start)
        ends.append(start + length)
    return starts[0], starts[1], ends[0], ends[1]


def make_scene(
    image: Tensor | LazyImage,
    size: tuple[int, int],
    window: Window,
    truth: Sequence[Mapping[str, Any]],
    runs: Sequence[Sequence[Mapping[str, Any]] | None],
    *,
    picture_bytes: int,
    max_bytes: int,
) -> Scene:
    """Draws a window of an image.

    Args:
        image: [C, H, W].
        size: (H, W) of the image.
        window: x0, y0, x1, y1.
        truth: objects with ``bbox`` XYWH and ``segmentation``, RLE or None.
        runs: likewise the results of each run.
        picture_bytes: of the encoded picture at most.
        max_bytes: of the scene; outlines are made coarser to keep it, but those of many objects may still need more.
    """
    x0, y0, x1, y1 = window
    scaled = thumbnail_size((y1 - y0, x1 - x0), MAX_SIDE)
    uri = bounded_picture_uri(_pixels(image, window, scaled), scaled, picture_bytes)
    enlarged = enlargement(scaled)
    unit = enlarged * scaled[1] / (x1 - x0)
    outlines = [_outlines(items, size, window, scaled) for items in (truth, *(found or [] for found in runs))]
    paths: list[list[str | None]] = []
    for step in range(COARSER + 1):
        paths = [_paths(rings, enlarged, TOLERANCE * 2**step) for rings in outlines]
        if sum(len(path or "") for listed in paths for path in listed) <= max_bytes - len(uri):
            break
    drawn = [None if found is None else listed for found, listed in zip(runs, paths[1:], strict=True)]
    return Scene(window, uri, max(scaled) < SMALL_SIDE, unit, paths[0], drawn)


def _pixels(image: Tensor | LazyImage, window: Window, scaled: tuple[int, int]) -> Tensor:
    x0, y0, x1, y1 = window
    if isinstance(image, Tensor):
        return image[:, y0:y1, x0:x1]
    if window != (0, 0, image.size[1], image.size[0]):
        return image.read(window)
    small = overview(image, scaled)
    return small.round().to(image.dtype) if not image.dtype.is_floating_point else small


def _outlines(
    items: Sequence[Mapping[str, Any]], size: tuple[int, int], window: Window, scaled: tuple[int, int]
) -> list[list[Any] | None]:
    """The parts of each mask within the window, in pixels of the picture; None outside of the window."""
    x0, y0, x1, y1 = window
    boxes = np.array([item["bbox"] for item in items], np.float64).reshape(-1, 4)
    ends = boxes[:, :2] + boxes[:, 2:]
    inside = (boxes[:, 0] < x1) & (boxes[:, 1] < y1) & (ends[:, 0] > x0) & (ends[:, 1] > y0)
    found: list[list[Any] | None] = [[] if one else None for one in inside.tolist()]
    masked = [i for i in np.flatnonzero(inside).tolist() if items[i].get("segmentation") is not None]
    if not masked:
        return found
    masks = InstanceMasks.from_rle([items[i]["segmentation"] for i in masked], size)
    if window != (0, 0, size[1], size[0]):
        masks = masks.crop(x0, y0, x1, y1)
    if scaled != masks.image_size:
        masks = masks.resize(scaled)
    for i, parts in zip(masked, mask_outlines(masks), strict=True):
        found[i] = parts
    return found


def _paths(outlines: Sequence[list[Any] | None], unit: int, tolerance: float) -> list[str | None]:
    paths = svg_paths([parts or [] for parts in outlines], unit, tolerance)
    return [None if parts is None else path for parts, path in zip(outlines, paths, strict=True)]

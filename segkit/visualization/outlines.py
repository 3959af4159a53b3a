"""Outlines and fills of objects, at a cost that grows with the objects' area."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from segkit.visualization.hatching import hatch

if TYPE_CHECKING:
    from segkit.structures.masks import InstanceMasks

Style = Literal["both", "outline", "fill"]
FILL_OPACITY = 0.22
FULL_OPACITY = 0.6  # of fills without outlines
HALO_OPACITY = 0.6  # a dark rim around each outline: bright colours stay visible on bright tissue
TINY_AREA = 9  # pixels of the picture; an object below it would be all outline, so its rim is coloured too


def crops(masks: InstanceMasks) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields x0, y0 and the crop bool [h, w] of each object."""
    bits = masks.bits.cpu().numpy().astype(bool)
    start = 0
    for x0, y0, x1, y1 in masks.crop_boxes.cpu().tolist():
        size = (y1 - y0) * (x1 - x0)
        yield x0, y0, bits[start : start + size].reshape(y1 - y0, x1 - x0)
        start += size


def paint_masks(
    picture: np.ndarray,
    masks: InstanceMasks,
    colors: np.ndarray,
    scale: int,
    thickness: int,
    hatched: np.ndarray | None = None,
    *,
    style: Style = "both",
    in_order: bool = False,
) -> None:
    """Fills and outlines objects on ``picture``, in place; small objects are on top.

    Hatched regions are hatched instead of filled, below all objects. All fills and dark rims are painted before all
    outlines, so that no rim hides a neighbour's outline.

    Args:
        picture: uint8 [H * scale, W * scale, 3].
        masks: at [H, W].
        colors: uint8 [N, 3].
        scale: whole factor of enlargement.
        thickness: of outlines, in pixels of the picture.
        hatched: bool [N], the crowd and ignore regions; None: none.
        style: ``fill``, ``outline`` or ``both``: an outline around a light fill.
        in_order: paint the objects in their order, the last one on top, in place of the smallest.
    """
    hatched = np.zeros(len(masks), bool) if hatched is None else hatched
    scaled = [(x0 * scale, y0 * scale, _enlarged(crop, scale)) for x0, y0, crop in crops(masks)]
    areas = [int(np.count_nonzero(mask)) for _, _, mask in scaled]
    order = [i for i in range(len(scaled)) if areas[i]]
    if not in_order:
        order.sort(key=lambda i: (-areas[i], i))
    for i in order:
        x0, y0, mask = scaled[i]
        if hatched[i]:
            hatch(picture, mask, x0, y0, thickness)
    for i in order:
        x0, y0, mask = scaled[i]
        if not hatched[i] and style != "outline":
            _blend(picture, x0, y0, mask, colors[i], FILL_OPACITY if style == "both" else FULL_OPACITY)
    if style == "fill":
        return
    for i in order:
        x0, y0, mask = scaled[i]
        padded = np.pad(mask, 1)
        _blend(picture, x0 - 1, y0 - 1, _grown(padded) & ~padded, np.zeros(3), HALO_OPACITY)
    for i in order:
        x0, y0, mask = scaled[i]
        padded = np.pad(mask, 1)
        if areas[i] < TINY_AREA:
            _blend(picture, x0 - 1, y0 - 1, _grown(padded), colors[i], 1.0)
            continue
        inside = padded
        for _ in range(thickness):
            inside = ~_grown(~inside)
        _blend(picture, x0 - 1, y0 - 1, padded & ~inside, colors[i], 1.0)


def paint_boxes(
    picture: np.ndarray, boxes: np.ndarray, colors: np.ndarray, scale: int, thickness: int, *, hatched: bool = False
) -> None:
    """Outlines, and hatches, boxes [N, 4] XYXY in the image's pixels on ``picture``, in place."""
    height, width = picture.shape[:2]
    for box, color in zip(boxes * scale, colors, strict=True):
        x0, y0 = int(np.clip(np.floor(box[0]), 0, width - 1)), int(np.clip(np.floor(box[1]), 0, height - 1))
        x1, y1 = int(np.clip(np.ceil(box[2]), x0 + 1, width)), int(np.clip(np.ceil(box[3]), y0 + 1, height))
        part = picture[y0:y1, x0:x1]
        if hatched:
            hatch(picture, np.ones(part.shape[:2], bool), x0, y0, thickness)
        part[:thickness], part[-thickness:], part[:, :thickness], part[:, -thickness:] = color, color, color, color


def _enlarged(mask: np.ndarray, scale: int) -> np.ndarray:
    return mask if scale == 1 else mask.repeat(scale, axis=0).repeat(scale, axis=1)


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask grown by one pixel in four directions, within the array."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _blend(picture: np.ndarray, x0: int, y0: int, where: np.ndarray, color: np.ndarray, opacity: float) -> None:
    """Mixes a colour into the picture where a mask with its corner at (x0, y0) is set."""
    height, width = picture.shape[:2]
    left, top = max(0, -x0), max(0, -y0)
    where = where[top : height - y0, left : width - x0]
    part = picture[y0 + top : y0 + top + where.shape[0], x0 + left : x0 + left + where.shape[1]]
    part[where] = np.rint((1 - opacity) * part[where] + opacity * np.asarray(color)).astype(np.uint8)

"""Zoom, crop and anchors: how large the objects are for the model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FINEST_STRIDE = 4
SMALL = 22.0  # pixels, 5.5 cells of the finest map: a quarter of the objects may be smaller
MOST_ZOOM = 4.0
LARGE = 96.0  # pixels: if half of the objects are larger, the images are reduced
LEAST_SIDE = 12.0  # pixels that a small object (5th percentile) keeps when images are reduced
LOW, HIGH = 0.8, 1.37  # of the zoom, in training
GROWS = 0.6  # correlation of object and image sizes from which the objects grow with the image
VARIED = 1.5  # ratio of the 90th and 10th percentile of the images' shorter sides
LEVELS = 5  # p2 to p6
SMALLEST_ANCHOR = 8
COARSEST_SHARE = 1.5  # a crop holds the largest objects this many times


@dataclass(frozen=True)
class Scale:
    """The scale at which the model sees the images.

    Attributes:
        zoom: factor of the images; for images of one size, or whose objects do not grow with them.
        edge: pixels of the images' shorter side in place of the factor; None: the factor holds.
        reason: why.
    """

    zoom: float
    edge: int | None
    reason: str

    def factors(self, sizes: np.ndarray) -> np.ndarray:
        """float64 [M]: the factor of each image of ``sizes`` [M, 2]."""
        short = sizes.min(1).astype(np.float64)
        return np.full(len(sizes), self.zoom) if self.edge is None else self.edge / short


def choose_scale(sides: np.ndarray, image: np.ndarray, sizes: np.ndarray, most_pixels: float) -> Scale:
    """The scale for objects of ``sides``.

    Args:
        sides: [N], square roots of the boxes' areas, in pixels of the files.
        image: [N], position of each object's image in ``sizes``.
        sizes: [M, 2], height and width of the images.
        most_pixels: pixels of an enlarged image that fit into memory.
    """
    short = sizes.min(1).astype(np.float64)
    if objects_grow_with_images(sides, short[image], short):
        middle = float(np.median(short))
        zoom, reason = zoom_of(sides / short[image] * middle)
        zoom, reason = _within_memory(zoom, reason, sizes / short[:, None] * middle, most_pixels)
        edge = max(64, round(middle * zoom / 32) * 32)
        return Scale(
            edge / middle,
            edge,
            f"Objects grow with their images (correlation of sizes above {GROWS}), so that all images get one shorter "
            f"side. {reason}",
        )
    zoom, reason = zoom_of(sides)
    zoom, reason = _within_memory(zoom, reason, sizes, most_pixels)
    return Scale(zoom, None, reason)


def zoom_of(sides: np.ndarray) -> tuple[float, str]:
    """The factor for objects of ``sides`` pixels, and the reason."""
    low, quarter, half = (float(v) for v in np.percentile(sides, (5, 25, 50)))
    if quarter < SMALL:
        zoom = min(MOST_ZOOM, max(1.0, round(SMALL / quarter * 4) / 4))
        if zoom > 1:
            return zoom, (
                f"A quarter of the objects are under {quarter:.3g} pixels, {quarter / FINEST_STRIDE:.2g} cells of the "
                f"finest feature map (stride {FINEST_STRIDE}): images are enlarged {zoom:g} times."
            )
    if half > LARGE:
        zoom = round(min(1.0, max(LARGE / half, LEAST_SIDE / low)) * 20) / 20
        if 0 < zoom < 1:
            return zoom, (
                f"Half of the objects are over {half:.3g} pixels: images are reduced to {zoom:g}, which saves time and "
                f"keeps the small ones at {low * zoom:.2g} pixels."
            )
    return 1.0, f"A quarter of the objects are under {quarter:.3g} pixels, half under {half:.3g}: no zoom is needed."


def _within_memory(zoom: float, reason: str, sizes: np.ndarray, most_pixels: float) -> tuple[float, str]:
    """The zoom, reduced if an enlarged image would not fit into memory."""
    largest = float(sizes.astype(np.float64).prod(1).max())
    if largest * zoom**2 <= most_pixels:
        return zoom, reason
    if largest <= most_pixels:
        fitting = math.floor(math.sqrt(most_pixels / largest) * 20) / 20
        return fitting, f"{reason} The largest image limits it to {fitting:g}: more would not fit into memory."
    return min(zoom, 1.0), (
        f"{reason} The largest image has {largest:,.0f} pixels, which is too many to evaluate at once: cut large images "
        "first (segkit dataset tile)."
    )


def objects_grow_with_images(sides: np.ndarray, short: np.ndarray, all_short: np.ndarray) -> bool:
    """Whether larger images show larger objects, as photographs of different resolution do.

    Args:
        sides: [N], of the objects.
        short: [N], shorter side of each object's image.
        all_short: [M], shorter sides of the images.
    """
    few, many = np.percentile(all_short, (10, 90))
    if many < VARIED * few or len(sides) < 10 or np.ptp(sides) == 0 or np.ptp(short) == 0:
        return False
    return float(np.corrcoef(np.log(sides), np.log(short))[0, 1]) > GROWS


def choose_crop(sides: np.ndarray, zoomed: np.ndarray, base: int) -> tuple[int, str]:
    """Side of the square training crops, and the reason.

    Args:
        sides: [N], of the objects in the zoomed image.
        zoomed: [M, 2], height and width of the zoomed images.
        base: the usual side on the device.
    """
    largest = float(np.percentile(sides, 99)) * HIGH
    target_side = math.ceil(max(base, COARSEST_SHARE * largest) / 32) * 32
    image = math.ceil(float(np.percentile(zoomed.max(1), 75)) * HIGH / 32) * 32
    side = max(64, min(target_side, 2 * base, image))
    if side == image and side < min(target_side, 2 * base):
        return side, f"Three of four images are no larger than {side} pixels at this scale."
    if side == base:
        return side, f"Crops of {side} pixels hold the largest objects ({largest:.0f} pixels) and make steps quick."
    held = "are larger than the largest objects" if side >= largest else "are as large as the time of a step allows"
    return side, f"Crops of {side} pixels {held} ({largest:.0f} pixels at the largest scale)."


def choose_anchors(sides: np.ndarray, levels: int = LEVELS) -> tuple[list[list[int]], str]:
    """Anchor sizes for objects of ``sides`` pixels in the zoomed image, and the reason."""
    low, half, high = (float(v) for v in np.percentile(sides, (5, 50, 99.9)))
    first = max(SMALLEST_ANCHOR, 2 ** round(math.log2(max(low, 1))))
    sizes = [first * 2**level for level in range(levels)]
    reason = (
        f"At this scale the objects' sides are {low:.3g} (5th percentile), {half:.3g} (median) and {high:.3g} pixels "
        f"(99.9th): sizes double from {first} on, one a level."
    )
    return [[size] for size in sizes], reason


def choose_aspect_ratios(aspects: np.ndarray) -> tuple[list[float], str]:
    """Anchor aspect ratios (height / width) for objects of ``aspects``, and the reason."""
    low, high = (float(v) for v in np.percentile(aspects, (5, 95)))
    extreme = max(high, 1 / low)
    text = f"Nine of ten boxes have a height / width between {low:.2g} and {high:.2g}"
    if extreme <= 2.8:
        return [0.5, 1.0, 2.0], f"{text}."
    wide = min(8.0, round(extreme * 2) / 2)
    root = round(math.sqrt(wide), 2)
    ratios = [round(1 / wide, 3), round(1 / root, 3), 1.0, root, wide]
    return ratios, f"{text}: elongated objects need longer anchors."

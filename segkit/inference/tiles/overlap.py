"""The overlap of tiles: a number, or enough for the objects of the training data."""

from __future__ import annotations

import logging
import math
from typing import Literal

from segkit.structures.object_sides import ObjectSides
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)

SHARE_WITHOUT_SIDES = 4  # auto is this part of a tile if the training objects' sides are not known
LARGEST_SHARE = 2  # auto is at most this part of a tile, so that a pixel is predicted in four tiles at most


def resolved_overlap(tile: int, overlap: int | Literal["auto"], object_sides: ObjectSides | None = None) -> int:
    """The overlap in pixels.

    ``auto`` is one pixel more than the side that 99 % of the training objects do not exceed, so that some tile sees such an
    object whole, wherever it lies; at most half of the tile. If the sides are not known, it is a quarter of the tile. The log
    has a line that says which.

    Args:
        tile: side of a tile in pixels.
        overlap: pixels, or ``auto``.
        object_sides: of the training objects, which the checkpoint holds; None: not known.
    Raises:
        SegkitError: the tile has no pixels, or the overlap is not 1 to tile - 1.
    """
    if tile < 1:
        raise SegkitError(f"predict.tile: a tile has at least one pixel; got {tile}", key="predict.tile", value=tile)
    pixels = _automatic(tile, object_sides) if overlap == "auto" else overlap
    if not 1 <= pixels < tile:
        expected = f"1 to {tile - 1} pixels, less than predict.tile" if tile > 1 else "a tile of at least 2 pixels"
        raise SegkitError(
            f"predict.overlap: expected {expected}; got {overlap} with tiles of {tile}. Without shared pixels it cannot be "
            "decided which pieces are one object",
            key="predict.overlap",
            value=overlap,
        )
    return pixels


def _automatic(tile: int, object_sides: ObjectSides | None) -> int:
    most = tile // LARGEST_SHARE
    if object_sides is None:
        pixels = min(max(1, tile // SHARE_WITHOUT_SIDES), most)
        logger.info(
            "predict.overlap: auto is %d pixels, a quarter of the tile, because the checkpoint does not hold the sizes of "
            "the training objects",
            pixels,
        )
        return pixels
    needed = math.ceil(object_sides.pixels) + 1
    share = f"{object_sides.quantile:.0%}"
    if needed > most:
        logger.warning(
            "predict.overlap: auto is %d pixels, half of the tile; %s of the training objects have sides of up to %g "
            "pixels, so pieces of the larger ones are united: larger tiles show more of them whole",
            most, share, object_sides.pixels,
        )  # fmt: skip
        return most
    logger.info(
        "predict.overlap: auto is %d pixels; %s of the training objects have sides of up to %g pixels",
        needed, share, object_sides.pixels,
    )  # fmt: skip
    return needed

"""Hatching of the parts of a picture that are not annotated: crowd and ignore regions."""

from __future__ import annotations

import numpy as np

LIGHT, DARK = (255, 255, 255), (0, 0, 0)
PERIOD = 12  # pixels of the picture between two lines, along a row
WIDTH = 2  # of the light part of a line, and of the dark part beside it: one of them shows on any picture
OPACITY = 0.8


def hatch(picture: np.ndarray, where: np.ndarray, x0: int, y0: int, thickness: int) -> None:
    """Draws diagonal lines, light beside dark, on exactly the pixels of a region, in place.

    The lines of neighbouring regions meet, because they are laid out on the picture and not on the region.

    Args:
        picture: uint8 [H, W, 3].
        where: bool [h, w], the region's pixels inside the picture.
        x0: column of the picture where ``where`` begins.
        y0: row of the picture where ``where`` begins.
        thickness: whole factor of the lines' width and distance.
    """
    height, width = where.shape
    rows, columns = np.arange(y0, y0 + height)[:, None], np.arange(x0, x0 + width)[None]
    phase = (rows + columns) % (PERIOD * thickness) // thickness
    part = picture[y0 : y0 + height, x0 : x0 + width]
    for color, first in ((LIGHT, 0), (DARK, WIDTH)):
        line = where & (phase >= first) & (phase < first + WIDTH)
        part[line] = np.rint((1 - OPACITY) * part[line] + OPACITY * np.asarray(color)).astype(np.uint8)

"""Lays the crops of masks under each other on sheets.

So whole arrays are measured, instead of one crop after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays
from segkit.structures.runs import ragged_arange

SHEET_PIXELS = 1 << 20  # of a sheet; a crop with more is divided among several
HALO = 2  # rows of the neighbouring part that a part of a divided crop is shown with
WIDER = 1.25  # the widest crop of a sheet is at most this much wider than the narrowest, and MARGIN
MARGIN = 8


class Sheet(NamedTuple):
    """Crops under each other, with zeros between them and around all.

    Attributes:
        pixels: uint8 [R + 2, W + 2] of 0 and 1; row r of the attributes below is ``pixels[r + 1, 1:-1]``.
        objects: int64 [K], the indices of the sheet's objects.
        owners: int64 [R], the position in ``objects`` of each row's object; of a row between two crops either of them.
        rows: int64 [R], the row of the crop.
        counted: bool [R], false for a row between two crops, and for one that another sheet counts.
    """

    pixels: np.ndarray
    objects: np.ndarray
    owners: np.ndarray
    rows: np.ndarray
    counted: np.ndarray

    @property
    def inner(self) -> np.ndarray:
        """The pixels without the zeros around them: [R, W]."""
        return self.pixels[1:-1, 1:-1]


def sheets(masks: InstanceMasks) -> Iterator[Sheet]:
    """Yields sheets with every non-empty mask, those of similar widths together.

    A crop with more than ``SHEET_PIXELS`` is divided into bands of rows. Each is on a sheet of its own, with ``HALO`` rows of
    its neighbours, so that the neighbourhood of every counted pixel is complete.
    """
    crops = arrays(masks.bits, masks.crop_boxes)
    widths = (masks.crop_boxes[:, 2] - masks.crop_boxes[:, 0]).numpy()
    chosen: list[int] = []
    rows, narrowest = 0, 0
    for i in np.argsort(widths, kind="stable").tolist():
        height, width = crops[i].shape
        if not height:
            continue
        if height * width > SHEET_PIXELS:
            step = max(1, SHEET_PIXELS // width)
            for first in range(0, height, step):
                yield _sheet(crops, [i], first, min(first + step, height))
            continue
        if chosen and (width > WIDER * narrowest + MARGIN or (rows + height + 1) * width > SHEET_PIXELS):
            yield _sheet(crops, chosen)
            chosen, rows = [], 0
        narrowest = narrowest if chosen else width
        chosen.append(i)
        rows += height + 1
    if chosen:
        yield _sheet(crops, chosen)


def _sheet(crops: Sequence[np.ndarray], objects: Sequence[int], first: int = 0, last: int | None = None) -> Sheet:
    """A sheet of whole crops, or of the rows ``first`` to ``last`` of one."""
    parts = [crops[i] for i in objects]
    above = 0
    if last is not None:
        above = max(0, first - HALO)
        parts = [parts[0][above : last + HALO]]
    heights = np.array([len(part) for part in parts])
    spans = heights + 1  # with the empty row below
    tops = np.cumsum(spans) - spans
    pixels = np.zeros((int(spans.sum()) + 2, max(part.shape[1] for part in parts) + 2), np.uint8)
    for part, top in zip(parts, tops.tolist(), strict=True):
        pixels[top + 1 : top + 1 + part.shape[0], 1 : part.shape[1] + 1] = part
    owners = np.repeat(np.arange(len(parts)), spans)
    rows = ragged_arange(spans) + above
    counted = rows - above < heights[owners]
    if last is not None:
        counted &= (rows >= first) & (rows < last)
    return Sheet(pixels, np.array(objects), owners, rows, counted)

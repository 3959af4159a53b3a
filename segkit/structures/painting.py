"""Paints exclusive label maps, in which a pixel belongs to one object at most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays

BAND_PIXELS = 1 << 22  # of a band of rows


class LabelPainter:
    """Paints an exclusive label map, whole or band by band of rows.

    A pixel that several masks cover belongs to the first of them in ``order``. Other objects keep the pixels that are left
    to them; an object without any has no pixel in the map.

    Args:
        masks: N masks.
        values: [N], the value of each object in the map, at least 1.
        order: int [N]: the indices of the masks, first the one that keeps all of its pixels; None: as they are.
        dtype: of the map; it must hold all values.
    """

    def __init__(
        self,
        masks: InstanceMasks,
        values: np.ndarray,
        *,
        order: np.ndarray | None = None,
        dtype: np.dtype | type[np.integer] = np.int32,
    ) -> None:
        assert len(values) == len(masks), (len(values), len(masks))
        order = np.arange(len(masks)) if order is None else order
        self.size, self.dtype = masks.image_size, np.dtype(dtype)
        self._order = order[::-1]  # what is painted last is on top
        assert not len(values) or (values.min() > 0 and values.max() <= np.iinfo(self.dtype).max), (values, dtype)
        self._values = values.astype(self.dtype)
        self._crops = arrays(masks.bits, masks.crop_boxes)
        self._boxes = masks.crop_boxes.numpy()

    def paint(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Some rows of the map: [rows, W], 0 for the background.

        Args:
            first: row.
            last: the row after the last; None: the image's height.
        """
        height, width = self.size
        last = height if last is None else last
        band = np.zeros((last - first, width), self.dtype)
        tops, bottoms = self._boxes[self._order, 1], self._boxes[self._order, 3]
        touching = self._order[(tops < last) & (bottoms > first)]
        for i, (x0, y0, x1, y1) in zip(touching.tolist(), self._boxes[touching].tolist(), strict=True):
            top, bottom = max(y0, first), min(y1, last)
            crop = self._crops[i][top - y0 : bottom - y0].view(np.bool_)
            np.copyto(band[top - first : bottom - first, x0:x1], self._values[i], where=crop)
        return band

    def bands(self, rows: int | None = None) -> Iterator[np.ndarray]:
        """Yields the map band by band, from the top.

        Args:
            rows: of a band; None: as many as have about ``BAND_PIXELS`` pixels.
        """
        height, width = self.size
        rows = max(1, BAND_PIXELS // max(width, 1)) if rows is None else rows
        for first in range(0, height, rows):
            yield self.paint(first, min(first + rows, height))


def by_score(scores: Tensor) -> np.ndarray:
    """Indices by falling score, of equal scores the first one first: int64 [N]."""
    return np.argsort(-scores.cpu().numpy().astype(np.float64), kind="stable")


def smallest_type(highest: int) -> np.dtype:
    """The type of a label map whose highest value is known: uint16, or uint32 above 65,535."""
    return np.dtype(np.uint16 if highest < 1 << 16 else np.uint32)

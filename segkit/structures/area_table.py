"""AreaTable: the area of a region inside boxes (summed-area table, Crow 1984)."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks

MAX_BOXES = 1 << 18  # boxes at once: their intermediate results take about 40 MB


class AreaTable:
    """Sums of a region's pixels over all rectangles that start at the image's corner.

    Differences of the sums are integers, so that the result is the same on every device; only the fractions of pixels at
    a box's border are rounded, in fp32.

    Args:
        region: bool [H, W], on any device.
    """

    def __init__(self, region: Tensor) -> None:
        self.size = (int(region.shape[0]), int(region.shape[1]))
        self._sums = torch.zeros(self.size[0] + 1, self.size[1] + 1, dtype=torch.int32, device=region.device)
        self._sums[1:, 1:] = region.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32)

    @staticmethod
    def of_union(masks: InstanceMasks) -> AreaTable:
        """The table of the masks' union, made on their device without synchronisation."""
        region = torch.zeros(masks.image_size, dtype=torch.bool, device=masks.device)
        for crop, (x0, y0, x1, y1) in zip(masks.crops(), masks.crop_boxes.tolist(), strict=True):
            region[y0:y1, x0:x1] |= crop != 0
        return AreaTable(region)

    def areas(self, boxes: Tensor) -> Tensor:
        """Area of the region inside each box, float32 [N], in square pixels.

        Args:
            boxes: [N, 4] XYXY in pixels, which may reach beyond the image; pixel i covers [i, i + 1).
        """
        if 0 in self.size:
            return torch.zeros(len(boxes), device=boxes.device)
        return torch.cat([self._areas(chunk) for chunk in boxes.float().split(MAX_BOXES)])

    def _areas(self, boxes: Tensor) -> Tensor:
        height, width = self.size
        x0, y0, x1, y1 = boxes.nan_to_num().unbind(1)
        columns, column_weights = _taps(x0.clamp(0, width), x1.clamp(0, width), width)
        rows, row_weights = _taps(y0.clamp(0, height), y1.clamp(0, height), height)
        sums, stride = self._sums.view(-1), width + 1
        # Between pixel corners the sum is bilinear. Each box's sums are taken from its first corner on, which changes
        # nothing, since the weights of an axis add up to 0, and keeps the numbers as small as the box.
        corner = rows[0] * stride + columns[0]
        left, top = {}, {}
        for i in range(1, 4):
            left[i] = sums[rows[i] * stride + columns[0]]
            top[i] = sums[rows[0] * stride + columns[i]] - sums[corner]
        total = torch.zeros_like(x0)
        for i, j in product(range(1, 4), repeat=2):
            inside = sums[rows[i] * stride + columns[j]] - left[i] - top[j]
            total += row_weights[i] * column_weights[j] * inside
        return total.clamp_(min=0)


def _taps(start: Tensor, end: Tensor, side: int) -> tuple[list[Tensor], list[Tensor]]:
    """The pixel corners around both ends of an interval, int64 [N] each, and their weights."""
    first, last = (value.floor().clamp(max=side - 1) for value in (start, end))
    before, after = start - first, end - last
    indices = [first.long(), first.long() + 1, last.long(), last.long() + 1]
    return indices, [before - 1, -before, 1 - after, after]

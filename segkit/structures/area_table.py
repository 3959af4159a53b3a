"""AreaTable: the area of a region inside boxes (summed-area table, Crow 1984)."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks

# Boxes at once. Their intermediate results fit into a CPU's caches; on a GPU each operation has a launch cost.
MAX_BOXES = {"cpu": 1 << 13, "cuda": 1 << 18}


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
        limit = MAX_BOXES.get(boxes.device.type, MAX_BOXES["cuda"])
        return torch.cat([self._areas(chunk) for chunk in boxes.float().split(limit)])

    def _areas(self, boxes: Tensor) -> Tensor:
        height, width = self.size
        x0, y0, x1, y1 = boxes.nan_to_num().unbind(1)
        columns, column_weights = _taps(x0.clamp(0, width), x1.clamp(0, width), width)
        rows, row_weights = _taps(y0.clamp(0, height), y1.clamp(0, height), height)
        sums = self._sums.view(-1).take(rows[:, None] * (width + 1) + columns[None])  # [4, 4, N]
        # Between pixel corners the sum is bilinear. Each box's sums are taken from its first corner on, which changes
        # nothing, since the weights of an axis add up to 0, and keeps the numbers as small as the box.
        inside = (sums[1:, 1:] - sums[:1, 1:]).sub_(sums[1:, :1] - sums[:1, :1])
        return inside.mul(column_weights).sum(1).mul_(row_weights).sum(0).clamp_(min=0)


def _taps(start: Tensor, end: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The pixel corners around both ends of an interval, int64 [4, N], and the weights of the last three, [3, N]."""
    first, last = (value.floor().clamp_(max=side - 1) for value in (start, end))
    before, after = start - first, end - last
    indices = torch.stack([first, first + 1, last, last + 1]).long()
    return indices, torch.stack([-before, 1 - after, after])

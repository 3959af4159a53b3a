"""Holes and small parts of masks."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch

from segkit.config.typecheck import Bounds
from segkit.postprocess.base import PostProcessor, required_masks, with_masks
from segkit.postprocess.crops import sheets
from segkit.registry import POSTPROCESS_REGISTRY
from segkit.structures.components import connected_components
from segkit.structures.detections import Detections
from segkit.structures.ragged import arrays


@POSTPROCESS_REGISTRY.register
class FillHoles(PostProcessor):
    """Fills the holes of masks.

    A hole is a region outside of the mask that does not reach the border of its box; pixels that touch at a corner only are
    not of one region, as in ``scipy.ndimage.binary_fill_holes``.

    Args:
        max_area: pixels of the largest hole that is filled; null: all are.
    """

    def __init__(self, *, max_area: Annotated[int, Bounds(1)] | None = None) -> None:
        self.max_area = max_area

    def __call__(self, detections: Detections) -> Detections:
        masks = required_masks(detections, "FillHoles")
        crops = arrays(masks.bits, masks.crop_boxes)
        changed = np.zeros(len(crops), bool)
        for sheet in sheets(crops):
            cells, holes = connected_components(sheet.cells * (1 - sheet.pixels), connectivity=4)
            areas = holes.areas().numpy()
            for k in np.flatnonzero(holes.crop_boxes[:, 1].numpy() > 0).tolist():  # the others hold a cell's frame
                if self.max_area is not None and areas[k] > self.max_area:
                    continue
                cell = int(cells[k]) - 1
                i = int(sheet.objects[cell])
                if not changed[i]:
                    crops[i], changed[i] = crops[i].copy(), True
                x0, y0, x1, y1 = holes.crop_boxes[k].tolist()
                left = int(sheet.lefts[cell]) + 1
                crops[i][y0 - 1 : y1 - 1, x0 - left : x1 - left] |= holes[k].crops()[0].numpy()
        return with_masks(detections, crops, masks, changed)


@POSTPROCESS_REGISTRY.register
class RemoveSpecks(PostProcessor):
    """Removes small parts of masks that consist of several.

    Args:
        keep: ``largest``: the largest part alone (of equal ones the upper one); ``all``: those of ``min_area``.
        min_area: pixels of the smallest part that stays; an object without such a part is removed.
        connectivity: 8: pixels that touch at a corner are of one part; 4: only those that share an edge.
    """

    def __init__(
        self,
        *,
        keep: Literal["largest", "all"] = "largest",
        min_area: Annotated[int, Bounds(1)] = 1,
        connectivity: Literal[4, 8] = 8,
    ) -> None:
        self.keep, self.min_area, self.connectivity = keep, min_area, connectivity

    def __call__(self, detections: Detections) -> Detections:
        masks = required_masks(detections, "RemoveSpecks")
        crops = arrays(masks.bits, masks.crop_boxes)
        changed = np.zeros(len(crops), bool)
        for sheet in sheets(crops):
            cells, parts = connected_components(sheet.cells * sheet.pixels, connectivity=self.connectivity)
            areas = parts.areas().numpy()
            gone = areas < self.min_area
            if self.keep == "largest":
                order = np.lexsort((-areas, cells))  # the first of equal parts is the upper one
                gone[order[1:][cells[order[1:]] == cells[order[:-1]]]] = True
            for k in np.flatnonzero(gone).tolist():
                cell = int(cells[k]) - 1
                i = int(sheet.objects[cell])
                if not changed[i]:
                    crops[i], changed[i] = crops[i].copy(), True
                x0, y0, x1, y1 = parts.crop_boxes[k].tolist()
                left = int(sheet.lefts[cell]) + 1
                crops[i][y0 - 1 : y1 - 1, x0 - left : x1 - left] &= 1 - parts[k].crops()[0].numpy()
        kept = torch.tensor([not changed[i] or bool(crop.any()) for i, crop in enumerate(crops)], dtype=torch.bool)
        return with_masks(detections, crops, masks, changed)[kept]

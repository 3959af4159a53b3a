"""Detections of tiles in pixels of the image, compared in the zone that two tiles share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.structures.components import connected_components
from segkit.structures.detections import Detections
from segkit.structures.ragged import arrays

SAME_OBJECT = 0.5  # least share of common pixels, or IoU, of two detections of one object

Zone = tuple[int, int, int, int]


class PackedCrop(NamedTuple):
    """A crop of a mask, eight pixels a byte."""

    shape: tuple[int, int]
    bits: np.ndarray

    def unpacked(self) -> np.ndarray:
        """The crop, uint8 [h, w] of 0 and 1."""
        return np.unpackbits(self.bits, count=self.shape[0] * self.shape[1]).reshape(self.shape)


def packed(crop: np.ndarray | PackedCrop) -> PackedCrop:
    """A crop as bits."""
    if isinstance(crop, PackedCrop):
        return crop
    return PackedCrop((crop.shape[0], crop.shape[1]), np.packbits(crop))


def unpacked(crop: np.ndarray | PackedCrop) -> np.ndarray:
    """A crop as uint8 [h, w] of 0 and 1."""
    return crop.unpacked() if isinstance(crop, PackedCrop) else crop


@dataclass
class Fragments:
    """Detections of tiles in pixels of the image, in the order of the tiles.

    Attributes:
        ids: int64 [N]: positions among the detections of all tiles, ascending.
        tiles: int64 [N]: index of the tile.
        boxes, scores, labels: as of :class:`Detections`.
        bounds: [N, 4] XYXY: the crop boxes of the masks; without masks the boxes.
        depths: float64 [N]: least distance to an inner edge of the tile; infinite for an image of one tile.
        cut: bool [N]: whether the detection touches an inner edge of its tile.
        removed: bool [N]: whether another detection has taken its place.
        crops: the masks within their bounds; None without masks. Those that are still to be compared are not packed.
    """

    ids: np.ndarray
    tiles: np.ndarray
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    bounds: np.ndarray
    depths: np.ndarray
    cut: np.ndarray
    removed: np.ndarray
    crops: list[np.ndarray | PackedCrop] | None

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def of_tile(found: Detections, tile: int, window: np.ndarray, size: tuple[int, int], first_id: int) -> Fragments:
        """The detections of a tile.

        Args:
            found: in pixels of the tile.
            tile: its index.
            window: int64 [4], XYXY.
            size: (H, W) of the image.
            first_id: of the tile's first detection.
        """
        found, count = found.to("cpu"), len(found)
        shift = torch.from_numpy(window[:2]).repeat(2)
        boxes, masks = found.boxes + shift, found.masks if found.has_masks else None
        crops: list[np.ndarray | PackedCrop] | None = None
        bounds = boxes.numpy()
        if masks is not None:
            crops = list(arrays(masks.bits, masks.crop_boxes))
            bounds = (masks.crop_boxes + shift).numpy()
        gaps = np.concatenate([bounds[:, :2] - window[:2], window[2:] - bounds[:, 2:]], 1).astype(np.float64)
        gaps[:, window == np.array([0, 0, size[1], size[0]])] = np.inf
        depths = gaps.min(1, initial=np.inf)
        return Fragments(
            first_id + np.arange(count),
            np.full(count, tile),
            boxes,
            found.scores,
            found.labels,
            bounds,
            depths,
            depths < (1 if masks is not None else 0.5),  # a box ends at a fraction of a pixel
            np.zeros(count, np.bool_),
            crops,
        )

    @staticmethod
    def cat(parts: Sequence[Fragments]) -> Fragments:
        """Concatenates fragments, all with masks or all without, in the order of their tiles."""
        crops = None if parts[0].crops is None else [crop for one in parts for crop in one.crops or ()]
        return Fragments(
            np.concatenate([one.ids for one in parts]),
            np.concatenate([one.tiles for one in parts]),
            torch.cat([one.boxes for one in parts]),
            torch.cat([one.scores for one in parts]),
            torch.cat([one.labels for one in parts]),
            np.concatenate([one.bounds for one in parts]),
            np.concatenate([one.depths for one in parts]),
            np.concatenate([one.cut for one in parts]),
            np.concatenate([one.removed for one in parts]),
            crops,
        )

    def waiting(self, index: np.ndarray, compared: np.ndarray) -> Fragments:
        """The fragments that later tiles may change, with masks of their own memory.

        Args:
            index: of the fragments, ascending.
            compared: bool [N]: which are never compared again; their masks are packed.
        """
        rows = torch.from_numpy(index)
        crops = self.crops
        if crops is not None:
            crops = [packed(crops[i]) if compared[i] else unpacked(crops[i]).copy() for i in index.tolist()]
        return Fragments(
            self.ids[index],
            self.tiles[index],
            self.boxes[rows],
            self.scores[rows],
            self.labels[rows],
            self.bounds[index],
            self.depths[index],
            self.cut[index],
            self.removed[index],
            crops,
        )

    def areas_within(self, i: int, j: int, zone: Zone) -> tuple[float, float, float]:
        """Pixels (without masks: box area) of two detections in a zone, and their common ones."""
        common = intersection(self.bounds[i], self.bounds[j])
        if self.crops is None:
            parts = [intersection(self.bounds[k], zone) for k in (i, j)]
            first, second, both = (area(box) for box in (*parts, intersection(common, zone)))
            return first, second, both
        first, second = (int(np.count_nonzero(self._view(k, zone))) for k in (i, j))
        shared = intersection(common, zone)
        return first, second, int(np.count_nonzero(self._view(i, shared) & self._view(j, shared)))

    def share_a_part(self, i: int, j: int, zone: Zone) -> bool:
        """Whether one covers half of a connected part of the other within a zone."""
        if self.crops is None:
            return False
        dense = [self._dense(k, zone) for k in (i, j)]
        for one, other in (dense, dense[::-1]):
            for part, (x0, y0, x1, y1) in _parts(one):
                covered = np.count_nonzero(part & other[y0:y1, x0:x1])
                if covered and covered >= SAME_OBJECT * np.count_nonzero(part):
                    return True
        return False

    def parts_are_equal(self, i: int, j: int, zone: Zone) -> bool:
        """Whether a part of one has an IoU of at least one half with one of the other.

        Parts are connected pixels within a zone.
        """
        if self.crops is None:
            return False
        first, second = (_parts(self._dense(k, zone)) for k in (i, j))
        for part, box in first:
            for other, other_box in second:
                x0, y0, x1, y1 = (int(v) for v in intersection(box, other_box))
                if x0 >= x1 or y0 >= y1:
                    continue
                views = (
                    crop[y0 - top : y1 - top, x0 - left : x1 - left]
                    for crop, (left, top, _, _) in ((part, box), (other, other_box))
                )
                common = np.count_nonzero(next(views) & next(views))
                both = np.count_nonzero(part) + np.count_nonzero(other) - common
                if common >= SAME_OBJECT * both:
                    return True
        return False

    def _view(self, k: int, window: Sequence[float] | np.ndarray) -> np.ndarray:
        assert self.crops is not None
        crop = self.crops[k]
        assert isinstance(crop, np.ndarray), "a packed mask is not compared"
        x0, y0, x1, y1 = (int(v) for v in intersection(self.bounds[k], window))
        left, top = int(self.bounds[k, 0]), int(self.bounds[k, 1])
        return crop[y0 - top : max(y1, y0) - top, x0 - left : max(x1, x0) - left]

    def _dense(self, k: int, zone: Zone) -> np.ndarray:
        pixels = np.zeros((zone[3] - zone[1], zone[2] - zone[0]), np.uint8)
        x0, y0, x1, y1 = (int(v) for v in intersection(self.bounds[k], zone))
        pixels[y0 - zone[1] : y1 - zone[1], x0 - zone[0] : x1 - zone[0]] = self._view(k, zone)
        return pixels


def meeting_pairs(bounds: np.ndarray, first: slice, second: slice, zone: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of boxes, one of each slice, that overlap within a zone.

    Those of the second slice are searched by their top edge.
    """
    ones, others = (_meeting(bounds, part, zone) for part in (first, second))
    others = others[np.argsort(bounds[others, 1], kind="stable")]
    tops = bounds[others, 1]
    tallest = (bounds[others, 3] - tops).max(initial=0)
    for i in ones.tolist():
        x0, y0, x1, y1 = bounds[i]
        near = others[np.searchsorted(tops, y0 - tallest, side="left") : np.searchsorted(tops, y1, side="left")]
        boxes = bounds[near]
        top_left, bottom_right = np.maximum(boxes[:, :2], (x0, y0)), np.minimum(boxes[:, 2:], (x1, y1))
        top_left, bottom_right = np.maximum(top_left, zone[:2]), np.minimum(bottom_right, zone[2:])
        for j in near[(top_left < bottom_right).all(1)].tolist():
            yield i, j


def _meeting(bounds: np.ndarray, part: slice, zone: np.ndarray) -> np.ndarray:
    """Indices of the boxes of a slice that meet a zone."""
    boxes = bounds[part]
    return part.start + np.flatnonzero((boxes[:, :2] < zone[2:]).all(1) & (boxes[:, 2:] > zone[:2]).all(1))


def _parts(dense: np.ndarray) -> list[tuple[np.ndarray, list[int]]]:
    """The connected parts of a mask, each as crop and crop box."""
    _, parts = connected_components(dense)
    return list(zip(arrays(parts.bits, parts.crop_boxes), parts.crop_boxes.tolist(), strict=True))


def intersection(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """The common part of two boxes XYXY; it is empty if an end is not above its start."""
    return (
        max(first[0], second[0]),
        max(first[1], second[1]),
        min(first[2], second[2]),
        min(first[3], second[3]),
    )


def area(box: Sequence[float] | np.ndarray) -> float:
    """Area of a box XYXY; 0 if it is empty."""
    return max(float(box[2] - box[0]), 0.0) * max(float(box[3] - box[1]), 0.0)

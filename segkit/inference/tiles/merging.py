"""Merging of the detections of overlapping tiles, so that seams leave no trace.

A detection is *cut* if its mask (without masks: its box) touches an inner edge of its tile, which is an edge that is not one
of the image; otherwise it is *whole*. Two detections of different tiles are compared within the zone that the tiles share:

1. Whole and whole of one class, IoU at least one half: duplicates. The one that lies farthest from the inner edges of its
   tile stays; of equal ones that of the first tile.
2. Cut and whole: the cut one is removed if the whole one covers at least half of its pixels in the zone.
3. Cut and cut: united if they share at least half of the pixels of the one with fewer pixels in the zone, or of a connected
   part of it there. Class and score are those of the largest piece; of equal ones the higher score, then the first tile.

With an overlap of at least one pixel, two touching pixels always lie in a tile together. The merged detections of a detector
whose output depends on local pixels only are therefore those of the whole image, for objects that are connected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.structures.components import connected_components, smallest_members
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays, pack
from segkit.utils.errors import SegkitError

SAME_OBJECT = 0.5  # least share of common pixels, or IoU, of two detections of one object


def merge_tiles(tiles: Sequence[Detections], windows: Tensor, size: tuple[int, int]) -> Detections:
    """Merges the detections of tiles by the rules of this module.

    Args:
        tiles: the detections of each tile, in pixels of the tile.
        windows: int64 [T, 4], XYXY, of the tiles, row by row (:func:`segkit.structures.tiling.tile_windows`).
        size: (H, W) of the image.
    Returns:
        Detections in pixels of the image, on the CPU: by score, those of equal scores by their box from the top left.
    Raises:
        SegkitError: a tile's detections are not of its window's size, or some tiles have masks and others none.
    """
    found = _Found(tiles, windows, size)
    removed = np.zeros(len(found.scores), np.bool_)
    joined: tuple[list[int], list[int]] = ([], [])
    doubles: tuple[list[int], list[int]] = ([], [])
    for i, j, zone in found.candidates():
        first, second, common = found.areas_within(i, j, zone)
        if not common:
            continue
        if found.cut[i] and found.cut[j]:
            if common >= SAME_OBJECT * min(first, second) or found.share_a_part(i, j, zone):
                joined[0].append(i)
                joined[1].append(j)
        elif found.cut[i] or found.cut[j]:
            piece, area = (i, first) if found.cut[i] else (j, second)
            removed[piece] |= common >= SAME_OBJECT * area
        elif found.labels[i] == found.labels[j] and common >= SAME_OBJECT * (first + second - common):
            doubles[0].append(i)
            doubles[1].append(j)
    pairs = np.array(joined, np.int64).reshape(2, -1)
    pairs = pairs[:, ~removed[pairs].any(0)]
    roots = smallest_members(len(removed), pairs[0], pairs[1])
    _keep_deepest(removed, found.depths, np.array(doubles, np.int64).reshape(2, -1))
    return found.united(roots, np.flatnonzero(~removed))


def _keep_deepest(removed: np.ndarray, depths: np.ndarray, doubles: np.ndarray) -> None:
    """Marks all but the deepest detection of each set of duplicates as removed."""
    roots = smallest_members(len(removed), doubles[0], doubles[1])
    members = np.unique(doubles)
    order = members[np.lexsort((members, -depths[members], roots[members]))]
    removed[order[1:][roots[order[1:]] == roots[order[:-1]]]] = True


class _Found:
    """The detections of all tiles in pixels of the image, in the order of the tiles."""

    def __init__(self, tiles: Sequence[Detections], windows: Tensor, size: tuple[int, int]) -> None:
        corners = windows.tolist()
        if len(tiles) != len(corners):
            raise SegkitError(f"tiles: {len(tiles)} detections for {len(corners)} windows", key="tiles")
        for number, (tile, (x0, y0, x1, y1)) in enumerate(zip(tiles, corners, strict=True)):
            if tile.size != (y1 - y0, x1 - x0):
                raise SegkitError(f"tiles[{number}]: detections of size {tile.size} in the window {(x0, y0, x1, y1)}")
        self.size, self.windows = size, windows.numpy()
        tiles = [tile.to("cpu") for tile in tiles]
        counts = [len(tile) for tile in tiles]
        self.starts = np.append(0, np.cumsum(counts))
        with_masks = {tile.has_masks for tile in tiles if len(tile)} or {tile.has_masks for tile in tiles}
        if len(with_masks) == 2:
            raise SegkitError("tiles: some have masks and others have none", key="tiles")
        shifts = torch.repeat_interleave(windows[:, :2], torch.tensor(counts, dtype=torch.long), 0).repeat(1, 2)
        self.boxes = torch.cat([tile.boxes for tile in tiles]) + shifts
        self.scores, self.labels = torch.cat([t.scores for t in tiles]), torch.cat([t.labels for t in tiles])
        self.crops: list[np.ndarray] | None = None
        bounds = self.boxes.numpy()
        if with_masks == {True}:
            masks = [tile.masks for tile in tiles if len(tile)]
            crop_boxes = torch.cat([one.crop_boxes for one in masks if one is not None] + [shifts[:0]]) + shifts
            self.crops = [crop for one in masks if one is not None for crop in arrays(one.bits, one.crop_boxes)]
            bounds = crop_boxes.numpy()
        self.bounds = bounds
        owner = np.repeat(self.windows, counts, axis=0)
        height, width = size
        borders = np.array([0, 0, width, height])
        gaps = np.concatenate([bounds[:, :2] - owner[:, :2], owner[:, 2:] - bounds[:, 2:]], 1).astype(np.float64)
        gaps[owner == borders] = np.inf
        self.depths = gaps.min(1, initial=np.inf)
        self.cut = self.depths < (1 if self.crops is not None else 0.5)  # a box ends at a fraction of a pixel

    def candidates(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Pairs of detections of different tiles whose boxes meet in the zone that the tiles share."""
        windows, bounds, starts = self.windows, self.bounds, self.starts
        for a, (x0, y0, x1, y1) in enumerate(windows):
            last = int(np.searchsorted(windows[:, 1], y1, side="left"))
            for b in range(a + 1, last):
                zone = np.array(
                    [max(x0, windows[b, 0]), max(y0, windows[b, 1]), min(x1, windows[b, 2]), min(y1, windows[b, 3])]
                )
                if zone[0] >= zone[2] or zone[1] >= zone[3]:
                    continue
                first, second = (_meeting(bounds, starts[t], starts[t + 1], zone) for t in (a, b))
                yield from _meeting_pairs(bounds, first, second, zone)

    def areas_within(self, i: int, j: int, zone: tuple[int, ...]) -> tuple[float, float, float]:
        """Pixels (without masks: box area) of two detections in a zone, and their common ones."""
        common = _intersection(self.bounds[i], self.bounds[j])
        if self.crops is None:
            parts = [_intersection(self.bounds[k], zone) for k in (i, j)]
            first, second, both = (_area(box) for box in (*parts, _intersection(common, zone)))
            return first, second, both
        first, second = (int(np.count_nonzero(self._view(k, zone))) for k in (i, j))
        shared = _intersection(common, zone)
        return first, second, int(np.count_nonzero(self._view(i, shared) & self._view(j, shared)))

    def share_a_part(self, i: int, j: int, zone: tuple[int, ...]) -> bool:
        """Whether two cut pieces agree in a connected part of one of them within a zone."""
        if self.crops is None:
            return False
        dense = [np.zeros((zone[3] - zone[1], zone[2] - zone[0]), np.uint8) for _ in (i, j)]
        for pixels, k in zip(dense, (i, j), strict=True):
            x0, y0, x1, y1 = (int(v) for v in _intersection(self.bounds[k], zone))
            pixels[y0 - zone[1] : y1 - zone[1], x0 - zone[0] : x1 - zone[0]] = self._view(k, zone)
        for one, other in (dense, dense[::-1]):
            _, parts = connected_components(one)
            for part, (x0, y0, x1, y1) in zip(
                arrays(parts.bits, parts.crop_boxes), parts.crop_boxes.tolist(), strict=True
            ):
                covered = np.count_nonzero(part & other[y0:y1, x0:x1])
                if covered and covered >= SAME_OBJECT * np.count_nonzero(part):
                    return True
        return False

    def _view(self, k: int, window: Sequence[float] | np.ndarray) -> np.ndarray:
        assert self.crops is not None
        x0, y0, x1, y1 = (int(v) for v in _intersection(self.bounds[k], window))
        left, top = int(self.bounds[k, 0]), int(self.bounds[k, 1])
        return self.crops[k][y0 - top : max(y1, y0) - top, x0 - left : max(x1, x0) - left]

    def united(self, roots: np.ndarray, kept: np.ndarray) -> Detections:
        """The kept detections, with those of one root united."""
        order = kept[np.argsort(roots[kept], kind="stable")]
        groups = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1) if len(order) else []
        chosen, boxes, crop_boxes, crops = [], self.boxes.clone(), [], []
        for group in groups:
            best = self._largest(group)
            chosen.append(best)
            if len(group) > 1:
                together = self.boxes[torch.from_numpy(group)]
                boxes[best] = torch.cat([together[:, :2].amin(0), together[:, 2:].amax(0)])
            if self.crops is not None:
                box, crop = self._joined(group)
                crop_boxes.append(box)
                crops.append(crop)
        index = torch.tensor(chosen, dtype=torch.long)
        boxes, scores, labels = boxes[index], self.scores[index], self.labels[index]
        ranked = torch.from_numpy(np.lexsort((boxes[:, 0].numpy(), boxes[:, 1].numpy(), -scores.numpy())))
        if self.crops is None:
            return Detections(boxes, scores, labels, None, self.size)[ranked]
        masks = InstanceMasks(pack(crops), torch.tensor(crop_boxes, dtype=torch.long).reshape(-1, 4), self.size)
        return Detections.from_masks(masks, scores, labels, boxes)[ranked]

    def _largest(self, group: np.ndarray) -> int:
        if len(group) == 1:
            return int(group[0])
        if self.crops is None:
            areas = [_area(self.bounds[k]) for k in group]
        else:
            areas = [int(np.count_nonzero(self.crops[k])) for k in group]
        return int(group[np.lexsort((group, -self.scores.numpy()[group], -np.array(areas)))[0]])

    def _joined(self, group: np.ndarray) -> tuple[list[int], np.ndarray]:
        """Crop box and crop of the united masks."""
        assert self.crops is not None
        if len(group) == 1:
            crop = self.crops[group[0]]
            return (self.bounds[group[0]].tolist() if crop.size else [0, 0, 0, 0]), crop
        bounds = self.bounds[group]
        x0, y0 = bounds[:, :2].min(0).tolist()
        x1, y1 = bounds[:, 2:].max(0).tolist()
        pixels = np.zeros((y1 - y0, x1 - x0), np.uint8)
        for k, (left, top, right, bottom) in zip(group, bounds.tolist(), strict=True):
            pixels[top - y0 : bottom - y0, left - x0 : right - x0] |= self.crops[k]
        return [x0, y0, x1, y1], pixels


def _meeting(bounds: np.ndarray, start: int, end: int, zone: np.ndarray) -> np.ndarray:
    """Indices of the detections start..end whose boxes meet a zone."""
    boxes = bounds[start:end]
    return start + np.flatnonzero((boxes[:, :2] < zone[2:]).all(1) & (boxes[:, 2:] > zone[:2]).all(1))


def _meeting_pairs(
    bounds: np.ndarray, first: np.ndarray, second: np.ndarray, zone: np.ndarray
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Pairs whose boxes overlap within a zone: the second ones are searched by their top edge."""
    second = second[np.argsort(bounds[second, 1], kind="stable")]
    tops = bounds[second, 1]
    tallest = (bounds[second, 3] - tops).max(initial=0)
    limits = tuple(int(v) for v in zone)
    for i in first.tolist():
        x0, y0, x1, y1 = bounds[i]
        near = second[np.searchsorted(tops, y0 - tallest, side="left") : np.searchsorted(tops, y1, side="left")]
        boxes = bounds[near]
        top_left, bottom_right = np.maximum(boxes[:, :2], (x0, y0)), np.minimum(boxes[:, 2:], (x1, y1))
        top_left, bottom_right = np.maximum(top_left, zone[:2]), np.minimum(bottom_right, zone[2:])
        for j in near[(top_left < bottom_right).all(1)].tolist():
            yield i, j, limits


def _intersection(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return (
        max(first[0], second[0]),
        max(first[1], second[1]),
        min(first[2], second[2]),
        min(first[3], second[3]),
    )


def _area(box: Sequence[float] | np.ndarray) -> float:
    return max(float(box[2] - box[0]), 0.0) * max(float(box[3] - box[1]), 0.0)

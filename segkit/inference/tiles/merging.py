"""Merging of the detections of overlapping tiles, so that seams leave no trace.

A detection is *cut* if its mask (without masks: its box) touches an inner edge of its tile, which is an edge that is not one
of the image; otherwise it is *whole*. Two detections of different tiles are compared within the zone that the tiles share:

1. Whole and whole of one class, IoU at least one half: duplicates. The one that lies farthest from the inner edges of its
   tile stays; of equal ones that of the first tile.
2. Cut and whole: the cut one is removed if the whole one covers at least half of its pixels in the zone.
3. Cut and cut: united if they share at least half of the pixels of the one with fewer pixels in the zone, or of a connected
   part of it there. Class and score are those of the largest piece; of equal ones the higher score, then the first tile.

In 2 and 3, two detections of different classes are of one object only if neither agrees with one of its own class in the
other tile, and if their IoU in the zone is at least one half, or that of two of their connected parts there. A nucleus thus
does not take away the fragment of its cell.

With an overlap of at least one pixel, two touching pixels always lie in a tile together. The merged detections of a detector
whose output depends on local pixels only are therefore those of the whole image, for objects that are connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.inference.tiles.fragments import (
    SAME_OBJECT,
    Fragments,
    PackedCrop,
    Zone,
    area,
    meeting_pairs,
    packed,
    unpacked,
)
from segkit.structures.components import smallest_members
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError


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
    if len(tiles) != len(windows):
        raise SegkitError(f"tiles: {len(tiles)} detections for {len(windows)} windows", key="tiles")
    merger = TileMerger(windows, size)
    for tile in tiles:
        merger.add(tile)
    return merger.finish()


class TileMerger:
    """Merges tiles as they come, a row of tiles at a time.

    An object that no later tile can meet is final: its mask is packed, eight pixels a byte, and its fragments are freed. Memory
    is thus bounded by a row of tiles and the objects.

    Args:
        windows: int64 [T, 4], XYXY, of the tiles, row by row.
        size: (H, W) of the image.
    """

    def __init__(self, windows: Tensor, size: tuple[int, int]) -> None:
        self.size, self.windows = size, windows.numpy()
        tops = self.windows[:, 1]
        if (np.diff(tops) < 0).any():
            raise SegkitError("windows: expected row by row, from the top", key="windows")
        following = np.searchsorted(tops, tops, side="right")
        self._row_ends = following - 1  # the last tile of each tile's row
        self._next_tops = np.append(tops.astype(np.float64), np.inf)[following]
        self._added = self._ids = 0
        self._row: list[Fragments] = []
        self._waiting: Fragments | None = None
        self._joined: list[tuple[int, int]] = []  # ids of cut fragments of one object
        self._doubles: list[tuple[int, int]] = []  # ids of whole detections of one object
        self._final = _FinalObjects(size)
        self._without: Detections | None = None  # an empty tile, for the types of an image without objects

    def add(self, tile: Detections) -> None:
        """Adds the detections of the next tile, in pixels of the tile.

        Raises:
            SegkitError: they are not of the window's size, or have masks and others none.
        """
        number = self._added
        if number == len(self.windows):
            raise SegkitError(f"tiles: more than the {number} windows", key="tiles")
        x0, y0, x1, y1 = self.windows[number].tolist()
        if tile.size != (y1 - y0, x1 - x0):
            raise SegkitError(f"tiles[{number}]: detections of size {tile.size} in the window {(x0, y0, x1, y1)}")
        self._added += 1
        if len(tile):
            fragments = Fragments.of_tile(tile, number, self.windows[number], self.size, self._ids)
            self._final.check_masks(tile.has_masks)
            self._ids += len(tile)
            self._row.append(fragments)
        else:
            self._without = tile
        if number == self._row_ends[number]:
            self._merge_row(int(number), float(self._next_tops[number]))

    def finish(self) -> Detections:
        """The merged detections, best first, on the CPU."""
        assert self._added == len(self.windows), (self._added, len(self.windows))
        return self._final.detections(self._without)

    def _merge_row(self, last: int, next_top: float) -> None:
        """Compares the tiles of a row with each other and with those above; keeps what is final."""
        parts = [*([] if self._waiting is None else [self._waiting]), *self._row]
        self._row = []
        if not parts:
            return
        fragments = Fragments.cat(parts)
        first_new = int(np.searchsorted(self.windows[:, 1], self.windows[last, 1]))
        self._compare(fragments, first_new, last)
        joined, doubles = (_positions(fragments.ids, pairs) for pairs in (self._joined, self._doubles))
        sets = smallest_members(len(fragments), *np.concatenate([joined, doubles], 1))
        unsettled = fragments.bounds[:, 3] > next_top
        waits = np.zeros(len(fragments), np.bool_)
        waits[sets[unsettled]] = True
        waits = waits[sets]
        self._finalize(fragments, ~waits, joined, doubles)
        left = np.flatnonzero(waits)
        self._waiting = fragments.waiting(left, ~unsettled) if len(left) else None
        for pairs, edges in ((self._joined, joined), (self._doubles, doubles)):
            kept = fragments.ids[edges[:, waits[edges[0]]]]
            pairs[:] = list(zip(*kept.tolist(), strict=True))

    def _compare(self, fragments: Fragments, first_new: int, last: int) -> None:
        """Compares the fragments of each new tile with those of all earlier tiles that overlap it."""
        tiles = np.unique(fragments.tiles)
        starts = np.searchsorted(fragments.tiles, tiles, side="left")
        ends = np.searchsorted(fragments.tiles, tiles, side="right")
        windows, labels = self.windows[tiles], fragments.labels.numpy()
        for b in np.flatnonzero(tiles >= first_new).tolist():
            top_left = np.maximum(windows[:b, :2], windows[b, :2])
            bottom_right = np.minimum(windows[:b, 2:], windows[b, 2:])
            for a in np.flatnonzero((top_left < bottom_right).all(1)).tolist():
                zone = np.concatenate([top_left[a], bottom_right[a]])
                x0, y0, x1, y1 = zone.tolist()
                pairs = meeting_pairs(fragments.bounds, slice(starts[a], ends[a]), slice(starts[b], ends[b]), zone)
                matched: set[int] = set()
                of_two_classes = []
                for i, j in pairs:
                    if labels[i] != labels[j]:
                        of_two_classes.append((i, j))
                    elif self._agree(fragments, i, j, (x0, y0, x1, y1)):
                        matched |= {i, j}
                for i, j in of_two_classes:
                    if i not in matched and j not in matched:
                        self._agree(fragments, i, j, (x0, y0, x1, y1), same_class=False)

    def _agree(self, fragments: Fragments, i: int, j: int, zone: Zone, same_class: bool = True) -> bool:
        """Whether two detections of different tiles are of one object; notes what follows from it."""
        cut = int(fragments.cut[i]) + int(fragments.cut[j])
        if not cut and not same_class:
            return False
        first, second, common = fragments.areas_within(i, j, zone)
        if not common:
            return False
        equal = common >= SAME_OBJECT * (first + second - common)
        if not same_class:
            agree = equal or fragments.parts_are_equal(i, j, zone)
        elif cut == 0:
            agree = equal
        elif cut == 1:
            agree = common >= SAME_OBJECT * (first if fragments.cut[i] else second)
        else:
            agree = common >= SAME_OBJECT * min(first, second) or fragments.share_a_part(i, j, zone)
        if agree and cut == 1:
            fragments.removed[i if fragments.cut[i] else j] = True
        elif agree:
            pairs = self._joined if cut else self._doubles
            pairs.append((int(fragments.ids[i]), int(fragments.ids[j])))
        return agree

    def _finalize(self, fragments: Fragments, done: np.ndarray, joined: np.ndarray, doubles: np.ndarray) -> None:
        """Unites the fragments of the objects that no later tile can change."""
        removed = fragments.removed.copy()
        pairs = joined[:, done[joined[0]]]
        pairs = pairs[:, ~removed[pairs].any(0)]
        roots = smallest_members(len(removed), pairs[0], pairs[1])
        _keep_deepest(removed, fragments.depths, doubles[:, done[doubles[0]]])
        kept = np.flatnonzero(done & ~removed)
        order = kept[np.argsort(roots[kept], kind="stable")]
        groups = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1) if len(order) else []
        self._final.add(fragments, groups)


class _FinalObjects:
    """The finished objects, their masks packed."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._with_masks: bool | None = None
        self._rows: list[tuple[Tensor, Tensor, Tensor]] = []  # boxes, scores, labels
        self._firsts: list[int] = []  # the id of each object's first fragment
        self._crop_boxes: list[list[int]] = []
        self._crops: list[PackedCrop] = []

    def check_masks(self, with_masks: bool) -> None:
        """Raises a SegkitError if other detections differ in having masks."""
        if self._with_masks is not None and self._with_masks != with_masks:
            raise SegkitError("tiles: some have masks and others have none", key="tiles")
        self._with_masks = with_masks

    def add(self, fragments: Fragments, groups: Iterable[np.ndarray]) -> None:
        """Adds an object of each group of fragments."""
        chosen, boxes = [], fragments.boxes.clone()
        for group in groups:
            best = _largest(fragments, group)
            chosen.append(best)
            self._firsts.append(int(fragments.ids[group[0]]))
            if len(group) > 1:
                together = fragments.boxes[torch.from_numpy(group)]
                boxes[best] = torch.cat([together[:, :2].amin(0), together[:, 2:].amax(0)])
            if fragments.crops is not None:
                box, crop = _united(fragments, group)
                self._crop_boxes.append(box)
                self._crops.append(packed(crop))
        rows = torch.tensor(chosen, dtype=torch.long)
        self._rows.append((boxes[rows], fragments.scores[rows], fragments.labels[rows]))

    def detections(self, without: Detections | None) -> Detections:
        """All objects, best first."""
        if not self._rows:
            assert without is not None
            masks = InstanceMasks.empty(self.size) if without.has_masks else None
            boxes, scores, labels = without.boxes.cpu(), without.scores.cpu(), without.labels.cpu()
            if masks is not None:
                return Detections.from_masks(masks, scores, labels, boxes)
            return Detections(boxes, scores, labels, None, self.size)
        boxes, scores, labels = (torch.cat([row[part] for row in self._rows]) for part in range(3))
        corners = boxes[:, :2].double().numpy()
        order = np.lexsort((np.array(self._firsts), corners[:, 0], corners[:, 1], -scores.double().numpy()))
        index = torch.from_numpy(order)
        if not self._with_masks:
            return Detections(boxes[index], scores[index], labels[index], None, self.size)
        crop_boxes = torch.tensor(self._crop_boxes, dtype=torch.long).reshape(-1, 4)[index]
        areas = [self._crops[i].shape[0] * self._crops[i].shape[1] for i in order.tolist()]
        bits, end = np.empty(sum(areas), np.uint8), 0
        for i, pixels in zip(order.tolist(), areas, strict=True):
            bits[end : end + pixels] = self._crops[i].unpacked().reshape(-1)
            end += pixels
        masks = InstanceMasks(torch.from_numpy(bits), crop_boxes, self.size)
        return Detections.from_masks(masks, scores[index], labels[index], boxes[index])


def _positions(ids: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Positions [2, P] of pairs of ids among ascending ids."""
    return np.searchsorted(ids, np.array(pairs, np.int64).reshape(-1, 2).T)


def _keep_deepest(removed: np.ndarray, depths: np.ndarray, doubles: np.ndarray) -> None:
    """Marks all but the deepest detection of each set of duplicates as removed."""
    roots = smallest_members(len(removed), doubles[0], doubles[1])
    members = np.unique(doubles)
    order = members[np.lexsort((members, -depths[members], roots[members]))]
    removed[order[1:][roots[order[1:]] == roots[order[:-1]]]] = True


def _largest(fragments: Fragments, group: np.ndarray) -> int:
    """The piece whose class and score the object gets."""
    if len(group) == 1:
        return int(group[0])
    if fragments.crops is None:
        areas = [area(fragments.bounds[k]) for k in group]
    else:
        areas = [int(np.count_nonzero(unpacked(fragments.crops[k]))) for k in group]
    scores = fragments.scores[torch.from_numpy(group)].double().numpy()
    return int(group[np.lexsort((group, -scores, -np.array(areas)))[0]])


def _united(fragments: Fragments, group: np.ndarray) -> tuple[list[int], np.ndarray | PackedCrop]:
    """Crop box and crop of the union of masks."""
    assert fragments.crops is not None
    if len(group) == 1:
        crop = fragments.crops[group[0]]
        return (fragments.bounds[group[0]].tolist() if 0 not in crop.shape else [0, 0, 0, 0]), crop
    bounds = fragments.bounds[group]
    x0, y0 = bounds[:, :2].min(0).tolist()
    x1, y1 = bounds[:, 2:].max(0).tolist()
    pixels = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for k, (left, top, right, bottom) in zip(group, bounds.tolist(), strict=True):
        pixels[top - y0 : bottom - y0, left - x0 : right - x0] |= unpacked(fragments.crops[k])
    return [x0, y0, x1, y1], pixels

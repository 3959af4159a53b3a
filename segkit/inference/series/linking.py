"""Links the objects of frames to tracks, by the overlap of their masks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segkit.structures.components import smallest_members
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays
from segkit.structures.shared_pixels import shared_pixels
from segkit.structures.touching_masks import box_pairs
from segkit.utils.errors import SegkitError
from segkit.utils.optional_packages import require


@dataclass
class _Track:
    """Where a track was seen last."""

    number: int
    frame: int
    mask: InstanceMasks
    label: int


class Linker:
    """Assigns objects to tracks, frame by frame.

    An object continues a track if its mask overlaps the track's last mask. Of all assignments it is the one with the
    largest sum of IoUs (linear assignment; Kuhn 1955), found for each group of overlapping objects on its own. A track may
    be missing for some frames; it is then looked for where it was last. A division is a track that one daughter continues,
    the one that overlaps more, and a new track for the other.

    Args:
        min_iou: lowest IoU of an object and the last mask of its track.
        max_gap: frames that a track may be missing in a row.
        same_class: whether an object and its track have one class.
    """

    def __init__(self, *, min_iou: float = 0.2, max_gap: int = 1, same_class: bool = True) -> None:
        if not 0 < min_iou <= 1:
            raise SegkitError(f"min_iou must be above 0 and at most 1, not {min_iou}", key="min_iou", value=min_iou)
        if max_gap < 0:
            raise SegkitError(f"max_gap must be at least 0, not {max_gap}", key="max_gap", value=max_gap)
        require("scipy", "cells", "linking of time series")
        self.min_iou, self.max_gap, self.same_class = min_iou, max_gap, same_class
        self._tracks: deque[_Track] = deque()
        self._next, self._frame = 1, -1
        self._size: tuple[int, int] | None = None

    def add(self, detections: Detections, frame: int | None = None) -> Tensor:
        """The track of each object of the next frame: int64 [N], from 1 on.

        Args:
            detections: N objects with masks, on the CPU.
            frame: its time, above that of the frame before; None: one more.
        Raises:
            SegkitError: the detections have no masks, or the frame has another size.
        """
        masks = detections.masks
        if masks is None:
            raise SegkitError("linking of time series needs masks, but the model predicts boxes only", key="--series")
        frame = self._frame + 1 if frame is None else frame
        assert frame > self._frame, (frame, self._frame)
        self._frame = frame
        self._tracks = deque(track for track in self._tracks if frame - track.frame <= self.max_gap + 1)
        self._size = self._size or masks.image_size
        if self._size != masks.image_size:
            raise SegkitError(
                f"the frames of a series have one size, but frame {frame} is {masks.image_size} and those before it are "
                f"{self._size} pixels large (H, W)",
                key="--series",
            )
        tracks = list(self._tracks)
        continued = self._assign(tracks, masks, detections.labels.numpy())
        of_objects = torch.zeros(len(masks), dtype=torch.int64)
        for i, label in enumerate(detections.labels.tolist()):
            track = tracks[continued[i]] if i in continued else None
            if track is None:
                track = _Track(self._next, frame, masks[i], label)
                self._next += 1
                self._tracks.append(track)
            track.frame, track.mask, track.label = frame, masks[i], label
            of_objects[i] = track.number
        return of_objects

    def _assign(self, tracks: list[_Track], masks: InstanceMasks, labels: np.ndarray) -> dict[int, int]:
        """The position in ``tracks`` for each object that continues one."""
        from scipy.optimize import linear_sum_assignment

        first, second, ious = self._overlaps(tracks, masks, labels)
        continued: dict[int, int] = {}
        count = len(tracks)
        roots = smallest_members(count + len(masks), first, second + count)[first]
        order = np.argsort(roots, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(roots[order])) + 1) if len(order) else ():
            rows, columns = np.unique(first[group]), np.unique(second[group])
            gains = np.zeros((len(rows), len(columns)))
            gains[np.searchsorted(rows, first[group]), np.searchsorted(columns, second[group])] = ious[group]
            for row, column in zip(*linear_sum_assignment(gains, maximize=True), strict=True):
                if gains[row, column] > 0:
                    continued[int(columns[column])] = int(rows[row])
        return continued

    def _overlaps(
        self, tracks: list[_Track], masks: InstanceMasks, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of a track and an object, and their IoU, at least ``min_iou``: [P] each."""
        if not tracks or not len(masks):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        last = InstanceMasks.cat([track.mask for track in tracks])
        both = InstanceMasks.cat([last, masks])
        crops, boxes = arrays(both.bits, both.crop_boxes), both.crop_boxes.tolist()
        areas, count = both.areas().numpy(), len(tracks)
        of_tracks = np.array([track.label for track in tracks])
        pairs: list[tuple[int, int, float]] = []
        for firsts, seconds in box_pairs(both.crop_boxes.numpy()):
            across = (firsts < count) & (seconds >= count)
            firsts, seconds = firsts[across], seconds[across] - count
            if self.same_class:
                same = of_tracks[firsts] == labels[seconds]
                firsts, seconds = firsts[same], seconds[same]
            for i, k in zip(firsts.tolist(), seconds.tolist(), strict=True):
                shared = shared_pixels(crops[i], boxes[i], crops[count + k], boxes[count + k])
                iou = shared / max(1, int(areas[i]) + int(areas[count + k]) - shared)
                if iou >= self.min_iou:
                    pairs.append((i, k, iou))
        pairs.sort()
        columns = np.array(pairs, np.float64).reshape(-1, 3).T
        return columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2]

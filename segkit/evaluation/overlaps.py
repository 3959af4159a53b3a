"""Overlapping pairs of an image's objects and detections, and their one-to-one assignment."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 4_000_000  # IoUs that are in memory at a time
AREAS_AT_ONCE = 255  # pycocotools' ``area`` fails for more masks with NumPy 2


@dataclass(frozen=True)
class Overlaps:
    """The pairs of M objects and N detections that overlap, as masks or as boxes.

    Attributes:
        objects: int64 [P], the object of each pair.
        detections: int64 [P], its detection.
        intersections: float64 [P], the area in common, above 0; of masks the number of pixels.
        object_areas: float64 [M], in pixels.
        detection_areas: float64 [N], in pixels.
    """

    objects: np.ndarray
    detections: np.ndarray
    intersections: np.ndarray
    object_areas: np.ndarray
    detection_areas: np.ndarray

    @property
    def unions(self) -> np.ndarray:
        """Pixels of the object, the detection or both: float64 [P]."""
        return self.object_areas[self.objects] + self.detection_areas[self.detections] - self.intersections

    @property
    def ious(self) -> np.ndarray:
        """Intersection over union: float64 [P]."""
        return self.intersections / self.unions

    def select(self, objects: np.ndarray, detections: np.ndarray) -> Overlaps:
        """The pairs of some objects and detections, which are numbered again.

        Args:
            objects: bool [M].
            detections: bool [N].
        """
        kept = objects[self.objects] & detections[self.detections]
        return Overlaps(
            (np.cumsum(objects) - 1)[self.objects[kept]],
            (np.cumsum(detections) - 1)[self.detections[kept]],
            self.intersections[kept],
            self.object_areas[objects],
            self.detection_areas[detections],
        )


def mask_overlaps(objects: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]]) -> Overlaps:
    """Returns the overlapping pairs of masks, which are COCO's compressed RLE of one image size."""
    from pycocotools import mask as mask_api

    object_areas, detection_areas = rle_areas(objects), rle_areas(detections)
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    ious: list[np.ndarray] = []
    step = max(1, CHUNK // max(len(objects), 1))
    for start in range(0, len(detections) if objects else 0, step):
        part = list(detections[start : start + step])
        found = np.asarray(mask_api.iou(part, list(objects), [0] * len(objects)))
        row, column = np.nonzero(found)
        rows.append(row + start)
        columns.append(column)
        ious.append(found[row, column])
    row, column = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (rows, columns))
    iou = np.concatenate([np.zeros(0), *ious])
    # With A + B the sum of the areas, IoU = I / (A + B - I); areas are whole numbers of pixels.
    intersections = np.rint(iou * (object_areas[column] + detection_areas[row]) / (1 + iou))
    return Overlaps(column, row, intersections, object_areas, detection_areas)


def box_overlaps(objects: np.ndarray, detections: np.ndarray) -> Overlaps:
    """Returns the overlapping pairs of boxes [M, 4] and [N, 4].

    Boxes are float64 XYWH in continuous pixel coordinates. The arithmetic is pycocotools', operation for operation, so that
    IoUs are equal to the last bit.
    """
    object_areas, detection_areas = (boxes[:, 2] * boxes[:, 3] for boxes in (objects, detections))
    rows, columns, intersections = [], [], []
    step = max(1, CHUNK // max(len(objects), 1))
    for start in range(0, len(detections) if len(objects) else 0, step):
        part = detections[start : start + step, None]
        sides = np.minimum(part[..., 2:] + part[..., :2], objects[:, 2:] + objects[:, :2])
        sides -= np.maximum(part[..., :2], objects[:, :2])
        row, column = np.nonzero((sides > 0).all(axis=2))
        rows.append(row + start)
        columns.append(column)
        intersections.append(sides[row, column].prod(axis=1))
    row, column = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (rows, columns))
    return Overlaps(column, row, np.concatenate([np.zeros(0), *intersections]), object_areas, detection_areas)


def rle_areas(rles: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns the areas of masks in pixels: float64 [N]."""
    from pycocotools import mask as mask_api

    starts = range(0, len(rles), AREAS_AT_ONCE)
    return np.concatenate([np.zeros(0), *(mask_api.area(list(rles[i : i + AREAS_AT_ONCE])) for i in starts)])


def shares_in(regions: Sequence[Mapping[str, Any]], masks: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns the share of each mask's pixels in any of the regions: float64 [N]; all are RLE."""
    from pycocotools import mask as mask_api

    # The "IoU" with a crowd is the share of the mask in it.
    return np.asarray(mask_api.iou(list(masks), [mask_api.merge(list(regions))], [1]))[:, 0]


def has_scipy() -> bool:
    """Whether SciPy is installed, which :func:`assign`, and so the metrics of cells, need."""
    return importlib.util.find_spec("scipy") is not None


def assign(objects: np.ndarray, detections: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the one-to-one assignment of the largest total weight: bool [P].

    A pair that shares neither end with another one is in it. The others are solved by SciPy's
    ``linear_sum_assignment``, one connected component of the graph of pairs after the other.

    Args:
        objects: int64 [P].
        detections: int64 [P]; no pair occurs twice.
        weights: float [P], above 0.
    """
    alone = (np.bincount(objects)[objects] == 1) & (np.bincount(detections)[detections] == 1)
    chosen = alone.copy()
    others = np.flatnonzero(~alone)
    if not len(others):
        return chosen
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, rows = np.unique(objects[others], return_inverse=True)
    second, columns = np.unique(detections[others], return_inverse=True)
    count = len(first) + len(second)
    graph = coo_array((np.ones(len(others)), (rows, columns + len(first))), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    of_pair = component[rows]
    order = np.argsort(of_pair, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(of_pair[order])) + 1):
        row_ids, row = np.unique(rows[group], return_inverse=True)
        column_ids, column = np.unique(columns[group], return_inverse=True)
        table = np.zeros((len(row_ids), len(column_ids)))
        table[row, column] = weights[others[group]]
        pair_at = np.full(table.shape, -1)
        pair_at[row, column] = others[group]
        pairs = pair_at[linear_sum_assignment(table, maximize=True)]
        chosen[pairs[pairs >= 0]] = True
    return chosen

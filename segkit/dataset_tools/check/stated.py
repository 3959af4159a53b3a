"""What annotation files state about the objects of an image, beside their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.data.formats import Dataset, ParsedDataset, SubsetDataset
from segkit.dataset_tools.check.polygons import POLYGON_PROBLEMS, polygon_problems


@dataclass(frozen=True)
class StatedObjects:
    """The statements about the N objects of ``Dataset.all_targets``, in its order.

    Attributes:
        file: the annotation file; empty if it is unknown.
        ids: int64 [N] of the file, or None: the index in the image is used.
        entries: int64 [N], index in the file's list of annotations; None: the index in the image.
        boxes: float [N, 4] XYXY, NaN where none is stated.
        areas: float [N], NaN where none is stated.
        bounds: float [N, 4] XYXY of the polygons, NaN for other masks.
        several_polygons: bool [N].
        problems: faults of the polygons, as (kind, index of the object, message).
        size: (H, W) that the file states; None: none.
    """

    file: str
    ids: np.ndarray | None
    entries: np.ndarray | None
    boxes: np.ndarray
    areas: np.ndarray
    bounds: np.ndarray
    several_polygons: np.ndarray
    problems: tuple[tuple[str, int, str], ...] = ()
    size: tuple[int, int] | None = None

    def object_id(self, index: int) -> int:
        """The object in messages: its id in the file, else its index in the image."""
        known = self.ids is not None and self.ids[index] >= 0
        return int(self.ids[index]) if known else index  # type: ignore[index]  # not None

    def place(self, index: int) -> str:
        """The object's entry in its annotation file."""
        if not self.file:
            return ""
        entry = index if self.entries is None else int(self.entries[index])
        return f"{self.file}: {'objects' if self.entries is None else 'annotations'}[{entry}]"


def nothing_stated(count: int, file: str = "", size: tuple[int, int] | None = None) -> StatedObjects:
    """For ``count`` objects of which only the masks are known."""
    boxes, bounds = np.full((2, count, 4), np.nan)
    return StatedObjects(file, None, None, boxes, np.full(count, np.nan), bounds, np.zeros(count, bool), (), size)


def whole_dataset(dataset: Dataset) -> Dataset:
    """The data set that a subset is a part of."""
    while isinstance(dataset, SubsetDataset):
        dataset = dataset.dataset
    return dataset


def join_polygons(objects: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Corners [P, 2] of the polygons of all objects, and the corner count of each polygon.

    Args:
        objects: the polygons of each object, each x0, y0, x1, y1, ...
    """
    polygons = [polygon for own in objects for polygon in own]
    corners = np.concatenate(polygons).reshape(-1, 2) if polygons else np.zeros((0, 2))
    return corners, np.array([len(polygon) // 2 for polygon in polygons], np.int64)


def polygon_bounds(objects: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """XYXY bounds [N, 4] of the polygons of each object; NaN for an object without polygons.

    Args:
        objects: as for ``join_polygons``.
    """
    corners, counts = join_polygons(objects)
    bounds = np.full((len(objects), 4), np.nan)
    if len(corners):
        owned = np.array([len(own) for own in objects])  # polygons of each object
        drawn = np.flatnonzero(owned)
        starts = np.append(0, counts.cumsum())[owned.cumsum()[drawn] - owned[drawn]]
        bounds[drawn, :2] = np.minimum.reduceat(corners, starts)
        bounds[drawn, 2:] = np.maximum.reduceat(corners, starts)
    return bounds


def stated_objects(dataset: Dataset, index: int, count: int) -> StatedObjects:
    """The statements about the objects of an image, as far as the format has any.

    Args:
        dataset: of any format.
        index: of the image.
        count: number of its objects.
    """
    while isinstance(dataset, SubsetDataset):
        index, dataset = dataset.indices[index], dataset.dataset
    own = getattr(dataset, "stated_objects", None)
    if own is not None:
        found: StatedObjects = own(index)
        return found
    if not isinstance(dataset, ParsedDataset):
        return nothing_stated(count)
    annotation = dataset.annotation(index)
    stated = nothing_stated(count, annotation.source, annotation.size)
    if len(annotation.objects) != count:
        return stated
    problems: list[tuple[str, int, str]] = []
    polygons: list[list[np.ndarray]] = [[] for _ in annotation.objects]
    for i, item in enumerate(annotation.objects):
        if item.box is not None:
            stated.boxes[i] = item.box
        if not isinstance(item.segmentation, list):
            continue
        own = [*item.segmentation, *item.holes]
        polygons[i] = [np.asarray(polygon, np.float64) for polygon in own if len(polygon) >= 6]
        if len(polygons[i]) < len(own):
            problems.append(("few_corners", i, f"{len(own) - len(polygons[i])} of {len(own)} polygons"))
        stated.several_polygons[i] = len(item.segmentation) > 1
    corners, counts = join_polygons(polygons)
    owners = [i for i, own in enumerate(polygons) for _ in own]
    for i, problem in zip(owners, polygon_problems(corners, counts), strict=True):
        if problem:
            problems.append((problem, i, POLYGON_PROBLEMS[problem]))
    return StatedObjects(
        annotation.source,
        None,
        None,
        stated.boxes,
        stated.areas,
        polygon_bounds(polygons),
        stated.several_polygons,
        tuple(problems),
        annotation.size,
    )

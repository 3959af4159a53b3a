"""Checks that runs were evaluated on the same images with the same ground truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.utils.errors import SegkitError, counted, first_few

TOLERANCE = 1e-3  # of boxes and areas in pixels: files round them differently


def check_same_images(runs: Mapping[str, DatasetOverlaps]) -> None:
    """Raises SegkitError unless all runs have the same classes, images and objects.

    The order of an image's objects does not matter. The message names the images that differ.

    Args:
        runs: the overlaps of each run, by name.
    """
    (first_name, first), *others = runs.items()
    for name, data in others:
        between = f"{first_name} and {name} cannot be compared"
        if list(data.classes) != list(first.classes):
            raise SegkitError(
                f"{between}: their classes differ, {first_few(first.classes)} and {first_few(data.classes)}",
                key="classes",
            )
        if data.iou_type != first.iou_type:
            raise SegkitError(f"{between}: one has masks, the other boxes only", key="iou_type")
        ids, other_ids = ({image.image_id for image in one.images} for one in (first, data))
        if ids != other_ids:
            only = [
                f"{counted(len(missing), 'image')} only in {owner} (ids {first_few([str(i) for i in sorted(missing)])})"
                for owner, missing in ((first_name, ids - other_ids), (name, other_ids - ids))
                if missing
            ]
            raise SegkitError(f"{between}: their images differ, {' and '.join(only)}", key="images")
        pairs = zip(_ordered(first), _ordered(data), strict=True)
        differing = [one.image_id for one, other in pairs if not _same_objects(one, other)]
        if differing:
            raise SegkitError(
                f"{between}: the ground truth of {len(differing)} of {len(first.images)} images differs "
                f"(ids {first_few([str(i) for i in differing])})",
                key="images",
            )


def _ordered(data: DatasetOverlaps) -> list[ImageOverlaps]:
    return sorted(data.images, key=lambda image: image.image_id)


def _same_objects(first: ImageOverlaps, second: ImageOverlaps) -> bool:
    if first.size != second.size or len(first.object_labels) != len(second.object_labels):
        return False
    return np.allclose(_objects(first), _objects(second), rtol=0.0, atol=TOLERANCE)


def _objects(image: ImageOverlaps) -> np.ndarray:
    """Label, area and box of each object, in an order that does not depend on the file's: float64 [M, 6]."""
    columns = np.column_stack([image.object_labels, image.object_areas, image.object_boxes])
    return columns[np.lexsort(columns.round(2).T[::-1])]

"""Measures how large the objects of the training data are."""

from __future__ import annotations

import numpy as np

from segkit.data.formats.base import Dataset
from segkit.structures.object_sides import ObjectSides
from segkit.utils.errors import SegkitError

QUANTILE = 0.99
MOST_IMAGES, MOST_OBJECTS = 64, 2000  # are measured, so that a run starts without delay


def measured_object_sides(dataset: Dataset) -> ObjectSides | None:
    """A quantile of the longer sides of the objects' boxes, in pixels of the files.

    Crowd regions are not measured. The images are drawn with a fixed seed, until there are enough objects; those that
    cannot be read are passed over.

    Args:
        dataset: the training data.
    Returns:
        None if no image that was read has an object.
    """
    sides: list[np.ndarray] = []
    for index in np.random.default_rng(0).permutation(len(dataset))[:MOST_IMAGES].tolist():
        try:
            targets = dataset.targets(index)
        except SegkitError:
            continue
        boxes = targets.boxes[~targets.crowd]
        sides.append((boxes[:, 2:] - boxes[:, :2]).amax(1).double().numpy())
        if sum(map(len, sides)) >= MOST_OBJECTS:
            break
    measured = np.concatenate([*sides, np.zeros(0)])
    if not len(measured):
        return None
    return ObjectSides(float(np.quantile(measured, QUANTILE, method="higher")), QUANTILE, len(measured))

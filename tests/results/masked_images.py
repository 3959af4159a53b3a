"""Predicted images with masks that a test draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from segkit.inference.predicted_image import PredictedImage
from segkit.results import PartFiles
from segkit.structures import Detections, InstanceMasks

CLASSES = ["cell", "=cmd()"]


def disks(count: int, size: tuple[int, int], seed: int = 0, radius: int = 6) -> np.ndarray:
    """Dense masks of disks, which overlap, touch, and are cut by the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    centres, radii = rng.integers(0, size, (count, 2)), rng.integers(1, radius + 1, count)
    dense = [(y - b) ** 2 + (x - a) ** 2 <= r * r for (b, a), r in zip(centres, radii, strict=True)]
    return np.array(dense, np.bool_).reshape(count, *size)


def detections(dense: np.ndarray, labels: list[int] | None = None) -> Detections:
    """Detections of falling scores."""
    count = len(dense)
    scores = torch.linspace(1, 0.5, count)
    return Detections.from_masks(
        InstanceMasks.from_dense(torch.from_numpy(dense)), scores, torch.tensor(labels or [0] * count, dtype=torch.long)
    )


def boxes_alone(size: tuple[int, int]) -> Detections:
    """Two boxes of a model without masks."""
    boxes = torch.tensor([[1.5, 2.0, 5.0, 8.25], [3.0, 0.0, 6.0, 4.0]])
    return Detections(boxes, torch.tensor([0.9, 0.6]), torch.tensor([1, 0]), None, size)


def image_of(found: Detections, name: str = "a.tif", array: np.ndarray | None = None, **fields) -> PredictedImage:
    """A predicted image; without an array its samples are zeros."""
    array = np.zeros((*found.size, 1), np.uint8) if array is None else array
    pixels = torch.zeros(3, *found.size, dtype=torch.uint8)
    fields = {"array": array, **fields}
    return PredictedImage(name, Path(name).stem, found, pixels, **fields)


def written(writer_class, folder, images, parts=None, **options) -> list[Path]:
    """The files of a writer that has written images."""
    writer = writer_class(folder, CLASSES, [1, 4], parts or PartFiles(folder / ".parts"), **options)
    for image in images:
        writer.add(image)
    return writer.close()

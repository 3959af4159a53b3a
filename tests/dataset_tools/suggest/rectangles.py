"""A data set of rectangles for the tests of statistics and suggestions."""

from __future__ import annotations

import numpy as np
import torch

from segkit.data import Dataset
from segkit.structures import InstanceMasks, Sample, Targets


class Rectangles(Dataset):
    """Images of one grey level with rectangles of another.

    Args:
        images: for each image its rectangles, ``(x0, y0, x1, y1, label)``.
        size: (H, W) of each image, or of all.
        levels: (background, objects) of each image, or of all.
        masks: whether the objects have masks.
        classes: names.
    """

    def __init__(self, images, size=(64, 64), levels=(20, 200), *, masks=True, classes=("a", "b")):
        self.images = images
        self.sizes = [size] * len(images) if isinstance(size[0], int) else list(size)
        self.levels = [levels] * len(images) if isinstance(levels[0], int) else list(levels)
        self.masks = masks
        self.classes = list(classes)
        self.category_ids = list(range(1, len(classes) + 1))
        self.image_ids = list(range(1, len(images) + 1))

    def targets(self, index, window=None):
        size, rows = self.sizes[index], self.images[index]
        boxes = torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4)
        masks = None
        if self.masks:
            pixels = boxes.long()
            bits = torch.ones(int((pixels[:, 2:] - pixels[:, :2]).prod(1).sum()), dtype=torch.uint8)
            masks = InstanceMasks(bits, pixels, size)
        return Targets(boxes, torch.tensor([row[4] for row in rows], dtype=torch.int64), masks)

    def load(self, index):
        (height, width), (dark, light) = self.sizes[index], self.levels[index]
        image = np.full((3, height, width), dark, np.uint8)
        for x0, y0, x1, y1, _ in self.images[index]:
            image[:, y0:y1, x0:x1] = light
        return Sample(
            torch.from_numpy(image), self.targets(index), self.image_ids[index], f"{index}.png", (height, width), None
        )

    def size(self, index):
        return self.sizes[index]

    def label_counts(self, index):
        labels = [row[4] for row in self.images[index]]
        return {label: labels.count(label) for label in sorted(set(labels))}


def scattered(count, objects=4, side=10, size=64, seed=0):
    """Rectangles at random places: ``count`` images of ``objects`` each, labels in turn."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, size - side, (count, objects, 2))
    shapes = rng.integers(max(1, side - 2), side + 1, (count, objects, 2))
    return [
        [(int(x), int(y), int(x + w), int(y + h), k % 2) for k, ((x, y), (w, h)) in enumerate(zip(p, s, strict=True))]
        for p, s in zip(corners, shapes, strict=True)
    ]

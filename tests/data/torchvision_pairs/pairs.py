"""A torchvision-style data set over a list, and what it holds."""

from __future__ import annotations

import torch

from segkit.data import from_torchvision

SIZE = (40, 56)


class Pairs:
    """A torchvision-style data set over a list: module-level, so that workers can be sent it."""

    def __init__(self, pairs, transforms=None):
        self.pairs, self.transforms = pairs, transforms

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        found = self.pairs[index]
        return found if self.transforms is None else self.transforms(*found)


def masks_of(*boxes):
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return masks


def pair(*boxes, labels=None, seed=0, **more):
    """An image of noise, and objects that fill their boxes."""
    image = torch.randint(0, 256, (3, *SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
        "masks": masks_of(*boxes),
        **more,
    }
    return image, target


BOXES = ((2, 3, 20, 30), (10, 10, 40, 22))


def loaded(image, target, classes=("a", "b")):
    return from_torchvision(Pairs([(image, target)]), classes).load(0)


def with_key(key, value):
    image, target = pair(*BOXES)
    return image, {**target, key: value}

"""Random images with objects of every shape that an annotation format may not hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.data import Dataset
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.structures.targets import ALL_CLASSES

KINDS = ("touching", "overlapping", "holed", "parts", "border", "pixel", "crowd", "boxes", "ignore", "empty")
CLASSES, CATEGORY_IDS = ["cell", "red cell"], [3, 7]


class RandomScenes(Dataset):
    """Images in memory, each a function of the seed and its index.

    Args:
        count: of images.
        kinds: of objects; each image has some objects of every kind.
        first_id: id of the first image.
        seed: of all random numbers.
    """

    def __init__(self, count: int, kinds: Sequence[str] = KINDS, first_id: int = 1, seed: int = 0) -> None:
        assert set(kinds) <= set(KINDS), kinds
        self.kinds, self.seed = tuple(kinds), seed
        self.classes, self.category_ids = list(CLASSES), list(CATEGORY_IDS)
        self.image_ids = [first_id + i for i in range(count)]

    def load(self, index: int) -> Sample:
        random = np.random.default_rng((self.seed, self.image_ids[index], *map(KINDS.index, self.kinds)))
        height, width = (int(side) for side in random.integers(20, 60, 2))
        image = torch.from_numpy(random.integers(0, 256, (3, height, width), dtype=np.uint8))
        targets = scene(random, self.kinds, (height, width))
        return Sample(image, targets, self.image_ids[index], f"image_{self.image_ids[index]}.png", (height, width))

    def label_counts(self, index: int) -> dict[int, int]:
        labels = self.load(index).targets.labels
        return {label: int((labels == label).sum()) for label in set(labels.tolist()) - {ALL_CLASSES}}


def scene(random: np.random.Generator, kinds: Sequence[str], size: tuple[int, int]) -> Targets:
    """Objects of some kinds on an image of ``size`` (H, W)."""
    masks: list[np.ndarray] = []
    boxes: list[list[float]] = []
    labels: list[int] = []
    crowd: list[bool] = []
    taken = np.zeros(size, bool)
    for kind in kinds:
        for _ in range(0 if kind == "empty" else int(random.integers(1, 4))):
            mask = shape(random, kind, size)
            if kind != "overlapping":
                mask &= ~taken  # touching the others, and in pieces sometimes
            has_mask = kind != "boxes"
            if has_mask and not mask.any():
                continue
            taken |= mask if has_mask else False
            masks.append(mask & has_mask)
            boxes.append([0.0] * 4 if has_mask else box_within(random, size))
            labels.append(ALL_CLASSES if kind == "ignore" else int(random.integers(len(CLASSES))))
            crowd.append(kind in ("crowd", "ignore"))
    dense = torch.from_numpy(np.array(masks, bool).reshape(-1, *size))
    objects = InstanceMasks.from_dense(dense)
    has = dense.flatten(1).any(1)
    given = torch.tensor(boxes).reshape(-1, 4)
    return Targets(
        torch.where(has[:, None], objects.boxes(), given),
        torch.tensor(labels, dtype=torch.int64),
        objects if has.any() or not len(has) else None,
        torch.tensor(crowd, dtype=torch.bool),
        has,
    )


def shape(random: np.random.Generator, kind: str, size: tuple[int, int]) -> np.ndarray:
    """One mask, bool [H, W]; it may be empty."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    cy, cx = random.uniform(0, height), random.uniform(0, width)
    ry, rx = random.uniform(2, height / 4), random.uniform(2, width / 4)
    distance = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
    if kind == "pixel":
        return (y == int(cy)) & (x == int(cx))
    if kind == "border":
        return (distance < 1.5) & (random.random(size) < 0.9) | (x == 0) & (abs(y - cy) < ry)
    if kind == "holed":
        ring = (distance < 3) & (distance > 0.5)
        return ring & ~((y == int(cy + ry)) & (x == int(cx)))
    if kind == "parts":
        return (distance < 2) & ((x + y) % 5 < 3) | (y == height - 1) & (x == width - 1)
    return (distance < 1) | (abs(y - cy) < 1) & (abs(x - cx) < rx)


def box_within(random: np.random.Generator, size: tuple[int, int]) -> list[float]:
    """XYXY of at least a pixel, with fractions of a sixteenth."""
    height, width = size
    x0, y0 = random.uniform(0, width - 3), random.uniform(0, height - 3)
    x1, y1 = random.uniform(x0 + 1, width), random.uniform(y0 + 1, height)
    return [round(value * 16) / 16 for value in (x0, y0, x1, y1)]


def object_differences(
    written: Targets, found: Targets, keys: tuple[Sequence[object], Sequence[object]]
) -> tuple[int, int]:
    """Numbers of objects that were written and not found, and that were found and not written.

    Masks are equal bit for bit, boxes without masks to 0.02 pixels. Ignore regions count as the area that they cover.

    Args:
        written, found: on images of one size.
        keys: for each of them, what a label stands for; the last entry is that of ``ALL_CLASSES``.
    """
    left = _objects(written, keys[0])
    added = 0
    for key, rle, box in _objects(found, keys[1]):
        for i, (other_key, other_rle, other_box) in enumerate(left):
            same_place = rle == other_rle if rle or other_rle else bool((box - other_box).abs().max() < 0.02)
            if key == other_key and same_place:
                del left[i]
                break
        else:
            added += 1
    return len(left), added


def _objects(targets: Targets, names: Sequence[object]) -> list[tuple[object, str, Tensor]]:
    rles = [""] * len(targets)
    if targets.masks is not None:
        ignored = (targets.labels == ALL_CLASSES) & targets.has_mask
        if ignored.any():
            region = targets.masks[ignored].union()[None]
            rest = targets[~ignored]
            area = InstanceMasks.from_dense(region)
            item = (("all", True), area.to_rle()[0]["counts"], area.boxes()[0])
            return [*_objects(rest, names), item]
        rles = [rle["counts"] for rle in targets.masks.to_rle()]
        rles = [rle if known else "" for rle, known in zip(rles, targets.has_mask.tolist(), strict=True)]
    keys = [(names[label], crowd) for label, crowd in zip(targets.labels.tolist(), targets.crowd.tolist(), strict=True)]
    return list(zip(keys, rles, targets.boxes, strict=True))

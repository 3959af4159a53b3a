"""What is looked at in targets before losses are made of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


def check_targets(targets: Sequence[Targets], sizes: Sequence[tuple[int, int]], num_classes: int) -> list[Targets]:
    """The targets without objects whose box has no area or is not finite; those are counted in a warning.

    Nothing can be learnt from such a box, and the offsets towards it would be infinite.

    Args:
        targets: one an image, on any device.
        sizes: (height, width) of each image.
        num_classes: K.
    Raises:
        SegkitError: another number of targets than of images, labels outside of 0 .. K - 1, masks of another image size.
    """
    if len(targets) != len(sizes):
        raise SegkitError(f"{len(targets)} targets for {len(sizes)} images")
    for i, (image_targets, size) in enumerate(zip(targets, sizes, strict=True)):
        masks = image_targets.masks
        if masks is not None and tuple(masks.image_size) != tuple(size):
            raise SegkitError(f"targets[{i}]: masks of {tuple(masks.image_size)} pixels for an image of {tuple(size)}")
    filled = [i for i, image_targets in enumerate(targets) if len(image_targets)]
    if not filled:
        return list(targets)
    rows = []
    for i in filled:
        labels = targets[i].labels
        rows.append(torch.stack([labels.min(), labels.max(), targets[i].degenerate().sum()]))
    kept = list(targets)
    for i, (lowest, highest, bad) in zip(filled, torch.stack(rows).tolist(), strict=True):  # one wait for a device
        if not 0 <= lowest <= highest < num_classes:
            raise SegkitError(
                f"targets[{i}]: labels {lowest} to {highest}; expected 0 to {num_classes - 1}: they are 0-based, and "
                "the background has none"
            )
        if bad:
            kept[i] = without_degenerate(targets[i], f"targets[{i}]")
    return kept


def without_degenerate(targets: Targets, name: str) -> Targets:
    """The other objects, and a warning that counts those left out."""
    bad = targets.degenerate()
    example = [round(value, 2) for value in targets.boxes[bad][0].tolist()]
    logger.warning(
        "%s: %d of %d objects are left out, for their boxes have no area or are not finite, as %s",
        name, int(bad.sum()), len(bad), example,
    )  # fmt: skip
    return targets[~bad]

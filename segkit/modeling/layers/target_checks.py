"""Checks targets before the losses, and drops objects without a valid box."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


def check_targets(targets: Sequence[Targets], sizes: Sequence[tuple[int, int]], num_classes: int) -> list[Targets]:
    """Targets without the objects whose box has no area or is not finite; warns of these.

    The deltas towards such a box would be infinite. Ignore regions, crowds with the label ``ALL_CLASSES``, stay.

    Args:
        targets: of each image, on any device.
        sizes: (height, width) of each image.
        num_classes: K.
    Raises:
        SegkitError: the numbers of targets and images differ, a label or unlabelled class is outside 0 .. K - 1, or masks
            have another image size.
    """
    if len(targets) != len(sizes):
        raise SegkitError(f"{len(targets)} targets for {len(sizes)} images")
    for i, (image_targets, size) in enumerate(zip(targets, sizes, strict=True)):
        masks, unlabelled = image_targets.masks, image_targets.unlabelled
        if len(unlabelled) and not 0 <= int(unlabelled.min()) <= int(unlabelled.max()) < num_classes:
            raise SegkitError(
                f"targets[{i}]: unlabelled classes {unlabelled.tolist()[:9]}; expected 0 to {num_classes - 1}"
            )
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
    for i, (lowest, highest, bad) in zip(filled, torch.stack(rows).tolist(), strict=True):  # one synchronisation
        if lowest == ALL_CLASSES and bool(targets[i].crowd[targets[i].labels == ALL_CLASSES].all()):
            lowest = 0  # all of these are ignore regions
        if lowest < 0 or highest >= num_classes:
            hint = "the background has none"
            if lowest == ALL_CLASSES:
                hint = f"{lowest} is for ignore regions only, which have crowd set"
            raise SegkitError(
                f"targets[{i}]: labels {lowest} to {highest}; expected 0 to {num_classes - 1}: they are 0-based, and {hint}"
            )
        if bad:
            kept[i] = without_degenerate(targets[i], f"targets[{i}]")
    return kept


def without_degenerate(targets: Targets, name: str) -> Targets:
    """The objects with a valid box; warns how many were dropped.

    Args:
        targets: with at least one object whose box has no area or is not finite.
        name: of the targets in the warning.
    """
    bad = targets.degenerate()
    example = [round(value, 2) for value in targets.boxes[bad][0].tolist()]
    logger.warning(
        "%s: %d of %d objects are dropped, because their boxes have no area or are not finite, such as %s",
        name, int(bad.sum()), len(bad), example,
    )  # fmt: skip
    return targets[~bad]

"""The validation data: the data's own, or a part of the training images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segkit.dataset_tools.suggest.name_groups import NameGroups

SHARES = ((20, 0.25), (100, 0.2), (1000, 0.1), (10_000, 0.05))  # up to a number of images
LEAST_SHARE = 0.02
SEED = 42
TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "dev")


@dataclass(frozen=True)
class OwnValidation:
    """The data's own validation split: its name, its spec, the number of its images."""

    name: str
    spec: Mapping[str, Any]
    images: int


def choose_train_split(splits: Sequence[str]) -> str:
    """The split to train on; the first one if none is called so."""
    return next((name for name in splits if name.lower() in TRAIN_NAMES), splits[0])


def choose_val_split(splits: Sequence[str]) -> str | None:
    """The split to evaluate on; None: the data have none."""
    return next((name for name in splits if name.lower() in VAL_NAMES), None)


def choose_validation(
    images: int,
    own: OwnValidation | None,
    groups: NameGroups | None = None,
    most: int | None = None,
    *,
    tiled: bool = False,
) -> tuple[Any, str]:
    """``data.val`` and the reason.

    Args:
        images: of the training data.
        own: the data's own validation split.
        groups: of the training images.
        most: images that can be evaluated in the time; None: any number.
        tiled: whether the images are tiles, and the groups those of a file.
    """
    if own is not None and (most is None or own.images <= most):
        return dict(own.spec), f"The data's own split '{own.name}'."
    if own is not None:
        return {"format": "subset", "dataset": dict(own.spec), "count": most, "seed": SEED}, (
            f"{most:,} random images of the {own.images:,} of the data's own split '{own.name}', as many as can be evaluated "
            "in the time. All of them: segkit evaluate with data.val as the data set inside."
        )
    if images < 2 or (tiled and groups is None):
        return None, "One image cannot be split: nothing is evaluated."
    share = next((share for most, share in SHARES if images <= most), LEAST_SHARE)
    reason = (
        f"The data have no validation split: {100 * share:g} % of the {images:,} images, with the classes in the same "
        "proportion in both parts."
    )
    if most is not None and round(share * images) > most:
        share = math.floor(most / images * 1000) / 1000 or 1 / images
        reason = (
            f"The data have no validation split: {100 * share:.2g} % of the {images:,} images, as many as can be evaluated "
            "in the time."
        )
    val: dict[str, Any] = {"from_train": share, "seed": SEED}
    if groups is None:
        return val, reason
    if groups.needed:
        return _whole_groups(groups, images, share, most)
    reason += f" The images' names form {groups.count} groups, as '{groups.example}'"
    if groups.largest <= share * images:
        val["group"] = groups.pattern
        return val, f"{reason}, which may show the same subject: each is in one part."
    return val, (
        f"{reason}, some with more images than that: if images of a group show the same subject, set a group and a larger "
        "from_train."
    )


def _whole_groups(groups: NameGroups, images: int, share: float, most: int | None) -> tuple[dict[str, Any], str]:
    """``data.val`` for tiles: of some files, or random ones if a file has too many."""
    if most is not None and groups.largest > most:
        return {"from_train": share, "seed": SEED}, (
            f"{100 * share:.2g} % of the {images:,} tiles, as many as can be evaluated in the time. They are neighbours of "
            "training tiles, so that the metrics are too high: give data of their own for validation."
        )
    share = max(share, math.ceil(groups.largest / images * 1000) / 1000)
    return {"from_train": share, "seed": SEED, "group": groups.pattern}, (
        f"The data have no validation split: about {100 * share:.2g} % of the {images:,} tiles of {groups.count} images. All "
        "tiles of an image are in one part."
    )

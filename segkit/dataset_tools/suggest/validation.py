"""The validation data: the data's own, or a part of the training images."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

SHARES = ((20, 0.25), (100, 0.2), (1000, 0.1), (10_000, 0.05))  # up to a number of images
LEAST_SHARE = 0.02
SEED = 42
TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "dev")


def choose_train_split(splits: Sequence[str]) -> str:
    """The split to train on; the first one if none is called so."""
    return next((name for name in splits if name.lower() in TRAIN_NAMES), splits[0])


def choose_val_split(splits: Sequence[str]) -> str | None:
    """The split to evaluate on; None: the data have none."""
    return next((name for name in splits if name.lower() in VAL_NAMES), None)


def choose_validation(
    images: int,
    files: Sequence[str] | None,
    own: Mapping[str, Any] | None,
    name: str | None,
    most: int | None = None,
) -> tuple[Any, str]:
    """``data.val`` and the reason.

    Args:
        images: of the training data.
        files: their paths, if they are files.
        own: spec of the data's own validation split.
        name: of that split.
        most: images that can be evaluated in the time; None: any number.
    """
    if own is not None:
        return dict(own), f"The data's own split '{name}'."
    if images < 2:
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
    if groups := likely_groups(files or ()):
        reason += (
            f" The files' names form {groups[0]} groups, as '{groups[1]}': if images of a group show the same subject, "
            "split by group (segkit dataset split --group)."
        )
    return {"from_train": share, "seed": SEED}, reason


def likely_groups(files: Sequence[str]) -> tuple[int, str] | None:
    """Number of groups of files whose names differ in their last number only, and one of them.

    None if the names form no groups: a single one, or groups of fewer than three files on average.
    """
    names = [os.path.splitext(os.path.basename(file))[0] for file in files]
    if len(set(names)) < len(names):  # the folder tells the images apart
        names = [os.path.basename(os.path.dirname(file)) for file in files]
    prefixes = Counter(match[1] for name in names if (match := re.fullmatch(r"(.*\d.*?)[_\-. ]+[a-zA-Z]*\d+", name)))
    count = sum(prefixes.values())
    if len(prefixes) < 2 or count < 0.9 * len(names) or count < 3 * len(prefixes):
        return None
    return len(prefixes), min(prefixes)

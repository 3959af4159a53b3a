"""Splits a data set into training and validation images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import torch

from segkit.data.formats.base import Dataset, SubsetDataset
from segkit.data.formats.image_names import file_names
from segkit.data.stratified_groups import connected_groups, divide, same_group
from segkit.utils.errors import SegkitError
from segkit.utils.seeding import split_generator

GROUP_KEY = "data.val.group"


def split_dataset(
    dataset: Dataset, fraction: float, seed: int = 42, stratify: bool = True, group: str | None = None
) -> tuple[SubsetDataset, SubsetDataset]:
    """Splits a data set into training and validation images; a seed fixes the split.

    Args:
        dataset: with at least two images.
        fraction: share of the validation images, between 0 and 1; each part gets at least one image.
        seed: of the shuffle.
        stratify: keep the share of each class in both parts, as far as images with several classes allow. This reads
            the classes of all images. A class in very few images stays in the training part.
        group: regular expression on the images' names (see :func:`~segkit.data.formats.image_names.file_names`). Images
            in which its first group (without one: the whole match) finds the same text stay in one part, as those of a
            patient. The validation part then has about its share of the images.
    Returns:
        Training part and validation part, both in the data set's order.
    Raises:
        SegkitError: fewer than two images or groups, a fraction outside (0, 1), or a pattern that does not match.
    """
    if not 0 < fraction < 1:
        raise SegkitError(f"the validation share must lie between 0 and 1; got {fraction}", value=fraction)
    if len(dataset) < 2:
        raise SegkitError(f"{dataset.describe()}: {len(dataset)} images cannot be split into training and validation")
    size = min(max(round(fraction * len(dataset)), 1), len(dataset) - 1)
    generator = split_generator(seed)
    if group is not None:
        return _split_groups(dataset, fraction, generator, stratify, group)
    order = torch.randperm(len(dataset), generator=generator).tolist()
    if stratify:
        chosen = stratified_choice([frozenset(dataset.label_counts(i)) for i in range(len(dataset))], order, size)
    else:
        chosen = order[:size]
    validation = set(chosen)
    return dataset.subset([i for i in range(len(dataset)) if i not in validation]), dataset.subset(sorted(validation))


def _split_groups(
    dataset: Dataset, fraction: float, generator: torch.Generator, stratify: bool, group: str
) -> tuple[SubsetDataset, SubsetDataset]:
    groups = connected_groups(len(dataset), same_group(file_names(dataset), group, GROUP_KEY))
    labels = [Counter[Hashable](dataset.label_counts(i) if stratify else {}) for i in range(len(dataset))]
    order = torch.randperm(len(groups), generator=generator).tolist()
    indices = divide(groups, labels, {"train": 1 - fraction, "val": fraction}, order)
    if not indices["train"] or not indices["val"]:
        raise SegkitError(
            f"{GROUP_KEY}: by '{group}' the {len(dataset)} images form {len(groups)} groups, which cannot be divided "
            f"with a share of {fraction:g} for validation; give a larger share, or a pattern of smaller groups",
            key=GROUP_KEY,
            value=group,
        )
    return dataset.subset(indices["train"]), dataset.subset(indices["val"])


def stratified_choice(labels: Sequence[frozenset[int]], order: Sequence[int], size: int) -> list[int]:
    """Chooses ``size`` images that have each label in the same share as all images.

    This is iterative stratification for images with several labels (Sechidis, Tsoumakas, Vlahavas: On the Stratification
    of Multi-Label Data, 2011, section 3): the images of the rarest label are distributed first, each to the part that
    lacks the label most. Images without objects have a label of their own. Unlike in the paper the part sizes are exact:
    an image goes to a part only while there is room.

    Args:
        labels: the labels that occur in each image.
        order: a permutation of the images; it breaks ties.
        size: number of images to choose.
    """
    share = size / len(labels)
    label_sets = [found or frozenset({-1}) for found in labels]
    room = {True: float(size), False: float(len(labels) - size)}  # chosen or not
    lacking: dict[int, dict[bool, float]] = {}
    for label in {label for found in label_sets for label in found}:
        total = sum(label in found for found in label_sets)
        lacking[label] = {True: share * total, False: (1 - share) * total}
    remaining = list(order)
    chosen: list[int] = []
    while remaining:
        counts: dict[int, int] = {}
        for i in remaining:
            for label in label_sets[i]:
                counts[label] = counts.get(label, 0) + 1
        rarest = min(counts, key=lambda label: (counts[label], label))
        for i in [i for i in remaining if rarest in label_sets[i]]:
            # A tie goes to the part with more room, then to training.
            need = {part: (lacking[rarest][part], room[part]) for part in (True, False)}
            part = need[True] > need[False] if room[True] >= 1 and room[False] >= 1 else room[True] >= 1
            if part:
                chosen.append(i)
            room[part] -= 1
            for label in label_sets[i]:
                lacking[label][part] -= 1
        remaining = [i for i in remaining if rarest not in label_sets[i]]
    assert len(chosen) == size, (len(chosen), size)
    return chosen

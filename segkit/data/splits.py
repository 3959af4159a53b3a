"""Splitting a data set into training and validation images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segkit.data.formats.base import Dataset, SubsetDataset
from segkit.utils.errors import SegkitError
from segkit.utils.seeding import split_generator


def split_dataset(
    dataset: Dataset, fraction: float, seed: int = 42, stratify: bool = True
) -> tuple[SubsetDataset, SubsetDataset]:
    """Split off a share of the images, the same ones for the same seed.

    Args:
        dataset: what to split.
        fraction: share of the images for validation, between 0 and 1; each part gets at least one image.
        seed: of the shuffle.
        stratify: give both parts each class in the proportions of the whole, as far as images with several classes
            allow (reads the objects' classes of all images). A class in very few images stays with the training images.
    Returns:
        training part, validation part; both in the data set's order.
    Raises:
        SegkitError: fewer than two images, or a fraction outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise SegkitError(f"the validation share must lie between 0 and 1; got {fraction}", value=fraction)
    if len(dataset) < 2:
        raise SegkitError(f"{dataset.describe()}: {len(dataset)} images cannot be split into training and validation")
    wanted = min(max(round(fraction * len(dataset)), 1), len(dataset) - 1)
    order = torch.randperm(len(dataset), generator=split_generator(seed)).tolist()
    if stratify:
        chosen = stratified_choice([frozenset(dataset.label_counts(i)) for i in range(len(dataset))], order, wanted)
    else:
        chosen = order[:wanted]
    taken = set(chosen)
    return dataset.subset([i for i in range(len(dataset)) if i not in taken]), dataset.subset(sorted(taken))


def stratified_choice(labels: Sequence[frozenset[int]], order: Sequence[int], wanted: int) -> list[int]:
    """Choose exactly ``wanted`` images so that each label's share of them is its share of all.

    Iterative stratification for several labels an image: the rarest label is dealt out first, each image to the part
    that lacks it most. Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data (2011), section 3.
    Images without objects count as a label of their own. The paper's part sizes come out approximately; here an image
    goes to a part only while there is room.

    Args:
        labels: the labels that occur in each image.
        order: a permutation of the images: who comes first among equals.
        wanted: number of images to choose.
    """
    share = wanted / len(labels)
    label_sets = [found or frozenset({-1}) for found in labels]
    room = {True: float(wanted), False: float(len(labels) - wanted)}  # chosen or not
    lacking: dict[int, dict[bool, float]] = {}
    for label in {label for found in label_sets for label in found}:
        total = sum(label in found for found in label_sets)
        lacking[label] = {True: share * total, False: (1 - share) * total}
    left = list(order)
    chosen: list[int] = []
    while left:
        counts: dict[int, int] = {}
        for i in left:
            for label in label_sets[i]:
                counts[label] = counts.get(label, 0) + 1
        rarest = min(counts, key=lambda label: (counts[label], label))
        for i in [i for i in left if rarest in label_sets[i]]:
            # Ties go to the larger room in proportion, then to training.
            want = {part: (lacking[rarest][part], room[part]) for part in (True, False)}
            part = want[True] > want[False] if room[True] >= 1 and room[False] >= 1 else room[True] >= 1
            if part:
                chosen.append(i)
            room[part] -= 1
            for label in label_sets[i]:
                lacking[label][part] -= 1
        left = [i for i in left if rarest not in label_sets[i]]
    assert len(chosen) == wanted, (len(chosen), wanted)
    return chosen

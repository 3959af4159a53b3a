"""Checks of whole splits: classes, their balance, and objects at the border."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from segkit.data.formats import Dataset
from segkit.dataset_tools.check.images import ImageFacts
from segkit.dataset_tools.check.report import Fault
from segkit.utils.errors import first_few

IMBALANCE = 100  # times as many objects of the largest class
MIN_AT_BORDER = 20  # objects expected there, before their absence means something
TRAINING = ("train", "training", "all")


def is_training(split: str, splits: Sequence[str]) -> bool:
    """Whether a split is trained on: by its name, or as the only one."""
    return split.lower().startswith(TRAINING) or len(splits) == 1


def class_counts(dataset: Dataset, facts: Sequence[ImageFacts], regions: Sequence[str]) -> dict[str, int]:
    """Number of objects of each class; ``regions``: categories that are no classes."""
    counts: Counter[int] = Counter()
    for image in facts:
        counts.update(image.classes or {})
    return {name: counts[label] for label, name in enumerate(dataset.classes) if name not in regions}


def check_class_names(split: str, classes: Sequence[str]) -> list[Fault]:
    """Class names that differ only in case, spaces or Unicode form."""
    faults, seen = [], dict[str, str]()
    for name in classes:
        first = seen.setdefault(class_key(name), name)
        if first != name:
            faults.append(Fault("similar_class_names", f"{first!r} and {name!r}", split, place=f"class {name!r}"))
    return faults


def class_key(name: str) -> str:
    """The name without what similar names differ in."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ").split())


def check_counts(counts: Mapping[str, Mapping[str, int]]) -> list[Fault]:
    """Classes that are unused, rare, or missing in a split.

    Args:
        counts: number of objects of each class, by split.
    """
    faults: list[Fault] = []
    splits = list(counts)
    training: Counter[str] = Counter()
    for split in splits:
        if is_training(split, splits):
            training.update(dict(counts[split]))
            training.update(dict.fromkeys(counts[split], 0))
    total = Counter[str]()
    for split in splits:
        total.update(dict(counts[split]))
    names = {name: None for split in splits for name in counts[split]}
    for name in names:
        place = f"class {name!r}"
        if not total[name]:
            faults.append(Fault("unused_category", f"{name!r} has no object", place=place))
        elif training and not training[name]:
            faults.append(Fault("class_only_outside_training", f"{name!r} has no object to train on", place=place))
    used = {name: number for name, number in (training or total).items() if number}
    largest = max(used, key=lambda name: used[name], default="")
    for name, number in used.items():
        if used[largest] > IMBALANCE * number:
            text = f"{name!r} has {number:,} objects, {largest!r} {used[largest]:,}"
            faults.append(Fault("class_imbalance", text, place=f"class {name!r}"))
    for split in splits:
        if is_training(split, splits):
            continue
        for name in used if training else ():
            if not counts[split].get(name, 0):
                text = f"{name!r} has no object in {split}"
                faults.append(Fault("class_missing_in_split", text, split, place=f"class {name!r}"))
        # Classes that a split lacks are no fault of their own: it is opened with those of the training.
        unknown = [f"'{name}'" for name, count in counts[split].items() if count and training and name not in training]
        if unknown:
            text = f"{split} has objects of {first_few(unknown)}, which the training does not have"
            faults.append(Fault("different_classes", text, split, place=split))
    return faults


def check_border(split: str, facts: Sequence[ImageFacts]) -> list[Fault]:
    """Splits in which most objects touch the border, or none."""
    objects, at_border = sum(image.objects for image in facts), sum(image.at_border for image in facts)
    expected = sum(image.expected_at_border for image in facts)
    if at_border == 0 and expected >= MIN_AT_BORDER:
        text = f"none of {objects:,} objects touches the border; about {expected:.0f} would if they lay anywhere"
        return [Fault("cleared_border", text, split, place=split)]
    if objects >= MIN_AT_BORDER and at_border > objects / 2:
        return [Fault("cut_by_border", f"{at_border:,} of {objects:,} objects touch the border", split, place=split)]
    return []


def merge_parts(split: str, facts: Sequence[ImageFacts], faults: list[Fault], names: Sequence[str]) -> list[Fault]:
    """Replaces parts of single objects by one fault an image, if most images are like that."""
    merged = [image.index for image in facts if image.one_of_many_parts]
    if 2 * len(merged) <= sum(image.objects > 0 for image in facts):
        return faults
    images = {names[index] for index in merged}
    kept = [fault for fault in faults if fault.kind != "object_in_parts" or fault.image not in images]
    text = "its only object of a class has many parts: one value may stand for all objects"
    return kept + [Fault("merged_objects", text, split, names[index]) for index in merged]

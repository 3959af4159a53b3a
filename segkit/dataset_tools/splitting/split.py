"""Divides a data set into training, validation and test images."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from segkit.data.formats import Dataset
from segkit.data.formats.image_names import image_names
from segkit.data.formats.subset import SPLITS_FILE
from segkit.data.stratified_groups import connected_groups, divide, same_group
from segkit.dataset_tools.convert import choose_splits, writer_spec
from segkit.dataset_tools.source import OpenedData, open_data
from segkit.dataset_tools.splitting.near_duplicates import ImagePrint, duplicate_pairs, image_prints
from segkit.dataset_tools.unreadable import UnreadableImages
from segkit.dataset_tools.writing import check_output, make_output, write_splits
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError, counted, did_you_mean
from segkit.utils.progress import progress
from segkit.utils.seeding import split_generator

SIZES = ("small", "medium", "large")  # thirds of the objects of a class, by the root of their box's area
CRITERIA = ("class", "size")


@dataclass(frozen=True)
class ImageObjects:
    """Labels of an image's objects, and the root of the area of their boxes, in pixels."""

    labels: list[int]
    sides: list[float]


@dataclass
class SplitResult:
    """What a data set was divided into.

    Attributes:
        output: the folder written.
        indices: of the images of each split.
        duplicates: number of images that are a copy of another one.
        groups: number of groups of images that stay together.
        table: images, objects of each class and sizes by split, as text.
        unreadable: images that were skipped.
    """

    output: Path
    indices: dict[str, list[int]]
    duplicates: int
    groups: int
    table: str
    unreadable: UnreadableImages = field(default_factory=UnreadableImages)


def split_data(
    source: str,
    output: str,
    fractions: Mapping[str, float],
    *,
    format: str | None = None,
    only: str | None = None,
    group: str | None = None,
    seed: int = 42,
    by: Sequence[str] = CRITERIA,
    to: str | None = None,
    link: bool = False,
    options: Mapping[str, Any] | None = None,
    skip_unreadable: bool = False,
) -> SplitResult:
    """Divides a data set, and writes lists of image names or the images themselves.

    Args:
        source: folder or file of the data.
        output: a new or empty folder.
        fractions: share of each split; their sum is 1.
        format: of the source; None: recognised by its content.
        only: the split of the source to divide, if it has several.
        group: regular expression on the images' names; images with the same first group of it (without one: the same
            match) stay together, as those of a patient.
        seed: of the division.
        by: what each split has its share of: ``class``, ``size``, or both.
        to: format to write the images in; None: lists of names, which ``{format: subset}`` reads.
        link: make symbolic links to images in place of copies.
        options: of the format.
        skip_unreadable: skip images that cannot be read; otherwise the first one is an error.
    """
    check_fractions(fractions)
    unknown = [name for name in by if name not in CRITERIA]
    if unknown:
        raise SegkitError(f"--by: '{unknown[0]}' is no criterion{did_you_mean(unknown[0], CRITERIA)}", choices=CRITERIA)
    spec = None if to is None else writer_spec(to, options or {})
    check_output(output, source)
    dataset, dataset_spec = choose_data(open_data(source, format), only, source)
    unreadable = UnreadableImages(skip=skip_unreadable)
    readable, prints, objects = read_images(dataset, unreadable)
    unreadable.require_others(len(dataset), source)
    names = [name for i, name in enumerate(image_names(dataset)) if i in readable]
    dataset = dataset if len(readable) == len(dataset) else dataset.subset(sorted(readable))
    if len(dataset) < len(fractions):
        raise SegkitError(f"{source}: {len(dataset)} images cannot be divided into {len(fractions)} splits")
    copies = duplicate_pairs(prints)
    groups = connected_groups(
        len(dataset), [*copies, *(same_group(names, group, "--group") if group is not None else ())]
    )
    order = torch.randperm(len(groups), generator=split_generator(seed)).tolist()
    indices = divide(groups, strata(objects, by), fractions, order)
    empty = [split for split, found in indices.items() if not found]
    if empty:
        count = counted(len(groups), "group")
        raise SegkitError(
            f"the split '{empty[0]}' would have no images: the {len(dataset)} images form {count} that stay "
            "together; give it a larger fraction, or a --group of fewer images"
        )
    folder = make_output(output)
    if spec is None:
        write_lists(folder, dataset_spec, names, indices)
    else:
        write_splits({split: dataset.subset(found) for split, found in indices.items()}, spec, folder, link=link)
    duplicates = len({later for _, later in copies})
    return SplitResult(folder, indices, duplicates, len(groups), balance(dataset, objects, indices), unreadable)


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Raises SegkitError unless all are positive and their sum is 1."""
    if len(fractions) < 2 or not all(0 < share < 1 for share in fractions.values()):
        raise SegkitError("--fractions: give two splits or more, each between 0 and 1, as train=0.8 val=0.2")
    if abs(math.fsum(fractions.values()) - 1) > 1e-6:
        raise SegkitError(f"--fractions: their sum is {math.fsum(fractions.values()):g}; expected 1")


def choose_data(opened: OpenedData, only: str | None, source: str) -> tuple[Dataset, Mapping[str, Any]]:
    """The data set to divide, and its spec.

    Raises:
        SegkitError: the data have several splits, and none of them is chosen.
    """
    if only is not None:
        name = next(iter(choose_splits(opened, [only], source)))
    elif len(opened.splits) == 1:
        name = next(iter(opened.splits))
    else:
        raise SegkitError(
            f"{source} is divided already, into {', '.join(opened.splits)}; to divide one of them: --split "
            f"{next(iter(opened.splits))}",
            choices=list(opened.splits),
        )
    return opened.splits[name], opened.specs[name]


def read_images(
    dataset: Dataset, unreadable: UnreadableImages
) -> tuple[set[int], list[ImagePrint], list[ImageObjects]]:
    """Indices of the readable images, and the print and the objects of each, in order."""
    prints, objects = image_prints(dataset, unreadable), objects_of(dataset, unreadable)
    both = enumerate(zip(prints, objects, strict=True))
    readable = [(i, one, few) for i, (one, few) in both if one is not None and few is not None]
    return {i for i, _, _ in readable}, [one for _, one, _ in readable], [few for _, _, few in readable]


def objects_of(dataset: Dataset, unreadable: UnreadableImages) -> list[ImageObjects | None]:
    """Labels and sizes of all objects but crowd regions; None for unreadable images."""
    found: list[ImageObjects | None] = []
    names = image_names(dataset)
    for i in progress(range(len(dataset)), len(dataset), "images measured"):
        one = None
        with unreadable.reading(names[i]):
            targets = dataset.targets(i)
            kept = ~targets.crowd
            boxes = targets.boxes[kept]
            one = ImageObjects(targets.labels[kept].tolist(), (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt().tolist())
        found.append(one)
    return found


def strata(objects: Sequence[ImageObjects], by: Sequence[str]) -> list[Counter[Hashable]]:
    """Number of objects of each class, size, or both together in each image."""
    limits = thirds(objects)
    found = []
    for image in objects:
        pairs = [
            (label, sum(side > limit for limit in limits[label]))
            for label, side in zip(image.labels, image.sides, strict=True)
        ]
        if "size" not in by:
            found.append(Counter[Hashable](image.labels))
        elif "class" not in by:
            found.append(Counter[Hashable](size for _, size in pairs))
        else:
            found.append(Counter[Hashable](pairs))
    return found


def thirds(objects: Sequence[ImageObjects]) -> dict[int, tuple[float, float]]:
    """The two sizes that divide the objects of each label into three equal parts."""
    sides: dict[int, list[float]] = {}
    for image in objects:
        for label, side in zip(image.labels, image.sides, strict=True):
            sides.setdefault(label, []).append(side)
    return {
        label: (sorted(found)[(len(found) - 1) // 3], sorted(found)[2 * (len(found) - 1) // 3])
        for label, found in sides.items()
    }


def write_lists(
    folder: Path, spec: Mapping[str, Any], names: Sequence[str], indices: Mapping[str, Sequence[int]]
) -> None:
    """Writes the list of each split, and the file that names the lists and the data set."""
    for split, found in indices.items():
        with atomic_write(folder / f"{split}.txt") as temporary:
            temporary.write_text("".join(f"{names[i]}\n" for i in found), encoding="utf-8")
    content = {"dataset": dict(spec), "splits": {split: f"{split}.txt" for split in indices}}
    with atomic_write(folder / SPLITS_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def balance(dataset: Dataset, objects: Sequence[ImageObjects], indices: Mapping[str, Sequence[int]]) -> str:
    """A table of images, objects of each class, and sizes, by split."""
    limits = thirds(objects)
    counts: dict[str, Counter[str]] = {split: Counter(images=len(found)) for split, found in indices.items()}
    for split, found in indices.items():
        for i in found:
            for label, side in zip(objects[i].labels, objects[i].sides, strict=True):
                size = SIZES[sum(side > limit for limit in limits[label])]
                counts[split].update((f"class {dataset.classes[label]}", f"{size} objects"))
            counts[split]["images without objects"] += not objects[i].labels
    rows = [
        "images",
        "images without objects",
        *(f"class {name}" for name in dataset.classes),
        *(f"{s} objects" for s in SIZES),
    ]
    table = []
    for row in rows:
        total = sum(count[row] for count in counts.values())
        cells = [f"{count[row]:,} ({count[row] / total:.0%})" for count in counts.values()] if total else []
        if cells:
            table.append((row, *cells))
    return tabulate(table, headers=["", *indices], disable_numparse=True, colalign=("left", *["right"] * len(indices)))


def describe(result: SplitResult) -> str:
    """What was written, for the terminal."""
    lines = [f"written to {result.output}"]
    if result.duplicates:
        found = counted(result.duplicates, "image")
        lines.append(f"equal or nearly equal to another image: {found}; such images stay in one split")
    images = sum(map(len, result.indices.values()))
    if result.groups < images:
        lines.append(f"{counted(images, 'image')} form {counted(result.groups, 'group')} that stay together")
    lines += result.unreadable.lines()
    advice = f"to train on it: segkit fit {shlex.quote(str(result.output))}"
    return "\n".join([*lines, result.table, advice])

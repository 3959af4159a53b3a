"""Writes a mended copy of a data set; the original stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from segkit.data.formats import Dataset
from segkit.data.writers import DatasetWriter, WritableImage, written_names
from segkit.dataset_tools.check.classes import class_key, is_training
from segkit.dataset_tools.check.images import ImageFacts
from segkit.dataset_tools.check.kinds import KINDS
from segkit.dataset_tools.check.opening import OpenedSplits
from segkit.dataset_tools.check.overlaps import alike_pairs
from segkit.dataset_tools.check.report import Fault, Mending
from segkit.dataset_tools.incomplete import IncompleteFolder
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.utils.paths import prepare_folder

FALLBACK = "coco"  # the format of copies of data whose own format cannot be written


@dataclass(frozen=True)
class SplitImages:
    """The images of a split: facts in their order, and names and files by index.

    ``files`` has None for an image that is made, or is a part of a file.
    """

    facts: Sequence[ImageFacts]
    names: Sequence[str]
    files: Sequence[str | None]


def write_mended(
    output: Path,
    opened: OpenedSplits,
    images: Mapping[str, SplitImages],
    faults: Sequence[Fault],
    *,
    merge_classes: bool,
) -> Mending:
    """Writes what is valid of a checked data set, without what can be mended by leaving it out.

    Args:
        output: folder of the copy.
        opened: the splits.
        images: of each split.
        faults: all that were found.
        merge_classes: merge classes whose names differ only in case, spaces or Unicode form.
    Raises:
        SegkitError: nothing is left to write, or no format can be written.
    """
    kind = opened.format if opened.format in DATASET_WRITER_REGISTRY else FALLBACK
    if not opened.datasets:
        raise SegkitError(f"{output}: not written, because no image can be read", key="fix")
    classes, category_ids, labels = merged_classes(opened.datasets, merge_classes)
    mending = Mending(str(output), kind)
    prepare_folder(output, "--fix")
    writer: DatasetWriter = DATASET_WRITER_REGISTRY.build(
        {"format": kind}, output=output, classes=classes, category_ids=category_ids
    )
    used: set[str] = set()
    splits = list(opened.datasets)
    kept = {split: [image for image in images[split].facts if is_kept(image, split, splits)] for split in splits}
    with IncompleteFolder(output, sum(map(len, kept.values()))) as folder, writer:
        for split, dataset in opened.datasets.items():
            names = _names(images[split].names)
            for image in kept[split]:
                name, file = names[image.index], images[split].files[image.index]
                targets = mended_targets(dataset.all_targets(image.index), labels[split])
                writer.write(
                    WritableImage(
                        _unique(_file_name(name, file is None), split, used),
                        mending.images + 1,
                        dataset.size(image.index),
                        targets,
                        split,
                        None if file is None else Path(file),
                        dataset.load(image.index) if file is None else None,
                        planes=dataset.reader.planes,
                    )
                )
                folder.done = mending.images = mending.images + 1
                mending.objects += len(targets)
    mending.losses.update(writer.losses)
    mending.done, mending.remaining = split_faults(faults, splits, merge_classes)
    return mending


def is_kept(image: ImageFacts, split: str, splits: Sequence[str]) -> bool:
    """Whether an image is in the copy: readable, consistent, and not there twice."""
    if not image.readable or not image.consistent:
        return False
    return not image.repeats or (image.repeats == "image_in_two_splits" and not is_training(split, splits))


def mended_targets(targets: Targets, labels: torch.Tensor) -> Targets:
    """The objects with area, each once; masks and boxes are clipped to the image already.

    Args:
        targets: all objects of an image.
        labels: the new label of each class; the last entry is for regions of all classes.
    """
    kept = ~targets.degenerate()
    if targets.masks is not None:
        kept &= ~targets.has_mask | (targets.masks.areas() > 0)
    targets = targets[kept]
    targets.labels = labels[targets.labels]
    repeated = {
        pair.second
        for pair in alike_pairs(targets)
        if pair.iou == 1.0
        and targets.labels[pair.first] == targets.labels[pair.second]
        and targets.crowd[pair.first] == targets.crowd[pair.second]
    }
    return targets[[i for i in range(len(targets)) if i not in repeated]] if repeated else targets


def merged_classes(
    datasets: Mapping[str, Dataset], merge: bool
) -> tuple[list[str], list[int], dict[str, torch.Tensor]]:
    """Classes of all splits together, their ids, and the new labels of each split's classes."""
    ids: dict[str, int] = {}
    position: dict[str, int] = {}
    labels: dict[str, torch.Tensor] = {}
    for split, dataset in datasets.items():
        for name, category_id in zip(dataset.classes, dataset.category_ids, strict=True):
            key = class_key(name) if merge else name
            if key not in position:
                position[key] = len(position)
                ids[name] = category_id if category_id not in ids.values() else max(ids.values()) + 1
        own = [position[class_key(name) if merge else name] for name in dataset.classes]
        labels[split] = torch.tensor([*own, -1])
    return list(ids), list(ids.values()), labels


def split_faults(
    faults: Sequence[Fault], splits: Sequence[str], merge_classes: bool
) -> tuple[Counter[str], Counter[str]]:
    """Number of mended faults and of the others, by kind."""
    done: Counter[str] = Counter()
    remaining: Counter[str] = Counter()
    for fault in faults:
        is_mended = bool(KINDS[fault.kind].mended)
        if fault.kind == "image_in_two_splits":
            is_mended = is_training(fault.split, splits)
        elif fault.kind == "similar_class_names":
            is_mended = merge_classes
        (done if is_mended else remaining)[fault.kind] += 1
    return done, remaining


def _names(names: Sequence[str]) -> Sequence[str]:
    """The names; those of the folders if all files of several folders are called the same (``image.tif``)."""
    return written_names(names) if len(names) > 1 and len({PurePosixPath(name).stem for name in names}) == 1 else names


def _file_name(name: str, is_made: bool) -> str:
    """Relative path of an image in the copy."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part not in ("..", "/", ".")]
    return "/".join(parts).replace(" ", "_") + ".png" if is_made else "/".join(parts)


def _unique(name: str, split: str, used: set[str]) -> str:
    """The name, or one that no image has yet; names that differ only in case are the same on some systems."""
    path = PurePosixPath(name)
    candidate, number = name, 1
    while candidate.casefold() in used:
        folder = f"{split}/{path.parent}" if number == 1 else f"{split}_{number}/{path.parent}"
        candidate = str(PurePosixPath(folder) / path.name)
        number += 1
    used.add(candidate.casefold())
    return candidate

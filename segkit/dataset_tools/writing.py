"""Writes data sets in a format of the writers' registry, image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segkit.data.formats import Dataset
from segkit.data.formats.image_names import image_names
from segkit.data.formats.recognition import INCOMPLETE
from segkit.data.writers import DatasetWriter, WritableImage, written_names
from segkit.dataset_tools.incomplete import IncompleteFolder
from segkit.dataset_tools.unreadable import UnreadableImages
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError, UnreadableImage, image_errors
from segkit.utils.paths import output_folder, prepare_folder
from segkit.utils.progress import progress

IDS_CHANGED = "classes whose category id changed, because two classes had the same"


@dataclass
class WrittenData:
    """What a data set was written as.

    Attributes:
        output: the folder.
        format: name of the format.
        images: number of images of each split.
        objects: number of objects, ignore and crowd regions included.
        losses: what the format could not hold, with counts.
        renamed: old and new name of each image that got another name.
        unreadable: images that were skipped.
    """

    output: Path
    format: str
    images: dict[str, int]
    objects: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    unreadable: UnreadableImages = field(default_factory=UnreadableImages)


def check_output(output: str | Path, source: str | Path | None = None, option: str = "--output") -> Path:
    """The folder to write to, which need not exist yet.

    Args:
        output: the folder.
        source: the data; None: not a path.
        option: that names the folder, for messages.
    Raises:
        SegkitError: it has content, or cannot be written to, or lies in ``source``.
    """
    folder = output_folder(output, option)
    if folder.is_dir() and any(folder.iterdir()):
        unfinished = " of an interrupted command" if (folder / INCOMPLETE).exists() else ""
        raise SegkitError(
            f"{option}: '{folder}' has files{unfinished}; give a new folder, or empty this one", value=str(folder)
        )
    if source is not None and folder.resolve().is_relative_to(Path(source).resolve()):
        raise SegkitError(f"{option}: '{folder}' lies in the data set itself; give another folder", value=str(folder))
    return folder


def make_output(output: str | Path) -> Path:
    """Creates the folder to write to."""
    folder = check_output(output)
    prepare_folder(folder, "--output")
    return folder


def write_splits(
    splits: Mapping[str, Dataset],
    spec: Mapping[str, Any],
    output: Path,
    *,
    link: bool = False,
    skip_unreadable: bool = False,
) -> WrittenData:
    """Writes all splits, image by image.

    A file in ``output`` says that it is incomplete until all of it is written.

    Args:
        splits: data sets by the name of the split. Their classes are put together.
        spec: ``{"format": NAME, ...}`` with the options of the writer.
        output: an empty folder.
        link: make symbolic links to images in place of copies.
        skip_unreadable: skip images that cannot be read; otherwise the first one is an error.
    Raises:
        SegkitError: an image cannot be read, or none can, or a file cannot be written.
    """
    classes, category_ids, changed = joint_classes(list(splits.values()))
    writer: DatasetWriter = DATASET_WRITER_REGISTRY.build(
        spec, path="--to", output=output, classes=classes, category_ids=category_ids
    )
    total = sum(map(len, splits.values()))
    written = WrittenData(output, str(spec["format"]), dict.fromkeys(splits, 0))
    written.unreadable.skip = skip_unreadable
    with IncompleteFolder(output, total) as folder:
        with writer:
            for image in progress(_images(splits, classes, written, link), total, "images written"):
                with written.unreadable.reading(image.name, image.split, UnreadableImage):
                    writer.write(image)
                    written.images[image.split] += 1
                    written.objects += len(image.targets)
                    folder.done += 1
        written.unreadable.require_others(total, str(output))
    written.losses = Counter(writer.losses)
    if changed:
        written.losses[IDS_CHANGED] += changed
    return written


def joint_classes(datasets: Sequence[Dataset]) -> tuple[list[str], list[int], int]:
    """Classes and category ids of several data sets, and how many ids had to change.

    The order is that of the first data set, then of the classes that it lacks. An id that another class has already is
    replaced by the next free one.
    """
    ids: dict[str, int] = {}
    changed = 0
    for dataset in datasets:
        for name, k in zip(dataset.classes, dataset.category_ids, strict=True):
            if name in ids:
                changed += ids[name] != k
                continue
            if k in ids.values():
                k, changed = max(ids.values()) + 1, changed + 1
            ids[name] = k
    return list(ids), list(ids.values()), changed


def _images(
    splits: Mapping[str, Dataset], classes: Sequence[str], written: WrittenData, link: bool
) -> Iterator[WritableImage]:
    labels = {name: label for label, name in enumerate(classes)}
    for split, dataset in splits.items():
        names = image_names(dataset)
        chosen = written_names(names)
        written.renamed += [(old, new) for old, new in zip(names, chosen, strict=True) if Path(old).name != new]
        files = dataset.image_files()
        of_label = torch.tensor([*(labels[name] for name in dataset.classes), -1])  # the last one is ALL_CLASSES
        for i, (name, image_id) in enumerate(zip(chosen, dataset.image_ids, strict=True)):
            image = None
            with written.unreadable.reading(names[i], split):
                size, targets = dataset.size(i), dataset.targets(i)
                if list(dataset.classes) != list(classes):
                    targets = replace(targets, labels=of_label[targets.labels])
                file = Path(files[i]) if files else None
                if file is not None and dataset.reader.size(file) != size:
                    file = None  # a part of the file; or a wrong size, which loading says
                load = partial(_load, dataset, i)
                planes = dataset.reader.planes
                image = WritableImage(name, image_id, size, targets, split, file, load=load, link=link, planes=planes)
            if image is not None:
                yield image


def _load(dataset: Dataset, index: int) -> Sample:
    with image_errors():
        return dataset.load(index)

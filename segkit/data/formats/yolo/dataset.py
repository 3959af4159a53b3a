"""The YOLO format: a text file of normalised polygons and boxes beside each image."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.parsed import ImageAnnotation, ObjectAnnotation, ParsedDataset, relative_name
from segkit.data.formats.parsing.file_errors import parse_each, skip_missing
from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.data.formats.parsing.text import read_text
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.yolo.labels import HINTS, MISTAKES, in_pixels, is_number, parse_labels
from segkit.data.formats.yolo.layout import Layout, find_data_file, find_images, find_layout, label_file
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, did_you_mean, first_few
from segkit.utils.images import is_image_name
from segkit.utils.paths import local_path


@DATASET_FORMAT_REGISTRY.register(name="yolo")
class Yolo(ParsedDataset):
    """Images with YOLO labels: polygons and boxes without masks, mixed in any way.

    ``data.yaml`` states ``names`` (a list, or a mapping from 0), and folders, lists or text files of images as ``train``,
    ``val`` and ``test``, relative to its ``path`` or to itself; ``../train/images`` is also looked for as
    ``train/images``. The labels of ``images/a.jpg`` are in ``labels/a.txt``, or beside the image if no folder is called
    ``images``. An image without a label file has no objects. A folder without a YAML file needs ``images``, ``labels``
    and ``classes.txt``.

    Coordinates are multiplied by the image's width and height, so that a polygon's corner 0.5 lies on the middle of the
    image. Lines of five numbers are boxes; a sixth number is a score, which is ignored. Lines of nine numbers are polygons
    of four points, those of oriented boxes (OBB) too, which look the same. Keypoints are an error.

    The YAML file is trusted like a configuration: its paths, and absolute paths in its lists of images, may lead anywhere.
    Relative paths in lists stay in the data set's folder.

    hotcoco's ``from_yolo`` is not used: it knows one folder of labels, and replaces polygons by their boxes.

    Args:
        data: the YAML file, or the folder of the data set.
        split: ``train``, ``val`` or ``test``; by default ``train`` if there are several, else all images.
        classes: class names in the order of the labels; by default those of the files. Objects of other classes are an
            error.
    """

    def __init__(self, *, data: str, split: str | None = None, classes: Sequence[str] | None = None) -> None:
        path = local_path(data, "YOLO data set")
        layout = find_layout(path)
        self.split, entries = choose_split(layout, path, split)
        files = list(dict.fromkeys(find_images(entries, layout.root)))
        if not files:
            raise SegkitError(f"{path}: the split '{self.split}' holds no images", key="split", value=split)
        files = _existing(files, layout)
        names = layout.classes or dict(enumerate(classes or ()))
        if not names:
            raise SegkitError(
                f"{path}: no file names the classes; add classes.txt, or give 'classes' in the order of the labels",
                key="classes",
            )
        lost = LostCounter(HINTS, MISTAKES)
        self._unlabelled: list[str] = []
        self._scores = 0
        self._label_folders: Counter[str] = Counter()
        used: set[str | None] = set()
        images = PackedList(self._parse(files, layout, names, lost, used))
        found = list(names.values()) if classes is None else [n for n in names.values() if n in used or n in classes]
        ids = {name: index for index, name in names.items()}
        spare = iter(i for i in range(len(ids) + len(classes or ())) if i not in names)
        category_ids = None if classes is None else [ids[n] if n in ids else next(spare) for n in classes]
        where = f"YOLO data set {path}" + (f", split '{self.split}'" if self.split != "all" else "")
        super().__init__(
            images,
            found,
            classes,
            list(names) if classes is None else category_ids,
            where=where,
            lost=lost.lost_objects(),
        )

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        try:
            if path.is_file() and (
                path.suffix not in (".yaml", ".yml") or b"names" not in path.read_bytes()[: 1 << 16]
            ):
                return None
            if path.is_dir() and find_data_file(path) is None and not _has_labels(path):
                return None
            layout = find_layout(path)
        except (SegkitError, OSError):
            return None
        spec: dict[str, Any] = {"format": "yolo", "data": str(path.absolute())}
        named = layout.classes or {}
        what = f"{layout.file.name} with" if layout.file else "images and label files,"
        reason = f"{what} {len(named)} class names" + (f", splits {', '.join(layout.splits)}" if layout.file else "")
        if set(layout.splits) == {"all"}:
            return Recognition(spec, reason, certainty=0.9)
        seen: list[list[Path]] = []  # Ultralytics needs a val: data sets without one repeat train
        for name, entries in list(layout.splits.items()):
            if entries in seen:
                del layout.splits[name]
            seen.append(entries)
        splits = {name: {**spec, "split": name} for name in layout.splits}
        first = "train" if "train" in splits else next(iter(splits))
        return Recognition(splits[first], reason, splits, 1.0 if layout.file else 0.9)

    def notes(self) -> list[str]:
        notes = []
        if self._unlabelled:
            notes.append(
                f"{len(self._unlabelled)} images have no label file and count as images without objects: "
                f"{first_few(self._unlabelled, 3)}"
            )
        if self._scores:
            notes.append(f"{self._scores} boxes have a score, which is ignored")
        unused = [f"{count} in {folder}" for folder, count in self._label_folders.items() if count]
        return [*notes, f"label files without an image: {first_few(unused, 3)}"] if unused else notes

    def annotation(self, index: int) -> ImageAnnotation:
        """The image and its objects, in pixels."""
        annotation, size = super().annotation(index), self.size(index)
        return replace(annotation, objects=[in_pixels(o, size) for o in annotation.objects])

    def _object_regions(self, objects: Sequence[ObjectAnnotation], size: tuple[int, int]) -> np.ndarray:
        return super()._object_regions([in_pixels(o, size) for o in objects], size)

    def _targets(self, annotation: ImageAnnotation, size: tuple[int, int]) -> Targets:
        objects = [in_pixels(o, size) for o in annotation.objects]
        return super()._targets(replace(annotation, objects=objects), size)

    def _parse(
        self, files: list[Path], layout: Layout, names: dict[int, str], lost: LostCounter, used: set[str | None]
    ) -> Iterator[ImageAnnotation]:
        """Reads the label file of each image; adds the classes that occur to ``used``.

        Label files that are missing and those without an image are counted.
        """
        listings: dict[Path, set[str]] = {}
        matched: Counter[Path] = Counter()

        def read(file: Path) -> ImageAnnotation:
            labels = label_file(file)
            name = relative_name(file, layout.root)
            if labels.parent not in listings:
                listings[labels.parent] = _label_names(labels.parent)
            objects: list[ObjectAnnotation] = []
            if labels.name in listings[labels.parent]:
                matched[labels.parent] += 1
                source = relative_name(labels, layout.root)
                objects, scores = parse_labels(read_text(labels, source), source, names, lost)
                self._scores += scores
                used.update(o.category for o in objects)
            else:
                self._unlabelled.append(name)
            return ImageAnnotation(str(file), name, None, objects, source=relative_name(labels, layout.root))

        yield from parse_each(files, read, label_file)
        if not any(entry.is_file() for entry in layout.splits[self.split]):
            for folder, listed in listings.items():
                self._label_folders[relative_name(folder, layout.root)] = max(0, len(listed) - matched[folder])


def choose_split(layout: Layout, path: Path, split: str | None) -> tuple[str, list[Path]]:
    """The name and the entries of the split to open.

    Raises:
        SegkitError: there is no such split.
    """
    if split is None:
        if len(layout.splits) > 1 and "train" not in layout.splits:
            raise SegkitError(f"{path}: has the splits {', '.join(layout.splits)}; give one of them", key="split")
        split = "train" if "train" in layout.splits else next(iter(layout.splits))
    if split not in layout.splits:
        raise SegkitError(
            f"{path}: there is no split '{split}'{did_you_mean(split, layout.splits)}",
            key="split",
            value=split,
            choices=layout.splits,
        )
    return split, layout.splits[split]


def _existing(files: list[Path], layout: Layout) -> list[Path]:
    """The listed images that exist; a SegkitError if some are missing and errors are not collected."""
    below = [file.relative_to(layout.root).as_posix() for file in files if file.is_relative_to(layout.root)]
    others = [str(file) for file in files if not file.is_relative_to(layout.root)]
    what = f"images of {layout.file or layout.root}"
    missing = {layout.root / name for name in skip_missing(layout.root, below, what)}
    missing |= {Path(name) for name in skip_missing(layout.root, others, what)}
    return [file for file in files if file not in missing]


def _label_names(folder: Path) -> set[str]:
    """Names of the label files of a folder; empty if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = {entry.name for entry in entries if entry.name.endswith(".txt")}
    except OSError:
        return set()
    return names - {"classes.txt"}


def _has_labels(folder: Path) -> bool:
    """Whether a folder without a YAML file has images with label files; looks at a few images."""
    try:
        layout = find_layout(folder)
    except SegkitError:
        return False
    for entries in layout.splits.values():
        for _, file in zip(range(20), find_images(entries, folder), strict=False):
            labels = label_file(file)
            if labels.is_file() and labels.name != "classes.txt" and is_image_name(file):
                words = labels.read_bytes()[:4096].split(b"\n")[0].split()
                if len(words) >= 5 and all(is_number(word) for word in words):
                    return True
    return False

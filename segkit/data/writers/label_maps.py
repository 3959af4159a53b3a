"""Writes label maps: segkit's own layout, and pairs of images and label maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from segkit.data.formats.class_names import default_category_ids
from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.image_names import ImageNames, folder_name, split_root
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.masks import InstanceMasks
from segkit.structures.painting import LabelPainter, smallest_type
from segkit.structures.targets import Targets

CROWDS = "crowd and ignore regions, which are not written"
UNMASKED = "objects without a mask, which are not written"
CUT = "objects that lost pixels to an overlapping one of their class"
HIDDEN = "objects that an overlapping one of their class hides"
RENAMED = "class names, which become class1, class2, ..."
RENUMBERED = "category ids, which become 1, 2, ..."


def writable_objects(targets: Targets, losses: Counter[str]) -> Targets:
    """The objects with a mask that are not crowd regions; the others are counted in ``losses``."""
    crowds = targets.crowd
    unmasked = ~targets.has_mask & ~crowds
    for reason, which in ((CROWDS, crowds), (UNMASKED, unmasked)):
        if count := int(which.sum()):
            losses[reason] += count
    return targets[~crowds & targets.has_mask]


def paint_label_map(masks: InstanceMasks, losses: Counter[str]) -> np.ndarray:
    """A label map of masks, uint16 or uint32 [H, W]: object i has the number i + 1.

    Of two objects that overlap, the smaller one keeps the common pixels, so that it does not vanish in the larger one.

    Args:
        masks: of one class.
        losses: where objects that lose pixels are counted.
    """
    areas = masks.areas().numpy()
    smallest_first = np.argsort(-areas, kind="stable")[::-1]  # of equal areas, the last one
    ids = np.arange(1, len(masks) + 1)
    label_map = LabelPainter(masks, ids, order=smallest_first, dtype=smallest_type(len(masks))).paint()
    left = np.bincount(label_map.ravel(), minlength=len(masks) + 1)[1:]
    for reason, which in ((CUT, (left < areas) & (left > 0)), (HIDDEN, (left == 0) & (areas > 0))):
        if count := int(which.sum()):
            losses[reason] += count
    return label_map


def write_label_map(path: Path, label_map: np.ndarray) -> None:
    """Writes a label map as TIFF, compressed without loss; folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, label_map, photometric="minisblack", compression="zlib")


@DATASET_WRITER_REGISTRY.register(name="label_map")
class LabelMapWriter(DatasetWriter):
    """Writes ``NAME/image.*`` and ``NAME/classK.tif`` for each class K that occurs.

    K is the category id if all ids are above 0, else 1, 2, ... The layout holds no class names, no crowd regions, no
    objects without a mask, and no overlaps within a class; ``losses`` counts them.
    """

    def __init__(self, output: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        super().__init__(output, classes, category_ids)
        self._names = ImageNames()
        usable = all(k > 0 for k in self.category_ids)
        self._file_ids = self.category_ids if usable else list(range(1, len(self.classes) + 1))
        if not usable:
            self.losses[RENUMBERED] += len(self.classes)
        if renamed := sum(name != f"class{k}" for name, k in zip(self.classes, self._file_ids, strict=True)):
            self.losses[RENAMED] += renamed

    def write(self, image: WritableImage) -> None:
        folder = split_root(self.output, image.split) / self._names.stem(image)
        self.save_image(image, folder / "image.png")
        targets = writable_objects(image.targets, self.losses)
        for label in sorted(set(targets.labels.tolist())):
            own = targets[targets.labels == label]
            assert own.masks is not None
            write_label_map(folder / f"class{self._file_ids[label]}.tif", paint_label_map(own.masks, self.losses))


class ClassFolderWriter(DatasetWriter):
    """Base of the writers that have a folder for each class, and no category ids."""

    def __init__(self, output: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        super().__init__(output, classes, category_ids)
        self._names = ImageNames()
        self._folders = class_folders(self.classes, self.losses)
        if self.category_ids != default_category_ids(self.classes):
            self.losses[RENUMBERED] += len(self.classes)


@DATASET_WRITER_REGISTRY.register(name="label_pairs")
class LabelPairsWriter(ClassFolderWriter):
    """Writes ``images/NAME.*`` and ``masks/NAME.tif``, one label map an image.

    Several classes are ``masks/CLASS/NAME.tif``. The format ``label_pairs`` reads them, and so do Cellpose and StarDist.
    The layout holds no crowd regions, no objects without a mask, and no overlaps within a class; ``losses`` counts them.
    """

    def write(self, image: WritableImage) -> None:
        root, stem = split_root(self.output, image.split), self._names.stem(image)
        self.save_image(image, root / "images" / f"{stem}.png")
        targets = writable_objects(image.targets, self.losses)
        for label, folder in enumerate(self._folders):
            own = targets[targets.labels == label]
            masks = own.masks if own.masks is not None else InstanceMasks.empty(image.size)
            # Every image gets a label map of each class: one that is missing would not say that there are no objects.
            path = root / "masks" / folder / f"{stem}.tif"
            write_label_map(path, paint_label_map(masks, self.losses))


def class_folders(classes: Sequence[str], losses: Counter[str]) -> list[str]:
    """The folder of each class; empty for a single class.

    Names that file systems do not accept are changed, and counted in ``losses``.
    """
    if len(classes) == 1:
        if classes[0] != "object":
            losses["class names, which the files do not hold"] += 1
        return [""]
    folders: list[str] = []
    for name in classes:
        folder = folder_name(name)
        while folder.casefold() in {other.casefold() for other in folders}:
            folder += "_"
        folders.append(folder)
        if folder != name:
            losses["class names with characters that a folder's name cannot have"] += 1
    if folders != sorted(folders):
        losses["classes whose order becomes alphabetical"] += len(classes)
    return folders

"""The COCO format: one JSON of annotations, one folder of images."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from segkit.data.formats.base import Dataset
from segkit.data.formats.class_names import check_classes, names_differing_in_case
from segkit.data.formats.coco.annotations import CROWD, NO_POLYGON
from segkit.data.formats.coco.box_checks import BESIDE, CORNERS, OUTSIDE, UNIT_BOX, UNIT_SQUARE
from segkit.data.formats.coco.categories import match_classes
from segkit.data.formats.coco.recognition import recognize_coco
from segkit.data.formats.coco.table import CocoTable, ImageObjects
from segkit.data.formats.id_map import check_size
from segkit.data.formats.lazy_samples import (
    EVERYWHERE,
    RegionCache,
    object_regions,
    open_lazily,
    sample_without_image,
    with_masks,
)
from segkit.data.formats.objects import LostObjects, TrainingObjects, ground_truth_from_targets, training_objects
from segkit.data.formats.parsing.masks import annotated_targets, decode_masks
from segkit.data.formats.recognition import Recognition
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.lazy_targets import Window
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, first_few
from segkit.utils.paths import local_path
from segkit.utils.paths.missing_files import check_files

PIXELS = "COCO files hold pixels: multiply x by the image's width and y by its height"
XYWH = "'bbox' is [x, y, width, height] in pixels"
HINTS = {
    UNIT_SQUARE: PIXELS,
    UNIT_BOX: PIXELS + ", because evaluation uses these boxes",
    CROWD: "training and evaluation do not count them as objects; if each is one object, set its 'iscrowd' to 0",
    CORNERS: XYWH + ": write x2 - x1 and y2 - y1 as width and height",
    BESIDE: XYWH + "; evaluation uses these boxes, training those of the polygons",
    OUTSIDE: XYWH + "; these lie outside of the 'width' and 'height' that the file has for the image",
}
MISTAKES = (UNIT_SQUARE, UNIT_BOX, CORNERS)  # never intended
TRAINED_ON = (UNIT_BOX, NO_POLYGON, CORNERS, BESIDE)  # training uses these objects, evaluation gets them wrong


@DATASET_FORMAT_REGISTRY.register(name="coco")
class Coco(Dataset):
    """Images and objects of a COCO JSON: polygons, RLE, boxes without masks, crowd regions.

    Training boxes are computed from the masks, so that boxes and masks move together; evaluation uses the file's boxes
    and areas, as COCO's published results do. An object without a segmentation (none, null, ``[]``, ``[[]]``, ``{}``, or
    only polygons of fewer than three corners) keeps its ``bbox``, clipped to the image for training. An object whose
    ``bbox`` has no width or height gets the box of its mask.

    Args:
        json: the annotation file. The arrays of a file of 32 MB or more are cached in ``$SEGKIT_CACHE``, by default
            ``~/.cache/segkit``; these files may be deleted at any time.
        images: the folder that the file names are relative to.
        classes: names in the order of the labels; by default the file's categories by ascending id.
    """

    expected = "a .json with the lists images, annotations and categories, beside or above its images"
    table_type: ClassVar[type[CocoTable]] = CocoTable

    def __init__(self, *, json: str, images: str, classes: Sequence[str] | None = None) -> None:
        self.file = local_path(json, "COCO annotation file")
        self.folder = local_path(images, "folder of images")
        if not self.folder.is_dir():
            raise SegkitError(f"{self.folder}: is not a folder", value=images)
        self._table = self.table_type(self.file)
        names = None if classes is None else list(classes)
        file_ids = self._table.category_ids
        counts = np.bincount(self._table.arrays["category"], minlength=len(file_ids)).tolist()
        self._unused = [name for name, count in zip(file_ids, counts, strict=True) if not count]
        self.classes, self.category_ids, self._lacking = match_classes(self.file, file_ids, names, self._unused)
        check_classes(self.classes, self.category_ids, "classes" if names is not None else f"{self.file}: categories")
        if len(self._table) == 0:
            raise SegkitError(f"{self.file}: lists no images", value=json)
        files = [self._table.name(i) for i in range(len(self._table))]
        self._repeated_files = len(files) - len(set(files))
        check_files(self.folder, files, f"images of {self.file}")
        labels = {name: label for label, name in enumerate(self.classes)}
        self._labels = np.array([labels.get(name, -1) for name in file_ids], np.int64)  # by index of the category
        self.image_ids = self._table.arrays["image_id"].tolist()
        self._regions = RegionCache()

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        return recognize_coco(path)

    def load(self, index: int) -> Sample:
        objects, size, name = self._table.objects(index), self._table.size(index), self._table.name(index)
        image = self.reader.read(self.folder / name)
        check_size(self.folder / name, (image.shape[1], image.shape[2]), size, str(self.file))
        targets = self._targets(objects, size, name)
        # A polygon thinner than a pixel has an empty mask, and a box may lie outside of the image: drop these objects.
        kept = ~targets.degenerate()
        dropped = int((~kept).sum())
        if dropped:
            targets = targets[kept]
        return Sample(image, targets, self.image_ids[index], name, size, None, dropped=dropped)

    def open(self, index: int) -> Sample:
        size, name = self._table.size(index), self._table.name(index)
        return open_lazily(self, index, self.folder / name, name, size, str(self.file))

    def open_targets(self, index: int) -> Sample:
        return sample_without_image(self, index, self._table.name(index))

    def targets(self, index: int, window: Window | None = None) -> Targets:
        return self.window_targets(index, window)[0]

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        size, name = self._table.size(index), self._table.name(index)
        total = len(self._table.categories(index))
        chosen = None if window is None else self._regions.touching(index, window, partial(self._find_regions, index))
        try:
            targets = self._targets(self._table.objects(index, chosen), size, name)
        except SegkitError:
            self._targets(self._table.objects(index), size, name)  # the error with the object's index in the file
            raise
        targets = with_masks(targets, not total or self._table.has_masks(index), size)
        kept = ~targets.degenerate()
        targets = targets if bool(kept.all()) else targets[kept]
        return targets, total - len(targets)

    def _find_regions(self, index: int) -> np.ndarray:
        """Regions XYXY [N, 4] that the objects of an image cannot leave."""
        objects = self._table.objects(index)
        try:
            return object_regions(objects.segmentations, _corners(objects), self._table.size(index))
        except SegkitError:
            return np.tile(EVERYWHERE, (len(objects.segmentations), 1))  # the targets' error says what is wrong

    def all_targets(self, index: int) -> Targets:
        return self._targets(self._table.objects(index), self._table.size(index), self._table.name(index))

    def label_counts(self, index: int) -> dict[int, int]:
        labels, counts = np.unique(self._labels[self._table.categories(index)], return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))

    def object_counts(self) -> np.ndarray:
        return self._table.counts(crowds=False)

    def unmasked_counts(self) -> np.ndarray:
        return self._table.unmasked_counts(crowds=False)

    def counts_of(self, labels: Collection[int], *, unmasked: bool = False) -> np.ndarray:
        return self._table.counts_of(np.isin(self._labels, list(labels)), unmasked=unmasked)

    def lost_objects(self) -> tuple[int, list[LostObjects]]:
        lost = [
            LostObjects(
                reason,
                count=count,
                examples=tuple(examples),
                hint=HINTS.get(reason, ""),
                mistake=reason in MISTAKES,
                trained_on=reason in TRAINED_ON,
            )
            for reason, (count, examples) in self._table.lost.items()
        ]
        return self._table.annotations, lost

    def training_objects(self, index: int) -> TrainingObjects:
        name, size = self._table.name(index), self._table.size(index)
        targets = self._targets(self._table.objects(index), size, name)
        return training_objects(targets)

    def image_files(self) -> list[str]:
        folder = self.folder.resolve()
        return [os.path.join(folder, os.path.normpath(self._table.name(i))) for i in range(len(self))]

    def ground_truth(self, index: int, sample: Sample) -> list[dict]:
        objects = self._table.objects(index)
        if sample.dropped:  # evaluation keeps the objects with empty masks, as pycocotools does
            all_targets = self._targets(objects, self._table.size(index), sample.file_name)
            sample = Sample(sample.image, all_targets, sample.image_id, sample.file_name, sample.size, None)
        truth = ground_truth_from_targets(sample)
        for item, box, area in zip(truth, objects.boxes.tolist(), objects.areas.tolist(), strict=True):
            if not math.isnan(box[0]):
                item["bbox"] = box
            if not math.isnan(area):
                item["area"] = area
            elif item["segmentation"] is None:
                item["area"] = box[2] * box[3]
        return truth

    def size(self, index: int) -> tuple[int, int]:
        return self._table.size(index)

    def describe(self) -> str:
        return f"COCO data set {self.file}"

    def notes(self) -> list[str]:
        counts, crowds = self._table.counts(), int(self._table.arrays["crowd"].sum())
        notes = [f"{int(counts.sum()):,} objects, {crowds:,} of them crowd regions"]
        unmasked = int(self._table.unmasked_counts().sum())
        if unmasked:
            outside = (
                f"; {self._table.outside:,} of these boxes lie outside of their image" if self._table.outside else ""
            )
            notes.append(f"{unmasked:,} objects have a box and no mask{outside}")
        without = int((counts == 0).sum())
        if without:
            notes.append(f"{without} images have no objects")
        if self._repeated_files:
            notes.append(f"{self._repeated_files} images have the file name of another one")
        if self._lacking:
            notes.append(f"the file has no categories for the classes {', '.join(sorted(self._lacking))}")
        others = [name for name in self._unused if name not in self.classes]
        unused = [name for name in self._unused if name in self.classes]
        for title, names in (("classes", unused), ("categories that are not among the classes, and", others)):
            if names:
                notes.append(f"{title} without any object: {first_few(names)}")
        notes += self._table.category_notes
        for first, second in names_differing_in_case(list(self._table.category_ids)):
            notes.append(f"the classes '{first}' and '{second}' differ only in upper and lower case")
        notes += [f"skipped: {count:,} {reason}" for reason, count in sorted(self._table.skipped.items())]
        return notes

    def _targets(self, objects: ImageObjects, size: tuple[int, int], name: str) -> Targets:
        """Targets of an image: boxes of the masks, or the file's boxes clipped to the image.

        ``name`` is for messages.
        """
        try:
            masks = decode_masks(objects.segmentations, size)
        except SegkitError as error:
            raise SegkitError(f"{self.file}: the annotations of the image '{name}': {error}") from error
        labels, crowd = torch.from_numpy(self._labels[objects.categories]), torch.from_numpy(objects.crowds)
        return annotated_targets(masks, objects.segmentations, _corners(objects), labels, crowd)


def _corners(objects: ImageObjects) -> np.ndarray:
    """The file's boxes as XYXY [N, 4]."""
    return np.concatenate([objects.boxes[:, :2], objects.boxes[:, :2] + objects.boxes[:, 2:]], 1)

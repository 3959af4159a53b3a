"""Data sets whose annotation files are parsed when the data set is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segkit.data.formats.base import Dataset
from segkit.data.formats.class_names import check_classes, default_category_ids
from segkit.data.formats.id_map import check_size
from segkit.data.formats.lazy_samples import RegionCache, object_regions, open_lazily, sample_without_image, with_masks
from segkit.data.formats.objects import LostObjects, TrainingObjects, training_objects
from segkit.data.formats.parsing.masks import annotated_targets, decode_masks, subtract_holes
from segkit.data.packed_list import PackedList
from segkit.structures.lazy_targets import Window
from segkit.structures.sample import Sample
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError, did_you_mean


@dataclass
class ObjectAnnotation:
    """One object of an annotation file, in the file's pixels.

    Attributes:
        category: name of the class; None: an ignore region, where nothing is learnt or evaluated for any class.
        box: XYXY; None: that of the mask.
        segmentation: polygons ``[[x0, y0, x1, y1, ...], ...]`` or an RLE dict; None: the object has only a box.
        holes: polygons that are cut out of the mask.
        crowd: whether it is a region of many objects of the class.
    """

    category: str | None
    box: tuple[float, float, float, float] | None = None
    segmentation: list[list[float]] | dict[str, Any] | None = None
    holes: list[list[float]] = field(default_factory=list)
    crowd: bool = False


@dataclass
class ImageAnnotation:
    """One image of a data set and its objects.

    Attributes:
        file: absolute path of the image.
        name: the image in messages and results, usually its path relative to the data set.
        size: (H, W) that the annotations state; None: unknown until the image is opened.
        objects: in the file's order.
        source: the annotation file, for messages.
    """

    file: str
    name: str
    size: tuple[int, int] | None
    objects: list[ObjectAnnotation]
    source: str = ""


class ParsedDataset(Dataset):
    """Images with objects that a subclass parsed; it calls this constructor with them.

    Args:
        images: in the order of the data set; consumed once.
        found: class names in the order that the format defines, or sorted if it defines none.
        classes: the classes to use, in the order of their labels; None: ``found``. Objects of other classes are an error.
        category_ids: the id of each class; by default 1, 2, ...
        where: the data set, for messages.
        lost: objects that the parser skipped, by reason.
    """

    def __init__(
        self,
        images: Iterable[ImageAnnotation],
        found: Sequence[str],
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
        *,
        where: str,
        lost: Sequence[LostObjects] = (),
    ) -> None:
        self.where = where
        self.classes = list(found if classes is None else classes)
        self.category_ids = default_category_ids(self.classes) if category_ids is None else list(category_ids)
        check_classes(self.classes, self.category_ids, f"{where}: classes")
        unknown = [name for name in found if name not in self.classes]
        if unknown:
            raise SegkitError(
                f"{where}: has objects of the class '{unknown[0]}', which is not among the classes "
                f"{', '.join(self.classes)}{did_you_mean(unknown[0], self.classes)}",
                key="classes",
                value=unknown[0],
            )
        self._label_of = {name: label for label, name in enumerate(self.classes)}
        self._images = PackedList(images)
        self._lost = list(lost)
        self._regions = RegionCache()
        self.image_ids = list(range(1, len(self._images) + 1))

    def load(self, index: int) -> Sample:
        annotation = self._images[index]
        image = self._read_image(annotation)
        size = (image.shape[1], image.shape[2])
        if annotation.size is not None:
            check_size(annotation.file, size, annotation.size, annotation.source)
        targets = self._targets(annotation, size)
        kept = ~targets.degenerate()
        dropped = int((~kept & (targets.labels != ALL_CLASSES)).sum())
        targets = targets if bool(kept.all()) else targets[kept]
        return Sample(image, targets, self.image_ids[index], annotation.name, size, None, dropped=dropped)

    def open(self, index: int) -> Sample:
        annotation = self._images[index]
        return open_lazily(self, index, annotation.file, annotation.name, annotation.size, annotation.source)

    def open_targets(self, index: int) -> Sample:
        return sample_without_image(self, index, self._images[index].name)

    def targets(self, index: int, window: Window | None = None) -> Targets:
        return self.window_targets(index, window)[0]

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        annotation, size = self._images[index], self.size(index)
        objects, touching = annotation.objects, annotation
        try:
            if window is not None:
                indices = self._regions.touching(index, window, lambda: self._object_regions(objects, size))
                touching = replace(annotation, objects=[objects[i] for i in indices])
            targets = self._targets(touching, size)
        except SegkitError:
            self._targets(annotation, size)  # raises the same error with the object's index in the file
            raise
        targets = with_masks(targets, not objects or any(o.segmentation is not None for o in objects), size)
        targets = targets[~targets.degenerate()]
        others = sum(o.category is not None for o in objects) - int((targets.labels != ALL_CLASSES).sum())
        return targets, others  # an ignore region is no object, so that a crop does not drop it

    def all_targets(self, index: int) -> Targets:
        return self._targets(self._images[index], self.size(index))

    def annotation(self, index: int) -> ImageAnnotation:
        """The image and its objects as they were parsed."""
        annotation: ImageAnnotation = self._images[index]
        return annotation

    def label_counts(self, index: int) -> dict[int, int]:
        counts = Counter(o.category for o in self._images[index].objects if o.category is not None)
        return {self._label_of[name]: count for name, count in counts.items()}

    def object_counts(self) -> np.ndarray:
        return np.array([sum(is_object(o) for o in image.objects) for image in self._images], np.int64)

    def unmasked_counts(self) -> np.ndarray:
        return np.array(
            [sum(is_object(o) and o.segmentation is None for o in image.objects) for image in self._images], np.int64
        )

    def counts_of(self, labels: Collection[int], *, unmasked: bool = False) -> np.ndarray:
        names = {self.classes[label] for label in labels}

        def counts(o: ObjectAnnotation) -> bool:
            return is_object(o) and o.category in names and not (unmasked and o.segmentation is not None)

        return np.array([sum(map(counts, image.objects)) for image in self._images], np.int64)

    def lost_objects(self) -> tuple[int, list[LostObjects]]:
        total = sum(o.category is not None for image in self._images for o in image.objects)
        return total + sum(lost.count for lost in self._lost if not lost.trained_on), self._lost

    def training_objects(self, index: int) -> TrainingObjects:
        return training_objects(self.all_targets(index))

    def image_files(self) -> list[str]:
        return [image.file for image in self._images]

    def size(self, index: int) -> tuple[int, int]:
        annotation = self._images[index]
        return annotation.size or self._image_size(annotation)

    def describe(self) -> str:
        return self.where

    def _read_image(self, annotation: ImageAnnotation) -> torch.Tensor:
        """The pixels of an image; overridden by formats whose images are not files of their own."""
        return self.reader.read(annotation.file)

    def _image_size(self, annotation: ImageAnnotation) -> tuple[int, int]:
        """(H, W) of an image's file."""
        return self.reader.size(annotation.file)

    def _object_regions(self, objects: Sequence[ObjectAnnotation], size: tuple[int, int]) -> np.ndarray:
        """Regions XYXY [N, 4] that the objects of an image of ``size`` cannot leave.

        Overridden by formats whose objects have other coordinates or shapes.
        """
        return object_regions([o.segmentation for o in objects], _boxes(objects), size)

    def _targets(self, annotation: ImageAnnotation, size: tuple[int, int]) -> Targets:
        """Targets of an image of ``size`` (H, W), those without area included."""
        objects = annotation.objects
        try:
            masks = decode_masks([o.segmentation for o in objects], size)
            masks = subtract_holes(masks, [o.holes for o in objects])
        except SegkitError as error:
            raise SegkitError(f"{annotation.source or annotation.name}: {error}") from error
        labels = [ALL_CLASSES if o.category is None else self._label_of[o.category] for o in objects]
        crowd = [o.crowd or o.category is None for o in objects]
        return annotated_targets(
            masks,
            [o.segmentation for o in objects],
            _boxes(objects),
            torch.tensor(labels, dtype=torch.int64),
            torch.tensor(crowd, dtype=torch.bool),
        )


def _boxes(objects: Sequence[ObjectAnnotation]) -> np.ndarray:
    """The annotated boxes XYXY, float64 [N, 4]; 0 for objects without one."""
    return np.array([o.box or (0.0, 0.0, 0.0, 0.0) for o in objects], np.float64).reshape(-1, 4)


def is_object(annotation: ObjectAnnotation) -> bool:
    """Whether it is an object, not a crowd or ignore region."""
    return annotation.category is not None and not annotation.crowd


def relative_name(file: str | Path, root: Path) -> str:
    """Path of an image below ``root`` with forward slashes; its name if it lies elsewhere."""
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def class_names(objects: Iterable[ObjectAnnotation]) -> list[str]:
    """The classes that occur, sorted, for formats that define no order."""
    return sorted({o.category for o in objects if o.category is not None})

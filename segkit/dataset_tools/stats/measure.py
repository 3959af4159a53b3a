"""Measures a data set: images, objects, classes, intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segkit.data.formats.base import Dataset
from segkit.dataset_tools.stats.intensities import Appearance, Intensities, measure_appearance, measure_intensities
from segkit.dataset_tools.stats.objects import ObjectStats, measure_objects, sampled_indices
from segkit.utils.errors import SegkitError

MOST_IMAGES = 2000  # whose objects are measured
MOST_READ = 64  # whose pixels are read
SEED = 0  # of the samples


@dataclass(frozen=True)
class DatasetStats:
    """The measurements of a data set.

    Attributes:
        name: format and path.
        classes: names of the labels.
        images: number of images of the data set.
        measured: number of images whose objects were measured: all, or a sample.
        sizes: int64 [measured, 2], height and width of each.
        objects: of the measured images.
        class_images: int64 [classes], measured images with each class.
        all_counts: int64 [images], objects of every image, if the data set knows them without measuring; else None.
        intensities, appearance: of a sample of the measured images.
    """

    name: str
    classes: tuple[str, ...]
    images: int
    measured: int
    sizes: np.ndarray
    objects: ObjectStats
    class_images: np.ndarray
    all_counts: np.ndarray | None
    intensities: Intensities
    appearance: Appearance

    @property
    def is_sample(self) -> bool:
        """Whether only some images were measured."""
        return self.measured < self.images

    @property
    def counts(self) -> np.ndarray:
        """Objects an image, of all images if they are known, else of the measured ones."""
        return self.objects.counts if self.all_counts is None else self.all_counts

    @property
    def class_objects(self) -> np.ndarray:
        """int64 [classes]: objects of each class in the measured images."""
        return np.bincount(self.objects.label, minlength=len(self.classes)).astype(np.int64)


def measure(
    dataset: Dataset, *, max_images: int = MOST_IMAGES, max_read: int = MOST_READ, seed: int = SEED
) -> DatasetStats:
    """Measures a data set, one image at a time.

    Args:
        dataset: any data set.
        max_images: images whose objects are measured; of a larger data set a random sample.
        max_read: images among them whose pixels are read.
        seed: of the samples.
    Raises:
        SegkitError: the data set has no images, or an annotation cannot be read.
    """
    if len(dataset) == 0:
        raise SegkitError(f"{dataset.describe()}: there are no images to measure")
    indices = sampled_indices(len(dataset), max_images, seed)
    objects, sizes = measure_objects(dataset, indices)
    read = indices[sampled_indices(len(indices), max_read, seed + 1)]
    pairs = np.unique(np.stack([objects.image, objects.label], 1), axis=0) if len(objects) else np.zeros((0, 2), int)
    return DatasetStats(
        name=dataset.describe(),
        classes=tuple(dataset.classes),
        images=len(dataset),
        measured=len(indices),
        sizes=sizes,
        objects=objects,
        class_images=np.bincount(pairs[:, 1], minlength=len(dataset.classes)).astype(np.int64),
        all_counts=dataset.object_counts(),
        intensities=measure_intensities(dataset, read),
        appearance=measure_appearance(dataset, read),
    )

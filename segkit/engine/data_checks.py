"""Checks that there are objects to train on and to evaluate, before the first step.

A training without objects looks like any other: its losses fall, and it learns to detect nothing. ``missing_masks.py``
checks the masks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from segkit.data.batch_sampler import Draw
from segkit.data.formats.base import Dataset, SubsetDataset
from segkit.data.formats.objects import LostObjects, TrainingObjects, training_objects
from segkit.data.transformed_dataset import Failure, TransformedTrainDataset
from segkit.data.transforms import Compose
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)

LARGE_SHARE = 0.1  # warns if at least this share of the objects is lost for one reason
SAMPLED_IMAGES = 64  # images whose masks are decoded to estimate how many are empty
MAX_SAMPLES = 200  # after this many augmented samples in a row without objects, the search ends with a warning
MIN_SAMPLES = 100  # samples, since crops are random, before transforms are blamed for removing all objects


def check_training_objects(
    dataset: Dataset, transforms: Compose, *, seed: int = 0, skip_unreadable: bool = False
) -> None:
    """Looks for an object to train on; warns of objects that are lost in reading.

    It warns if a large share is lost for one reason, or any by a mistake in the data. The search ends at the first object,
    so that correct data cost one image. If the data set knows its object counts, the masks of ``SAMPLED_IMAGES`` images
    are decoded as well.

    Args:
        dataset: the training data.
        transforms: the training transforms.
        seed: of the augmentation.
        skip_unreadable: skip images that cannot be read.
    Raises:
        SegkitError: reading or the transforms leave no object; the message says why the objects are lost.
    """
    images = _images_with_objects(dataset)
    first = _first_usable(dataset, images, skip_unreadable)
    warn_of_losses(dataset, "training data")
    if dataset.object_counts() is not None:
        _warn_of_empty_masks(dataset, images)
    if transforms.transforms:
        items = TransformedTrainDataset(dataset, transforms, seed, skip_unreadable)
        _check_transforms(items, images[int(np.searchsorted(images, first)) :])


def check_validation_objects(val: Dataset, train: Dataset | None = None) -> None:
    """Warns if validation data have no objects, lose many, or share images with the training."""
    if _whole(val) is not _whole(train):
        warn_of_losses(val, "validation data")
    counts = val.object_counts()
    if not (any(val.label_counts(i) for i in range(len(val))) if counts is None else counts.any()):
        logger.warning("the validation data have no objects (%s): there will be no metrics", val.describe())
    shared = shared_images(train, val) if train is not None else []
    if shared:
        logger.warning(
            "%d of the %d validation images are training images too, as %s: metrics do not say how good the model is on "
            "images that it has not seen", len(shared), len(val), shared[0],
        )  # fmt: skip


def shared_images(a: Dataset, b: Dataset) -> list[str]:
    """Returns the image files that two data sets have in common."""
    files, others = a.image_files(), b.image_files()
    return sorted(set(files) & set(others)) if files is not None and others is not None else []


def warn_of_losses(dataset: Dataset, title: str) -> None:
    """Warns if reading lost many objects for one reason, or any by a mistake in the data."""
    total, lost = dataset.lost_objects()
    for loss in lost:
        if loss.mistake or loss.count >= LARGE_SHARE * total:
            logger.warning("%s: %s", title, _loss_text(loss, total))


def _loss_text(loss: LostObjects, total: int) -> str:
    examples = f", as {', '.join(loss.examples)}" if loss.examples else ""
    return f"{loss.count:,} of {total:,} are {loss.reason}{examples}" + (f"; {loss.hint}" if loss.hint else "")


def _whole(dataset: Dataset | None) -> Dataset | None:
    """Returns the data set that a subset was taken from."""
    return dataset.dataset if isinstance(dataset, SubsetDataset) else dataset


def _images_with_objects(dataset: Dataset) -> list[int]:
    """Returns the images with objects that are not crowd; all images if counts are unknown."""
    counts = dataset.object_counts()
    return list(range(len(dataset))) if counts is None else np.flatnonzero(counts).tolist()


def _first_usable(dataset: Dataset, images: Sequence[int], skip_unreadable: bool) -> int:
    """Returns the first image with an object to train on; raises SegkitError if there is none."""
    total, lost = dataset.lost_objects()
    if total and sum(loss.count for loss in lost if not loss.trained_on) >= total:
        images = []  # every object is lost, so no image is worth reading
    empty, first_empty, crowd = 0, 0, 0
    for index, found in _training_objects(dataset, images, skip_unreadable):
        if found.usable:
            return index
        if found.empty and not empty:
            first_empty = index
        empty += found.empty
        crowd += found.crowd
    reasons = [_loss_text(loss, total) for loss in lost]
    if crowd and not lost:  # the data set does not count lost objects
        reasons.append(f"{crowd:,} are crowd regions, which train nothing")
    if empty:
        reasons.append(f"{empty:,} have an empty mask or box, the first in {_image_name(dataset, first_empty)}")
    if not reasons:
        reasons.append(f"its {len(dataset):,} images have none (no annotations, or label maps of zeros only)")
    raise SegkitError(
        f"data.train: there is no object to train on in the {dataset.describe()}: {'. '.join(reasons)}. "
        "Images without objects can only be trained on beside images with objects",
        key="data.train",
    )


def _training_objects(
    dataset: Dataset, images: Sequence[int], skip_unreadable: bool
) -> Iterator[tuple[int, TrainingObjects]]:
    for index in images:
        try:
            found = dataset.training_objects(index)
        except SegkitError:
            if not skip_unreadable:
                raise
            continue
        yield index, found


def _image_name(dataset: Dataset, index: int) -> str:
    files = dataset.image_files()
    return f"image {index}" if files is None else files[index]


def _warn_of_empty_masks(dataset: Dataset, images: Sequence[int]) -> None:
    step = max(1, len(images) // SAMPLED_IMAGES)
    found = list(_training_objects(dataset, images[::step], True))
    empty, total = sum(f.empty for _, f in found), sum(f.empty + f.usable for _, f in found)
    if empty < LARGE_SHARE * total or not empty:
        return
    first = next(index for index, f in found if f.empty)
    logger.warning(
        "training data: %d of the %d objects of %d images have an empty mask or box (outside of the image, or thinner "
        "than a pixel) and train nothing; the first in %s", empty, total, len(found), _image_name(dataset, first),
    )  # fmt: skip


def _check_transforms(items: TransformedTrainDataset, images: Sequence[int]) -> None:
    """Raises SegkitError if the transforms remove all objects of all images.

    Warns instead if they do so in ``MAX_SAMPLES`` samples and there are more images.
    """
    objects, tried, repeats = 0, 0, 1
    with_objects: list[int] = []
    for index, found in _training_objects(items.dataset, images, True):
        if not found.usable:
            continue
        if tried == MAX_SAMPLES:
            break
        with_objects.append(index)
        objects, tried = objects + found.usable, tried + 1
        if _objects_left(items, Draw(0, index)):
            return
    else:
        while with_objects and tried < MIN_SAMPLES:
            for index in with_objects:
                if _objects_left(items, Draw(0, index, repeats)):
                    return
            repeats, tried = repeats + 1, tried + len(with_objects)
        raise SegkitError(
            f"data.train_transforms: they remove all {objects} objects of {len(with_objects)} images "
            f"({tried} samples were tried), so that there is nothing to train on; {_remover(items, with_objects)}",
            key="data.train_transforms",
        )
    logger.warning(
        "data.train_transforms: they left no object in %d samples of images with %d objects, of %d images; %s",
        tried, objects, len(items.dataset), _remover(items, with_objects),
    )  # fmt: skip


def _objects_left(items: TransformedTrainDataset, draw: Draw) -> int:
    """Returns the number of objects to train on after the transforms."""
    sample = items[draw]
    if isinstance(sample, Failure):
        raise SegkitError(sample.message, key=sample.key)
    return training_objects(sample.targets).usable


def _remover(items: TransformedTrainDataset, images: Sequence[int]) -> str:
    """Returns a clause naming the first transform that leaves the first image without objects."""
    transforms = items.transforms.transforms
    for count in range(len(transforms) + 1):
        shorter = TransformedTrainDataset(items.dataset, Compose(transforms[:count]), items.seed, items.skip_unreadable)
        if not _objects_left(shorter, Draw(0, images[0])):
            return f"the first image has none after {transforms[count - 1]!r}" if count else "the first image has none"
    return "look at its crops and at the sizes below which they remove objects"

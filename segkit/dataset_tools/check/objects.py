"""Checks the objects of an image: empty, outside, in parts, twice, unlike their boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from segkit.data.formats.coco.box_checks import TOLERANCE
from segkit.dataset_tools.check.components import parts_and_holes
from segkit.dataset_tools.check.images import ImageFacts, LocalFault
from segkit.dataset_tools.check.overlaps import Pair, alike_pairs, overlapping_pairs
from segkit.dataset_tools.check.stated import StatedObjects
from segkit.structures.targets import ALL_CLASSES, Targets

BOX_TOLERANCE = 0.1  # of a side, by which a stated box may differ from the mask's, beside TOLERANCE pixels
AREA_TOLERANCE = 0.5  # of the mask's area
MANY_PARTS = 3


class ImageObjects:
    """The objects of one image, for the checks.

    Args:
        targets: all of them, those without area included.
        stated: what the annotation file states about them.
        size: (H, W).
    """

    def __init__(self, targets: Targets, stated: StatedObjects, size: tuple[int, int]) -> None:
        self.targets, self.stated = targets, stated
        self.size = size
        self.crowd, self.has_mask = targets.crowd.numpy(), targets.has_mask.numpy()
        self.labels = targets.labels.numpy()
        self.boxes = targets.boxes.numpy().astype(np.float64)
        masks = targets.masks
        self.areas = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(1)
        if masks is not None:
            self.areas = np.where(self.has_mask, masks.areas().numpy(), self.areas)
        self.empty = targets.degenerate().numpy() | (self.has_mask & (self.areas == 0))

    def fault(self, kind: str, index: int, message: str) -> LocalFault:
        """A fault of one of the objects."""
        return kind, message, self.stated.object_id(index), self.stated.place(index)


def check_objects(
    objects: ImageObjects, facts: ImageFacts, *, stride: float, detections: int, exclusive: bool
) -> Iterator[LocalFault]:
    """The faults of an image's objects but parts and holes; fills in the counts of ``facts``.

    Args:
        objects: of the image.
        facts: of the image.
        stride: of the finest feature level, in pixels.
        detections: the largest number of detections in an image.
        exclusive: whether the format holds no overlaps.
    """
    for kind, index, text in objects.stated.problems:
        yield objects.fault(kind, index, text)
    ordinary = ~objects.crowd & (objects.labels != ALL_CLASSES)
    facts.objects, facts.crowds = int(ordinary.sum()), int((~ordinary).sum())
    labels, counts = np.unique(objects.labels[ordinary], return_counts=True)
    facts.classes = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    if not len(objects.labels):
        yield "no_objects", "it has no objects", None, objects.stated.file
    if facts.crowds > facts.objects:
        yield "mostly_crowd", f"{facts.crowds} crowd or ignore regions, {facts.objects} objects", None, ""
    if facts.objects > detections:
        yield "over_detection_limit", f"{facts.objects} objects; {detections} detections", None, ""
    yield from _empty_objects(objects)
    yield from _unlike_stated(objects)
    whole = ordinary & ~objects.empty
    one_pixel = whole & objects.has_mask & (objects.areas == 1)
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    for i in np.flatnonzero(one_pixel).tolist():
        yield objects.fault("one_pixel_mask", i, "its mask is one pixel")
    for i in np.flatnonzero(whole & ~one_pixel & (sides.max(1, initial=0) < stride)).tolist():
        text = f"{sides[i, 0]:g} x {sides[i, 1]:g} pixels; the finest stride is {stride:g}"
        yield objects.fault("small_object", i, text)
    _count_at_border(objects, whole, facts)
    yield from _repeated(objects)
    if exclusive:
        for first, second, shared in overlapping_pairs(objects.targets):
            text = f"{shared} pixels shared with object {objects.stated.object_id(first)}"
            yield objects.fault("overlap", second, text)


def check_parts(objects: Sequence[ImageObjects]) -> Iterator[tuple[int, bool, list[LocalFault]]]:
    """Parts and holes of the masks of several images at once.

    Yields:
        For each image its position in ``objects``, whether each class has one object and one of them many parts, and the
        faults.
    """
    with_masks = [(i, one, one.targets.masks) for i, one in enumerate(objects) if one.targets.masks is not None]
    if not with_masks:
        return
    bits = np.concatenate([masks.bits.numpy() for _, _, masks in with_masks if masks is not None])
    crop_boxes = np.concatenate([masks.crop_boxes.numpy() for _, _, masks in with_masks if masks is not None])
    parts, holes = parts_and_holes(bits, crop_boxes)
    start = 0
    for position, one, _ in with_masks:
        own = slice(start, start + len(one.targets))
        start = own.stop
        faults = []
        for i in np.flatnonzero((parts[own] > 1) & ~one.crowd).tolist():
            kind = "several_polygons" if one.stated.several_polygons[i] else "object_in_parts"
            faults.append(one.fault(kind, i, f"{parts[own][i]} parts that do not touch"))
        for i in np.flatnonzero((holes[own] > 0) & ~one.crowd).tolist():
            faults.append(one.fault("hole", i, f"{holes[own][i]} holes" if holes[own][i] > 1 else "a hole"))
        single = len(np.unique(one.labels)) == len(one.labels) and not one.stated.several_polygons.any()
        many = bool(len(one.labels)) and single and bool((parts[own] >= MANY_PARTS).any())
        yield position, many, faults


def _empty_objects(objects: ImageObjects) -> Iterator[LocalFault]:
    """Objects without area in the image: outside of it, or too thin to cover a pixel."""
    height, width = objects.size
    where = np.where(np.isnan(objects.stated.bounds), objects.stated.boxes, objects.stated.bounds)
    with np.errstate(invalid="ignore"):
        outside = (where[:, 2] <= 0) | (where[:, 3] <= 0) | (where[:, 0] >= width) | (where[:, 1] >= height)
        beyond = (where[:, :2] < -TOLERANCE).any(1) | (where[:, 2:] > np.array([width, height]) + TOLERANCE).any(1)
    for i in np.flatnonzero(objects.empty).tolist():
        if outside[i]:
            text = f"it lies at {_shown(where[i])}; the image is {width} x {height}"
            yield objects.fault("outside_image", i, text)
        else:
            yield objects.fault("empty_mask", i, "no pixel is set" if objects.has_mask[i] else "its box has no area")
    for i in np.flatnonzero(beyond & ~objects.empty).tolist():
        yield objects.fault("beyond_image", i, f"it reaches {_shown(where[i])}; the image is {width} x {height}")


def _unlike_stated(objects: ImageObjects) -> Iterator[LocalFault]:
    """Boxes and areas of the file that differ from those of the masks."""
    masked = objects.has_mask & ~objects.empty
    height, width = objects.size
    stated = objects.stated.boxes.copy()
    stated[:, 0::2] = stated[:, 0::2].clip(0, width)
    stated[:, 1::2] = stated[:, 1::2].clip(0, height)
    sides = np.tile(objects.boxes[:, 2:] - objects.boxes[:, :2], 2)
    with np.errstate(invalid="ignore"):
        unlike = (np.abs(stated - objects.boxes) > TOLERANCE + BOX_TOLERANCE * sides).any(1)
        difference = np.abs(objects.stated.areas - objects.areas)
        other_area = (difference > AREA_TOLERANCE * objects.areas) & (difference > TOLERANCE**2)
    for i in np.flatnonzero(unlike & masked).tolist():
        text = f"the box is {_shown(objects.stated.boxes[i])}, that of the mask {_shown(objects.boxes[i])}"
        yield objects.fault("mask_unlike_box", i, text)
    for i in np.flatnonzero(other_area & masked & ~objects.crowd).tolist():
        text = f"the area is {objects.stated.areas[i]:g}, that of the mask {objects.areas[i]:g}"
        yield objects.fault("area_unlike_mask", i, text)


def _repeated(objects: ImageObjects) -> Iterator[LocalFault]:
    """Objects that are equal or nearly equal to an earlier one of the image."""
    nearest: dict[int, Pair] = {}  # of each object, the earlier one that is most like it
    for pair in alike_pairs(objects.targets):
        if pair.second not in nearest or pair.iou > nearest[pair.second].iou:
            nearest[pair.second] = pair
    for first, second, iou in nearest.values():
        other = objects.stated.object_id(first)
        if objects.labels[first] != objects.labels[second]:
            yield objects.fault("same_mask_two_classes", second, f"IoU {iou:.3f} with object {other} of another class")
        elif iou == 1.0 and objects.crowd[first] == objects.crowd[second]:
            yield objects.fault("duplicate_object", second, f"equal to object {other}")
        else:
            yield objects.fault("near_duplicate_object", second, f"IoU {iou:.3f} with object {other}")


def _count_at_border(objects: ImageObjects, whole: np.ndarray, facts: ImageFacts) -> None:
    """Counts the objects that touch the border, and estimates how many would if they lay anywhere."""
    height, width = objects.size
    boxes = objects.boxes[whole]
    facts.at_border = int(((boxes[:, :2] <= 1) | (boxes[:, 2:] >= np.array([width, height]) - 1)).any(1).sum())
    shares = (boxes[:, 2:] - boxes[:, :2]) / np.array([max(width, 1), max(height, 1)])
    facts.expected_at_border = float(shares.clip(max=1).sum())


def _shown(box: np.ndarray) -> str:
    """A box in a message."""
    return "[" + ", ".join(f"{value:.6g}" for value in box.tolist()) + "]"

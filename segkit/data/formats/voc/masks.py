"""Masks of PASCAL VOC, matched with the boxes of the annotation files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.parsed import ObjectAnnotation
from segkit.data.formats.voc.annotation import VocObject
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError
from segkit.utils.images import read_pixels

VOID = 255  # border of objects, and objects that are not annotated
SLACK = 2  # pixels by which a segment may leave the box of its number
SAME_IOU = 0.5  # of a mask's box and a box of the annotation file that belong together

Color = tuple[int, int, int]
Segment = tuple[int, str | None, dict[str, Any], tuple[int, ...]]  # number, class, RLE, XYXY box


def voc_color(index: int) -> Color:
    """The colour of an index in VOC's palette.

    Every third bit of the index belongs to one channel, whose most significant bit comes first.
    """
    color = [0, 0, 0]
    for shift in range(7, -1, -1):
        for channel in range(3):
            color[channel] |= ((index >> channel) & 1) << shift
        index >>= 3
    return color[0], color[1], color[2]


VOC_PALETTE = {voc_color(index): index for index in range(256)}


def read_indices(path: Path, name: str, palette: Mapping[Color, int] = VOC_PALETTE) -> np.ndarray:
    """The palette indices of a segmentation image, integers [H, W].

    Images that a tool has saved in colour are looked up in ``palette``.

    Raises:
        SegkitError: the file cannot be read, or has colours that are not in the palette.
    """
    pixels = read_pixels(path)
    if pixels.ndim == 2:
        if pixels.dtype.kind not in "iu":
            raise SegkitError(f"{name}: holds {pixels.dtype} values; expected palette indices")
        return pixels
    codes = (pixels[..., :3].astype(np.int64) << np.array([16, 8, 0])).sum(-1)
    known = {(r << 16) | (g << 8) | b: index for (r, g, b), index in palette.items()}
    values, inverse = np.unique(codes, return_inverse=True)
    unknown = [value for value in values.tolist() if value not in known]
    if unknown:
        color = ", ".join(str(unknown[0] >> shift & 255) for shift in (16, 8, 0))
        raise SegkitError(f"{name}: has the colour ({color}), which is not in the palette; save it with a palette")
    return np.array([known[value] for value in values.tolist()])[inverse].reshape(codes.shape)


def read_segments(
    object_file: Path, class_file: Path | None, name: str, index_names: Sequence[str], palette: Mapping[Color, int]
) -> tuple[list[Segment], dict[str, Any] | None, tuple[int, int]]:
    """The segments of an image, the RLE of the void pixels if there are any, and (H, W).

    Args:
        object_file: the image of SegmentationObject.
        class_file: that of SegmentationClass; None: the classes are unknown.
        name: of the image in messages.
        index_names: the class names of the indices from 1 on; the class of other indices is unknown.
        palette: the index of each colour in ``class_file``.

    Raises:
        SegkitError: a file cannot be read, or the two differ in size.
    """
    labels = read_indices(object_file, name)
    void = labels == VOID
    objects = np.where(void, 0, labels)
    ids = np.unique(objects)
    ids = ids[ids != 0]
    masks = InstanceMasks.from_label_map(objects)
    classes: list[str | None] = [None] * len(ids)
    if class_file is not None:
        indices = read_indices(class_file, class_file.name, palette)
        if indices.shape != labels.shape:
            raise SegkitError(f"{name}: is {labels.shape[1]} x {labels.shape[0]} pixels, but {class_file.name} differs")
        for k, (crop, (x0, y0, x1, y1)) in enumerate(zip(masks.crops(), masks.crop_boxes.tolist(), strict=True)):
            values, counts = np.unique(indices[y0:y1, x0:x1][crop.numpy() > 0], return_counts=True)
            index = int(values[counts.argmax()])
            classes[k] = index_names[index - 1] if 0 < index <= len(index_names) else None
    segments = zip(ids.tolist(), classes, masks.to_rle(), map(tuple, masks.crop_boxes.tolist()), strict=True)
    border = InstanceMasks.from_label_map(void.astype(np.uint8)).to_rle()
    return list(segments), border[0] if border else None, (labels.shape[0], labels.shape[1])


def match_segments(
    boxes: Sequence[VocObject],
    segments: Sequence[Segment],
    name: str,
) -> list[ObjectAnnotation]:
    """The objects of an image: all boxes, then the segments without a box.

    VOC numbers the segments of an image in the order of its boxes. If the classes and boxes of an image contradict that, a
    segment belongs to the box of its class that overlaps its own box most, by at least an IoU of 0.5.

    Raises:
        SegkitError: a segment without a box whose class is unknown.
    """
    found: list[ObjectAnnotation] = [ObjectAnnotation(b.name, box=b.box) for b in boxes]
    pairs = _by_number(boxes, segments) or _by_overlap(boxes, segments)
    for i, k in pairs:
        found[i].segmentation = segments[k][2]
    taken = {k for _, k in pairs}
    for k, (number, category, rle, _) in enumerate(segments):
        if k in taken:
            continue
        if category is None:
            raise SegkitError(
                f"{name}: the segment {number} has no box in the annotation file and no class in SegmentationClass; give "
                "'classes' in the order of the indices in SegmentationClass",
                key="classes",
            )
        found.append(ObjectAnnotation(category, segmentation=rle))
    return found


def _by_number(boxes: Sequence[VocObject], segments: Sequence[Segment]) -> list[tuple[int, int]] | None:
    """Pairs of box and segment by the segments' numbers; None if these do not follow the order of the boxes."""
    pairs = [(number - 1, k) for k, (number, *_) in enumerate(segments)]
    for i, k in pairs:
        if i >= len(boxes) or segments[k][1] not in (None, boxes[i].name):
            return None
        outer, inner = boxes[i].box, segments[k][3]
        low, high = (outer[0] - SLACK, outer[1] - SLACK), (outer[2] + SLACK, outer[3] + SLACK)
        if inner[0] < low[0] or inner[1] < low[1] or inner[2] > high[0] or inner[3] > high[1]:
            return None
    return pairs


def _by_overlap(boxes: Sequence[VocObject], segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """Pairs of box and segment of one class with an IoU of at least 0.5, the highest first."""
    candidates = sorted(
        (-_iou(box.box, segment[3]), i, k)
        for i, box in enumerate(boxes)
        for k, segment in enumerate(segments)
        if segment[1] in (None, box.name)
    )
    pairs: dict[int, int] = {}
    for iou, i, k in candidates:
        if -iou >= SAME_IOU and i not in pairs and k not in pairs.values():
            pairs[i] = k
    return list(pairs.items())


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

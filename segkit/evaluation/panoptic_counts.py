"""Exclusive segments of an image, and the counts that panoptic quality is computed from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from segkit.structures.masks import InstanceMasks

TP, FP, FN, IOU = range(4)  # columns of the counts: matched, spurious and missed segments, sum of the matches' IoUs
LEAST_SHARE = 0.5  # of a detection's pixels that no better one has, with which it is kept
MATCH_IOU, IGNORED_SHARE = 0.5, 0.5  # both are exceeded, not reached


def count_segments(
    objects: InstanceMasks,
    object_labels: Sequence[int],
    detections: InstanceMasks,
    scores: np.ndarray,
    labels: Sequence[int],
    regions: Mapping[int | None, InstanceMasks],
    unlabelled: Collection[int],
    num_classes: int,
) -> tuple[np.ndarray, int]:
    """Makes the segments of one image exclusive, matches them and counts the matches.

    - A pixel of several objects belongs to the smallest of them, since small ones lie on top of large ones.
    - By falling score, a detection takes its pixels that are still free. It is dropped, and its pixels stay free, if they
      are less than half of its own (Kirillov et al. 2019, Panoptic Segmentation, section 5; Detectron2's merging has the
      same threshold).
    - A detection matches the object of its class with which its IoU exceeds 0.5; at most one can. Pixels of ignore regions
      do not count in the union.
    - A detection without a match counts neither way if more than half of its pixels are in ignore regions or crowd regions
      of its class, or if its class is unlabelled.

    The last two are the rules of panopticapi, whose void pixels are the ignore regions here.

    Memory is that of the masks' crops and of one number a pixel.

    Args:
        objects: masks of M objects.
        object_labels: [M].
        detections: masks of N detections.
        scores: [N]; of equal ones the first comes first.
        labels: [N].
        regions: the crowd regions of each label; those of None are the ignore regions. Pixels of objects are no part of
            them.
        unlabelled: labels that are not annotated everywhere in the image.
        num_classes: K.
    Returns:
        float64 [K, 4] true positives, false positives, false negatives and sum of IoUs of each class; and the number of
        objects that lie under smaller ones or are empty, which are no segments.
    """
    counts = np.zeros((num_classes, 4))
    segments, areas = _object_map(objects)
    ignored = {label: _region_map(masks) for label, masks in regions.items() if len(masks)}
    for region in ignored.values():
        region &= segments == 0
    everywhere = ignored.pop(None, None)
    taken = np.zeros(segments.shape, bool)
    crops, boxes = detections.crops(), detections.crop_boxes.tolist()
    found = areas == 0  # hidden objects are neither found nor missed
    for i in np.argsort(-scores, kind="stable").tolist():
        label, (x0, y0, x1, y1) = labels[i], boxes[i]
        window = (slice(y0, y1), slice(x0, x1))
        mask = crops[i].numpy() != 0
        free = mask & ~taken[window]
        area = int(np.count_nonzero(free))
        if not area or area < LEAST_SHARE * np.count_nonzero(mask):
            continue
        taken[window] |= free
        void = 0 if everywhere is None else int(np.count_nonzero(everywhere[window] & free))
        shared = np.bincount(segments[window][free])
        match = _match(shared, areas, object_labels, label, area - void)
        if match is not None:
            found[match[0]] = True
            counts[label, TP] += 1
            counts[label, IOU] += match[1]
            continue
        crowd = ignored.get(label)
        if crowd is not None:
            inside = crowd[window] if everywhere is None else crowd[window] | everywhere[window]
            void = int(np.count_nonzero(inside & free))
        if label not in unlabelled and void <= IGNORED_SHARE * area:
            counts[label, FP] += 1
    for label, done in zip(object_labels, found.tolist(), strict=True):
        counts[label, FN] += not done
    return counts, int((areas == 0).sum())


def _match(
    shared: np.ndarray, areas: np.ndarray, object_labels: Sequence[int], label: int, area: int
) -> tuple[int, float] | None:
    """The object that a detection matches, and their IoU.

    Args:
        shared: pixels in common with no object and with each object, as far as there are any.
        areas: [M] of the objects.
        object_labels: [M].
        label: the detection's.
        area: of the detection outside of ignore regions.
    """
    for item in (np.flatnonzero(shared[1:])).tolist():
        common = int(shared[item + 1])
        if object_labels[item] == label:
            iou = common / (area + int(areas[item]) - common)
            if iou > MATCH_IOU:
                return item, iou
    return None


def _object_map(objects: InstanceMasks) -> tuple[np.ndarray, np.ndarray]:
    """The number of the object of each pixel, from 1 on, int32 [H, W]; and their areas [M]."""
    segments = np.zeros(objects.image_size, np.int32)
    areas = np.zeros(len(objects), np.int64)
    crops, boxes = objects.crops(), objects.crop_boxes.tolist()
    for i in np.argsort(objects.areas().numpy(), kind="stable").tolist():
        x0, y0, x1, y1 = boxes[i]
        window = segments[y0:y1, x0:x1]
        free = (crops[i].numpy() != 0) & (window == 0)
        window[free] = i + 1
        areas[i] = np.count_nonzero(free)
    return segments, areas


def _region_map(masks: InstanceMasks) -> np.ndarray:
    """bool [H, W]: the union of the masks."""
    return masks.union().numpy().astype(bool)

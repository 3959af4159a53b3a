"""Metrics of parts of the data: by size, density, class, and attributes of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from segkit.diagnosis.findings import Slice
from segkit.diagnosis.ranking import best_pairs
from segkit.evaluation.average_precision import average_precisions, mean_ap
from segkit.evaluation.greedy_matching import Matches, match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps

COCO_AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST_VALUES = 20  # of an attribute; the rarest values beyond it are one slice
TOUCHING_GAP = 1.0  # pixels between the boxes of objects that touch


def slices(
    data: DatasetOverlaps,
    matches: Sequence[Matches],
    *,
    score_threshold: float = 0.5,
    attributes: Mapping[int, Mapping[str, str]] | None = None,
) -> tuple[Slice, ...]:
    """Returns metrics of parts of the data.

    - ``size``: COCO's small (under 32 x 32 pixels), medium and large (from 96 x 96) objects, by their annotated area.
    - ``size of this data``: three parts of equally many objects.
    - ``neighbours``: objects that touch another one (at most a pixel between their boxes), and objects that stand alone.
    - ``objects per image``: images with at most as many objects as the median of images, and with more.
    - ``class``: each class.
    - a group for each attribute of images; beyond 20 values the rarest are one part.

    A part of objects is measured with the others ignored, as COCO measures small objects: neither they nor the detections
    matched with them count. Unmatched detections of other areas do not count in a part of sizes. In a part of neighbours,
    unmatched detections that overlap objects of the other part most do not count; those that overlap no object count in both.

    Metrics of a slice: ``AP``, ``AP50``, and ``recall`` and ``F1`` of detections from ``score_threshold`` on at IoU 0.5.

    Args:
        data: overlaps of all images.
        matches: of each image at COCO's IoU thresholds.
        score_threshold: lowest score for recall and F1.
        attributes: values of each image, by image id; an image without an attribute is in its part ``(none)``.
    """
    found = list(_by_size(data, score_threshold))
    found += _by_neighbours(data, score_threshold)
    found += _by_density(data, matches, score_threshold)
    found += _by_class(data, matches, score_threshold)
    found += _by_attributes(data, matches, attributes or {}, score_threshold)
    return tuple(found)


def _by_size(data: DatasetOverlaps, score_threshold: float) -> Iterator[Slice]:
    areas = np.sort(np.concatenate([np.zeros(0), *[image.object_areas for image in data.images]]))
    ranges = [("size", name, area_range) for name, area_range in COCO_AREAS.items()]
    if len(np.unique(areas)) >= 3:
        low, high = np.quantile(areas, [1 / 3, 2 / 3], method="higher")
        # Ranges include both ends: a third begins at the next number after the end of the one before.
        thirds = ((0.0, low), (np.nextafter(low, np.inf), high), (np.nextafter(high, np.inf), 1e10))
        for name, area_range in zip(("smallest third", "middle third", "largest third"), thirds, strict=True):
            between = f"{np.sqrt(area_range[0]):.0f} to {np.sqrt(min(area_range[1], areas[-1])):.0f} px"
            ranges.append(("size of this data", f"{name}, {between}", area_range))
    for group, name, area_range in ranges:
        matches = [match_detections(i, area_range=area_range, max_detections=data.max_detections) for i in data.images]
        yield _slice(group, name, data, matches, score_threshold)


def _by_neighbours(data: DatasetOverlaps, score_threshold: float) -> Iterator[Slice]:
    touching = [touches_another(image.object_boxes) for image in data.images]
    for name, ignored in (("touching", [~one for one in touching]), ("alone", touching)):
        matches = []
        for image, others in zip(data.images, ignored, strict=True):
            one = match_detections(image, ignored_objects=others, max_detections=data.max_detections)
            at_others = _nearest_is(image, others)
            matches.append(replace(one, ignored=one.ignored | ((one.objects < 0) & at_others)))
        yield _slice("neighbours", name, data, matches, score_threshold)


def _by_density(data: DatasetOverlaps, matches: Sequence[Matches], score_threshold: float) -> Iterator[Slice]:
    counts = np.array([len(image.object_labels) for image in data.images])
    occupied = counts[counts > 0]
    if not len(occupied) or occupied.min() == occupied.max():
        return
    half = float(np.median(occupied))
    half = half if half < occupied.max() else float(occupied[occupied < half].max())
    for name, chosen in (
        (f"sparse (up to {half:.0f})", counts <= half),
        (f"crowded (above {half:.0f})", counts > half),
    ):
        yield _images("objects per image", name, data, matches, chosen, score_threshold)


def _by_class(data: DatasetOverlaps, matches: Sequence[Matches], score_threshold: float) -> Iterator[Slice]:
    aps = average_precisions(data, matches=matches)
    for label, name in enumerate(data.classes) if len(data.classes) > 1 else ():
        yield _slice("class", name, data, matches, score_threshold, label=label, aps=aps)


def _by_attributes(
    data: DatasetOverlaps,
    matches: Sequence[Matches],
    attributes: Mapping[int, Mapping[str, str]],
    score_threshold: float,
) -> Iterator[Slice]:
    groups = sorted({name for image in data.images for name in attributes.get(image.image_id, {})})
    for group in groups:
        values = np.array([str(attributes.get(i.image_id, {}).get(group, "(none)")) for i in data.images], object)
        names, counts = np.unique(values.astype(str), return_counts=True)
        order = names[np.argsort(-counts, kind="stable")].tolist()
        for name in sorted(order[:MOST_VALUES]):
            yield _images(group, name, data, matches, values == name, score_threshold)
        if rest := order[MOST_VALUES:]:
            name = f"{len(rest)} other values"
            yield _images(group, name, data, matches, np.isin(values.astype(str), rest), score_threshold)


def _images(
    group: str,
    name: str,
    data: DatasetOverlaps,
    matches: Sequence[Matches],
    chosen: np.ndarray,
    score_threshold: float,
) -> Slice:
    indices = np.flatnonzero(chosen)
    part = replace(data, images=[data.images[i] for i in indices])
    one = _slice(group, name, part, [matches[i] for i in indices], score_threshold)
    return replace(one, images=len(indices))


def _slice(
    group: str,
    name: str,
    data: DatasetOverlaps,
    matches: Sequence[Matches],
    score_threshold: float,
    *,
    label: int | None = None,
    aps: np.ndarray | None = None,
) -> Slice:
    """The metrics of the objects and detections that the matches do not ignore; ``label``: of one class."""
    aps = average_precisions(data, matches=matches) if aps is None else aps
    aps = aps if label is None else aps[:, label : label + 1]
    images = objects = true = false = 0
    for image, one in zip(data.images, matches, strict=True):
        counted, above = ~one.ignored_objects, image.scores >= score_threshold
        if label is not None:
            counted, above = counted & (image.object_labels == label), above & (image.labels == label)
        images += bool(counted.any())
        objects += int(counted.sum())
        true += int((one.true_positives[0] & above).sum())
        false += int((one.false_positives[0] & above).sum())
    metrics = {
        "AP": mean_ap(aps),
        "AP50": mean_ap(aps[:1]),
        "recall": true / objects if objects else None,
        "F1": 2 * true / (objects + true + false) if objects else None,
    }
    return Slice(group, name, images, objects, metrics)


def touches_another(boxes: np.ndarray) -> np.ndarray:
    """Which boxes have another one at most a pixel away: bool [M]; boxes are [M, 4] XYWH."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    touching = np.zeros(len(boxes), bool)
    order = np.argsort(low[:, 0], kind="stable")
    ends = low[order, 0]
    last = np.searchsorted(ends, high[order, 0] + TOUCHING_GAP, side="right")
    for position, box in enumerate(order.tolist()):
        near = order[position + 1 : last[position]]
        near = near[(low[near, 1] <= high[box, 1] + TOUCHING_GAP) & (high[near, 1] >= low[box, 1] - TOUCHING_GAP)]
        touching[near] = True
        touching[box] |= len(near) > 0
    return touching


def _nearest_is(image: ImageOverlaps, chosen: np.ndarray) -> np.ndarray:
    """Whether the object that each detection overlaps most is among the chosen ones: bool [N]."""
    pairs = image.overlaps
    best = best_pairs(pairs.detections, pairs.ious, np.ones(len(pairs.objects), bool), len(image.scores))
    return np.where(best >= 0, np.append(chosen, False)[np.append(pairs.objects, -1)[best]], False)

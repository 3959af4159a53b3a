"""Rows of part ``postprocess`` on overlaps of masks: NMS of masks, exclusive masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from pycocotools import mask as coco_mask

from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, Report, Row
from segkit.benchmark.scene import make_targets
from segkit.benchmark.sides import Side, measure_work
from segkit.postprocess import ExclusiveMasks, MaskNMS
from segkit.structures.detections import Detections

SIZE, OBJECTS, CLASSES = (2048, 2048), 2_000, 4
THRESHOLD = 0.5
PYCOCOTOOLS = "pycocotools"
CPU = torch.device("cpu")


def measure_mask_overlaps(options: Options, report: Report) -> None:
    """Adds rows on NMS of masks and on exclusive masks.

    The peer of the first is pycocotools' IoU of all pairs.
    """
    objects = OBJECTS if options.size is None else min(OBJECTS, options.objects or OBJECTS)
    size = options.size or SIZE
    found = _overlapping(replace(options, objects=objects, size=size))
    assert options.runs
    title = f"{objects:,} masks, {size[0]} x {size[1]}"
    sides = {
        OWN: Side(OWN, lambda: MaskNMS(threshold=THRESHOLD)(found)),
        PYCOCOTOOLS: Side(PYCOCOTOOLS, lambda: _peer_nms(found)),
    }
    made = measure_work(report, f"mask NMS, {title}", sides, runs=options.runs, device=CPU)
    report.rows.append(Row(f"masks kept, {title}", "", {name: float(len(kept)) for name, kept in made.items()}))
    exclusive = {OWN: Side(OWN, lambda: ExclusiveMasks()(MaskNMS(threshold=THRESHOLD)(found)))}
    measure_work(report, f"mask NMS and exclusive masks, {title}", exclusive, runs=options.runs, device=CPU)


def _overlapping(options: Options) -> Detections:
    """Ellipses at random places, which overlap; best first."""
    assert options.objects and options.size
    generator = torch.Generator().manual_seed(2)
    targets = make_targets(options.objects, options.size, CLASSES, generator, options.object_sides)
    assert targets.masks is not None
    return Detections.from_masks(targets.masks, torch.linspace(1, 0.1, options.objects), targets.labels)


def _peer_nms(found: Detections) -> list[int]:
    """NMS within classes by a matrix of the IoUs of encoded masks."""
    rles, kept = found.to_rle(), list[int]()
    for label in found.labels.unique().tolist():
        own = (found.labels == label).nonzero()[:, 0].tolist()
        ious = np.asarray(coco_mask.iou([rles[i] for i in own], [rles[i] for i in own], [0] * len(own)))
        alive = np.ones(len(own), bool)
        for i in range(len(own)):
            if alive[i]:
                kept.append(own[i])
                alive[i + 1 :] &= ious[i, i + 1 :] <= THRESHOLD
    return sorted(kept)

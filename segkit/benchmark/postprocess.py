"""Part ``postprocess``: masks to COCO's RLE, NMS of boxes and masks, against the peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import batched_nms as torchvision_batched_nms

from segkit.benchmark.mask_overlaps import measure_mask_overlaps
from segkit.benchmark.models import chosen_device
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, PEER, Report, Row
from segkit.benchmark.scene import jittered, make_targets
from segkit.benchmark.sides import Side, installed, measure_work
from segkit.modeling.layers.nms import batched_nms
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks

DEFAULTS: dict[str, Any] = {"objects": 300, "object_sides": (16, 60), "runs": 2}
SIZES = ((1024, 1024), (2048, 2048))
RESOLUTION = 28
CLASSES = 4
CANDIDATES = 2000
NMS_IOU = 0.5
DETECTRON2 = "detectron2"
MODULES = {DETECTRON2: "detectron2"}
NOTES = [
    "segkit: Detections.to_rle; torchvision: paste_masks_in_image, above 0.5, pycocotools' encoder object by object, as "
    "its reference scripts do",
    "the reference pastes in floats: the probabilities' bilinear interpolation at the pixels' centres, from 0.5 on; "
    "torchvision rounds boxes to whole pixels before it pastes",
    "mask NMS: segkit MaskNMS on masks in their boxes; pycocotools: the IoU of all pairs of a class, of masks "
    "that are encoded beforehand",
    "a side that needs less than half a second repeats its step within its turn",
]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    report = Report.of(
        "postprocess", f"{options.objects} detections, probabilities of {RESOLUTION} x {RESOLUTION}", options
    )
    names = [OWN, PEER, *installed(MODULES, report)]
    for size in [options.size] if options.size else SIZES:
        measure_pasting(replace(options, size=size), names, report)
    if options.size is None:
        small, large = (row.values for row in report.rows if row.work.startswith("paste"))
        growth = {name: large[name] / small[name] for name in large if name in small}
        report.rows.append(Row("time of the larger image by that of the smaller", "", growth))
    measure_nms(options, report)
    measure_mask_overlaps(options, report)
    report.notes += NOTES
    return report


def measure_pasting(options: Options, names: list[str], report: Report) -> None:
    """Adds rows on pasting and encoding in images of one size."""
    assert options.size and options.runs
    title = f"{options.size[0]} x {options.size[1]}"
    device = chosen_device(options)
    sides = {name: make_side(options, name, Path()) for name in names}
    made = measure_work(report, f"paste and encode, {title}", sides, runs=options.runs, device=device)
    detections = make_detections(options)
    differ = {name: differing_pixels(detections, rles) for name, rles in made.items()}
    report.rows.append(Row(f"pixels unlike the reference, {title}", "%", differ))


def make_side(options: Options, name: str, folder: Path) -> Side:
    """One side; its step returns the RLE of all objects. ``folder`` is not used."""
    found = make_detections(options).to(chosen_device(options))
    steps: dict[str, Callable[[], list[dict[str, Any]]]] = {
        OWN: lambda: replace(found).to_rle(),  # a new object each time, since detections cache their masks
        PEER: lambda: peer_rle(found),
        DETECTRON2: lambda: detectron2_rle(found),
    }
    return Side(name, steps[name])


def make_detections(options: Options) -> Detections:
    """Detections with wavy outlines in boxes with fractional coordinates."""
    assert options.objects and options.size
    generator = torch.Generator().manual_seed(0)
    targets = make_targets(options.objects, options.size, CLASSES, generator, options.object_sides)
    boxes = jittered(targets.boxes, options.objects)[: options.objects]
    centres = (torch.arange(RESOLUTION) + 0.5) / RESOLUTION * 2 - 1
    radius = (centres[:, None] ** 2 + centres**2).sqrt()
    waves = torch.randn(options.objects, 1, 5, 5, generator=generator) * 0.15
    waves = F.interpolate(waves, (RESOLUTION, RESOLUTION), mode="bicubic")[:, 0]
    probs = ((0.9 + waves - radius) * 10).sigmoid()
    return Detections(boxes, torch.rand(options.objects, generator=generator), targets.labels, probs, options.size)


def peer_rle(found: Detections) -> list[dict[str, Any]]:
    """RLE as torchvision's reference scripts compute it."""
    assert found.mask_probs is not None
    pasted = paste_masks_in_image(found.mask_probs[:, None], found.boxes, found.size) > 0.5
    return [encoded(mask[0]) for mask in pasted.cpu()]


def detectron2_rle(found: Detections) -> list[dict[str, Any]]:
    """RLE as Detectron2's evaluator computes it."""
    from detectron2.layers.mask_ops import paste_masks_in_image as paste

    pasted = paste(found.mask_probs, found.boxes, found.size, threshold=0.5)
    return [encoded(mask) for mask in pasted.cpu()]


def encoded(mask: Tensor) -> dict[str, Any]:
    return coco_mask.encode(np.array(mask.numpy()[:, :, None], dtype=np.uint8, order="F"))[0]


def differing_pixels(found: Detections, rles: list[dict[str, Any]]) -> float:
    """Pixels that differ from the float reference, in % of its set pixels."""
    masks = InstanceMasks.from_rle(rles, found.size)
    assert found.mask_probs is not None
    differ = total = 0
    for i in range(len(found)):
        window, (left, top) = reference(found.boxes[i], found.mask_probs[i], found.size)
        expected = torch.zeros(found.size, dtype=torch.bool)
        expected[top : top + window.shape[0], left : left + window.shape[1]] = window
        differ += int((expected ^ masks[i].to_dense()[0]).sum())
        total += int(expected.sum())
    return 100 * differ / total


def reference(box: Tensor, probs: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """The mask [h, w] in a window of the image and the window's corner, in double precision."""
    margin = (box[2:] - box[:2]) / RESOLUTION + 1
    left, top = (box[:2] - margin).floor().long().clamp(min=0).tolist()
    right = min(size[1], int(box[2] + margin[0]) + 1)
    bottom = min(size[0], int(box[3] + margin[1]) + 1)
    x0, y0, x1, y1 = box.double().tolist()
    x = (torch.arange(left, right, dtype=torch.double) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (torch.arange(top, bottom, dtype=torch.double) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], 2)
    return F.grid_sample(probs.double()[None, None], grid[None], align_corners=False)[0, 0] >= 0.5, (left, top)


def measure_nms(options: Options, report: Report) -> None:
    """Adds rows on NMS within classes and the selection of the best boxes."""
    assert options.objects and options.runs
    device = chosen_device(options)
    generator = torch.Generator().manual_seed(1)
    limit = options.objects
    targets = make_targets(limit, options.size or SIZES[0], CLASSES, generator, options.object_sides)
    boxes = jittered(targets.boxes, CANDIDATES)[:CANDIDATES].to(device)
    labels = targets.labels.repeat(-(-CANDIDATES // limit))[:CANDIDATES].to(device)
    scores = torch.rand(CANDIDATES, generator=generator).to(device)
    sides = {
        OWN: Side(OWN, lambda: batched_nms(boxes, scores, labels, NMS_IOU)[:limit].cpu()),
        PEER: Side(PEER, lambda: torchvision_batched_nms(boxes, scores, labels, NMS_IOU)[:limit].cpu()),
    }
    made = measure_work(report, f"NMS of {CANDIDATES} boxes, keep {limit}", sides, runs=options.runs, device=device)
    report.rows.append(Row("boxes kept", "", {name: float(len(kept)) for name, kept in made.items()}))
    same = len(set(made[OWN].tolist()) & set(made[PEER].tolist())) if made.keys() == sides.keys() else 0
    report.rows.append(Row("boxes kept by both", "", {OWN: float(same)}))

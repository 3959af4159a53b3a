"""Part ``masks``: mask targets of a training step, segkit against torchvision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import project_masks_on_boxes
from torchvision.ops import roi_align

from segkit.benchmark.models import chosen_device
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, PEER, Report, Row
from segkit.benchmark.scene import jittered, make_batch
from segkit.benchmark.sides import Side, measure_work
from segkit.structures.mask_targets import batch_mask_targets
from segkit.structures.targets import Targets

DEFAULTS: dict[str, Any] = {"batch": 2, "objects": 200, "size": (800, 800), "object_sides": (16, 60), "runs": 5}
POSITIVES = 128  # foreground boxes of an image: a quarter of 512 sampled ones
RESOLUTION = 28
RESIZED = "torchvision, resized"
NOTES = [
    "a step: the masks from the host's memory to the device, then targets of all images' positive boxes; segkit's masks are "
    "InstanceMasks, torchvision's uint8 [N, H, W]",
    "with the resizing: torchvision's model resizes all masks in each step, to the size that they have here already",
    "the reference: roi_align(dense.float(), boxes, aligned=True, sampling_ratio=0) >= 0.5; torchvision's targets, which "
    "are fractions in boxes moved by half a pixel, are compared from 0.5 on",
]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    assert options.batch and options.size and options.runs
    situation = (
        f"{options.batch} x {options.size[0]} x {options.size[1]}, {options.objects} objects and {POSITIVES} positive boxes "
        f"an image, {RESOLUTION} x {RESOLUTION} targets"
    )
    report = Report.of("masks", situation, options)
    device = chosen_device(options)
    sides = {name: make_side(options, name, Path()) for name in (OWN, PEER)}
    made = measure_work(report, "mask targets of a step", sides, runs=options.runs, device=device)
    sides[PEER] = make_side(options, RESIZED, Path())
    measure_work(report, "the same with the resizing in torchvision's model", sides, runs=options.runs, device=device)
    expected = reference(options)
    differ = {name: 100 * (targets.cpu() != expected).float().mean().item() for name, targets in made.items()}
    report.rows.append(Row("target pixels unlike the reference", "%", differ))
    report.rows.append(Row("target pixels compared", "", {OWN: float(expected.numel())}))
    report.notes += NOTES
    return report


def make_side(options: Options, name: str, folder: Path) -> Side:
    """One side; its step returns bool [K, M, M]. ``folder`` is not used."""
    device = chosen_device(options)
    targets, boxes, matched = make_positives(options)
    boxes, matched = [b.to(device) for b in boxes], [m.to(device) for m in matched]
    make = own_step if name == OWN else peer_step
    return Side(name, make(targets, boxes, matched, device, name == RESIZED))


def make_positives(options: Options) -> tuple[list[Targets], list[Tensor], list[Tensor]]:
    """Each image's objects, its positive boxes [P, 4] and their objects [P]."""
    assert options.batch and options.objects and options.size
    targets = make_batch(options.batch, options.objects, options.size, 1, sides=options.object_sides).targets
    generator = torch.Generator().manual_seed(0)
    boxes, matched = [], []
    for image in targets:
        near = jittered(image.boxes, max(POSITIVES, len(image)))
        chosen = torch.randperm(len(near), generator=generator)[:POSITIVES]
        boxes.append(near[chosen])
        matched.append(chosen % len(image))
    return targets, boxes, matched


Step = Callable[[], Tensor]


def own_step(
    targets: Sequence[Targets], boxes: list[Tensor], matched: list[Tensor], device: torch.device, resized: bool
) -> Step:
    """Mask targets as segkit computes them, without resizing images or masks."""
    masks = [image.masks for image in targets if image.masks is not None]

    def step() -> Tensor:
        moved = [m.to(device, non_blocking=True) for m in masks]
        return batch_mask_targets(moved, matched, boxes, RESOLUTION)

    return step


def peer_step(
    targets: Sequence[Targets], boxes: list[Tensor], matched: list[Tensor], device: torch.device, resized: bool
) -> Step:
    """Mask targets as in ``GeneralizedRCNNTransform`` (if ``resized``) and ``maskrcnn_loss``."""
    dense = [image.masks.to_dense().to(torch.uint8) for image in targets if image.masks is not None]

    def step() -> Tensor:
        moved = [m.to(device, non_blocking=True) for m in dense]
        if resized:
            moved = [
                F.interpolate(m[:, None].float(), scale_factor=1.0, recompute_scale_factor=True)[:, 0].byte()
                for m in moved
            ]
        rows = zip(moved, boxes, matched, strict=True)
        return torch.cat([project_masks_on_boxes(m, b, i, RESOLUTION) for m, b, i in rows]) >= 0.5

    return step


def reference(options: Options) -> Tensor:
    """Mask targets, bool [K, M, M], computed on the CPU from dense masks."""
    expected = []
    for image, boxes, matched in zip(*make_positives(options), strict=True):
        assert image.masks is not None
        dense = image.masks.to_dense().float()[:, None]
        rois = torch.cat([matched[:, None].float(), boxes], dim=1)
        expected.append(roi_align(dense, rois, RESOLUTION, sampling_ratio=0, aligned=True)[:, 0] >= 0.5)
    return torch.cat(expected)

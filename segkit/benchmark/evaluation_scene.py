"""Synthetic ground truth and partly wrong detections for evaluators."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from segkit.benchmark.scene import ellipses, make_targets
from segkit.data.formats.objects import ground_truth_from_targets
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets

MISSED, INVENTED, MISTAKEN, CROWDS = 0.1, 0.15, 0.05, 0.01  # shares of the objects


@dataclass(frozen=True)
class Scene:
    """One image's sample, with its ground truth in ``annotations``, and detections."""

    sample: Sample
    found: Detections


def make_scenes(
    images: int, objects: int, size: tuple[int, int], num_classes: int, sides: tuple[int, int] | None
) -> list[Scene]:
    """Images with ``objects`` objects each, all masks as RLE.

    Detections are the objects with each side of their boxes moved by up to 15 %, without some (MISSED), with more on
    free background (INVENTED) and with wrong classes (MISTAKEN). Scores are random, higher for the true ones. Some objects
    (CROWDS) are crowd regions.
    """
    generator = torch.Generator().manual_seed(0)
    return [_scene(i, objects, size, num_classes, sides, generator) for i in range(images)]


def _scene(
    number: int,
    objects: int,
    size: tuple[int, int],
    num_classes: int,
    sides: tuple[int, int] | None,
    generator: torch.Generator,
) -> Scene:
    def drawn(share: float, count: int) -> torch.Tensor:
        return torch.rand(count, generator=generator) < share

    targets = make_targets(objects, size, num_classes, generator, sides)
    targets = Targets(targets.boxes, targets.labels, targets.masks, drawn(CROWDS, objects))
    sample = Sample(torch.zeros(3, 0, 0, dtype=torch.uint8), targets, number, f"{number}.png", size)
    sample.annotations = ground_truth_from_targets(sample)
    kept = targets[~drawn(MISSED, objects)]
    others = make_targets(max(1, int(objects * INVENTED)), size, num_classes, generator, sides)
    assert kept.masks is not None and others.masks is not None
    crop_boxes = kept.masks.crop_boxes
    lengths = (crop_boxes[:, 2:] - crop_boxes[:, :2]).repeat(1, 2)
    moved = crop_boxes + (lengths * (torch.rand(crop_boxes.shape, generator=generator) - 0.5) * 0.3).round().long()
    limit = torch.tensor([size[1], size[0]])
    low = moved[:, :2].clamp(min=0).minimum(limit - 1)
    moved = torch.cat([low, moved[:, 2:].minimum(limit).maximum(low + 1)], dim=1)
    masks = InstanceMasks.cat([ellipses(moved, size), others.masks])
    labels = torch.cat([kept.labels, others.labels])
    labels = torch.where(drawn(MISTAKEN, len(labels)), (labels + 1) % num_classes, labels)
    scores = torch.rand(len(labels), generator=generator)
    scores[: len(kept)] = scores[: len(kept)].sqrt()
    # Encoded before, so that timing an evaluation excludes pasting and encoding.
    return Scene(sample, Detections.from_rle(masks.to_rle(), scores, labels, size, masks.boxes()))

"""Synthetic images and objects of a given number and size."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Batch, Sample
from segkit.structures.targets import Targets


def make_batch(
    batch: int,
    objects: int,
    size: tuple[int, int],
    num_classes: int,
    *,
    channels: int = 3,
    sides: tuple[int, int] | None = None,
) -> Batch:
    """Images of noise with ``objects`` elliptic objects each; see :func:`make_targets`."""
    return Batch(list(make_samples(batch, objects, size, num_classes, channels=channels, sides=sides)))


def make_samples(
    count: int,
    objects: int,
    size: tuple[int, int],
    num_classes: int,
    *,
    channels: int = 3,
    sides: tuple[int, int] | None = None,
) -> Iterator[Sample]:
    """The images of :func:`make_batch`, made one by one."""
    generator = torch.Generator().manual_seed(0)
    for index in range(count):
        image = torch.randint(0, 256, (channels, *size), dtype=torch.uint8, generator=generator)
        targets = make_targets(objects, size, num_classes, generator, sides)
        yield Sample(image, targets, index, f"{index}.png", size)


def make_targets(
    objects: int,
    size: tuple[int, int],
    num_classes: int,
    generator: torch.Generator,
    sides: tuple[int, int] | None = None,
) -> Targets:
    """Targets of ellipses at random positions in an image of ``size``; they may overlap.

    Their longer sides are log-uniform between the two ``sides``, in pixels; by default between 1/40 and 1/3 of the image's
    shorter side (20 to 270 pixels at 800), and at least 8 pixels. Width and height differ by a factor of two at most.
    """
    limits = sides or tuple(max(8.0, min(size) * part) for part in (1 / 40, 1 / 3))
    low, high = (torch.tensor(float(min(limit, *size))).log() for limit in limits)
    longer = torch.exp(low + (high - low) * torch.rand(objects, generator=generator))
    aspect = torch.exp2(torch.rand(objects, generator=generator) * 2 - 1)  # width / height
    widths = (longer * aspect.clamp(max=1)).round().long()
    heights = (longer / aspect.clamp(min=1)).round().long()
    position = torch.rand(objects, 2, generator=generator)
    x0 = (position[:, 0] * (size[1] - widths + 1)).floor().long()
    y0 = (position[:, 1] * (size[0] - heights + 1)).floor().long()
    masks = ellipses(torch.stack([x0, y0, x0 + widths, y0 + heights], dim=1), size)
    labels = torch.randint(0, num_classes, (objects,), generator=generator)
    return Targets(masks.boxes(), labels, masks)


def ellipses(crop_boxes: Tensor, size: tuple[int, int]) -> InstanceMasks:
    """Masks of the largest ellipse in each box, int64 [N, 4], inside an image of ``size``."""
    sides = (crop_boxes[:, 2:] - crop_boxes[:, :2]).tolist()
    bits = torch.cat([ellipse(height, width).flatten() for width, height in sides])
    return InstanceMasks(bits, crop_boxes, size)


def ellipse(height: int, width: int) -> Tensor:
    """Crop uint8 [height, width] that is 1 inside the largest ellipse."""
    y = (torch.arange(height) + 0.5) / height * 2 - 1
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    return (y[:, None] ** 2 + x**2 <= 1).to(torch.uint8)


def jittered(boxes: Tensor, count: int) -> Tensor:
    """About ``count`` boxes [M, 4] near those given [N, 4] (IoU above 0.6), like proposals.

    Each side is moved by up to 8 % of the box's width or height.
    """
    copies = -(-count // max(1, len(boxes)))
    repeated = boxes.repeat(copies, 1)
    sides = (repeated[:, 2:] - repeated[:, :2]).repeat(1, 2)
    generator = torch.Generator().manual_seed(0)
    return repeated + (torch.rand(repeated.shape, generator=generator) * 2 - 1) * 0.08 * sides

"""Scenes for tests of image geometry: a file of numbered pixels, and detections."""

from __future__ import annotations

import torch

from segkit.structures import Detections, Sample, Targets

FILE = (37, 53)


def numbered_file(size=FILE):
    """An image whose first two channels are the number of each pixel in the file; the third is 1, and 0 in padding."""
    pixel_indices = torch.arange(size[0] * size[1]).reshape(size)
    image = torch.stack([pixel_indices % 256, pixel_indices // 256, torch.ones_like(pixel_indices)]).to(torch.uint8)
    return Sample(image, Targets.empty(size), 1, "a.png", size)


def some_detections(size, seed, count=4, cells=6):
    """Boxes anywhere in an image of ``size``, with random values in M x M cells."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(count, 2, 2, generator=generator).sort(1).values * torch.tensor([size[1], size[0]])
    boxes = ends.reshape(count, 4) + torch.tensor([0.0, 0, 1.5, 1.5])
    boxes = boxes.minimum(torch.tensor([size[1], size[0]] * 2).float())
    probs = torch.rand(count, cells, cells, generator=generator)
    return Detections(boxes, torch.linspace(1, 0.5, count), torch.arange(count), probs, size)

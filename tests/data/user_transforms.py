"""Transforms as users write them, with and without mistakes, and a data set to run them on."""

from __future__ import annotations

import dataclasses
from functools import cache

import torch
from torch.nn.functional import avg_pool2d
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from segkit.data import Synthetic
from segkit.data.transforms import (
    Photometric,
    Transform,
    geometry,
)
from segkit.structures import Sample, Targets


class Remembered(Synthetic):
    """Caches its images, because transforms never change a sample in place."""

    def __init__(self, **options):
        super().__init__(**options)
        self.load = cache(self.load)

    def ground_truth(self, index, sample):
        return []


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def moved(sample, image, boxes, masks):
    targets = Targets(boxes, sample.targets.labels, masks, sample.targets.crowd)
    return dataclasses.replace(sample, image=image, targets=targets)


class Mirror(Transform):
    """A flip without segkit's functions."""

    def __call__(self, sample, generator):
        width = sample.image.shape[2]
        x0, y0, x1, y1 = sample.targets.boxes.unbind(1)
        boxes = torch.stack([width - x1, y0, width - x0, y1], 1)
        return moved(sample, sample.image.flip(-1), boxes, sample.targets.masks.hflip())


class SometimesMirror(Mirror):
    def __call__(self, sample, generator):
        return super().__call__(sample, generator) if torch.rand((), generator=generator) < 0.5 else sample


class ImageAlone(Transform):
    """Moves the image but not the objects."""

    def __init__(self, function):
        self.function = function

    def __call__(self, sample, generator):
        return dataclasses.replace(sample, image=self.function(sample.image))


class Turn(Transform):
    def __call__(self, sample, generator):
        side = min(sample.image.shape[1:])
        sample = geometry.crop(sample, (0, 0, side, side))
        boxes = sample.targets.boxes[:, [1, 0, 3, 2]]
        masks = sample.targets.masks.rot90(1).vflip()
        return moved(sample, sample.image.transpose(1, 2).contiguous(), boxes, masks)


class CutBorder(Transform):
    def __call__(self, sample, generator):
        kept = dataclasses.replace(geometry.crop(sample, (4, 4, 70, 50)), geometry=sample.geometry)
        return kept


class Shift(Transform):
    def __call__(self, sample, generator):
        boxes = sample.targets.boxes + torch.tensor([6.0, 0, 6, 0])
        return moved(sample, sample.image.roll(6, -1), boxes, sample.targets.masks)


class LowerRight(Transform):
    """Crops so that no probe is in view."""

    def __call__(self, sample, generator):
        height, width = sample.image.shape[1:]
        return geometry.crop(sample, (width // 2, height // 2, width, height))


class Corner(LowerRight):
    def __call__(self, sample, generator):
        return dataclasses.replace(super().__call__(sample, generator), geometry=sample.geometry)


class NewSample(Transform):
    """Records its geometry, but returns a sample without it."""

    def __call__(self, sample, generator):
        flipped = geometry.vflip(sample)
        return Sample(flipped.image, flipped.targets, sample.image_id, sample.file_name, sample.size)


class InPlace(Transform):
    def __call__(self, sample, generator):
        sample.image = sample.image.flip(-1)
        return sample


class RecordedInPlace(InPlace):
    """Declares a recorded inversion, but removes the geometry."""

    inversion = "recorded"

    def __call__(self, sample, generator):
        sample.geometry = None
        return super().__call__(sample, generator)


class Gray(Transform):
    def __call__(self, sample, generator):
        return dataclasses.replace(sample, image=sample.image.float().mean(0, keepdim=True).byte().expand(3, -1, -1))


class Equalized(Transform):
    def __call__(self, sample, generator):
        return dataclasses.replace(sample, image=F.equalize(sample.image))


class Noise(Transform):
    def __call__(self, sample, generator):
        noise = torch.randint(0, 30, sample.image.shape, generator=generator, dtype=torch.uint8)
        return dataclasses.replace(sample, image=sample.image // 2 + noise)


class Smooth(Transform):
    def __call__(self, sample, generator):
        blurred = avg_pool2d(sample.image.float(), 9, 1, 4)
        return Sample(blurred.byte(), sample.targets, sample.image_id, sample.file_name, sample.size)


class Thumbnail(Transform):
    """A resize that does not record its geometry."""

    def __call__(self, sample, generator):
        size = (30, 32)
        boxes = sample.targets.boxes * torch.tensor([32 / 80, 0.5, 32 / 80, 0.5])
        return moved(sample, F.resize(sample.image, list(size)), boxes, sample.targets.masks.resize(size))


class Centre(Transform):
    """Crops by segkit's functions, depending on the image."""

    def __call__(self, sample, generator):
        columns = (sample.image[0] > 0).any(0).nonzero().flatten()
        return geometry.pad(geometry.crop(geometry.hflip(sample), (0, 3, int(columns[-1]) // 2 + 30, 55)), (64, 96))


class FromPhotometric(Photometric):
    """Overrides ``__call__``, so that Photometric's declaration does not apply."""

    def __init__(self):
        super().__init__(v2.RandomInvert(p=1.0), 1.0)

    def __call__(self, sample, generator):
        return super().__call__(sample, generator)

"""Simple Copy-Paste: pastes objects of another image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import MixingTransform, check_probability, randint, uniform
from segkit.data.transforms.cropping import random_crop
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample


@TRANSFORM_REGISTRY.register
class CopyPaste(MixingTransform):
    """With probability ``p``, pastes objects of another image (Ghiasi et al. 2021).

    The paper is Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation.

    The other image is a random one of the data set, after the transforms before this one. It is placed at a random
    position, cropped if it is larger, and a random subset of its objects is pasted. Covered objects lose the covered
    pixels. Those that are covered completely, or keep less than ``min_visibility`` of their area, are removed and counted
    in ``sample.dropped``. Crowd regions can be covered but are never pasted. Borders are not blended, which works as well
    (section 3 of the paper). ``sample.rescued`` adds up the counts of both images.

    An object without a mask is never pasted, because its pixels are unknown. If it is covered, it keeps its whole box as
    long as at least one pixel and ``min_visibility`` of the box's pixels are uncovered.

    Args:
        max_objects: most objects to paste; null: no limit.
        min_visibility: share of its area that a covered object must keep, 0 to 1.
        p: probability.
    """

    needs_masks = True
    examples = ({"p": 1.0}, {"max_objects": 2, "min_visibility": 0.0, "p": 1.0}, {})

    def __init__(self, *, max_objects: int | None = None, min_visibility: float = 0.1, p: float = 0.5) -> None:
        check_probability(p)
        check_probability(min_visibility)
        if max_objects is not None and max_objects < 1:
            raise ValueError(f"max_objects: expected at least 1, or null; got {max_objects}")
        self.max_objects = max_objects
        self.min_visibility = min_visibility
        self.p = p

    def mix(self, sample: Sample, draw_other: Callable[[], Sample], generator: torch.Generator) -> Sample:
        if uniform(0, 1, generator) >= self.p:
            return sample
        height, width = sample.image.shape[1:]
        other = random_crop(draw_other(), (height, width), 0.0, generator)
        rows, columns = other.image.shape[1:]
        top, left = randint(0, height - rows, generator), randint(0, width - columns, generator)
        pastable = (other.targets.has_mask & ~other.targets.crowd).nonzero().squeeze(1)
        if not len(pastable):
            return sample
        count = randint(1, min(len(pastable), self.max_objects or len(pastable)), generator)
        chosen = pastable[torch.randperm(len(pastable), generator=generator)[:count].sort().values]
        objects = geometry.place(other.targets[chosen], (height, width), left, top)
        image = other.image.new_zeros((len(other.image), height, width))
        image[:, top : top + rows, left : left + columns] = other.image
        mixed = geometry.paste(sample, image, objects, self.min_visibility)
        return dataclasses.replace(mixed, rescued=sample.rescued + other.rescued)

"""Objects of another image, pasted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from segkit.data.transforms import geometry
from segkit.data.transforms.base import MixingTransform, check_probability, randint, uniform
from segkit.data.transforms.cropping import random_window
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample


@TRANSFORM_REGISTRY.register
class CopyPaste(MixingTransform):
    """With probability ``p``, paste objects of another image over this one (Ghiasi et al. 2021, Simple Copy-Paste).

    The other image is a random one of the data set, after the transforms that stand before this one. A random number
    of its objects, chosen at random, keep their places in it; the image itself is laid at a random place, and cut where
    it is larger. What lies below loses the covered pixels; what is covered wholly, or so far that less than
    ``min_visibility`` of it is left, goes with box and label, counted in ``sample.dropped``. Crowd regions are covered like
    objects, and never pasted. ``sample.rescued`` counts the rescued masks of both images. Borders stay hard, which does as
    well as blending (section 3 there).

    An object without a mask is never pasted, for nobody knows which pixels are its own. Where it is covered it keeps its
    whole box, as long as ``min_visibility`` of the box's pixels, and at least one, are uncovered.

    Args:
        max_objects: most objects to paste, or null for no limit.
        min_visibility: share of its area that a covered object must keep to stay, 0 to 1.
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
        other = random_window(draw_other(), (height, width), 0.0, generator)
        rows, columns = other.image.shape[1:]
        top, left = randint(0, height - rows, generator), randint(0, width - columns, generator)
        pastable = (other.targets.has_mask & ~other.targets.crowd).nonzero().squeeze(1)
        if not len(pastable):
            return sample
        count = randint(1, min(len(pastable), self.max_objects or len(pastable)), generator)
        chosen = pastable[torch.randperm(len(pastable), generator=generator)[:count].sort().values]
        objects = geometry.place(other.targets[chosen], (height, width), left, top)
        image = torch.zeros_like(sample.image)
        image[:, top : top + rows, left : left + columns] = other.image
        mixed = geometry.paste(sample, image, objects, self.min_visibility)
        return dataclasses.replace(mixed, rescued=sample.rescued + other.rescued)

"""Samplers: the images of an epoch and their order, as functions of (seed, epoch).

They have no state that a checkpoint would have to save.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter

import torch

from segkit.data.formats.base import Dataset
from segkit.registry import SAMPLER_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.seeding import generator_for


class Sampler(ABC):
    """Interface of a sampler. All epochs have the same length."""

    @abstractmethod
    def epoch_indices(self, epoch: int) -> list[int]:
        """Indices into the data set, in the order of use.

        The list is the same each time for the same epoch.
        """


@SAMPLER_REGISTRY.register
class ShuffleSampler(Sampler):
    """Every image once an epoch, in a different random order in each epoch.

    Args:
        num_samples: length of the data set.
        seed: of the run.
    """

    def __init__(self, num_samples: int, seed: int) -> None:
        self.num_samples = num_samples
        self.seed = seed

    def epoch_indices(self, epoch: int) -> list[int]:
        return torch.randperm(self.num_samples, generator=generator_for("sampler", self.seed, epoch)).tolist()


@SAMPLER_REGISTRY.register
class SequentialSampler(Sampler):
    """Every image once an epoch, in the data set's order: to debug, or to overfit one batch.

    Args:
        num_samples: length of the data set.
    """

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def epoch_indices(self, epoch: int) -> list[int]:
        return list(range(self.num_samples))


@SAMPLER_REGISTRY.register
class RepeatFactorSampler(Sampler):
    """Repeats images with rare classes (LVIS, Gupta et al. 2019, section 4.2).

    The repeat factor of a class in a share f of the images is max(1, sqrt(threshold / f)); the factor of an image is the
    largest of its classes. Systematic sampling rounds the factors: an image of factor 1.5 occurs once or twice, and all
    epochs have the same length.

    If training crops have a fixed size, a large image holds many crops and each use shows one of them. ``area_power``
    repeats large images to compensate.

    Args:
        dataset: training images.
        seed: of the run.
        threshold: classes in a smaller share of the images than this are repeated.
        area_power: an image's factor is multiplied by (its area / the smallest image's area) to this power. 0: the area
            has no influence; 1: all pixels of the data set are seen equally often.
    """

    def __init__(self, dataset: Dataset, seed: int, *, threshold: float = 0.5, area_power: float = 0.0) -> None:
        if not 0 < threshold <= 1:
            raise SegkitError(f"threshold: expected a share of the images, above 0 and at most 1; got {threshold}")
        if not 0 <= area_power <= 1:
            raise SegkitError(f"area_power: expected 0 to 1; got {area_power}")
        self.seed = seed
        classes = [[label for label, n in dataset.label_counts(i).items() if n] for i in range(len(dataset))]
        images_with = Counter(label for image in classes for label in image)
        factor = {k: max(1.0, math.sqrt(threshold * len(dataset) / n)) for k, n in images_with.items()}
        self.factors = torch.tensor([max((factor[k] for k in image), default=1.0) for image in classes])
        if area_power and len(dataset):
            areas = torch.tensor([float(math.prod(dataset.size(i))) for i in range(len(dataset))])
            self.factors = self.factors * (areas / areas.min()) ** area_power
        self.length = max(1, round(float(self.factors.sum())))

    def epoch_indices(self, epoch: int) -> list[int]:
        generator = generator_for("sampler", self.seed, epoch)
        order = torch.randperm(len(self.factors), generator=generator)
        ends = self.factors[order].double().cumsum(0)
        # Equally spaced points along the cumulated factors of the shuffled images: an image occurs once for each point
        # in its interval.
        spacing = ends[-1] / self.length
        points = (torch.arange(self.length) + torch.rand((), generator=generator)) * spacing
        chosen = order[torch.searchsorted(ends, points.double(), right=True).clamp(max=len(order) - 1)]
        return chosen[torch.randperm(self.length, generator=generator)].tolist()

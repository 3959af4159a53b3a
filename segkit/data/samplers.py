"""Which images an epoch has, in which order: pure functions of (seed, epoch), so that nothing has to be saved."""

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
    """Gives the indices of an epoch. The length is the same in every epoch."""

    @abstractmethod
    def epoch_indices(self, epoch: int) -> list[int]:
        """Indices into the data set, in the order of use; always the same list for the same epoch."""


@SAMPLER_REGISTRY.register
class ShuffleSampler(Sampler):
    """Every image once an epoch, in an order drawn anew for each epoch.

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
    """Every image once an epoch, in the data set's order: to look for an error, or to learn one batch by heart.

    Args:
        num_samples: length of the data set.
    """

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def epoch_indices(self, epoch: int) -> list[int]:
        return list(range(self.num_samples))


@SAMPLER_REGISTRY.register
class RepeatFactorSampler(Sampler):
    """Images with rare classes come more often (LVIS, Gupta et al. 2019, section 4.2).

    A class that a share f of the images has gets the factor max(1, sqrt(threshold / f)), an image the largest factor of
    its classes. Fractions are kept by systematic sampling: an image of factor 1.5 comes once or twice, and the epoch
    is always equally long.

    Where training crops have one size, a large image holds many of them and shows the network one at a time: with
    ``area_power`` it comes more often for that.

    Args:
        dataset: gives each image's classes and size.
        seed: of the run.
        threshold: classes in a smaller share of the images than this are repeated.
        area_power: an image's factor is multiplied by (its area / the smallest image's area) to this power. 0: area does
            not count; 1: every pixel of the data set is seen equally often.
    """

    def __init__(self, dataset: Dataset, seed: int, *, threshold: float = 0.5, area_power: float = 0.0) -> None:
        if not 0 < threshold <= 1:
            raise SegkitError(f"threshold is a share of the images, above 0 and at most 1, not {threshold}")
        if not 0 <= area_power <= 1:
            raise SegkitError(f"area_power is between 0 and 1, not {area_power}")
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
        # Equally spaced points along the shuffled factors: an image gets as many as fall into its stretch.
        spacing = ends[-1] / self.length
        points = (torch.arange(self.length) + torch.rand((), generator=generator)) * spacing
        chosen = order[torch.searchsorted(ends, points.double(), right=True).clamp(max=len(order) - 1)]
        return chosen[torch.randperm(self.length, generator=generator)].tolist()

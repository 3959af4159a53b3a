"""Which images an epoch has, in which order: pure functions of (seed, epoch), so that nothing has to be saved."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from segkit.data.seeding import generator_for
from segkit.registry import SAMPLER_REGISTRY


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
        return torch.randperm(self.num_samples, generator=generator_for(self.seed, epoch)).tolist()


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

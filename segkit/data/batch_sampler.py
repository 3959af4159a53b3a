"""Groups the sampler's image indices into batches; each batch depends only on the iteration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from segkit.data.aspect_ratio_grouping import batch_by_group
from segkit.data.samplers import Sampler
from segkit.utils.errors import SegkitError


@dataclass(frozen=True, order=True)
class Draw:
    """One use of an image in training; with the run's seed it determines the augmentation.

    Attributes:
        epoch: of the sampler.
        index: into the data set.
        repeat: number of earlier uses of the image in the epoch; above 0 if a sampler repeats images.
    """

    epoch: int
    index: int
    repeat: int = 0


class EpochBatchSampler:
    """Endless sequence of batches of draws, ``accumulate`` of them an iteration.

    This is a batch sampler for DataLoader.

    The batches of an iteration hold the same images as one batch of ``accumulate`` times the size. The incomplete
    iteration at the end of an epoch is dropped, so that all steps average over the same number of images; shuffling
    drops other images in each epoch. If an iteration needs more images than the data set has, it takes several epochs of
    the sampler: images repeat, with different augmentation.

    Args:
        sampler: order of the images in each epoch.
        batch_size: images a batch, over all processes.
        start_iteration: the first iteration.
        rank: index of this process; it gets every ``world_size``-th draw of a batch.
        world_size: number of processes.
        groups: the group of each image; batches then hold images of one group, in another order of the same images
            (see ``batch_by_group``).
        accumulate: batches an iteration.
    Raises:
        SegkitError: no images, or a batch size that is no multiple of ``world_size``.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        start_iteration: int = 0,
        rank: int = 0,
        world_size: int = 1,
        groups: Sequence[int] | None = None,
        accumulate: int = 1,
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise SegkitError(f"data.batch_size: expected a multiple of the {world_size} processes; got {batch_size}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.images_per_iteration = batch_size * accumulate
        self.start_iteration = start_iteration
        self.rank, self.world_size = rank, world_size
        self.groups = groups
        length = len(sampler.epoch_indices(0))
        if length == 0:
            raise SegkitError("there are no training images", key="data.train")
        self.iterations_per_epoch = max(1, length // self.images_per_iteration)
        self.repeats = max(1, math.ceil(self.images_per_iteration / length))

    def epoch(self, epoch: int) -> list[Draw]:
        """All draws of an epoch, in the order of the batches: a whole number of iterations."""
        draws = []
        for sampler_epoch in range(epoch * self.repeats, (epoch + 1) * self.repeats):
            seen: Counter[int] = Counter()
            for index in self.sampler.epoch_indices(sampler_epoch):
                draws.append(Draw(sampler_epoch, index, seen[index]))
                seen[index] += 1
        draws = draws[: self.iterations_per_epoch * self.images_per_iteration]
        if self.groups is None:
            return draws
        return batch_by_group(draws, [self.groups[draw.index] for draw in draws], self.batch_size)

    def iteration(self, iteration: int) -> list[list[Draw]]:
        """The batches of one iteration."""
        epoch, i = divmod(iteration, self.iterations_per_epoch)
        return self._batches(self.epoch(epoch), i)

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, first = divmod(self.start_iteration, self.iterations_per_epoch)
        while True:
            draws = self.epoch(epoch)
            for i in range(first, self.iterations_per_epoch):
                yield from self._batches(draws, i)
            epoch, first = epoch + 1, 0

    def _batches(self, draws: list[Draw], i: int) -> list[list[Draw]]:
        """This process's share of the batches of an epoch's ``i``-th iteration."""
        starts = range(i * self.images_per_iteration, (i + 1) * self.images_per_iteration, self.batch_size)
        return [draws[start : start + self.batch_size][self.rank :: self.world_size] for start in starts]

"""Which images make which batch, from the sampler's epochs: a function of the iteration alone."""

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
    """Which image, and all that its augmentation depends on beside the seed.

    Attributes:
        epoch: of the sampler.
        index: into the data set.
        repeat: how often the epoch had the image before; above 0 where a sampler repeats images.
    """

    epoch: int
    index: int
    repeat: int = 0


class EpochBatchSampler:
    """The endless sequence of batches of draws, ``accumulate`` of them an iteration, from a given iteration on.

    An iteration's batches together are what a single batch of that many images would be. An epoch's last incomplete
    iteration is dropped: another epoch's order has other images there, and every step averages over equally many. Where
    there are fewer images than an iteration takes, an epoch is one iteration, filled from as many of the sampler's epochs
    as it needs: images repeat in it, each time augmented otherwise.

    With ``groups``, the group of each image, a batch holds images of one group: the epoch's images are the same, in
    another order. What is left of the groups in the end makes up the epoch's last batches.
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
        """All samples of an epoch, a multiple of those of an iteration."""
        draws = []
        for number in range(epoch * self.repeats, (epoch + 1) * self.repeats):
            seen: Counter[int] = Counter()
            for index in self.sampler.epoch_indices(number):
                draws.append(Draw(number, index, seen[index]))
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
            items = self.epoch(epoch)
            for i in range(first, self.iterations_per_epoch):
                yield from self._batches(items, i)
            epoch, first = epoch + 1, 0

    def _batches(self, items: list[Draw], i: int) -> list[list[Draw]]:
        starts = range(i * self.images_per_iteration, (i + 1) * self.images_per_iteration, self.batch_size)
        return [items[start : start + self.batch_size][self.rank :: self.world_size] for start in starts]

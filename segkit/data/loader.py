"""Batches: from data set, sampler and transforms, through worker processes.

What a training loader gives for iteration ``i`` is a function of the seed and ``i`` alone. So a run that starts again at
iteration ``k`` gets the batches that it would have had, and the number of workers changes nothing but speed.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from segkit.data.formats.base import Dataset
from segkit.data.grouping import batch_by_group, orientations
from segkit.data.samplers import Sampler
from segkit.data.seeding import generator_for
from segkit.data.transforms.base import Compose, Transform, randint
from segkit.data.transforms.geometry import without_degenerate
from segkit.structures.sample import Batch, Sample
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
MOST_SKIPPED = 10  # unreadable images in a row: more are no accident, but a disk that is gone


@dataclass(frozen=True)
class Failure:
    """A user's mistake met in a worker: travels as a value, because DataLoader wraps exceptions into tracebacks."""

    message: str
    key: str | None = None


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


class TrainItems(TorchDataset):
    """Augmented samples; a transform that mixes images gets others of the whole data set, each as likely.

    Args:
        skip_unreadable: in the place of an image that cannot be read comes the next one that can, up to
            ``MOST_SKIPPED`` further on, so that a batch stays as large as it was.
    """

    def __init__(self, dataset: Dataset, transforms: Transform, seed: int, skip_unreadable: bool = False) -> None:
        self.dataset = dataset
        self.transforms = Compose([transforms])
        self.seed = seed
        self.skip_unreadable = skip_unreadable

    def __getitem__(self, draw: Draw) -> Sample | Failure:
        numbers = (draw.epoch, draw.index, draw.repeat) if draw.repeat else (draw.epoch, draw.index)
        skipped: list[str] = []

        def load_other(generator: torch.Generator) -> Sample:
            return self._load(randint(0, len(self.dataset) - 1, generator), skipped)

        try:
            sample = self._load(draw.index, skipped)
            sample = without_degenerate(self.transforms(sample, generator_for(self.seed, *numbers), load_other))
            return dataclasses.replace(sample, skipped=tuple(skipped))
        except SegkitError as error:
            return Failure(str(error), error.key)

    def _load(self, index: int, skipped: list[str]) -> Sample:
        """An image, or the next one that can be read; what was wrong with those before it is added to ``skipped``."""
        problems: list[str] = []
        for step in range(min(MOST_SKIPPED + 1, len(self.dataset)) if self.skip_unreadable else 1):
            try:
                sample = self.dataset.load((index + step) % len(self.dataset))
                skipped += problems
                return sample
            except SegkitError as error:
                problems.append(str(error))
                key = error.key
        more = f"; nor can the {len(problems) - 1} images after it" if len(problems) > 1 else ""
        raise SegkitError(problems[0] + more, key=key)


class TestItems(TorchDataset):
    """Samples by index, with the ground truth in the file's pixels."""

    __test__ = False  # pytest collects classes called Test...

    def __init__(self, dataset: Dataset, transforms: Transform) -> None:
        self.dataset = dataset
        self.transforms = Compose([transforms])
        self.transforms.check_for_test()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample | Failure:
        try:
            sample = self.dataset.load(index)
            sample = dataclasses.replace(sample, annotations=self.dataset.ground_truth(index, sample))
            return without_degenerate(self.transforms(sample, generator_for(0, 0, index)))
        except SegkitError as error:
            return Failure(str(error), error.key)


class EpochBatches:
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


class Loader:
    """Iterates over Batches; a SegkitError in a worker is raised here as itself.

    Attributes:
        dataset: where the samples come from.
        batch_size: samples a batch, over all processes.
    """

    def __init__(self, dataset: Dataset, batch_size: int, loader: DataLoader) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self._loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if isinstance(batch, Failure):
                raise SegkitError(batch.message, key=batch.key)
            yield batch


class TrainLoader(Loader):
    """Endless; each ``iter`` starts at ``start_iteration``.

    An image that is skipped is told in the log when it is met for the first time.

    Attributes:
        iterations_per_epoch: each of ``accumulate`` batches.
    """

    def __init__(self, dataset: Dataset, batches: EpochBatches, loader: DataLoader) -> None:
        super().__init__(dataset, batches.batch_size, loader)
        self.iterations_per_epoch = batches.iterations_per_epoch
        self.start_iteration = batches.start_iteration
        self._batches = batches
        self._told: set[str] = set()

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            for problem in (problem for sample in batch.samples for problem in sample.skipped):
                if problem not in self._told:
                    self._told.add(problem)
                    logger.warning("%s; skipped (data.unreadable)", problem)
            yield batch

    def batches_at(self, iteration: int) -> list[Batch]:
        """One iteration's batches, loaded in this process: to look at them once more."""
        items = self._loader.dataset
        batches: list[Batch] = []
        for draws in self._batches.iteration(iteration):
            batch = collate([items[draw] for draw in draws])
            if isinstance(batch, Failure):
                raise SegkitError(batch.message, key=batch.key)
            batches.append(batch)
        return batches


class TestLoader(Loader):
    """Every image once, in order; ``len`` is the number of batches."""

    __test__ = False

    def __len__(self) -> int:
        return len(self._loader)


def build_train_loader(
    dataset: Dataset,
    transforms: Transform,
    *,
    sampler: Sampler,
    batch_size: int,
    seed: int,
    num_workers: int = 0,
    start_iteration: int = 0,
    aspect_ratio_grouping: bool = False,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
    accumulate: int = 1,
    skip_unreadable: bool = False,
) -> TrainLoader:
    """An endless loader of augmented batches that starts at iteration ``start_iteration``.

    Args:
        dataset: training images.
        transforms: augmentation.
        sampler: order of the images.
        batch_size: samples a batch, over all processes.
        seed: of the augmentation.
        num_workers: processes that load; 0 loads in this one.
        start_iteration: how many batches to skip, without loading them.
        aspect_ratio_grouping: put wide images and high images into different batches; asks for the size of each image.
        pin_memory: put batches into page-locked memory, for faster copies to a GPU.
        rank: number of this process, of ``world_size``; each gets its share of every batch.
        world_size: number of training processes.
        accumulate: batches an iteration.
        skip_unreadable: take the next image in the place of one that cannot be read, and count it.
    Raises:
        SegkitError: no training images; when iterated, what was wrong with a file.
    """
    if len(dataset) == 0:
        raise SegkitError(f"{dataset.describe()}: there are no training images", key="data.train")
    groups = orientations(dataset) if aspect_ratio_grouping else None
    batches = EpochBatches(sampler, batch_size, start_iteration, rank, world_size, groups, accumulate)
    items = TrainItems(dataset, transforms, seed, skip_unreadable)
    loader = DataLoader(items, batch_sampler=batches, **_workers(num_workers, pin_memory))
    return TrainLoader(dataset, batches, loader)


def build_test_loader(
    dataset: Dataset,
    transforms: Transform,
    *,
    batch_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> TestLoader:
    """A loader of every image once (of this process's share), with ``annotations`` for evaluation.

    Raises:
        SegkitError: a transform is for training only; when iterated, what was wrong with a file.
    """
    items = TestItems(dataset, transforms)
    indices = range(rank, len(dataset), world_size)
    batches = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)]
    loader = DataLoader(items, batch_sampler=batches, **_workers(num_workers, pin_memory))
    return TestLoader(dataset, batch_size, loader)


def collate(samples: list[Sample | Failure]) -> Batch | Failure:
    """A batch, or the first failure among the samples."""
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, Failure):
            return sample
        good.append(sample)
    return Batch.collate(good)


def _workers(num_workers: int, pin_memory: bool) -> dict[str, Any]:
    # Not persistent: a training loader is iterated once, without end; between evaluations, workers would keep memory.
    return {
        "num_workers": num_workers,
        "collate_fn": collate,
        "worker_init_fn": init_worker,
        "pin_memory": pin_memory,
        # DataLoader draws a seed for its workers, which nothing here uses: not from the global generator.
        "generator": torch.Generator(),
    }


def init_worker(worker_id: int) -> None:
    """Set up a worker process: one thread, as there are several processes; what asks the run to end is for the main
    process to handle.

    A cluster's SIGTERM goes to all processes of a run, and batches are still wanted for the step that is being
    finished. So the first is ignored; the next ends the worker, as DataLoader does with one that hangs.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))

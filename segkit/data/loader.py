"""Batches: from data set, sampler and transforms, through worker processes.

What a training loader gives for iteration ``i`` is a function of the seed and ``i`` alone. So a run that starts again at
iteration ``k`` gets the batches that it would have had, and the number of workers changes nothing but speed.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import pickle
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from segkit.data.aspect_ratio_grouping import orientations
from segkit.data.batch_sampler import EpochBatchSampler
from segkit.data.formats.base import Dataset
from segkit.data.samplers import Sampler
from segkit.data.transformed_dataset import Failure, TransformedTestDataset, TransformedTrainDataset
from segkit.data.transforms.base import Transform
from segkit.structures.sample import Batch, Sample
from segkit.utils.errors import SegkitError
from segkit.utils.logging import logging_arguments, setup_worker_logging

logger = logging.getLogger(__name__)


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
        for batch in self._iterator():
            yield raise_failure(batch)

    def _iterator(self) -> Iterator[Any]:
        """The DataLoader's iterator; SegkitError where what it loads cannot be sent to spawned workers."""
        try:
            return iter(self._loader)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            if "pickle" not in str(error) and "local object" not in str(error):  # the words differ by version of Python
                raise
            raise SegkitError(
                f"{_unpicklable(self._loader.dataset)} cannot be sent to a worker process, which is started by "
                f"'{multiprocessing.get_start_method()}' here: {error}. Use functions and classes of a module's top level in "
                "place of lambdas and local ones, or set data.num_workers=0",
                key="data.num_workers",
            ) from error


class TrainLoader(Loader):
    """Endless; each ``iter`` starts at ``start_iteration``.

    An image that is skipped is told in the log when it is met for the first time.

    Attributes:
        iterations_per_epoch: each of ``accumulate`` batches.
    """

    def __init__(self, dataset: Dataset, batches: EpochBatchSampler, loader: DataLoader) -> None:
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

    def start_at(self, iteration: int) -> None:
        """The next ``iter`` starts there."""
        self.start_iteration = self._batches.start_iteration = iteration

    def batches_at(self, iteration: int) -> list[Batch]:
        """One iteration's batches, loaded in this process: to look at them once more."""
        items = self._loader.dataset
        return [raise_failure(collate([items[draw] for draw in draws])) for draws in self._batches.iteration(iteration)]


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
    batches = EpochBatchSampler(sampler, batch_size, start_iteration, rank, world_size, groups, accumulate)
    items = TransformedTrainDataset(dataset, transforms, seed, skip_unreadable)
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
    """A loader of every image once, with ``annotations`` for evaluation.

    Of ``world_size`` processes each gets its share of the batches, which are those of a single process: number ``rank``,
    ``rank + world_size`` and so on.

    Raises:
        SegkitError: detections cannot be mapped back through a transform; when iterated, what was wrong with a file.
    """
    items = TransformedTestDataset(dataset, transforms)
    indices = range(len(dataset))
    batches = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)][rank::world_size]
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


def raise_failure(batch: Batch | Failure) -> Batch:
    """The batch; SegkitError where it is a failure."""
    if isinstance(batch, Failure):
        raise SegkitError(batch.message, key=batch.key)
    return batch


def _workers(num_workers: int, pin_memory: bool) -> dict[str, Any]:
    # Not persistent: a training loader is iterated once, without end; between evaluations, workers would keep memory.
    return {
        "num_workers": num_workers,
        "collate_fn": collate,
        "worker_init_fn": partial(init_worker, logging_arguments=logging_arguments()),
        "pin_memory": pin_memory,
        # DataLoader draws a seed for its workers, which nothing here uses: not from the global generator.
        "generator": torch.Generator(),
    }


def _unpicklable(items: Any) -> str:
    """Which part of a loader's items cannot be pickled, in words."""
    parts = {"the data set": items.dataset}
    parts |= {f"the transform {type(t).__name__}": t for t in items.transforms.transforms}
    for title, part in parts.items():
        try:
            pickle.dumps(part)
        except Exception:
            return title
    return "something of the loader"


def init_worker(worker_id: int, logging_arguments: dict[str, Any] | None = None) -> None:
    """Set up a worker process: one thread, as there are several processes; no memory of its own for what it shares;
    what asks the run to end is for the main process to handle.

    Python's search for garbage writes into every object that it looks at, so that a forked worker would get a copy of
    all that the main process has (100 MB and more after ``import torch``). What is there already is left out of it.

    A cluster's SIGTERM goes to all processes of a run, and batches are still wanted for the step that is being
    finished. So the first is ignored; the next ends the worker, as DataLoader does with one that hangs.
    """
    setup_worker_logging(logging_arguments)
    gc.freeze()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))

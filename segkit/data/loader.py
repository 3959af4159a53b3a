"""Builds loaders of batches from data set, sampler and transforms, with worker processes.

The batches of iteration ``i`` depend only on the seed and ``i``. So a run that is resumed at iteration ``k`` gets the
same batches as an uninterrupted run, and the number of workers changes only the speed.
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
    """Iterates over batches; a SegkitError in a worker is raised in this process unchanged.

    Attributes:
        dataset: the source of the samples.
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
        """The DataLoader's iterator.

        Raises a SegkitError if its data set cannot be pickled for spawned workers.
        """
        try:
            return iter(self._loader)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            if "pickle" not in str(error) and "local object" not in str(error):  # differs between versions of Python
                raise
            raise SegkitError(
                f"{_unpicklable(self._loader.dataset)} cannot be pickled for a worker process (start method "
                f"'{multiprocessing.get_start_method()}'): {error}. Define functions and classes at the top level of a "
                "module, not as lambdas or inside functions, or set data.num_workers=0",
                key="data.num_workers",
            ) from error


class TrainLoader(Loader):
    """Endless loader of training batches; each ``iter`` starts at ``start_iteration``.

    The first time that an unreadable image is skipped, a warning names it.

    Attributes:
        iterations_per_epoch: number of iterations, each of ``accumulate`` batches.
        start_iteration: first iteration of the next ``iter``.
    """

    def __init__(self, dataset: Dataset, batches: EpochBatchSampler, loader: DataLoader) -> None:
        super().__init__(dataset, batches.batch_size, loader)
        self.iterations_per_epoch = batches.iterations_per_epoch
        self.start_iteration = batches.start_iteration
        self._batches = batches
        self._warned: set[str] = set()

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            for problem in (problem for sample in batch.samples for problem in sample.skipped):
                if problem not in self._warned:
                    self._warned.add(problem)
                    logger.warning("%s; skipped (data.unreadable)", problem)
            yield batch

    def start_at(self, iteration: int) -> None:
        """Sets the first iteration of the next ``iter``."""
        self.start_iteration = self._batches.start_iteration = iteration

    def batches_at(self, iteration: int) -> list[Batch]:
        """The batches of one iteration, loaded in this process: for inspecting a past iteration."""
        samples = self._loader.dataset
        return [
            raise_failure(collate([samples[draw] for draw in draws])) for draws in self._batches.iteration(iteration)
        ]


class TestLoader(Loader):
    """Loader of every image once, in order; ``len`` is the number of batches."""

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
    """Builds an endless loader of augmented batches.

    Args:
        dataset: training images.
        transforms: augmentation.
        sampler: order of the images.
        batch_size: samples a batch, over all processes.
        seed: of the augmentation.
        num_workers: number of worker processes; 0 loads in this process.
        start_iteration: first iteration; the batches before it are not loaded.
        aspect_ratio_grouping: put wide and tall images into different batches; needs the size of each image.
        pin_memory: put batches into page-locked memory, for faster copies to a GPU.
        rank: index of this process among ``world_size``; each gets its share of every batch.
        world_size: number of training processes.
        accumulate: batches an iteration.
        skip_unreadable: replace an image that cannot be read by the next one, and count it.
    Raises:
        SegkitError: no training images; while iterating, a file that cannot be read.
    """
    if len(dataset) == 0:
        raise SegkitError(f"{dataset.describe()}: there are no training images", key="data.train")
    groups = orientations(dataset) if aspect_ratio_grouping else None
    batches = EpochBatchSampler(sampler, batch_size, start_iteration, rank, world_size, groups, accumulate)
    samples = TransformedTrainDataset(dataset, transforms, seed, skip_unreadable)
    loader = DataLoader(samples, batch_sampler=batches, **_worker_options(num_workers, pin_memory))
    return TrainLoader(dataset, batches, loader)


def build_test_loader(
    dataset: Dataset,
    transforms: Transform | None,
    *,
    batch_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> TestLoader:
    """Builds a loader of every image once, with ``annotations`` for evaluation.

    The batches are the same for any ``world_size``; the process of index ``rank`` gets the batches ``rank``,
    ``rank + world_size`` and so on. Without transforms (None) the images of large files stay lazy.

    Raises:
        SegkitError: detections cannot be mapped back through a transform; while iterating, a file that cannot be read.
    """
    samples = TransformedTestDataset(dataset, transforms)
    indices = range(len(dataset))
    batches = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)][rank::world_size]
    loader = DataLoader(samples, batch_sampler=batches, **_worker_options(num_workers, pin_memory))
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
    """Returns the batch; raises the SegkitError of a failure."""
    if isinstance(batch, Failure):
        raise SegkitError(batch.message, key=batch.key)
    return batch


def _worker_options(num_workers: int, pin_memory: bool) -> dict[str, Any]:
    """DataLoader's arguments that training and test loaders share."""
    # No persistent_workers: a training loader is iterated once, and test workers would hold memory between evaluations.
    return {
        "num_workers": num_workers,
        "collate_fn": collate,
        "worker_init_fn": partial(init_worker, logging_arguments=logging_arguments()),
        "pin_memory": pin_memory,
        # DataLoader draws a seed for its workers, which segkit does not use: keep it from the global generator.
        "generator": torch.Generator(),
    }


def _unpicklable(items: Any) -> str:
    """The part of a loader's data set that cannot be pickled, for a message."""
    parts = {"the data set": items.dataset}
    parts |= {f"the transform {type(t).__name__}": t for t in items.transforms.transforms}
    for title, part in parts.items():
        try:
            pickle.dumps(part)
        except Exception:
            return title
    return "part of the loader"


def init_worker(worker_id: int, logging_arguments: dict[str, Any] | None = None) -> None:
    """Sets up a worker process: logging, one thread, shared memory, signals.

    Memory: Python's garbage collector writes to every object that it visits, so that the system would copy the pages
    that a forked worker shares with the main process (100 MB and more after ``import torch``). ``gc.freeze`` excludes the
    existing objects.

    Signals: a cluster sends SIGTERM to all processes of a run, but the main process still needs batches to finish its
    step. The first SIGTERM is ignored. The second one, which DataLoader sends to workers that hang, ends the worker.
    """
    setup_worker_logging(logging_arguments)
    gc.freeze()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))

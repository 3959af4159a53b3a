"""Data sets of transformed samples for DataLoader: training by draw, test by index."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset as TorchDataset

from segkit.data.batch_sampler import Draw
from segkit.data.formats.base import Dataset
from segkit.data.transforms.base import Compose, Transform, randint
from segkit.data.transforms.geometry import without_degenerate
from segkit.data.transforms.invertible import InvertibleCompose
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError, UnreadableImage
from segkit.utils.seeding import generator_for

MAX_SKIPPED = 10  # unreadable images in a row: more than these suggest a failed disk


@dataclass(frozen=True)
class Failure:
    """A SegkitError in a worker, passed as a value.

    DataLoader would replace the exception by one with the worker's traceback as its message.
    """

    message: str
    key: str | None = None


class TransformedTrainDataset(TorchDataset):
    """Augmented training samples, indexed by :class:`~segkit.data.batch_sampler.Draw`.

    Mixing transforms draw other images uniformly from the whole data set.

    Args:
        dataset: training images.
        transforms: augmentation.
        seed: of the run.
        skip_unreadable: replace an image that cannot be read by the next readable one, at most ``MAX_SKIPPED`` images
            further on, so that batches keep their size. Of a large image only a window may be unreadable.
    """

    def __init__(self, dataset: Dataset, transforms: Transform, seed: int, skip_unreadable: bool = False) -> None:
        self.dataset = dataset
        self.transforms = Compose([transforms])
        self.seed = seed
        self.skip_unreadable = skip_unreadable

    def __getitem__(self, draw: Draw) -> Sample | Failure:
        generator = generator_for("augmentation", self.seed, draw.epoch, draw.index, draw.repeat)
        skipped: list[str] = []

        def load_other(generator: torch.Generator) -> Sample:
            return self._load(randint(0, len(self.dataset) - 1, generator), skipped)

        def transformed(index: int) -> Sample:
            sample = self._load(index % len(self.dataset), skipped)
            sample = without_degenerate(self.transforms(sample, generator, load_other))
            return dataclasses.replace(sample, skipped=tuple(skipped))

        try:
            for step in range(MAX_SKIPPED if self.skip_unreadable else 0):
                try:
                    return transformed(draw.index + step)
                except UnreadableImage as error:  # of a window; the generator goes on, so that others are drawn
                    skipped.append(str(error))
            return transformed(draw.index + MAX_SKIPPED if self.skip_unreadable else draw.index)
        except SegkitError as error:
            return Failure(str(error), error.key)

    def _load(self, index: int, skipped: list[str]) -> Sample:
        """Loads an image, or the next readable one.

        Errors of the images before it are added to ``skipped``.
        """
        problems: list[str] = []
        for step in range(min(MAX_SKIPPED + 1, len(self.dataset)) if self.skip_unreadable else 1):
            try:
                sample = open_sample(self.dataset, (index + step) % len(self.dataset))
                skipped += problems
                return sample
            except SegkitError as error:
                problems.append(str(error))
                key = error.key
        more = f"; the {len(problems) - 1} images after it cannot be read either" if len(problems) > 1 else ""
        if not self.skip_unreadable and key is None:  # errors with a key say what to set
            more = "; data.unreadable=skip goes on without such images, segkit dataset check lists them"
        raise SegkitError(problems[0] + more, key=key)


def open_sample(dataset: Dataset, index: int) -> Sample:
    """Opens a sample, lazily if the data set can; wrappers may define ``load`` alone."""
    return dataset.open(index) if hasattr(type(dataset), "open") else dataset.load(index)


class TransformedTestDataset(TorchDataset):
    """Transformed test samples by index.

    ``annotations`` hold the ground truth in the file's pixels. Without transforms (None) images stay lazy.

    Raises:
        SegkitError: detections cannot be mapped back through one of the transforms.
    """

    def __init__(self, dataset: Dataset, transforms: Transform | None) -> None:
        self.dataset = dataset
        self.transforms = None if transforms is None else InvertibleCompose(transforms)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample | Failure:
        try:
            sample = open_sample(self.dataset, index)
            truth = self.dataset.ground_truth(index, sample.with_targets())
            sample = dataclasses.replace(sample, annotations=truth)
            if self.transforms is None:
                return without_degenerate(sample.with_targets())
            return without_degenerate(self.transforms(sample, generator_for("test transforms", index)))
        except SegkitError as error:
            return Failure(str(error), error.key)

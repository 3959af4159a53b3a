"""The losses of all annotated objects of a split, over the checkpoints of a run."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from segkit.data import Dataset
from segkit.engine.run_split import Progress, RunSplit, watched
from segkit.modeling.modes import evaluation_mode
from segkit.modeling.nonfinite import naming_images
from segkit.modeling.object_losses import object_losses
from segkit.structures.sample import Sample
from segkit.structures.targets import ALL_CLASSES, Targets

logger = logging.getLogger(__name__)


def measure_object_losses(
    run: RunSplit, checkpoints: Sequence[str | os.PathLike[str]], progress: Progress | None = None
) -> tuple[dict[int, np.ndarray], int]:
    """Computes the loss of each annotated object with each checkpoint, in evaluation mode.

    Args:
        run: the model and the images.
        checkpoints: R files of weights.
        progress: wraps the batches; called with them, their number and a title.
    Returns:
        by image id, float32 [R, G] for the G entries of the image's ground truth, NaN for regions and for objects that reading
        or a transform removes; and the number of images with objects of which no loss is known.
    """
    dataset = PositionedObjects(run.dataset)
    found: dict[int, np.ndarray] = {}
    for k, checkpoint in enumerate(checkpoints):
        run.load(checkpoint)
        logger.info("losses of the objects with %s", checkpoint)
        with evaluation_mode(run.model), torch.inference_mode(), run.context:
            for batch in watched(run.loader(dataset), f"batches, losses with {Path(checkpoint).name}", progress):
                originals = [dataset.split(targets) for targets in batch.targets]
                batch = batch.to(run.device)
                with naming_images(batch.file_names):
                    losses = object_losses(run.model, batch.images, [targets for targets, _ in originals])
                for image_id, truth, (_, positions), one in zip(
                    batch.image_ids, batch.annotations, originals, losses, strict=True
                ):
                    table = found.setdefault(
                        image_id, np.full((len(checkpoints), len(truth or ())), np.nan, np.float32)
                    )
                    known = positions >= 0
                    table[k, positions[known]] = one.total.float().cpu().numpy()[known]
    unknown = sum(bool(table.shape[1]) and not np.isfinite(table).any() for table in found.values())
    return found, unknown


class PositionedObjects(Dataset):
    """A data set whose labels hold each object's position in the ground truth as well.

    Transforms keep the labels of the objects that they keep, so that positions are known behind them. The ground truth has
    empty entries.

    Args:
        dataset: the images.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.classes, self.category_ids = dataset.classes, dataset.category_ids
        self.image_ids = dataset.image_ids
        self.reader = dataset.reader

    def load(self, index: int) -> Sample:
        return self._positioned(index, self.dataset.load(index))

    def open(self, index: int) -> Sample:
        return self._positioned(index, self.dataset.open(index).with_targets())

    def label_counts(self, index: int) -> dict[int, int]:
        return self.dataset.label_counts(index)

    def ground_truth(self, index: int, sample: Sample) -> list[dict]:
        original, _ = self.split(sample.targets)
        return [{} for _ in self.dataset.ground_truth(index, dataclasses.replace(sample, targets=original))]

    def split(self, targets: Targets) -> tuple[Targets, np.ndarray]:
        """The targets with their own labels, and positions int64 [N], -1 if they are unknown."""
        base = len(self.classes) + 1
        labels = targets.labels % base + ALL_CLASSES
        positions = torch.div(targets.labels, base, rounding_mode="floor") - 1
        return dataclasses.replace(targets, labels=labels), positions.cpu().numpy()

    def _positioned(self, index: int, sample: Sample) -> Sample:
        targets = sample.targets
        positions = torch.arange(len(targets))
        if sample.dropped:
            positions = self._kept(index, len(targets), len(self.dataset.ground_truth(index, sample)))
        labels = (positions + 1) * (len(self.classes) + 1) + targets.labels - ALL_CLASSES
        return dataclasses.replace(sample, targets=dataclasses.replace(targets, labels=labels))

    def _kept(self, index: int, kept: int, entries: int) -> torch.Tensor:
        """Positions of the objects that reading keeps; -1 if these cannot be found."""
        if kept == entries:
            return torch.arange(kept)
        of_all = self.dataset.all_targets(index)
        rows = (~of_all.degenerate()).nonzero().squeeze(1)
        return rows if len(of_all) == entries and len(rows) == kept else torch.full((kept,), -1)

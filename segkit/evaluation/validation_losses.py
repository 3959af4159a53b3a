"""Validation losses, from the same forward pass as the detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit.utils.device import device_of
from segkit.utils.seeding import evaluation_generator

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.sample import Batch

LOSS_PREFIX = "val/loss/"
BatchLosses = tuple[int, dict[str, float]]  # a batch's number of images, and its losses


class ValidationLosses:
    """Collects the losses of batches, for their mean over images.

    Each batch is weighted with its number of images, those without objects included. Batches are summed in their order, so
    that the result does not depend on the number of processes.

    Within a batch a loss is normalised as in training, over the sampled anchors and proposals of all its images. With
    ``data.test_batch_size: 1`` the result is the mean of the images' losses.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[int, dict[str, Tensor]]] = []

    def add(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Adds the losses of a batch with that number of images, without waiting for their device."""
        self._batches.append((images, {name: value.detach().float() for name, value in losses.items()}))

    @property
    def batches(self) -> list[BatchLosses]:
        """The batches' numbers of images and losses."""
        tensors = [loss for _, losses in self._batches for loss in losses.values()]
        floats = iter(torch.stack(tensors).tolist() if tensors else ())  # one transfer
        return [(images, {name: next(floats) for name in losses}) for images, losses in self._batches]


def in_order(shares: Sequence[Sequence[BatchLosses]]) -> list[BatchLosses]:
    """Orders the batches of all processes; process r of n has every n-th from the r-th on."""
    return [batch for batches in zip_longest(*shares) for batch in batches if batch is not None]


def mean_losses(batches: Sequence[BatchLosses]) -> dict[str, float]:
    """Returns each ``val/loss/NAME`` and their sum ``val/loss/total``; empty without batches."""
    sums: dict[str, float] = {}
    for images, losses in batches:
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value * images
    if not sums:
        return {}
    total = sum(images for images, _ in batches)
    means = {name: value / total for name, value in sums.items()}
    return {f"{LOSS_PREFIX}{name}": mean for name, mean in {"total": sum(means.values()), **means}.items()}


def predict_batch(model: Any, batch: Batch, losses: ValidationLosses | None) -> list[Detections]:
    """Predicts a batch, and adds its losses if they are asked for.

    Every batch draws with the same seed: the losses of two evaluations are comparable, and the random state of the training
    does not move.

    Args:
        model: has ``predict(images, output_sizes)`` and, for losses, ``predict_with_losses``.
        batch: for losses, all its images need ground truth.
        losses: to which the batch's losses are added, if model and batch permit; None: no losses.
    Returns:
        detections in the pixels of the images' files.
    """
    with_losses = getattr(model, "predict_with_losses", None)
    if losses is None or with_losses is None or any(truth is None for truth in batch.annotations):
        detections = model.predict(batch.images, batch.output_sizes)
    else:
        generator = evaluation_generator(device_of(model))
        detections, terms = with_losses(
            batch.images, batch.targets, generator=generator, output_sizes=batch.output_sizes
        )
        losses.add(terms, len(batch.sizes))
    return batch.map_to_file(detections)

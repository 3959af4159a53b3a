"""The losses of the validation data, beside its detections."""

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
    """Means over images: each batch counts with its number of images, those without objects included.

    The sum goes from batch to batch in their order, so that it is the same however many processes had a share of them.

    Within a batch a loss is normalised as in training, by the samples of its images together. So with
    ``data.test_batch_size: 1`` the mean is that of the images' own losses.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[int, dict[str, Tensor]]] = []

    def add(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Take the losses of a batch of so many images; nothing waits for their device."""
        self._batches.append((images, {name: value.detach().float() for name, value in losses.items()}))

    @property
    def batches(self) -> list[BatchLosses]:
        """What was taken, as numbers."""
        values = [value for _, losses in self._batches for value in losses.values()]
        numbers = iter(torch.stack(values).tolist() if values else ())  # one transfer
        return [(images, {name: next(numbers) for name in losses}) for images, losses in self._batches]


def in_order(shares: Sequence[Sequence[BatchLosses]]) -> list[BatchLosses]:
    """The batches of all processes, of which number ``r`` of ``n`` had every n-th from the r-th on."""
    return [batch for batches in zip_longest(*shares) for batch in batches if batch is not None]


def mean_losses(batches: Sequence[BatchLosses]) -> dict[str, float]:
    """``val/loss/total``, their sum, and ``val/loss/NAME``; nothing where no batch came."""
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
    """Detections in the files' pixels; where ``losses`` are wanted, the batch has ground truth and the model has
    ``predict_with_losses``, these are added from the same forward pass. Every batch draws with the same seed, so that the
    losses of two evaluations can be compared and the training's random state stays as it is.
    """
    combined = getattr(model, "predict_with_losses", None)
    known = all(truth is not None for truth in getattr(batch, "annotations", [None]))
    sizes = getattr(batch, "output_sizes", batch.sizes)
    if losses is None or combined is None or not known:
        detections = model.predict(batch.images, sizes)
    else:
        generator = evaluation_generator(device_of(model))
        detections, values = combined(batch.images, batch.targets, generator=generator, output_sizes=sizes)
        losses.add(values, len(batch.sizes))
    return batch.map_to_file(detections) if hasattr(batch, "map_to_file") else detections

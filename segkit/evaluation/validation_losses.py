"""The losses of the validation data, beside its detections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.sample import Batch

LOSS_PREFIX = "val/loss/"


class ValidationLosses:
    """Means over images: each batch counts with its number of images, those without objects included.

    Within a batch a loss is normalised as in training, by the samples of its images together. So with
    ``data.test_batch_size: 1`` the mean is that of the images' own losses.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._images = 0

    def add(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Take the losses of a batch of so many images; nothing waits for their device."""
        for name, value in losses.items():
            self._sums[name] = (
                self._sums.get(name, torch.zeros_like(value, dtype=torch.float32)) + value.float() * images
            )
        self._images += images

    def metrics(self) -> dict[str, float]:
        """``val/loss/total``, their sum, and ``val/loss/NAME``; nothing where no batch came."""
        if not self._sums:
            return {}
        means = (torch.stack(list(self._sums.values())) / self._images).tolist()
        return {
            f"{LOSS_PREFIX}{name}": mean
            for name, mean in zip(["total", *self._sums], [sum(means), *means], strict=True)
        }


def predict_batch(model: Any, batch: Batch, losses: ValidationLosses | None) -> list[Detections]:
    """Detections in the files' pixels; where ``losses`` are wanted, the batch has ground truth and the model has
    ``predict_with_losses``, these are added from the same forward pass.
    """
    combined = getattr(model, "predict_with_losses", None)
    known = all(truth is not None for truth in getattr(batch, "annotations", [None]))
    if losses is None or combined is None or not known:
        return model.predict(batch.images, batch.sizes)
    detections, values = combined(batch.images, batch.targets, output_sizes=batch.sizes)
    losses.add(values, len(batch.sizes))
    return detections

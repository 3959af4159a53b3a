"""The evaluation loop, and what an evaluator is."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from segkit.evaluation.background import BackgroundCalls
from segkit.evaluation.validation_losses import ValidationLosses, predict_batch
from segkit.modeling.modes import evaluation_mode
from segkit.modeling.nonfinite import naming_images

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.sample import Batch

logger = logging.getLogger(__name__)


class Evaluator(ABC):
    """Sees every batch with its detections, and says at the end how good they were.

    A custom one is a class with ``@EVALUATOR_REGISTRY.register``; its constructor may ask for the run-time values
    ``classes``, ``category_ids``, ``max_detections``, ``results_dir``, ``class_agnostic`` (whether the model tells
    no classes apart) and ``predicts_masks`` by name.

    ``process`` is called in a thread of its own, while the model is at the next batch: one call after the other, in the
    order of the batches, in inference mode and without autocast. ``reset`` and ``evaluate`` are called before and after.
    """

    @abstractmethod
    def reset(self) -> None:
        """Forget everything seen: an evaluation begins."""

    @abstractmethod
    def process(self, batch: Batch, detections: list[Detections]) -> None:
        """Take one batch.

        Args:
            batch: with ``image_ids``, ``sizes`` (of the files) and ``annotations`` (ground truth in the files' pixels).
            detections: one an image, in the files' pixels, on any device.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """The metrics of all that was seen, fractions in 0..1; what cannot be said is left out."""


def evaluate(
    model: Any,
    loader: Iterable[Batch],
    evaluators: Sequence[Evaluator],
    device: torch.device | str | None = None,
    precision_context: AbstractContextManager | None = None,
    *,
    losses: bool = True,
) -> dict[str, float]:
    """Run the model over a loader, batch by batch, and merge what the evaluators say.

    The evaluators work while the model is at the next batch. They are never more than two batches behind, and what they
    find is what they would find in turn with it.

    Afterwards each module is in the training mode it was in before (frozen norms too), also after an error.

    Args:
        model: an nn.Module with ``predict(images, output_sizes)``.
        loader: of :func:`segkit.data.loader.build_test_loader`.
        evaluators: each sees every batch.
        device: where batches are brought; None leaves them.
        precision_context: entered once around the loop, as ``torch.autocast(...)``.
        losses: also the validation losses, ``val/loss/total`` and ``val/loss/NAME`` (see :class:`ValidationLosses`), where
            the model has ``predict_with_losses``: one pass through the backbone gives both.
    Returns:
        metric name to value. A name given by two evaluators is an invariant broken.
    """
    for evaluator in evaluators:
        evaluator.reset()
    validation_losses = ValidationLosses() if losses else None
    images, model_time, start = 0, 0.0, time.perf_counter()

    def process(batch: Batch, detections: list[Detections]) -> None:
        for evaluator in evaluators:
            evaluator.process(batch, detections)

    where = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with (
        evaluation_mode(model),
        torch.inference_mode(),
        BackgroundCalls(process, where) as in_background,
        precision_context or nullcontext(),
    ):
        for batch in loader:
            if device is not None:
                batch = batch.to(device)
            step = time.perf_counter()
            with naming_images(getattr(batch, "file_names", ["a batch"])):
                detections = predict_batch(model, batch, validation_losses)
            model_time += time.perf_counter() - step
            assert len(detections) == len(batch.sizes), (len(detections), len(batch.sizes))
            in_background(batch, detections)
            images += len(batch.sizes)
    metrics = {} if validation_losses is None else validation_losses.metrics()
    for evaluator in evaluators:
        found = evaluator.evaluate()
        assert not metrics.keys() & found.keys(), f"two evaluators give {sorted(metrics.keys() & found.keys())}"
        metrics.update(found)
    seconds = time.perf_counter() - start
    per_image = model_time / max(images, 1)
    logger.info("evaluated %d images in %.1f s (model: %.3f s an image)", images, seconds, per_image)
    return metrics

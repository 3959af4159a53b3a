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
from segkit.evaluation.validation_losses import ValidationLosses, in_order, mean_losses, predict_batch
from segkit.modeling.modes import evaluation_mode
from segkit.modeling.nonfinite import naming_images
from segkit.utils import distributed
from segkit.utils.device import device_of
from segkit.utils.errors import SegkitError

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

    def metric_names(self) -> Sequence[str]:
        """The names that :meth:`evaluate` can give, as far as they are known before: two evaluators of one are an error."""
        return ()

    def results(self) -> Any:
        """What was seen since ``reset``, for another process's evaluator to :meth:`merge`: anything that can be pickled.

        An evaluator has the two to be of use where several processes evaluate.
        """
        raise SegkitError(_cannot_be_shared(self, ["results", "merge"]), key="evaluators")

    def merge(self, shares: Sequence[Any]) -> None:
        """Make this what it would be had it seen all images.

        Args:
            shares: ``results()`` of each process, this one's included. Of process ``r`` of ``n`` they are of batches
                ``r``, ``r + n``, ``r + 2n``, ... of the data.
        """
        raise SegkitError(_cannot_be_shared(self, ["merge"]), key="evaluators")


def check_evaluators(evaluators: Sequence[Evaluator]) -> None:
    """SegkitError for two evaluators of one metric, and in several processes for one that lacks ``results`` or ``merge``.

    It is to be told before hours of training and evaluating, not after them.
    """
    known: set[str] = set()
    for i, evaluator in enumerate(evaluators):
        names: Sequence[str] = getattr(evaluator, "metric_names", tuple)()
        if twice := [name for name in names if name in known]:
            raise SegkitError(same_metrics(type(evaluator).__name__, i, twice), key="evaluators")
        known.update(names)
    for evaluator in evaluators if distributed.world_size() > 1 else ():
        missing = [name for name in ("results", "merge") if getattr(type(evaluator), name) is getattr(Evaluator, name)]
        if missing:
            raise SegkitError(_cannot_be_shared(evaluator, missing), key="evaluators")


def same_metrics(evaluator: str, number: int, names: Sequence[str]) -> str:
    """The message for a metric's name that is given twice."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"evaluators[{number}] ({evaluator}) gives {', '.join(names[:3])}{more}, as an evaluator before it does; leave one of "
        "them out, or give one other metrics (iou_types of COCO's)"
    )


def _cannot_be_shared(evaluator: Evaluator, missing: Sequence[str]) -> str:
    signatures = {"results": "results(self)", "merge": "merge(self, shares)"}
    return (
        f"{type(evaluator).__name__} cannot be used by several processes: it has no "
        f"{' and '.join(f'{name}()' for name in missing)}, by which what each has seen comes together; write "
        f"{' and '.join(signatures[name] for name in missing)} as segkit.evaluation.Evaluator says, or use one process"
    )


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

    Where several processes work together each has a loader of its share of the batches; the first one puts what they saw
    together and works out the metrics, which all return: those of a single process, to the bit.

    Afterwards each module is in the training mode it was in before (frozen norms too), also after an error.

    Args:
        model: an nn.Module with ``predict(images, output_sizes)``. The sizes are those of the files, but for images of
            which test transforms flipped, turned, cropped or padded something: these are asked for at their own size,
            and the detections are mapped back to the file.
        loader: of :func:`segkit.data.loader.build_test_loader`.
        evaluators: each sees every batch.
        device: where batches are brought; None leaves them.
        precision_context: entered once around the loop, as ``torch.autocast(...)``.
        losses: also the validation losses, ``val/loss/total`` and ``val/loss/NAME`` (see :class:`ValidationLosses`), where
            the model has ``predict_with_losses``: one pass through the backbone gives both.
    Returns:
        metric name to value.
    Raises:
        SegkitError: two evaluators give a metric of one name; or there are several processes, and an evaluator that cannot
            be used by them.
    """
    check_evaluators(evaluators)
    for evaluator in evaluators:
        evaluator.reset()
    validation_losses = ValidationLosses() if losses else None
    images, model_time, start = 0, 0.0, time.perf_counter()

    def process(batch: Batch, detections: list[Detections]) -> None:
        for evaluator in evaluators:
            evaluator.process(batch, detections)

    with (
        evaluation_mode(model),
        torch.inference_mode(),
        BackgroundCalls(process, device_of(model)) as in_background,
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
    seen = [evaluator.results() for evaluator in evaluators] if distributed.world_size() > 1 else []
    shares = distributed.gather((images, model_time, seen, validation_losses and validation_losses.batches))
    metrics: dict[str, float] = {}
    if distributed.is_main():
        images, model_time = (sum(share[i] for share in shares) for i in (0, 1))
        if validation_losses is not None:
            metrics = mean_losses(in_order([share[3] for share in shares]))
        for i, evaluator in enumerate(evaluators):
            if len(shares) > 1:
                evaluator.merge([share[2][i] for share in shares])
            found = evaluator.evaluate()
            if twice := metrics.keys() & found.keys():
                raise SegkitError(same_metrics(type(evaluator).__name__, i, sorted(twice)), key="evaluators")
            metrics.update(found)
    metrics = distributed.broadcast(metrics)
    seconds = time.perf_counter() - start
    per_image = model_time / max(images, 1)
    logger.info("evaluated %d images in %.1f s (model: %.3f s an image)", images, seconds, per_image)
    return metrics

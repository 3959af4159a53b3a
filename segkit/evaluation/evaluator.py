"""The interface of evaluators, and the evaluation loop."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

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
    from segkit.structures.score_thresholds import ScoreThresholds

logger = logging.getLogger(__name__)

_State = TypeVar("_State")  # what an evaluator keeps of an image


class Evaluator(ABC):
    """Processes every batch with its detections, and computes metrics at the end.

    Register a custom one with ``@EVALUATOR_REGISTRY.register``. Its constructor may take the run-time values ``classes``,
    ``category_ids``, ``max_detections``, ``results_dir``, ``class_agnostic`` (whether the model's detections have no
    class), ``predicts_masks`` and ``frequencies``, by name (:func:`segkit.evaluation.build.build_from_specs`).

    ``needs_images`` says whether ``process`` reads the batch's images; those of segkit do not, so that an evaluation of saved
    results need not read them.

    ``process`` runs in a background thread while the model works on the next batch: one call after the other, in the order
    of the batches, in inference mode and without autocast. ``reset`` is called before it, ``evaluate`` after it.
    """

    needs_images: ClassVar[bool] = True

    @abstractmethod
    def reset(self) -> None:
        """Clears the state; an evaluation begins."""

    @abstractmethod
    def process(self, batch: Batch, detections: list[Detections]) -> None:
        """Adds one batch.

        Args:
            batch: with ``image_ids``, ``sizes`` (of the files) and ``annotations`` (ground truth in the files' pixels, in
                which an entry with ``iscrowd`` 1 is a region, with the label -1 one of every class). The ``unlabelled``
                classes of ``targets`` are those of which an unmatched detection is no mistake.
            detections: one ``Detections`` per image, in the files' pixels, on any device.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Returns the metrics of all batches, in 0..1; those without ground truth are absent."""

    def metric_names(self) -> Sequence[str]:
        """Returns the names of possible metrics, if known; two evaluators of one are an error."""
        return ()

    def best_thresholds(self) -> ScoreThresholds | None:
        """Returns the best score thresholds of the last :meth:`evaluate`, or None.

        Checkpoints keep them, for ``predict.score_threshold: best``.
        """
        return None

    def results(self) -> Any:
        """Returns the state since ``reset`` for :meth:`merge` in another process; picklable.

        An evaluator needs both methods if several processes evaluate.
        """
        raise SegkitError(_cannot_be_shared(self, ["results", "merge"]), key="evaluators")

    def merge(self, shares: Sequence[Any]) -> None:
        """Sets the state to that of an evaluator that has processed the batches of all processes.

        Args:
            shares: ``results()`` of each process, this one's included. Process ``r`` of ``n`` has processed the batches
                ``r``, ``r + n``, ``r + 2n``, ... of the data.
        """
        raise SegkitError(_cannot_be_shared(self, ["merge"]), key="evaluators")


class PredictionPipeline(Protocol):
    """What a prediction does beside the model.

    :class:`segkit.inference.pipeline.InferencePipeline` is one.
    """

    @property
    def replaces_model(self) -> bool:
        """Whether ``predict_batch`` is called in place of the model.

        The validation losses are not measured then.
        """

    def predict_batch(self, batch: Batch) -> list[Detections]:
        """The detections of a batch of the loader, in the files' pixels, before ``postprocess``."""

    def postprocess(self, detections: Detections) -> Detections:
        """Changes the detections of one image."""


def check_evaluators(evaluators: Sequence[Evaluator]) -> None:
    """Raises for two evaluators of one metric, and for one that several processes cannot use.

    It is called before hours of training, not after them.
    """
    known: set[str] = set()
    for i, evaluator in enumerate(evaluators):
        names: Sequence[str] = getattr(evaluator, "metric_names", tuple)()
        if twice := [name for name in names if name in known]:
            raise _computed_twice(evaluator, i, twice)
        known.update(names)
    for evaluator in evaluators if distributed.world_size() > 1 else ():
        missing = [name for name in ("results", "merge") if getattr(type(evaluator), name) is getattr(Evaluator, name)]
        if missing:
            raise SegkitError(_cannot_be_shared(evaluator, missing), key="evaluators")


def all_metrics(evaluators: Sequence[Evaluator], known: Mapping[str, float] | None = None) -> dict[str, float]:
    """Returns the ``known`` metrics and those of all evaluators.

    Raises:
        SegkitError: a metric is computed twice.
    """
    metrics = dict(known or {})
    for i, evaluator in enumerate(evaluators):
        found = evaluator.evaluate()
        if twice := metrics.keys() & found.keys():
            raise _computed_twice(evaluator, i, sorted(twice))
        metrics.update(found)
    return metrics


def checked_truth(image_id: int, truth: list[dict] | None, known: Collection[int]) -> list[dict]:
    """Returns an image's ground truth.

    Raises:
        SegkitError: there is none, or the image is among the ``known`` ones, which have been processed.
    """
    if image_id in known:
        raise _image_twice(image_id)
    if truth is None:
        raise SegkitError(f"image {image_id} comes without ground truth: such data cannot be evaluated")
    return truth


def merge_images(shares: Iterable[Mapping[int, _State]]) -> dict[int, _State]:
    """Unites what the evaluators of several processes keep of their images, by image id.

    Raises:
        SegkitError: two of them have the same image.
    """
    images: dict[int, _State] = {}
    for share in shares:
        if twice := images.keys() & share.keys():
            raise _image_twice(min(twice))
        images.update(share)
    return images


def _image_twice(image_id: int) -> SegkitError:
    return SegkitError(f"the image id {image_id} occurs twice in the evaluation data", value=image_id)


def _computed_twice(evaluator: Evaluator, number: int, names: Sequence[str]) -> SegkitError:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return SegkitError(
        f"evaluators[{number}] ({type(evaluator).__name__}) computes {', '.join(names[:3])}{more}, as an evaluator before it "
        "does; remove one of them, or set one to other metrics (iou_types of COCO)",
        key="evaluators",
    )


def _cannot_be_shared(evaluator: Evaluator, missing: Sequence[str]) -> str:
    signatures = {"results": "results(self)", "merge": "merge(self, shares)"}
    return (
        f"{type(evaluator).__name__} cannot be used by several processes: it lacks "
        f"{' and '.join(f'{name}()' for name in missing)}, which combine their results; define "
        f"{' and '.join(signatures[name] for name in missing)} as in segkit.evaluation.Evaluator, or use one process"
    )


def evaluate(
    model: Any,
    loader: Iterable[Batch],
    evaluators: Sequence[Evaluator],
    device: torch.device | str | None = None,
    precision_context: AbstractContextManager | None = None,
    *,
    losses: bool = True,
    pipeline: PredictionPipeline | None = None,
) -> dict[str, float]:
    """Runs the model over a loader and returns the metrics of all evaluators.

    The evaluators work in a background thread, at most two batches behind the model, with the same results as if they
    worked in turn with it.

    With several processes each has a loader of its share of the batches. The first process combines their results and
    computes the metrics, which all return: those of a single process, to the bit.

    Afterwards, even after an error, each module is in training or evaluation mode as before.

    Args:
        model: an nn.Module with ``predict(images, output_sizes)``. The sizes are those of the files. Images that test
            transforms flipped, turned, cropped or padded are predicted at their own size, and their detections are mapped
            back to the file.
        loader: yields batches, as that of :func:`segkit.data.loader.build_test_loader`.
        evaluators: each processes every batch.
        device: where batches are moved to; None: they stay where they are.
        precision_context: entered once around the loop, as ``torch.autocast(...)``.
        losses: whether to compute the validation losses, ``val/loss/total`` and ``val/loss/NAME`` (see
            :class:`ValidationLosses`), too. The model needs ``predict_with_losses``, one pass for both.
        pipeline: what a prediction does beside the model; None: nothing.
    Returns:
        metric name to value.
    Raises:
        SegkitError: two evaluators compute the same metric, or one of them cannot be used by several processes.
    """
    check_evaluators(evaluators)
    for evaluator in evaluators:
        evaluator.reset()
    if losses and pipeline is not None and pipeline.replaces_model:
        logger.info("the validation losses are not measured with tiles or test-time augmentation")
        losses = False
    validation_losses = ValidationLosses() if losses else None
    images, model_time, start = 0, 0.0, time.perf_counter()

    def process(batch: Batch, detections: list[Detections]) -> None:
        if pipeline is not None:
            detections = [pipeline.postprocess(found) for found in detections]
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
            with naming_images(batch.file_names):
                if pipeline is not None and pipeline.replaces_model:
                    detections = pipeline.predict_batch(batch)
                else:
                    detections = predict_batch(model, batch, validation_losses)
            model_time += time.perf_counter() - step
            assert len(detections) == len(batch.sizes), (len(detections), len(batch.sizes))
            in_background(batch, detections)
            images += len(batch.sizes)
    results = [evaluator.results() for evaluator in evaluators] if distributed.world_size() > 1 else []
    shares = distributed.gather((images, model_time, results, validation_losses and validation_losses.batches))
    metrics: dict[str, float] = {}
    if distributed.is_main():
        images, model_time = (sum(share[i] for share in shares) for i in (0, 1))
        for i, evaluator in enumerate(evaluators) if len(shares) > 1 else ():
            evaluator.merge([share[2][i] for share in shares])
        if validation_losses is not None:
            metrics = mean_losses(in_order([share[3] for share in shares]))
        metrics = all_metrics(evaluators, metrics)
    metrics = distributed.broadcast(metrics)
    seconds = time.perf_counter() - start
    per_image = model_time / max(images, 1)
    logger.info("evaluated %d images in %.1f s (model: %.3f s per image)", images, seconds, per_image)
    return metrics

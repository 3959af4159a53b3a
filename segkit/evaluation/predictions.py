"""Evaluates finished predictions: Detections, torchvision's dictionaries, COCO results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from segkit.data.formats.base import Dataset
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.coco_detections import ImageResults, detections_from_results, results_by_image
from segkit.evaluation.evaluator import Evaluator, all_metrics, check_evaluators
from segkit.evaluation.result_files import read_predictions
from segkit.structures.detections import Detections
from segkit.structures.sample import Batch, Sample
from segkit.structures.torchvision_targets import detections_from_torchvision
from segkit.utils.errors import SegkitError

Prediction = Detections | Mapping[str, Any]


def evaluate_predictions(
    predictions: str | os.PathLike[str] | Mapping[int, Any] | Iterable[Any],
    dataset: Dataset,
    evaluators: Sequence[Evaluator] | None = None,
    *,
    max_detections: int = 100,
) -> dict[str, float]:
    """Returns the metrics of finished predictions, made by any framework.

    Args:
        predictions: a COCO results file, ``predictions.json`` of ``segkit predict``, or the content of the first: a list of
            dictionaries with ``image_id``, ``category_id``, ``score``, ``bbox`` (XYWH) and ``segmentation`` (RLE), one or
            both; or predictions by image id; or one for each image, in the data set's order. These are
            :class:`Detections`, or the dictionaries of torchvision's models (labels are the data set's category ids), in
            pixels of the file. Images without predictions have no detections.
        dataset: the ground truth.
        evaluators: None: COCO's metrics of boxes, and of masks if any prediction has one.
        max_detections: COCO's metrics use this many detections of an image, those with the highest scores.
    Returns:
        metrics by name, in 0..1, as ``segm/AP``.
    Raises:
        SegkitError: predictions that are malformed, or for an image, category or size that is not in the data set.
    """
    found = _by_image(predictions, dataset)
    if evaluators is None:
        masks = any(_has_masks(one) for ones in found.values() for one in (ones if isinstance(ones, list) else [ones]))
        evaluators = [
            CocoEvaluator(
                dataset.classes,
                dataset.category_ids,
                max_detections,
                iou_types=("bbox", "segm") if masks else ("bbox",),
            )
        ]
    check_evaluators(evaluators)
    for evaluator in evaluators:
        evaluator.reset()
    with_images = any(getattr(evaluator, "needs_images", True) for evaluator in evaluators)
    for index, image_id in enumerate(dataset.image_ids):
        sample = _evaluated_sample(dataset, index, with_image=with_images)
        try:
            detections = as_detections(found.get(image_id, []), sample.size, dataset.category_ids)
        except SegkitError as error:
            raise SegkitError(f"predictions for the image {image_id}: {error}", key=error.key) from error
        for evaluator in evaluators:
            evaluator.process(Batch([sample]), [detections])
    return all_metrics(evaluators)


def _evaluated_sample(dataset: Dataset, index: int, *, with_image: bool) -> Sample:
    """An image's sample with its ground truth; reading the image may be the most of the work, if nothing needs it."""
    sample = dataset.open(index).with_targets() if with_image else dataset.open_targets(index)
    return dataclasses.replace(sample, annotations=dataset.ground_truth(index, sample))


def as_detections(found: Any, size: tuple[int, int], category_ids: Sequence[int]) -> Detections:
    """Converts one image's predictions, in any form of :func:`evaluate_predictions`.

    Args:
        found: Detections, a dictionary of torchvision's models, or a list of COCO results.
        size: (H, W) of the image.
        category_ids: of each label.
    """
    if isinstance(found, Detections):
        if found.size != tuple(size):
            raise SegkitError(f"the detections are for {found.size}, the image's (height, width) is {tuple(size)}")
        return found
    if isinstance(found, Mapping):
        return detections_from_torchvision(found, size, category_ids)
    if isinstance(found, ImageResults):
        return detections_from_results(found, size, category_ids)
    if isinstance(found, list):
        return detections_from_results(ImageResults(found, list(range(len(found)))), size, category_ids)
    raise SegkitError(
        f"expected Detections, a dictionary with boxes, labels and scores, or COCO results, not a {type(found).__name__}"
    )


def _by_image(predictions: Any, dataset: Dataset) -> dict[int, Any]:
    """Predictions by image id: Detections, a dictionary, a list of COCO results, or these with their positions."""
    if isinstance(predictions, (str, os.PathLike)):
        predictions = read_predictions(predictions, dataset)
    if isinstance(predictions, Mapping):
        found = dict(predictions)
    else:
        listed = predictions if isinstance(predictions, list) else list(predictions)
        if all(isinstance(one, Mapping) and "image_id" in one and "score" in one for one in listed):
            return dict(results_by_image(listed, dataset.image_ids))
        elif len(listed) == len(dataset):
            found = dict(zip(dataset.image_ids, listed, strict=True))
        else:
            raise SegkitError(f"there are {len(listed)} predictions for the {len(dataset)} images of the data set")
    known = set(dataset.image_ids)
    strange = [image_id for image_id in found if image_id not in known]
    if strange:
        raise SegkitError(
            f"there are predictions for the image id {strange[0]!r}, which the data set has not ({len(strange)} such ids)",
            key="image_id", value=strange[0],
        )  # fmt: skip
    return found


def _has_masks(found: Any) -> bool:
    if isinstance(found, Detections):
        return found.has_masks
    if isinstance(found, ImageResults):
        return any(one.get("segmentation") is not None for one in found.results)
    return isinstance(found, Mapping) and (found.get("masks") is not None or "segmentation" in found)

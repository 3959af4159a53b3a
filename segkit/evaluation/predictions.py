"""Evaluates finished predictions: Detections, torchvision's dictionaries, COCO results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from segkit.data.formats.base import Dataset
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.evaluator import Evaluator, all_metrics, check_evaluators
from segkit.evaluation.results import read_results
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Batch
from segkit.structures.torchvision_targets import detections_from_torchvision
from segkit.utils.errors import SegkitError, did_you_mean

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
        predictions: a COCO results file or its content, a list of dictionaries with ``image_id``, ``category_id``,
            ``score``, ``bbox`` (XYWH) and ``segmentation`` (RLE), one or both; or predictions by image id; or one for each
            image, in the data set's order. These are :class:`Detections`, or the dictionaries of torchvision's models
            (labels are the data set's category ids), in pixels of the file. Images without predictions have no detections.
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
    for index, image_id in enumerate(dataset.image_ids):
        sample = dataset.open(index).with_targets()
        sample = dataclasses.replace(sample, annotations=dataset.ground_truth(index, sample))
        try:
            detections = as_detections(found.get(image_id, []), sample.size, dataset.category_ids)
        except SegkitError as error:
            raise SegkitError(f"predictions for the image {image_id}: {error}", key=error.key) from error
        for evaluator in evaluators:
            evaluator.process(Batch([sample]), [detections])
    return all_metrics(evaluators)


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
    if isinstance(found, list):
        return _from_results(found, size, category_ids)
    raise SegkitError(
        f"expected Detections, a dictionary with boxes, labels and scores, or COCO results, not a {type(found).__name__}"
    )


def _by_image(predictions: Any, dataset: Dataset) -> dict[int, Any]:
    """Predictions by image id: Detections, a dictionary, or a list of COCO results."""
    if isinstance(predictions, (str, os.PathLike)):
        predictions = read_results(predictions)
    if isinstance(predictions, Mapping):
        found = dict(predictions)
    else:
        listed = list(predictions)
        if all(isinstance(one, Mapping) and "image_id" in one and "score" in one for one in listed):
            found = {}
            for one in listed:
                found.setdefault(one["image_id"], []).append(one)
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
    return isinstance(found, Mapping) and (found.get("masks") is not None or "segmentation" in found)


def _from_results(
    results: Sequence[Mapping[str, Any]], size: tuple[int, int], category_ids: Sequence[int]
) -> Detections:
    """Detections of one image's COCO results."""
    labels, scores, boxes, rles = [], [], [], []
    for i, result in enumerate(results):
        if result.get("category_id") not in category_ids:
            raise SegkitError(
                f"results[{i}] has the category_id {result.get('category_id')!r}; the data set's are "
                f"{', '.join(map(str, category_ids[:20]))}",
                key="category_id", value=result.get("category_id"),
            )  # fmt: skip
        labels.append(category_ids.index(result["category_id"]))
        scores.append(float(result["score"]))
        if "bbox" in result:
            x, y, width, height = map(float, result["bbox"])
            boxes.append([x, y, x + width, y + height])
        if "segmentation" in result:
            rles.append(result["segmentation"])
    for key, read in (("bbox", boxes), ("segmentation", rles)):
        if len(read) not in (0, len(results)):
            raise SegkitError(f"{len(read)} of the {len(results)} results have '{key}'; expected all or none", key=key)
    if results and not boxes and not rles:
        hint = did_you_mean("bbox", [key for key in results[0] if key not in ("image_id", "category_id", "score")])
        raise SegkitError(f"the results have neither 'bbox' nor 'segmentation'{hint}", key="bbox")
    label_tensor = torch.tensor(labels, dtype=torch.long)
    score_tensor = torch.tensor(scores, dtype=torch.float32)
    box_tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) if boxes or not rles else None
    if not rles:
        assert box_tensor is not None
        return Detections(box_tensor, score_tensor, label_tensor, None, size)
    return Detections.from_masks(InstanceMasks.from_rle(rles, size), score_tensor, label_tensor, box_tensor)

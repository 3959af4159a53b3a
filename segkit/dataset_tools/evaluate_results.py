"""Evaluates a file of predictions on a data set of any format, without the model."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segkit.dataset_tools.source import OpenedData, open_data
from segkit.engine.finished_run import LEAST_DETECTIONS
from segkit.evaluation import evaluate_predictions, metrics_table, read_predictions
from segkit.evaluation.build import build_from_specs
from segkit.evaluation.coco_detections import results_by_image
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


def evaluate_results(
    results: str,
    data: str,
    *,
    format: str | None = None,
    split: str | None = None,
    evaluators: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[dict[str, float], str]:
    """Returns the metrics of a file of predictions, and a table of them.

    Args:
        results: path of a COCO results file, as ``coco_instances_results.json`` of a run, or of a ``predictions.json`` of
            ``segkit predict``, whose images are found by their names.
        data: the ground truth: a folder or file of any format; that of a configuration stands for its ``data.val``.
        format: name of the data's format; None: recognised by content.
        split: name of the split; None: ``val``, or the only one.
        evaluators: specs of ``EVALUATOR_REGISTRY``; None: those of ``data`` if it is a configuration, else COCO's metrics
            of what the file has, boxes and masks.
    Raises:
        SegkitError: a file that holds no predictions, or does not fit the data; a split that does not exist.
    """
    opened = open_data(data, format)
    dataset = opened.split(split, data)
    found = read_predictions(results, dataset)
    masks = any(one.get("segmentation") is not None for one in found)
    by_image = results_by_image(found, dataset.image_ids)
    build = functools.partial(
        build_from_specs,
        classes=dataset.classes,
        category_ids=dataset.category_ids,
        max_detections=max([LEAST_DETECTIONS, *(len(of_image.results) for of_image in by_image.values())]),
        class_agnostic=opened.class_agnostic,
        predicts_masks=masks,
        frequencies=dataset.frequencies,
    )
    built = build(evaluators) if evaluators is not None else _default_evaluators(build, opened, masks=masks)
    if without := len(dataset) - len(by_image):
        logger.info("%d of the %d images have no detections in %s", without, len(dataset), results)
    metrics = evaluate_predictions(by_image, dataset, built)
    return metrics, metrics_table(metrics, dataset.classes)


def _default_evaluators(build: Callable[[Any], list[Any]], opened: OpenedData, *, masks: bool) -> list[Any]:
    """The configuration's evaluators, if there is one and they do not need masks that the file lacks; else COCO's."""
    if opened.evaluators is not None:
        try:
            return build(opened.evaluators)
        except SegkitError as error:
            if masks:
                raise
            logger.warning(
                "the results have no masks: COCO's metrics of boxes replace the configuration's evaluators (%s)", error
            )
    return build([{"name": "COCO", "iou_types": ["bbox", "segm"] if masks else ["bbox"]}])

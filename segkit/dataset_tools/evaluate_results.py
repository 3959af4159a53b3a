"""Evaluates a results file on a data set of any format, without the model that made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.dataset_tools.source import open_data
from segkit.evaluation import evaluate_predictions, metrics_table, read_results
from segkit.registry import EVALUATOR_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean

LEAST_DETECTIONS = 100  # COCO's limit per image; a file with more in an image is evaluated with all of them


def evaluate_results(
    results: str,
    data: str,
    *,
    format: str | None = None,
    split: str | None = None,
    evaluators: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[dict[str, float], str]:
    """Returns the metrics of a COCO results file, and a table of them.

    Args:
        results: path of the file, as ``coco_instances_results.json`` of a run.
        data: the ground truth: a folder or file of any format; that of a configuration stands for its ``data.val``.
        format: name of the data's format; None: recognised by content.
        split: name of the split; None: ``val``, or the only one.
        evaluators: specs of ``EVALUATOR_REGISTRY``; None: COCO's metrics of what the file has, boxes and masks.
    Raises:
        SegkitError: a file that is no list of COCO results, or does not fit the data; a split that does not exist.
    """
    found = read_results(results)
    splits = open_data(data, format).splits
    if split is None:
        split = "val" if "val" in splits else next(iter(splits))
        if split != "val" and len(splits) > 1:
            raise SegkitError(f"{data} has no split val; name one with --split: {', '.join(splits)}", key="split")
    if split not in splits:
        near = did_you_mean(split, splits)
        raise SegkitError(f"{data} has no split '{split}'{near}; it has {', '.join(splits)}", key="split", value=split)
    dataset = splits[split]
    masks = any("segmentation" in one for one in found)
    if evaluators is None:
        evaluators = [{"name": "COCO", "iou_types": ["bbox", "segm"] if masks else ["bbox"]}]
    counts = Counter(one["image_id"] for one in found)
    runtime = {
        "classes": dataset.classes,
        "category_ids": dataset.category_ids,
        "max_detections": max([LEAST_DETECTIONS, *counts.values()]),
        "results_dir": None,
        "class_agnostic": False,
        "predicts_masks": masks,
    }
    built = [EVALUATOR_REGISTRY.build(spec, path=f"evaluators[{i}]", **runtime) for i, spec in enumerate(evaluators)]
    metrics = evaluate_predictions(found, dataset, built)
    return metrics, metrics_table(metrics, dataset.classes)

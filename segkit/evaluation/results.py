"""Converts detections to COCO results, and writes results files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.utils.atomic import atomic_write

if TYPE_CHECKING:
    import numpy as np

    from segkit.structures.detections import Detections


def coco_results(
    detections: Detections, image_id: int, category_ids: Sequence[int], *, masks: bool = True
) -> list[dict[str, Any]]:
    """Converts one image's detections to COCO results, in their order.

    Args:
        detections: at the file's size.
        image_id: the file's id.
        category_ids: the id of each label in files.
        masks: whether to include masks; without them no time is spent on pasting and encoding.
    Returns:
        dicts with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels, floats), ``score`` and, if the
        model predicts masks, ``segmentation`` (RLE at the file's size, ``counts`` a str).
    """
    if len(detections) == 0:
        return []
    scores, labels = (values.detach().cpu().numpy() for values in (detections.scores, detections.labels))
    rles = detections.to_rle() if masks and detections.has_masks else None
    return result_dicts(image_id, category_ids, xywh(detections), scores, labels, rles)


def result_dicts(
    image_id: int,
    category_ids: Sequence[int],
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    rles: Sequence[Any] | None,
) -> list[dict[str, Any]]:
    """Returns COCO results of boxes [N, 4] XYWH, scores [N], labels [N] and N RLEs, or None."""
    # numpy's lists take a tenth of the time that torch's do.
    rows = zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
    results = [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for box, score, label in rows
    ]
    if rles is not None:
        for result, rle in zip(results, rles, strict=True):
            result["segmentation"] = rle
    return results


def xywh(detections: Detections) -> np.ndarray:
    """Converts the boxes to x, y, width, height: float64 [N, 4]."""
    boxes = detections.boxes.detach().cpu().numpy().astype("float64")
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Writes JSON atomically and returns the path."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return Path(path)

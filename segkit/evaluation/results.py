"""Detections as COCO results: lists of dicts, and the file that shows them."""

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
    """One image's detections as COCO results, in their order.

    Args:
        detections: at the file's size.
        image_id: the file's id.
        category_ids: the id in files of each label.
        masks: False: boxes only, without the time that pasting and encoding masks takes.
    Returns:
        dicts with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels, floats), ``score`` and, where
        the model predicts masks, ``segmentation`` (RLE at the file's size, ``counts`` a str).
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
    """As ``coco_results``, from boxes [N, 4] XYWH, scores [N], labels [N] and RLEs, None where there are no masks."""
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
    """float64 [N, 4]: the boxes as x, y, width, height."""
    boxes = detections.boxes.detach().cpu().double().numpy().copy()
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Write JSON, whole or not at all."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return Path(path)


class PredictionsWriter:
    """Collects predictions and writes them as one COCO data set: images, categories, and annotations with scores.

    A plain results list would name images by numbers that only a COCO data set explains; here files are named.

    Args:
        path: the file that :meth:`close` writes.
        classes: name of each label.
        category_ids: id of each label.
        image_ids: ids of known files, by file name; others are numbered from the next free id.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        classes: Sequence[str],
        category_ids: Sequence[int],
        image_ids: dict[str, int] | None = None,
    ) -> None:
        self.path = Path(path)
        self.category_ids = list(category_ids)
        self.image_ids = dict(image_ids or {})
        self._next_id = max(self.image_ids.values(), default=0) + 1
        categories = [{"id": k, "name": name} for k, name in zip(category_ids, classes, strict=True)]
        self.content: dict[str, list] = {"images": [], "categories": categories, "annotations": []}

    def add(self, name: str, image: np.ndarray, detections: Detections) -> None:
        """Take one image's detections; ``name`` is what the file is called in the result."""
        if name not in self.image_ids:
            self.image_ids[name] = self._next_id
            self._next_id += 1
        image_id = self.image_ids[name]
        height, width = detections.size
        self.content["images"].append({"id": image_id, "file_name": name, "height": height, "width": width})
        masks = detections.masks  # pasted here, once, for their areas and their encoding
        areas = None if masks is None else masks.areas().tolist()
        results = coco_results(detections, image_id, self.category_ids)
        for i, result in enumerate(results):
            result["id"] = len(self.content["annotations"]) + 1
            result["iscrowd"] = 0
            result["area"] = float(areas[i]) if areas is not None else result["bbox"][2] * result["bbox"][3]
            self.content["annotations"].append(result)

    def close(self) -> list[Path]:
        """Write the file; gives what was written."""
        return [write_json(self.path, self.content)]

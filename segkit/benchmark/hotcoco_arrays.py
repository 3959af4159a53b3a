"""hotcoco by itself, on its fastest path: objects and detections as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segkit.benchmark.evaluation_scene import Scene
from segkit.evaluation.results import xywh


def hotcoco_metrics(scenes: Sequence[Scene], num_classes: int) -> dict[str, float]:
    """COCO's metrics of boxes and masks by hotcoco's own functions, from the scenes to AP.

    ``COCO.from_arrays`` and ``load_res`` of an array are its ways in that make no dictionary for each object; its JSON files
    and dictionaries take longer.
    """
    from hotcoco import COCO, COCOeval, mask

    objects = [item for scene in scenes for item in scene.sample.annotations or ()]
    image_ids = [scene.sample.image_id for scene in scenes]
    sizes = [
        {"id": image_id, "height": scene.sample.size[0], "width": scene.sample.size[1]}
        for image_id, scene in zip(image_ids, scenes, strict=True)
    ]
    truth = COCO.from_arrays(
        sizes,
        [{"id": k + 1, "name": f"class{k + 1}"} for k in range(num_classes)],
        np.repeat(image_ids, [len(scene.sample.annotations or ()) for scene in scenes]),
        np.array([item["label"] for item in objects]) + 1,
        np.array([item["bbox"] for item in objects]),
        area=np.array([item["area"] for item in objects]),
        iscrowd=np.array([item["iscrowd"] for item in objects]),
        segmentation=[item["segmentation"] for item in objects],
    )
    rows = np.column_stack(
        [
            np.repeat(image_ids, [len(scene.found) for scene in scenes]),
            np.concatenate([xywh(scene.found) for scene in scenes]),
            np.concatenate([scene.found.scores.numpy() for scene in scenes]),
            np.concatenate([scene.found.labels.numpy() for scene in scenes]) + 1,
        ]
    )
    rles: list[Any] = [rle for scene in scenes for rle in scene.found.to_rle()]
    metrics: dict[str, float] = {}
    for kind in ("bbox", "segm"):
        found: Any = truth.load_res(rows, segmentation=rles) if kind == "segm" else truth.load_res(rows)
        if kind == "segm":
            found.update_anns(ids=np.arange(1, len(rles) + 1), area=mask.area(rles))
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        curves = evaluation.eval
        assert curves is not None  # accumulate() fills it
        precision, recall = np.asarray(curves["precision"])[..., -1], np.asarray(curves["recall"])[..., -1]
        values = {"AP": precision[..., 0], "AP50": precision[0, ..., 0], "AP75": precision[5, ..., 0]}
        values |= {f"AP{size}": precision[..., i] for i, size in enumerate("sml", 1)}
        values |= {"AR": recall[..., 0]}
        values |= {f"AP-class{k + 1}": precision[:, :, k, 0] for k in range(num_classes)}
        metrics |= {f"{kind}/{name}": array[array > -1].mean() for name, array in values.items() if (array > -1).any()}
    return {name: float(value) for name, value in metrics.items()}

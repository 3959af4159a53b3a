"""Detections in the forms of other libraries: label maps, pandas, supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.structures.painting import LabelPainter, by_score
from segkit.utils.errors import SegkitError
from segkit.utils.optional_packages import require

if TYPE_CHECKING:
    import pandas as pd

MAX_DENSE_BYTES = 4 << 30  # of masks N x H x W


def label_map_of(masks: InstanceMasks | None, scores: Tensor) -> np.ndarray:
    """The exclusive label map: the position of the object in each pixel, from 1 on.

    int32 [H, W].     A pixel of several objects belongs to the one of the highest score, of equal ones to the first.

    Args:
        masks: N masks.
        scores: float [N].
    Raises:
        SegkitError: there are no masks.
    """
    if masks is None:
        raise SegkitError("detections: a label map needs masks, but these are from a model without a mask head")
    painter = LabelPainter(masks.to("cpu"), np.arange(1, len(scores) + 1), order=by_score(scores))
    return painter.paint()


def table_of(
    boxes: Tensor, scores: Tensor, labels: Tensor, masks: InstanceMasks | None, classes: Sequence[str] = ()
) -> pd.DataFrame:
    """A pandas table with a row for each object.

    Its columns are id, class, label, score, box and area in pixels.

    Args:
        boxes: float [N, 4], XYXY.
        scores: float [N].
        labels: int64 [N].
        masks: N masks; None: areas are those of the boxes.
        classes: name of each label; without names the labels stand for them.
    """
    require("pandas", "pandas", "to_pandas()")
    import pandas as pd

    corners, label_array = boxes.cpu().numpy().reshape(-1, 4), labels.cpu().numpy()
    if masks is None:
        areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    else:
        areas = masks.areas().cpu().numpy()
    columns: dict[str, Any] = {
        "id": np.arange(1, len(corners) + 1),
        "class": [classes[k] if k < len(classes) else str(k) for k in label_array.tolist()],
        "label": label_array,
        "score": scores.cpu().numpy(),
        **{name: corners[:, i] for i, name in enumerate(("x0", "y0", "x1", "y1"))},
        "area": areas,
    }
    return pd.DataFrame(columns)


def supervision_of(
    boxes: Tensor, scores: Tensor, labels: Tensor, masks: InstanceMasks | None, classes: Sequence[str] = ()
) -> Any:
    """``supervision.Detections``, whose masks are dense: bool [N, H, W].

    The arguments are those of :func:`table_of`.

    Raises:
        SegkitError: the dense masks would take more than 4 GiB.
    """
    require("supervision", "supervision", "to_supervision()")
    import supervision

    if masks is not None:
        height, width = masks.image_size
        if len(masks) * height * width > MAX_DENSE_BYTES:
            raise SegkitError(
                f"to_supervision(): {len(masks)} dense masks of {height} x {width} take "
                f"{len(masks) * height * width / 2**30:.1f} GiB, above the limit of {MAX_DENSE_BYTES >> 30}; filter the "
                "detections first, or keep the masks in their boxes (detections.masks, to_rle())"
            )
    label_array = labels.cpu().numpy()
    names = {"class_name": np.array([classes[k] for k in label_array.tolist()], dtype=str)} if len(classes) else {}
    return supervision.Detections(
        xyxy=boxes.cpu().numpy().reshape(-1, 4),
        mask=None if masks is None else masks.to("cpu").to_dense().numpy(),
        confidence=scores.cpu().numpy(),
        class_id=label_array,
        data=names,
    )

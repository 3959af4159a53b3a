"""Warns before a run if images have more objects than the model can detect."""

from __future__ import annotations

import logging

import numpy as np
from torch import nn

from segkit.engine.datasets import RunData

logger = logging.getLogger(__name__)

PROPOSALS_KEY = "model.proposal_generator.post_nms_top_k"


def warn_of_detection_limits(model: nn.Module, data: RunData) -> None:
    """Warns if the model cannot find all objects of an image, because of its limits.

    It warns if proposals limit the detections, and if training images have more objects than both limits allow. Objects
    are counted if the data set knows their number (``Dataset.object_counts``). The evaluator warns of the validation data.
    """
    detections: int | None = getattr(model, "detections_per_image", None)
    if detections is None:
        return
    limit, key = detections, _detections_key(model)
    proposals = _test_proposals(model)
    if proposals is not None and proposals < detections:
        logger.warning(
            "%s keeps %d proposals an image in test (its second number), and %s asks for %d detections: objects beyond the "
            "proposals cannot be found; raise the first or lower the second",
            PROPOSALS_KEY, proposals, key, detections,
        )  # fmt: skip
        limit, key = proposals, PROPOSALS_KEY
    counts = None if data.train is None else data.train.object_counts()
    if counts is not None:
        _warn_of_crowded_images(counts, limit, key)


def _warn_of_crowded_images(counts: np.ndarray, limit: int, key: str) -> None:
    over = counts[counts > limit]
    if not len(over):
        return
    lost, total = int((over - limit).sum()), int(counts.sum())
    logger.warning(
        "%d of %d training images have more objects than the model can find in one, which is %d (%s); the most: %d. "
        "In whole images like these %d of %d objects cannot be found, so recall is at most %.1f %%",
        len(over), len(counts), limit, key, int(over.max()), lost, total, 100 * (1 - lost / total),
    )  # fmt: skip


def _detections_key(model: nn.Module) -> str:
    has_heads = hasattr(getattr(model, "roi_heads", None), "detections_per_image")
    return f"model.{'roi_heads.' if has_heads else ''}detections_per_image"


def _test_proposals(model: nn.Module) -> int | None:
    """Returns how many proposals the generator keeps in test; None if it has no such limit."""
    kept = getattr(getattr(model, "proposal_generator", None), "post_nms_top_k", None)
    return None if kept is None else int(kept[1])

"""What a model can find in an image at most, told before a run begins."""

from __future__ import annotations

import logging

import numpy as np
from torch import nn

from segkit.engine.run_data import RunData

logger = logging.getLogger(__name__)

PROPOSALS_KEY = "model.proposal_generator.post_nms_top_k"


def warn_of_limits(model: nn.Module, data: RunData) -> None:
    """Say with numbers where proposals limit the detections, or where training images have more objects than both allow.

    Objects are counted only where the data set knows their numbers (``Dataset.object_counts``); of the validation data
    the evaluator tells.
    """
    wanted: int | None = getattr(model, "detections_per_image", None)
    if wanted is None:
        return
    limit, key = wanted, _detections_key(model)
    proposals = _proposals_in_test(model)
    if proposals is not None and proposals < wanted:
        logger.warning(
            "%s keeps %d proposals an image in test (its second number), and %s asks for %d detections: objects beyond the "
            "proposals cannot be found; raise the first or lower the second",
            PROPOSALS_KEY, proposals, key, wanted,
        )  # fmt: skip
        limit, key = proposals, PROPOSALS_KEY
    counts = None if data.train is None else data.train.object_counts()
    if counts is not None:
        _warn_of_objects(counts, limit, key)


def _warn_of_objects(counts: np.ndarray, limit: int, key: str) -> None:
    over = counts[counts > limit]
    if not len(over):
        return
    lost, total = int((over - limit).sum()), int(counts.sum())
    logger.warning(
        "%d of %d training images have more objects than the model can find in one, which is %d (%s); the most: %d. "
        "In whole images like these %d of %d objects cannot be found, so that recall is at most %.1f %%",
        len(over), len(counts), limit, key, int(over.max()), lost, total, 100 * (1 - lost / total),
    )  # fmt: skip


def _detections_key(model: nn.Module) -> str:
    has_heads = hasattr(getattr(model, "roi_heads", None), "detections_per_image")
    return f"model.{'roi_heads.' if has_heads else ''}detections_per_image"


def _proposals_in_test(model: nn.Module) -> int | None:
    """None: the model's proposal generator, maybe of the user's own, has no such limit."""
    kept = getattr(getattr(model, "proposal_generator", None), "post_nms_top_k", None)
    return None if kept is None else int(kept[1])

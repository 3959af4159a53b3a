"""Earlier names of components' arguments, for messages of the builder and of the configuration."""

from __future__ import annotations

from collections.abc import Container

RENAMED_ARGUMENTS = {
    "foreground_iou": "fg_iou_threshold",
    "foreground_ious": "fg_iou_thresholds",
    "background_iou": "bg_iou_threshold",
    "add_objects": "append_gt_boxes",
    "samples": "batch_size_per_image",
}


def new_name(key: str, options: Container[str]) -> str | None:
    """The present name of an argument; None if ``key`` is valid itself, or was never a name of one of ``options``."""
    new = RENAMED_ARGUMENTS.get(key)
    return new if new is not None and key not in options and new in options else None

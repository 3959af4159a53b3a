"""Earlier names of components' arguments, for error messages."""

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
    """The current name of a renamed argument; None if ``key`` is valid or was never a name."""
    new = RENAMED_ARGUMENTS.get(key)
    return new if new is not None and key not in options and new in options else None

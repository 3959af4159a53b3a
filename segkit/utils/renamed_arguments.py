"""Earlier names of arguments, for error messages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container
from typing import Any, TypeVar

from segkit.utils.errors import SegkitError

Function = TypeVar("Function", bound=Callable[..., Any])

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


def removed_arguments(**replacements: str) -> Callable[[Function], Function]:
    """Decorator: removed keyword arguments raise SegkitError that names the replacement."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            for name in kwargs.keys() & replacements.keys():
                raise SegkitError(f"{function.__name__}() has no '{name}' any more; {replacements[name]}", key=name)
            return function(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate

"""The interface of post-processing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from segkit.registry import POSTPROCESS_REGISTRY
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import pack, tighten
from segkit.utils.errors import SegkitError


class PostProcessor(ABC):
    """Changes the detections of one image.

    Register one with ``@POSTPROCESS_REGISTRY.register``; its arguments are keyword-only.
    """

    @abstractmethod
    def __call__(self, detections: Detections) -> Detections:
        """Returns changed detections; the given ones stay as they are.

        Args:
            detections: in the pixels of the image's file, best first, on the CPU.
        Returns:
            Best first too. Masks that have changed are pixels (:meth:`Detections.from_masks`), and their boxes are those
            of the masks.
        """


class PostProcessing(PostProcessor):
    """Post-processors, applied one after the other."""

    def __init__(self, steps: Sequence[PostProcessor]) -> None:
        self.steps = list(steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __call__(self, detections: Detections) -> Detections:
        for step in self.steps:
            detections = step(detections)
        return detections


def required_masks(detections: Detections, name: str) -> InstanceMasks:
    """The masks of detections.

    Args:
        name: of the post-processor that needs them.
    Raises:
        SegkitError: the model predicts none.
    """
    masks = detections.masks
    if masks is None:
        raise SegkitError(
            f"{name} needs masks, but the model predicts boxes only; remove it from predict.postprocess",
            key="predict.postprocess",
            value=name,
        )
    return masks


def with_masks(
    detections: Detections, crops: Sequence[np.ndarray], masks: InstanceMasks, changed: np.ndarray
) -> Detections:
    """The detections with changed masks, whose boxes become those of the masks.

    Args:
        detections: N of them.
        crops: uint8 [h, w] each, in the crop boxes of ``masks``.
        masks: the masks before the change.
        changed: bool [N]; others keep mask and box.
    """
    if not changed.any():
        return detections
    cut, crop_boxes = tighten(list(crops), masks.crop_boxes, np.flatnonzero(changed).tolist())
    new = InstanceMasks(pack(cut), crop_boxes, masks.image_size)
    boxes = torch.where(torch.from_numpy(changed)[:, None], new.boxes().to(detections.boxes.dtype), detections.boxes)
    return Detections.from_masks(new, detections.scores, detections.labels, boxes)


def build_postprocess(specs: Sequence[Mapping[str, Any]], path: str = "predict.postprocess") -> PostProcessing:
    """Builds the post-processing of ``predict.postprocess``.

    Args:
        specs: ``{name: X, argument: value}`` each, in order.
        path: the key, for messages.
    Raises:
        SegkitError: a name or an argument is wrong.
    """
    return PostProcessing([POSTPROCESS_REGISTRY.build(spec, path=f"{path}[{i}]") for i, spec in enumerate(specs)])

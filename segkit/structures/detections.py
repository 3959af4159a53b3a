"""What a model found in one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.structures.pasting import paste_masks, paste_rle
from segkit.utils.errors import SegkitError


@dataclass
class Detections:
    """Objects found in one image. Masks stay M x M probabilities in their boxes until ``masks`` is asked for.

    Attributes:
        boxes: float [N, 4], XYXY in pixels of an image of ``size``.
        scores: float [N] in 0..1.
        labels: int64 [N], 0-based classes; the background has none.
        mask_probs: float [N, M, M] in 0..1, or None from a model without masks.
        size: (H, W) that the boxes refer to.

    Raises:
        SegkitError: the shapes disagree.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    mask_probs: Tensor | None
    size: tuple[int, int]
    _masks: InstanceMasks | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.boxes.numel() == 0:
            self.boxes = self.boxes.reshape(0, 4)
        count = len(self.boxes)
        self.size = (int(self.size[0]), int(self.size[1]))
        expected = {"boxes": (self.boxes, [count, 4]), "scores": (self.scores, [count])}
        expected["labels"] = (self.labels, [count])
        if self.mask_probs is not None:
            expected["mask_probs"] = (self.mask_probs, [count, *self.mask_probs.shape[-2:]])
        for name, (value, shape) in expected.items():
            if list(value.shape) != shape:
                raise SegkitError(f"detections: {name} have shape {list(value.shape)}, expected {shape}", key=name)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor | slice | list[int]) -> Detections:
        """The chosen objects: an index tensor, a bool tensor [N], a slice or a list."""
        probs = None if self.mask_probs is None else self.mask_probs[index]
        chosen = Detections(self.boxes[index], self.scores[index], self.labels[index], probs, self.size)
        if self._masks is not None:
            chosen._masks = self._masks[index]
        return chosen

    def resized(self, size: tuple[int, int]) -> Detections:
        """The same objects in the image resized to ``size`` (H, W): boxes move, the probabilities stay as they are."""
        height, width = size[0] / self.size[0], size[1] / self.size[1]
        boxes = self.boxes * self.boxes.new_tensor([width, height, width, height])
        return Detections(boxes, self.scores, self.labels, self.mask_probs, size)

    @property
    def masks(self) -> InstanceMasks | None:
        """The masks at ``size``, probabilities of 0.5 and more, pasted at the first asking; None without masks."""
        if self._masks is None and self.mask_probs is not None:
            self._masks = paste_masks(self.mask_probs, self.boxes, self.size)
        return self._masks

    def to_rle(self) -> list[dict[str, Any]]:
        """``masks.to_rle()``: COCO's compressed RLE (counts str) at ``size``, pasted without keeping the masks.

        Raises:
            SegkitError: the model gave no masks.
        """
        if self._masks is not None:
            return self._masks.to_rle()
        if self.mask_probs is None:
            raise SegkitError("detections: to_rle() needs masks, but these come from a model without a mask head")
        return paste_rle(self.mask_probs, self.boxes, self.size)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Detections:
        """The same detections on a device."""
        boxes, scores, labels = (
            value.to(device, non_blocking=non_blocking) for value in (self.boxes, self.scores, self.labels)
        )
        probs = None if self.mask_probs is None else self.mask_probs.to(device, non_blocking=non_blocking)
        moved = Detections(boxes, scores, labels, probs, self.size)
        if self._masks is not None:
            moved._masks = self._masks.to(device, non_blocking=non_blocking)
        return moved

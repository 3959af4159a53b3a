"""Detections: the objects that a model found in one image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit.structures.detection_conversions import label_map_of, supervision_of, table_of
from segkit.structures.image_geometry import ImageGeometry
from segkit.structures.masks import InstanceMasks
from segkit.structures.pasting import paste_masks, paste_rle
from segkit.structures.rle_dicts import compressed_rles
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class PasteFrame:
    """Boxes and geometry with which masks are pasted at the file's resolution.

    Masks are pasted in the orientation of the network's image and then mapped to the file.

    Attributes:
        boxes: float [N, 4], XYXY in the network's image, not clipped.
        geometry: of the network's image.
    """

    boxes: Tensor
    geometry: ImageGeometry

    def paste(self, mask_probs: Tensor) -> InstanceMasks:
        """Masks in the file's pixels.

        They are pasted in the orientation in which the network saw the objects, and rotated or mirrored afterwards.
        The masks of a mirrored image are therefore exactly the mirrored masks.

        Args:
            mask_probs: float [N, M, M] in the file's orientation.
        """
        x0, y0, x1, y1 = self.geometry.window
        boxes = self.geometry.upright_boxes(self.boxes)
        boxes = (boxes - boxes.new_tensor([x0, y0, x0, y0])).to(self.boxes.dtype)
        masks = paste_masks(self.geometry.grids_from_file(mask_probs), boxes, (y1 - y0, x1 - x0))
        return self.geometry.masks_to_file(masks)


@dataclass
class Detections:
    """Objects found in one image. Masks stay M x M probabilities until ``masks`` is read.

    Attributes:
        boxes: float [N, 4], XYXY in pixels of an image of ``size``.
        scores: float [N] in 0..1.
        labels: int64 [N], 0-based classes, without a background class.
        mask_probs: float [N, M, M] in 0..1; None: the model predicts no masks.
        size: (H, W) that the boxes refer to.
        paste_frame: how masks are pasted, for detections from :meth:`mapped_to_file`; None: in ``boxes``.

    Raises:
        SegkitError: the shapes do not match.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    mask_probs: Tensor | None
    size: tuple[int, int]
    paste_frame: PasteFrame | None = field(default=None, repr=False)
    _masks: InstanceMasks | None = field(default=None, init=False, repr=False, compare=False)
    _rles: list[dict[str, Any]] | None = field(default=None, init=False, repr=False, compare=False)

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

    @staticmethod
    def from_masks(masks: InstanceMasks, scores: Tensor, labels: Tensor, boxes: Tensor | None = None) -> Detections:
        """Detections with masks that are pixels already, as another framework returns them.

        Args:
            masks: N masks, on an image of the detections' size.
            scores: float [N] in 0..1.
            labels: int64 [N], 0-based classes.
            boxes: float [N, 4], XYXY; None: the masks' boxes.
        """
        if len(masks) != len(scores):
            raise SegkitError(f"detections: {len(masks)} masks for {len(scores)} scores", key="masks")
        found = Detections(masks.boxes() if boxes is None else boxes, scores, labels, None, masks.image_size)
        found._masks = masks
        return found

    @staticmethod
    def from_rle(
        rles: Sequence[Mapping[str, Any]],
        scores: Tensor,
        labels: Tensor,
        size: tuple[int, int],
        boxes: Tensor | None = None,
    ) -> Detections:
        """Detections with encoded masks, which are decoded when they are read.

        Args:
            rles: N of COCO's RLEs of ``size``, compressed or not.
            scores: float [N] in 0..1.
            labels: int64 [N], 0-based classes.
            size: (H, W) of the image.
            boxes: float [N, 4], XYXY; None: the masks' boxes.
        Raises:
            SegkitError: an RLE is malformed or of another size; the message says which one.
        """
        if len(rles) != len(scores):
            raise SegkitError(f"detections: {len(rles)} masks for {len(scores)} scores", key="masks")
        encoded = compressed_rles(rles, size)
        masks = InstanceMasks.from_rle(encoded, size) if boxes is None else None
        found = Detections(masks.boxes() if masks is not None else boxes, scores, labels, None, size)  # type: ignore[arg-type]
        found._masks, found._rles = masks, encoded
        return found

    @property
    def has_masks(self) -> bool:
        """Whether the detections have masks, as probabilities, as pixels or encoded."""
        return self.mask_probs is not None or self._has_own_masks

    @property
    def _has_own_masks(self) -> bool:
        """Whether there are masks that are not, or no longer, probabilities."""
        return self._masks is not None or self._rles is not None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor | slice | list[int]) -> Detections:
        """The selected objects; ``index`` is an index tensor, a bool tensor [N], a slice or a list."""
        probs = None if self.mask_probs is None else self.mask_probs[index]
        frame = self.paste_frame and PasteFrame(self.paste_frame.boxes[index], self.paste_frame.geometry)
        chosen = Detections(self.boxes[index], self.scores[index], self.labels[index], probs, self.size, frame)
        if self._masks is not None:
            chosen._masks = self._masks[index]
        if self._rles is not None:
            positions = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index]
            chosen._rles = [self._rles[i] for i in positions.tolist()]
        return chosen

    def filter(
        self,
        *,
        min_score: float = 0.0,
        labels: Sequence[int] | None = None,
        min_area: float = 0.0,
        max_area: float = math.inf,
        inside: tuple[float, float, float, float] | None = None,
    ) -> Detections:
        """The objects that fulfil all conditions.

        Args:
            min_score: lowest score.
            labels: 0-based classes; None: all.
            min_area: in pixels, of the mask, or of the box without masks.
            max_area: likewise.
            inside: XYXY in pixels, a region in which the centre of the box lies; its right and bottom sides are outside.
        """
        kept = self.scores >= min_score
        if labels is not None:
            kept &= torch.isin(self.labels, torch.as_tensor(list(labels), device=self.labels.device, dtype=torch.long))
        if min_area > 0 or max_area < math.inf:
            masks, (x0, y0, x1, y1) = self.masks, self.boxes.unbind(1)
            areas = (x1 - x0) * (y1 - y0) if masks is None else masks.areas().to(self.boxes.device)
            kept &= (areas >= min_area) & (areas <= max_area)
        if inside is not None:
            centres = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
            region = centres.new_tensor(inside)
            kept &= ((centres >= region[:2]) & (centres < region[2:])).all(1)
        return self[kept]

    def to_label_map(self) -> np.ndarray:
        """See :func:`segkit.structures.detection_conversions.label_map_of`."""
        return label_map_of(self.masks, self.scores)

    def to_pandas(self, classes: Sequence[str] = ()) -> pd.DataFrame:
        """See :func:`segkit.structures.detection_conversions.table_of`."""
        return table_of(self.boxes, self.scores, self.labels, self.masks, classes)

    def to_supervision(self, classes: Sequence[str] = ()) -> Any:
        """See :func:`segkit.structures.detection_conversions.supervision_of`."""
        return supervision_of(self.boxes, self.scores, self.labels, self.masks, classes)

    def resized(self, size: tuple[int, int]) -> Detections:
        """The detections in the image resized to ``size`` (H, W); only boxes change."""
        height, width = size[0] / self.size[0], size[1] / self.size[1]
        boxes = self.boxes * self.boxes.new_tensor([width, height, width, height])
        frame = self.paste_frame and PasteFrame(self.paste_frame.boxes, self.paste_frame.geometry.with_file_size(size))
        moved = Detections(boxes, self.scores, self.labels, self.mask_probs, size, frame)
        if self.mask_probs is None and (masks := self.masks) is not None:
            moved._masks = masks if self.size == moved.size else masks.resize(moved.size)
        return moved

    def mapped_to_file(self, geometry: ImageGeometry) -> Detections:
        """The detections in the pixels of the file that the image was made from.

        Boxes are mapped exactly and rounded once. Masks are pasted at the file's resolution. If the image is cropped or
        padded, boxes and masks are clipped to the pixels that image and file share, and detections outside these are
        dropped.

        Args:
            geometry: of the image; its size must be that of the detections.
        Raises:
            SegkitError: the geometry has no inverse, or the detections have another size.
        """
        if self.mask_probs is None and self._has_own_masks:
            raise SegkitError(
                "detections: masks that are pixels already cannot be mapped back through flips, turns, crops and padding; "
                "leave these out of the test transforms"
            )
        if geometry.obstacle:
            raise SegkitError(f"detections: {geometry.obstacle} has no exact inverse for boxes and masks")
        if self.size != geometry.size:
            raise SegkitError(f"detections: their size is {self.size}, but the image's size is {geometry.size}")
        upright = geometry.upright_boxes(self.boxes)
        clipped = geometry.clip_to_region(upright)
        probs = None if self.mask_probs is None else geometry.grids_to_file(self.mask_probs)
        frame = None if probs is None else PasteFrame(self.boxes, geometry)
        boxes = geometry.boxes_to_file(clipped).to(self.boxes.dtype)
        mapped = Detections(boxes, self.scores, self.labels, probs, geometry.file_size, frame)
        if clipped is upright:
            return mapped
        outside = (clipped != upright).any(1) & ~(clipped[:, 2:] > clipped[:, :2]).all(1)
        return mapped[~outside]

    @property
    def masks(self) -> InstanceMasks | None:
        """Masks at ``size`` (probabilities of at least 0.5), made at first use; None without."""
        if self._masks is None and self._rles is not None:
            self._masks = InstanceMasks.from_rle(self._rles, self.size).to(self.boxes.device)
        elif self._masks is None and self.mask_probs is not None:
            if self.paste_frame is None:
                self._masks = paste_masks(self.mask_probs, self.boxes, self.size)
            else:
                self._masks = self.paste_frame.paste(self.mask_probs)
        return self._masks

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO's compressed RLE at ``size``, equal to ``masks.to_rle()`` with less memory.

        They are encoded once, so that several evaluators of one image share them.

        Raises:
            SegkitError: the model predicts no masks.
        """
        if self._rles is None:
            self._rles = self._encoded()
        return self._rles

    def _encoded(self) -> list[dict[str, Any]]:
        if self._masks is not None:
            return self._masks.to_rle()
        if self.mask_probs is None:
            raise SegkitError("detections: to_rle() needs masks, but these are from a model without a mask head")
        if self.paste_frame is not None:
            return self.paste_frame.paste(self.mask_probs).to_rle()
        return paste_rle(self.mask_probs, self.boxes, self.size)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Detections:
        """The detections on a device."""
        boxes, scores, labels = (
            value.to(device, non_blocking=non_blocking) for value in (self.boxes, self.scores, self.labels)
        )
        probs = None if self.mask_probs is None else self.mask_probs.to(device, non_blocking=non_blocking)
        frame = self.paste_frame
        if frame is not None:
            frame = PasteFrame(frame.boxes.to(device, non_blocking=non_blocking), frame.geometry)
        moved = Detections(boxes, scores, labels, probs, self.size, frame)
        if self._masks is not None:
            moved._masks = self._masks.to(device, non_blocking=non_blocking)
        moved._rles = self._rles
        return moved

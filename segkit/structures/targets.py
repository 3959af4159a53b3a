"""Targets: the ground truth of one image's objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from segkit.structures.area_table import AreaTable
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError

ALL_CLASSES = -1  # label of an ignore region, in which no class is learnt or evaluated; such a region is a crowd


@dataclass
class Targets:
    """Ground truth of the N objects of one image.

    Attributes:
        boxes: float32 [N, 4], XYXY in the image's pixels; pixel i covers [i, i + 1).
        labels: int64 [N], 0-based classes; ``ALL_CLASSES`` for a crowd region of every class (an ignore region).
        masks: N masks on the image's pixels, empty for objects without a mask; None: no object has a mask.
        crowd: bool [N], True for regions of many objects (COCO's ``iscrowd``). Default: all False.
        has_mask: bool [N], False if only the object's box is known. Default: all True; without ``masks`` all False.
        unlabelled: int64 [K], ascending, the classes of which the image may show objects that are not annotated. Default:
            none. Always on the CPU, so that reading it does not synchronise with a GPU.

    Raises:
        SegkitError: the shapes do not match, or an object without a mask has pixels in ``masks``.
    """

    boxes: Tensor
    labels: Tensor
    masks: InstanceMasks | None = None
    crowd: Tensor = None  # type: ignore[assignment]  # a tensor after __post_init__
    has_mask: Tensor = None  # type: ignore[assignment]  # likewise
    unlabelled: Tensor = None  # type: ignore[assignment]  # likewise
    # Read on the CPU before the move to another device, where reading would synchronise.
    _has_crowd: bool | None = field(default=None, init=False, repr=False, compare=False)
    _lacks_masks: bool | None = field(default=None, init=False, repr=False, compare=False)
    _crowds: tuple[list[int], list[int]] | None = field(default=None, init=False, repr=False, compare=False)
    _region_areas: AreaTable | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.boxes.numel() == 0:
            self.boxes = self.boxes.reshape(0, 4)
        if self.boxes.dim() != 2 or self.boxes.shape[1] != 4:
            raise SegkitError(f"targets: boxes have shape {list(self.boxes.shape)}, expected [N, 4]", key="boxes")
        self.boxes = self.boxes.float()
        count = len(self.boxes)
        if self.labels.numel() and (self.labels.is_floating_point() or self.labels.dtype == torch.bool):
            raise SegkitError(f"targets: labels are {self.labels.dtype}, expected integers", key="labels")
        self.labels = self.labels.long()
        if self.crowd is None:
            self.crowd = torch.zeros(count, dtype=torch.bool, device=self.boxes.device)
        self.crowd = self.crowd.bool()
        if self.masks is None or self.has_mask is None:
            if self.boxes.device.type != "cpu":
                self._lacks_masks = self.masks is None and count > 0
            self.has_mask = torch.full((count,), self.masks is not None, dtype=torch.bool, device=self.boxes.device)
        self.has_mask = self.has_mask.bool()
        self.unlabelled = torch.zeros(0, dtype=torch.long) if self.unlabelled is None else self.unlabelled.cpu().long()
        for name, value in (("labels", self.labels), ("crowd", self.crowd), ("has_mask", self.has_mask)):
            if list(value.shape) != [count]:
                raise SegkitError(f"targets: {name} have shape {list(value.shape)}, expected [{count}]", key=name)
        if self.masks is not None and len(self.masks) != count:
            raise SegkitError(f"targets: {len(self.masks)} masks for {count} boxes", key="masks")
        if self.masks is not None and self.has_mask.device.type == "cpu":  # reading would synchronise elsewhere
            filled = self.masks.crop_boxes[:, 2] > self.masks.crop_boxes[:, 0]
            if bool((filled & ~self.has_mask).any()):
                raise SegkitError("targets: has_mask is False for an object that has a mask", key="has_mask")

    @staticmethod
    def empty(size: tuple[int, int]) -> Targets:
        """Targets of an image of ``size`` (H, W) without objects; ``masks`` is not None."""
        return Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), InstanceMasks.empty(size))

    @staticmethod
    def cat(parts: Sequence[Targets]) -> Targets:
        """Concatenates targets on the same image; objects of parts without masks have none.

        A class is unlabelled in the result if it is so in any part.
        """
        known = [part.masks for part in parts if part.masks is not None]
        has_objects = any(len(part) for part in parts)
        masks = None
        if known and (any(map(len, known)) or not has_objects):
            image_size, device = known[0].image_size, known[0].device
            filled = [InstanceMasks.empty(image_size, len(p), device) if p.masks is None else p.masks for p in parts]
            masks = InstanceMasks.cat(filled)
        return Targets(
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.labels for part in parts]),
            masks,
            torch.cat([part.crowd for part in parts]),
            torch.cat([part.has_mask for part in parts]),
            torch.cat([part.unlabelled for part in parts]).unique(),
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor | slice | list[int]) -> Targets:
        """The selected objects; ``index`` is an index tensor, a bool tensor [N], a slice or a list."""
        masks = None if self.masks is None else self.masks[index]
        parts = (self.labels[index], masks, self.crowd[index], self.has_mask[index])
        return Targets(self.boxes[index], *parts, self.unlabelled)

    @property
    def has_crowd(self) -> bool:
        """Whether any object is a crowd region. Known on a GPU without synchronisation."""
        return bool(self.crowd.any()) if self._has_crowd is None else self._has_crowd

    @property
    def lacks_masks(self) -> bool:
        """Whether any object has no mask. Known on a GPU without synchronisation."""
        return not bool(self.has_mask.all()) if self._lacks_masks is None else self._lacks_masks

    @property
    def mask_regions(self) -> list[int]:
        """Indices of the ignore regions with a mask, whose pixels count in training.

        Known on a GPU without synchronisation.
        """
        return self._split_crowds()[0]

    @property
    def box_crowds(self) -> list[int]:
        """Indices of the other regions, whose boxes count in training.

        These are the crowd regions of a class, and the ignore regions without a mask. Known on a GPU without
        synchronisation.
        """
        return self._split_crowds()[1]

    def _split_crowds(self) -> tuple[list[int], list[int]]:
        """Indices of ``mask_regions`` and of ``box_crowds``."""
        if self._crowds is not None or not self.has_crowd:
            return self._crowds or ([], [])
        crowds = self.crowd.nonzero().squeeze(1).tolist()
        by_mask = (self.has_mask & (self.labels == ALL_CLASSES)).tolist()
        return [i for i in crowds if by_mask[i]], [i for i in crowds if not by_mask[i]]

    def region_areas(self) -> AreaTable | None:
        """The area of the ignore regions with a mask, their union, in any box; None without any.

        It is made once and kept: the proposal network and each stage of the heads ask for it.
        """
        if self._region_areas is None and self.mask_regions:
            assert self.masks is not None
            self._region_areas = AreaTable.of_union(self.masks[self.mask_regions])
        return self._region_areas

    @property
    def not_crowd(self) -> Tensor | slice:
        """Index of the objects that are not crowd regions: int64 [M], or a slice if all are."""
        return (~self.crowd).nonzero().squeeze(1) if self.has_crowd else slice(None)

    def degenerate(self) -> Tensor:
        """Bool [N]: objects whose box has no positive width and height or is not finite."""
        has_area = (self.boxes[:, 2:] > self.boxes[:, :2]).all(dim=1)
        return ~(has_area & torch.isfinite(self.boxes).all(dim=1))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Targets:
        """The targets on a device; copies only tensors on another device."""
        masks = None if self.masks is None else self.masks.to(device, non_blocking=non_blocking)
        parts = (self.boxes, self.labels, self.crowd, self.has_mask)
        boxes, labels, crowd, has_mask = (value.to(device, non_blocking=non_blocking) for value in parts)
        moved = Targets(boxes, labels, masks, crowd, has_mask, self.unlabelled)
        if moved.crowd.device.type != "cpu":
            on_cpu = self.crowd.device.type == "cpu"
            moved._has_crowd = self.has_crowd if on_cpu else self._has_crowd
            moved._lacks_masks = self.lacks_masks if on_cpu else self._lacks_masks
            moved._crowds = self._split_crowds() if on_cpu else self._crowds
        return moved

    def pin_memory(self) -> Targets:
        """A copy in page-locked memory, from which copies to a GPU can overlap with computation."""
        masks = None if self.masks is None else self.masks.pin_memory()
        parts = (self.boxes, self.labels, self.crowd, self.has_mask)
        boxes, labels, crowd, has_mask = (value.pin_memory() for value in parts)
        return Targets(boxes, labels, masks, crowd, has_mask, self.unlabelled)

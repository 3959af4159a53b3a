"""The masks of one image's objects, each stored in its box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.structures import mask_geometry as geometry
from segkit.structures.label_maps import cut_label_map
from segkit.structures.mask_affine import warp_crops
from segkit.structures.mask_resize import resize_crops
from segkit.structures.polygons import draw_polygons
from segkit.structures.ragged import cut_stack, join, offsets_of, split, used_extents
from segkit.structures.rle import decode_rle, encode_rle
from segkit.utils.errors import SegkitError

Index = int | slice | Sequence[int] | np.ndarray | Tensor


class InstanceMasks:
    """N masks on one image, which may overlap. They cost what the objects cost: no step builds N x H x W.

    Not a tensor subclass: side tables get lost on the way through tensor operations.

    Every extent is tight: no empty row or column at the border of a crop. Methods that change masks return new ones;
    what did not change may be shared with the old.

    Args:
        bits: uint8 [P] of 0 and 1: the crops, each row-major, one after the other. On any device.
        crop_boxes: int64 [N, 4]: x0, y0, x1, y1 of each crop in pixels, x1 and y1 exclusive; 0, 0, 0, 0 for an empty
            mask. Always kept on the CPU, so that sizes are known without waiting for a GPU.
        image_size: (H, W) of the image.
    """

    def __init__(self, bits: Tensor, crop_boxes: Tensor, image_size: tuple[int, int]) -> None:
        assert bits.dtype == torch.uint8 and bits.dim() == 1, (bits.dtype, bits.shape)
        self.bits = bits.contiguous()
        self.crop_boxes = crop_boxes.to("cpu", torch.long).reshape(-1, 4)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.offsets = offsets_of(self.crop_boxes)  # int64 [N + 1], on the CPU
        assert int(self.offsets[-1]) == bits.numel(), (int(self.offsets[-1]), bits.numel())

    # Making them

    @staticmethod
    def empty(size: tuple[int, int], count: int = 0, device: torch.device | str = "cpu") -> InstanceMasks:
        """``count`` masks without a pixel, on an image of ``size`` (H, W)."""
        bits = torch.zeros(0, dtype=torch.uint8, device=device)
        return InstanceMasks(bits, torch.zeros(count, 4, dtype=torch.long), size)

    @staticmethod
    def from_dense(dense: Tensor) -> InstanceMasks:
        """From bool [N, H, W] (other types: what is not 0 is set)."""
        if dense.dim() != 3:
            raise SegkitError(f"from_dense: masks have shape {list(dense.shape)}, expected [N, H, W]")
        dense = dense if dense.dtype == torch.bool else dense != 0
        bits = dense.contiguous().view(torch.uint8)
        crop_boxes = torch.zeros(len(dense), 4, dtype=torch.long)
        if bits.numel():
            crop_boxes = used_extents(bits.amax(1), bits.amax(2))
        return InstanceMasks(cut_stack(bits, crop_boxes), crop_boxes, (dense.shape[1], dense.shape[2]))

    @staticmethod
    def from_rle(rles: Sequence[Mapping[str, Any]], size: tuple[int, int] | None = None) -> InstanceMasks:
        """From COCO's RLE dicts, compressed (str or bytes) or not (list), decoded straight into their boxes.

        Args:
            rles: ``{"size": [H, W], "counts": ...}``, all of one size.
            size: (H, W), needed only for an empty list; where given, the dicts' must be the same.

        Raises:
            SegkitError: sizes differ, or counts don't fit them.
        """
        return InstanceMasks(*decode_rle(rles, size))

    @staticmethod
    def from_polygons(objects: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> InstanceMasks:
        """From polygons, with pycocotools' rules of rounding.

        Args:
            objects: for each object its polygons [x0, y0, x1, y1, ...] in pixels, of which the union is taken.
            size: (H, W).

        Raises:
            SegkitError: a polygon with fewer than three points, half a point, or coordinates that are not finite.
        """
        bits, crop_boxes = draw_polygons(objects, size)
        return InstanceMasks(bits, crop_boxes, size)

    @staticmethod
    def from_label_map(labels: Tensor | np.ndarray) -> InstanceMasks:
        """From integers [H, W]: each non-zero value is one object; the masks come in ascending order of the values.

        Raises:
            SegkitError: not two-dimensional, or not integers.
        """
        bits, crop_boxes = cut_label_map(labels)
        return InstanceMasks(bits, crop_boxes, (labels.shape[0], labels.shape[1]))

    @staticmethod
    def cat(masks: Sequence[InstanceMasks]) -> InstanceMasks:
        """All masks, in order; they must have one image and one device."""
        assert len(masks) and len({m.image_size for m in masks}) == 1, [m.image_size for m in masks]
        return InstanceMasks(
            torch.cat([m.bits for m in masks]), torch.cat([m.crop_boxes for m in masks]), masks[0].image_size
        )

    # Reading them

    def __len__(self) -> int:
        return len(self.crop_boxes)

    def __repr__(self) -> str:
        size = f"{self.image_size[0]} x {self.image_size[1]}"
        return f"InstanceMasks({len(self)} on {size}, {self.bits.numel()} bytes, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where the bits are."""
        return self.bits.device

    def to_dense(self) -> Tensor:
        """bool [N, H, W]. For tests and small sets: costs N x H x W."""
        dense = torch.zeros(len(self), *self.image_size, dtype=torch.bool, device=self.device)
        for image, crop, (x0, y0, x1, y1) in zip(dense, self.crops(), self.crop_boxes.tolist(), strict=True):
            image[y0:y1, x0:x1] = crop
        return dense

    def crops(self) -> list[Tensor]:
        """Each object's mask within its crop_boxes, uint8 [y1 - y0, x1 - x0]; views."""
        return split(self.bits, self.crop_boxes)

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO's compressed RLE, ``{"size": [H, W], "counts": str}`` each, equal to pycocotools' of the dense mask."""
        return encode_rle(self.bits, self.crop_boxes, self.image_size)

    def boxes(self) -> Tensor:
        """float32 [N, 4] XYXY on the bits' device; x1, y1 are exclusive, so one pixel has side 1. Empty: zeros."""
        return self.crop_boxes.float().to(self.device)

    def areas(self) -> Tensor:
        """int64 [N]: set pixels of each mask."""
        total = torch.zeros(self.bits.numel() + 1, dtype=torch.long, device=self.device)
        torch.cumsum(self.bits, 0, dtype=torch.long, out=total[1:])
        return total[self.offsets.to(self.device)].diff()

    def __getitem__(self, index: Index) -> InstanceMasks:
        """The chosen masks: an int (one mask), a slice, integers in any order and number, or bool [N]."""
        if isinstance(index, Tensor):
            index = index.cpu()
        numbers = torch.arange(len(self))[index].reshape(-1)
        pairs = zip(self.offsets[numbers].tolist(), self.offsets[numbers + 1].tolist(), strict=True)
        chosen = join((self.bits[start:end] for start, end in pairs), self.bits)
        return InstanceMasks(chosen, self.crop_boxes[numbers], self.image_size)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> InstanceMasks:
        """The same masks with their bits on a device."""
        return InstanceMasks(self.bits.to(device, non_blocking=non_blocking), self.crop_boxes, self.image_size)

    def pin_memory(self) -> InstanceMasks:
        """A copy with its bits in page-locked memory."""
        return InstanceMasks(self.bits.pin_memory(), self.crop_boxes, self.image_size)

    # Moving them, as the image moves

    def hflip(self) -> InstanceMasks:
        """Left to right."""
        return InstanceMasks(*geometry.hflip(self.bits, self.crop_boxes, self.image_size), self.image_size)

    def vflip(self) -> InstanceMasks:
        """Upside down."""
        return InstanceMasks(*geometry.vflip(self.bits, self.crop_boxes, self.image_size), self.image_size)

    def rot90(self, k: int = 1) -> InstanceMasks:
        """``k`` quarter turns counter-clockwise, as ``torch.rot90(dense, k, (1, 2))``."""
        image_size = self.image_size if k % 2 == 0 else (self.image_size[1], self.image_size[0])
        return InstanceMasks(*geometry.rot90(self.bits, self.crop_boxes, self.image_size, k), image_size)

    def crop(self, x0: int, y0: int, x1: int, y1: int) -> InstanceMasks:
        """What lies in a window, which becomes the image. Objects outside stay, as empty masks: the caller filters."""
        return InstanceMasks(*geometry.crop(self.bits, self.crop_boxes, (x0, y0, x1, y1)), (y1 - y0, x1 - x0))

    def resize(self, size: tuple[int, int], antialias: bool = True) -> InstanceMasks:
        """Bilinear, at least 0.5, to ``size`` (H, W).

        Equal to ``F.interpolate(dense.float(), size, mode="bilinear", antialias=...) >= 0.5`` but for rounding at
        exactly 0.5, and never empty: where no pixel reaches 0.5, the largest stays.
        """
        return self.resize_counted(size, antialias)[0]

    def resize_counted(self, size: tuple[int, int], antialias: bool = True) -> tuple[InstanceMasks, int]:
        """As ``resize``, and how many masks would have become empty."""
        bits, crop_boxes, rescued = resize_crops(self.bits, self.crop_boxes, self.image_size, size, antialias)
        return InstanceMasks(bits, crop_boxes, size), rescued

    def affine(self, matrix: Tensor, size: tuple[int, int]) -> tuple[InstanceMasks, int]:
        """Under an affine map to an image of ``size`` (H, W): bilinear at pixel centres, outside 0, at least 0.5.

        A mask that comes out empty although it is in view keeps its largest pixel; what is out of view stays, as an
        empty mask: the caller filters.

        Args:
            matrix: fp64 [2, 3], from old to new coordinates; see ``affine``.
            size: of the new image.
        Returns:
            The masks, and how many of them would have become empty in view.
        """
        bits, crop_boxes, rescued = warp_crops(self.bits, self.crop_boxes, matrix, size)
        return InstanceMasks(bits, crop_boxes, size), rescued

    def placed(self, size: tuple[int, int], x: int = 0, y: int = 0) -> InstanceMasks:
        """On an image of ``size`` (H, W) that holds the old one, whose corner comes to ``x``, ``y``."""
        assert x >= 0 and y >= 0 and y + self.image_size[0] <= size[0] and x + self.image_size[1] <= size[1], (
            size,
            x,
            y,
        )
        return InstanceMasks(self.bits, geometry.move(self.crop_boxes, x, y), size)

    # Overlaps

    def union(self) -> Tensor:
        """bool [H, W], on the CPU: the pixels of any mask."""
        return geometry.union(self.bits, self.crop_boxes, self.image_size)

    def without(self, region: Tensor) -> tuple[InstanceMasks, Tensor]:
        """The masks less the pixels of ``region`` (bool [H, W], on the CPU), and which of them lost any (bool [N])."""
        assert tuple(region.shape) == self.image_size, (region.shape, self.image_size)
        bits, crop_boxes, changed = geometry.erase(self.bits, self.crop_boxes, region)
        return InstanceMasks(bits, crop_boxes, self.image_size), changed

"""InstanceMasks: the masks of one image's objects, each stored as a crop in its box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.structures import mask_geometry as geometry
from segkit.structures.label_maps import cut_labels
from segkit.structures.mask_affine import warp_crops
from segkit.structures.mask_resize import resize_crops
from segkit.structures.polygons import draw_polygons
from segkit.structures.ragged import arrays, cut_stack, join, offsets_of, split, used_boxes
from segkit.structures.rle import encode_rle
from segkit.structures.rle_dicts import decode_rle
from segkit.utils.errors import SegkitError

Index = int | slice | Sequence[int] | np.ndarray | Tensor


class InstanceMasks:
    """N masks on one image, which may overlap, stored as crops and never as N x H x W.

    Not a tensor subclass, since tensor operations would lose the crop boxes.

    Every crop box is tight: its first and last row and column contain set pixels. Methods return new masks, which may
    share unchanged tensors with the old ones.

    Args:
        bits: uint8 [P] of 0 and 1: the crops, each row-major, one after the other, on any device.
        crop_boxes: int64 [N, 4]: x0, y0, x1, y1 of each crop in pixels, x1 and y1 exclusive; 0, 0, 0, 0 for an empty
            mask. Always on the CPU, so that reading sizes does not synchronise with a GPU.
        image_size: (H, W) of the image.
    """

    def __init__(self, bits: Tensor, crop_boxes: Tensor, image_size: tuple[int, int]) -> None:
        assert bits.dtype == torch.uint8 and bits.dim() == 1, (bits.dtype, bits.shape)
        self.bits = bits.contiguous()
        self.crop_boxes = crop_boxes.to("cpu", torch.long).reshape(-1, 4)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.offsets = offsets_of(self.crop_boxes)  # int64 [N + 1], on the CPU
        assert int(self.offsets[-1]) == bits.numel(), (int(self.offsets[-1]), bits.numel())

    # Constructors

    @staticmethod
    def empty(size: tuple[int, int], count: int = 0, device: torch.device | str = "cpu") -> InstanceMasks:
        """``count`` empty masks on an image of ``size`` (H, W)."""
        bits = torch.zeros(0, dtype=torch.uint8, device=device)
        return InstanceMasks(bits, torch.zeros(count, 4, dtype=torch.long), size)

    @staticmethod
    def from_dense(dense: Tensor) -> InstanceMasks:
        """From dense masks, bool [N, H, W]; in other dtypes, pixels that are not 0 are set."""
        if dense.dim() != 3:
            raise SegkitError(f"from_dense: masks have shape {list(dense.shape)}, expected [N, H, W]")
        dense = dense if dense.dtype == torch.bool else dense != 0
        bits = dense.contiguous().view(torch.uint8)
        crop_boxes = torch.zeros(len(dense), 4, dtype=torch.long)
        if bits.numel():
            crop_boxes = used_boxes(bits.amax(1), bits.amax(2))
        return InstanceMasks(cut_stack(bits, crop_boxes), crop_boxes, (dense.shape[1], dense.shape[2]))

    @staticmethod
    def from_rle(rles: Sequence[Mapping[str, Any]], size: tuple[int, int] | None = None) -> InstanceMasks:
        """From COCO's RLE dicts, compressed (str or bytes) or not (list).

        Args:
            rles: ``{"size": [H, W], "counts": ...}``, all of one size.
            size: (H, W), needed only for an empty list; must be equal to the dicts' size.

        Raises:
            SegkitError: sizes differ, or counts do not add up to them.
        """
        return InstanceMasks(*decode_rle(rles, size))

    @staticmethod
    def from_polygons(objects: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> InstanceMasks:
        """From polygons, rounded as by pycocotools.

        Args:
            objects: for each object its polygons [x0, y0, x1, y1, ...] in pixels; the mask is their union.
            size: (H, W).

        Raises:
            SegkitError: a polygon has fewer than three points, an odd number of coordinates, or coordinates that are not
                finite.
        """
        bits, crop_boxes = draw_polygons(objects, size)
        return InstanceMasks(bits, crop_boxes, size)

    @staticmethod
    def from_label_map(labels: Tensor | np.ndarray) -> InstanceMasks:
        """From a label map [H, W]: each integer but 0 is an object, in ascending order.

        Raises:
            SegkitError: the map is not two-dimensional, or not of integers.
        """
        _, bits, crop_boxes = cut_labels(labels)
        return InstanceMasks(bits, crop_boxes, (labels.shape[0], labels.shape[1]))

    @staticmethod
    def cat(masks: Sequence[InstanceMasks]) -> InstanceMasks:
        """Concatenates masks on the same image size and device."""
        assert len(masks) and len({m.image_size for m in masks}) == 1, [m.image_size for m in masks]
        return InstanceMasks(
            torch.cat([m.bits for m in masks]), torch.cat([m.crop_boxes for m in masks]), masks[0].image_size
        )

    # Conversions and properties

    def __len__(self) -> int:
        return len(self.crop_boxes)

    def __repr__(self) -> str:
        size = f"{self.image_size[0]} x {self.image_size[1]}"
        return f"InstanceMasks({len(self)} on {size}, {self.bits.numel()} bytes, {self.device})"

    @property
    def device(self) -> torch.device:
        """Device of the bits."""
        return self.bits.device

    def to_dense(self) -> Tensor:
        """Dense masks, bool [N, H, W]; for tests and small images, since memory is N x H x W."""
        dense = torch.zeros(len(self), *self.image_size, dtype=torch.bool, device=self.device)
        for image, crop, (x0, y0, x1, y1) in zip(dense, self.crops(), self.crop_boxes.tolist(), strict=True):
            image[y0:y1, x0:x1] = crop
        return dense

    def crops(self) -> list[Tensor]:
        """Each object's mask within its crop box, uint8 [y1 - y0, x1 - x0]; views of ``bits``."""
        return split(self.bits, self.crop_boxes)

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO's compressed RLE, ``{"size": [H, W], "counts": str}`` each, equal to pycocotools'."""
        return encode_rle(self.bits, self.crop_boxes, self.image_size)

    def boxes(self) -> Tensor:
        """Boxes, float32 [N, 4] XYXY on the bits' device; a pixel has side 1; empty masks: zeros."""
        return self.crop_boxes.float().to(self.device)

    def areas(self) -> Tensor:
        """Number of set pixels of each mask, int64 [N]."""
        if self.device.type == "cpu":  # crop by crop this takes a twentieth of the time of the running sum
            crops = arrays(self.bits, self.crop_boxes)
            return torch.tensor([np.count_nonzero(crop) for crop in crops], dtype=torch.long)
        total = torch.zeros(self.bits.numel() + 1, dtype=torch.long, device=self.device)
        torch.cumsum(self.bits, 0, dtype=torch.long, out=total[1:])
        return total[self.offsets.to(self.device)].diff()

    def __getitem__(self, index: Index) -> InstanceMasks:
        """The selected masks; ``index`` is an int (one mask), a slice, integers, or bool [N]."""
        if isinstance(index, Tensor):
            index = index.cpu()
        indices = torch.arange(len(self))[index].reshape(-1)
        pairs = zip(self.offsets[indices].tolist(), self.offsets[indices + 1].tolist(), strict=True)
        chosen = join((self.bits[start:end] for start, end in pairs), self.bits)
        return InstanceMasks(chosen, self.crop_boxes[indices], self.image_size)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> InstanceMasks:
        """The masks with their bits on a device."""
        return InstanceMasks(self.bits.to(device, non_blocking=non_blocking), self.crop_boxes, self.image_size)

    def pin_memory(self) -> InstanceMasks:
        """A copy with its bits in page-locked memory."""
        return InstanceMasks(self.bits.pin_memory(), self.crop_boxes, self.image_size)

    # Geometric operations, as on the image

    def hflip(self) -> InstanceMasks:
        """Flips the masks horizontally."""
        return InstanceMasks(*geometry.hflip(self.bits, self.crop_boxes, self.image_size), self.image_size)

    def vflip(self) -> InstanceMasks:
        """Flips the masks vertically."""
        return InstanceMasks(*geometry.vflip(self.bits, self.crop_boxes, self.image_size), self.image_size)

    def rot90(self, k: int = 1) -> InstanceMasks:
        """Rotates the masks by ``k`` quarter turns, as ``torch.rot90(dense, k, (1, 2))``."""
        image_size = self.image_size if k % 2 == 0 else (self.image_size[1], self.image_size[0])
        return InstanceMasks(*geometry.rot90(self.bits, self.crop_boxes, self.image_size, k), image_size)

    def crop(self, x0: int, y0: int, x1: int, y1: int) -> InstanceMasks:
        """Crops the masks to a window of the image; masks outside it become empty and stay."""
        return InstanceMasks(*geometry.crop(self.bits, self.crop_boxes, (x0, y0, x1, y1)), (y1 - y0, x1 - x0))

    def resize(self, size: tuple[int, int], antialias: bool = True) -> InstanceMasks:
        """Resizes the masks to ``size`` (H, W).

        Equal to ``F.interpolate(dense.float(), size, mode="bilinear", antialias=...) >= 0.5``, except for rounding at
        exactly 0.5. A mask in which no pixel reaches 0.5 keeps the largest one (it is rescued).
        """
        return self.resize_counted(size, antialias)[0]

    def resize_counted(self, size: tuple[int, int], antialias: bool = True) -> tuple[InstanceMasks, int]:
        """Resizes the masks; also returns how many were rescued."""
        bits, crop_boxes, rescued = resize_crops(self.bits, self.crop_boxes, self.image_size, size, antialias)
        return InstanceMasks(bits, crop_boxes, size), rescued

    def affine(self, matrix: Tensor, size: tuple[int, int]) -> tuple[InstanceMasks, int]:
        """Applies an affine map to an image of ``size`` (H, W), with bilinear interpolation.

        Pixels of at least 0.5 are set; outside the old image values are 0. A visible mask in which no pixel reaches 0.5
        keeps the largest one (it is rescued). Masks outside the new image become empty and stay.

        Args:
            matrix: fp64 [2, 3], from old to new coordinates; see ``affine``.
            size: of the new image.
        Returns:
            the masks, and how many were rescued.
        """
        bits, crop_boxes, rescued = warp_crops(self.bits, self.crop_boxes, matrix, size)
        return InstanceMasks(bits, crop_boxes, size), rescued

    def placed(self, size: tuple[int, int], x: int = 0, y: int = 0) -> InstanceMasks:
        """The masks on a larger image of ``size``, with the old image's corner at ``x``, ``y``."""
        assert x >= 0 and y >= 0 and y + self.image_size[0] <= size[0] and x + self.image_size[1] <= size[1], (
            size,
            x,
            y,
        )
        return InstanceMasks(self.bits, geometry.move(self.crop_boxes, x, y), size)

    # Overlaps

    def union(self) -> Tensor:
        """The pixels that any mask covers: bool [H, W] on the CPU."""
        return geometry.union(self.bits, self.crop_boxes, self.image_size)

    def without(self, region: Tensor) -> tuple[InstanceMasks, Tensor]:
        """The masks without the pixels of ``region``, and which of them lost pixels (bool [N]).

        Args:
            region: bool [H, W] on the CPU.
        """
        assert tuple(region.shape) == self.image_size, (region.shape, self.image_size)
        bits, crop_boxes, changed = geometry.erase(self.bits, self.crop_boxes, region)
        return InstanceMasks(bits, crop_boxes, self.image_size), changed

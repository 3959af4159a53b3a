"""Batch of images of different sizes, padded to one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segkit.utils.errors import SegkitError


@dataclass
class ImageBatch:
    """Images in the upper left corner of one padded tensor.

    Attributes:
        tensor: [B, C, H, W].
        sizes: (h, w) of each image without its padding.
    """

    tensor: Tensor
    sizes: list[tuple[int, int]]

    @staticmethod
    def from_images(images: Sequence[Tensor], divisor: int = 32, pad_value: float = 0) -> ImageBatch:
        """Pads images [C, h, w] of one dtype and channel count to one tensor.

        H and W are the largest h and w, rounded up to multiples of ``divisor``.

        Raises:
            SegkitError: there are no images, or they differ in channels, dtype or device.
        """
        if len(images) == 0:
            raise SegkitError("a batch needs at least one image, got none")
        first = images[0]
        for i, image in enumerate(images):
            if image.dim() != 3:
                raise SegkitError(f"images[{i}]: shape {list(image.shape)}, expected [C, H, W]")
            same = image.shape[0] == first.shape[0] and image.dtype == first.dtype and image.device == first.device
            if not same:
                raise SegkitError(
                    f"images[{i}]: {image.shape[0]} channels of {image.dtype} on {image.device}, but images[0] has "
                    f"{first.shape[0]} channels of {first.dtype} on {first.device}"
                )
        sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
        height, width = (-(-max(side) // divisor) * divisor for side in zip(*sizes, strict=True))
        tensor = first.new_full((len(images), first.shape[0], height, width), pad_value)
        for padded, image, (h, w) in zip(tensor, images, sizes, strict=True):
            padded[:, :h, :w] = image
        return ImageBatch(tensor, sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ImageBatch:
        """The batch on a device."""
        return ImageBatch(self.tensor.to(device, non_blocking=non_blocking), list(self.sizes))

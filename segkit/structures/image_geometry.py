"""Geometry of an image with respect to its file, to map predicted boxes and masks back.

Records flips, rotations, scaling, crops and padding. Coordinates are continuous: pixel i covers [i, i + 1). The record
is exact: scales and offsets are fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks

Region = tuple[Fraction, Fraction, Fraction, Fraction]  # x0, y0, x1, y1


@dataclass(frozen=True)
class ImageGeometry:
    """The composition of all geometric operations between a file's pixels and an image's.

    The file mirrored horizontally if ``mirrored``, then rotated by ``turns`` quarter turns, is the *upright* image: the
    file's pixels in the image's orientation. Its point (x, y) lies at ``scale * (x, y) + offset`` in the image. Each
    method returns the geometry after one more operation, which the function of the same name in
    ``segkit.data.transforms.geometry`` applies to image and targets.

    Attributes:
        file_size: (H, W) of the file.
        size: (H, W) of the image.
        visible: XYXY in the image's pixels, the part that shows the file; the rest is padding.
        mirrored: whether the upright image is a mirror image of the file.
        turns: counter-clockwise quarter turns after mirroring, 0 to 3.
        scale: of x and y, above 0.
        offset: of x and y, in the image's pixels.
        obstacle: name of an operation without an exact inverse on boxes and masks, or "".
    """

    file_size: tuple[int, int]
    size: tuple[int, int]
    visible: Region
    mirrored: bool = False
    turns: int = 0
    scale: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))
    offset: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    obstacle: str = ""

    @staticmethod
    def of_file(size: tuple[int, int]) -> ImageGeometry:
        """The geometry of a file's own pixels; ``size`` is (H, W)."""
        size = (int(size[0]), int(size[1]))
        return ImageGeometry(size, size, _whole(size))

    @property
    def is_resize(self) -> bool:
        """Whether the image is the whole file, resized or unchanged."""
        (height, width), (file_height, file_width) = self.size, self.file_size
        return (
            not (self.mirrored or self.turns or self.obstacle)
            and self.offset == (0, 0)
            and (self.scale[0] * file_width, self.scale[1] * file_height) == (width, height)
            and self.visible == _whole(self.size)
        )

    @property
    def upright_size(self) -> tuple[int, int]:
        """(H, W) of the file in the image's orientation."""
        height, width = self.file_size
        return (width, height) if self.turns % 2 else (height, width)

    @property
    def upright_region(self) -> Region:
        """The part of the upright image that is visible, XYXY in its pixels."""
        (scale_x, scale_y), (x, y), (height, width) = self.scale, self.offset, self.upright_size
        x0, y0, x1, y1 = self.visible
        # A crop that shows only padding becomes a region without area at the border of the file.
        x0, x1 = (min(max((edge - x) / scale_x, Fraction(0)), Fraction(width)) for edge in (x0, x1))
        y0, y1 = (min(max((edge - y) / scale_y, Fraction(0)), Fraction(height)) for edge in (y0, y1))
        return x0, y0, x1, y1

    @property
    def window(self) -> tuple[int, int, int, int]:
        """The pixels of the upright image whose centres are visible: x0, y0, x1, y1."""
        half = Fraction(1, 2)
        x0, y0, x1, y1 = (math.ceil(edge - half) for edge in self.upright_region)
        return x0, y0, max(x0, x1), max(y0, y1)

    # Geometry after one more operation

    def hflip(self) -> ImageGeometry:
        """After a horizontal flip."""
        width = self.size[1]
        x0, y0, x1, y1 = self.visible
        return replace(
            self,
            mirrored=not self.mirrored,
            turns=-self.turns % 4,
            offset=(width - self.scale[0] * self.upright_size[1] - self.offset[0], self.offset[1]),
            visible=(width - x1, y0, width - x0, y1),
        )

    def vflip(self) -> ImageGeometry:
        """After a vertical flip."""
        return self.hflip().rot90(2)

    def rot90(self, k: int) -> ImageGeometry:
        """After ``k`` counter-clockwise quarter turns."""
        turned = self
        for _ in range(k % 4):
            turned = turned._quarter_turn()
        return turned

    def resize(self, size: tuple[int, int]) -> ImageGeometry:
        """After a resize to ``size`` (H, W)."""
        size = (int(size[0]), int(size[1]))
        along_x, along_y = Fraction(size[1], self.size[1]), Fraction(size[0], self.size[0])
        x0, y0, x1, y1 = self.visible
        return replace(
            self,
            size=size,
            scale=(self.scale[0] * along_x, self.scale[1] * along_y),
            offset=(self.offset[0] * along_x, self.offset[1] * along_y),
            visible=(x0 * along_x, y0 * along_y, x1 * along_x, y1 * along_y),
        )

    def crop(self, window: tuple[int, int, int, int]) -> ImageGeometry:
        """After a crop to ``window`` (x0, y0, x1, y1)."""
        left, top, right, bottom = (Fraction(int(edge)) for edge in window)
        x0, y0, x1, y1 = self.visible
        x0, y0 = max(left, min(x0, right)), max(top, min(y0, bottom))
        x1, y1 = max(x0, min(x1, right)), max(y0, min(y1, bottom))
        return replace(
            self,
            size=(int(bottom - top), int(right - left)),
            offset=(self.offset[0] - left, self.offset[1] - top),
            visible=(x0 - left, y0 - top, x1 - left, y1 - top),
        )

    def pad(self, size: tuple[int, int]) -> ImageGeometry:
        """After padding at the right and bottom to ``size`` (H, W)."""
        return replace(self, size=(int(size[0]), int(size[1])))

    def not_invertible(self, obstacle: str, size: tuple[int, int]) -> ImageGeometry:
        """After an operation without exact inverse, named by ``obstacle``, to ``size`` (H, W)."""
        return replace(self, size=(int(size[0]), int(size[1])), obstacle=self.obstacle or obstacle)

    # Boxes and masks

    def boxes_from_file(self, boxes: Tensor) -> Tensor:
        """Maps XYXY boxes from the file's pixels to the image's, fp64 [N, 4], not clipped."""
        height, width = self.file_size
        x0, y0, x1, y1 = boxes.double().unbind(1)
        if self.mirrored:
            x0, x1 = width - x1, width - x0
        boxes = turn_boxes(torch.stack([x0, y0, x1, y1], 1), (height, width), self.turns)
        scale, offset = (
            boxes.new_tensor([float(s) for s in self.scale]),
            boxes.new_tensor([float(o) for o in self.offset]),
        )
        return boxes * scale.repeat(2) + offset.repeat(2)

    def upright_boxes(self, boxes: Tensor) -> Tensor:
        """Maps XYXY boxes from the image's pixels to the upright image's, fp64 [N, 4], not clipped.

        Without an offset they are rounded to the dtype of ``boxes``, exactly as ``Detections.resized`` rounds them.
        """
        back = [float(1 / self.scale[0]), float(1 / self.scale[1])] * 2
        if self.offset == (0, 0):
            return (boxes * boxes.new_tensor(back)).double()
        offset = boxes.new_tensor([float(o) for o in self.offset] * 2, dtype=torch.float64)
        return (boxes.double() - offset) * offset.new_tensor(back)

    def clip_to_region(self, boxes: Tensor) -> Tensor:
        """Clips upright boxes to the visible region, if the image is cropped or padded.

        If the image is the whole file, boxes are not clipped: the model has clipped them to the image.
        """
        region = self.upright_region
        if region == _whole(self.upright_size) and self.visible == _whole(self.size):
            return boxes
        x0, y0, x1, y1 = (float(edge) for edge in region)
        low, high = boxes.new_tensor([x0, y0] * 2), boxes.new_tensor([x1, y1] * 2)
        return boxes.clamp(min=low, max=high)

    def boxes_to_file(self, upright: Tensor) -> Tensor:
        """Maps upright boxes [N, 4] to the file's pixels: rotates and mirrors them back."""
        boxes = turn_boxes(upright, self.upright_size, -self.turns)
        if not self.mirrored:
            return boxes
        x0, y0, x1, y1 = boxes.unbind(1)
        width = self.file_size[1]
        return torch.stack([width - x1, y0, width - x0, y1], 1)

    def masks_to_file(self, masks: InstanceMasks) -> InstanceMasks:
        """Maps masks on the image of ``window`` to the whole file."""
        masks = masks.placed(self.upright_size, *self.window[:2]).rot90(-self.turns)
        return masks.hflip() if self.mirrored else masks

    def grids_to_file(self, grids: Tensor) -> Tensor:
        """Rotates and mirrors values [N, M, M] in boxes of the image to the file's orientation."""
        grids = torch.rot90(grids, -self.turns, (-2, -1)) if self.turns else grids
        return grids.flip(-1) if self.mirrored else grids

    def grids_from_file(self, grids: Tensor) -> Tensor:
        """The inverse of :meth:`grids_to_file`."""
        grids = grids.flip(-1) if self.mirrored else grids
        return torch.rot90(grids, self.turns, (-2, -1)) if self.turns else grids

    def with_file_size(self, size: tuple[int, int]) -> ImageGeometry:
        """The geometry of the image with respect to its file resized to ``size`` (H, W)."""
        along_x, along_y = Fraction(self.file_size[1], int(size[1])), Fraction(self.file_size[0], int(size[0]))
        if self.turns % 2:
            along_x, along_y = along_y, along_x
        return replace(
            self,
            file_size=(int(size[0]), int(size[1])),
            scale=(self.scale[0] * along_x, self.scale[1] * along_y),
        )

    def _quarter_turn(self) -> ImageGeometry:
        (scale_x, scale_y), (x, y), (height, width) = self.scale, self.offset, self.size
        x0, y0, x1, y1 = self.visible
        return replace(
            self,
            size=(width, height),
            turns=(self.turns + 1) % 4,
            scale=(scale_y, scale_x),
            offset=(y, width - scale_x * self.upright_size[1] - x),
            visible=(y0, width - x1, y1, width - x0),
        )


def turn_boxes(boxes: Tensor, size: tuple[int, int], k: int) -> Tensor:
    """XYXY boxes [N, 4] in an image of ``size`` after ``k`` counter-clockwise quarter turns."""
    height, width = size
    for _ in range(k % 4):
        x0, y0, x1, y1 = boxes.unbind(1)
        boxes = torch.stack([y0, width - x1, y1, width - x0], dim=1)
        height, width = width, height
    return boxes


def _whole(size: tuple[int, int]) -> Region:
    return Fraction(0), Fraction(0), Fraction(size[1]), Fraction(size[0])

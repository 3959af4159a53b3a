"""Grids of overlapping tiles on an image, and the way back from a tile to the image.

Along each side the tiles start at multiples of size - overlap; the last one ends at the border, so that it overlaps more.
A side that is shorter than a tile has one tile, as long as the side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError


def tile_windows(image_size: tuple[int, int], size: tuple[int, int], overlap: int) -> Tensor:
    """Windows of the tiles that cover an image, int64 [T, 4], XYXY, row by row.

    Each pixel lies in a tile, neighbours share at least ``overlap`` pixels, and no tile leaves the image.

    Args:
        image_size: (H, W).
        size: (H, W) of a tile; smaller only if the image is.
        overlap: pixels that neighbouring tiles share at least.
    Raises:
        SegkitError: the overlap is negative, or not smaller than a tile.
    """
    check_tiles(size, overlap)
    rows, columns = (_starts(length, tile, overlap) for length, tile in zip(image_size, size, strict=True))
    height, width = min(size[0], image_size[0]), min(size[1], image_size[1])
    top, left = torch.meshgrid(torch.tensor(rows), torch.tensor(columns), indexing="ij")
    corners = torch.stack([left.reshape(-1), top.reshape(-1)], 1)
    return torch.cat([corners, corners + torch.tensor([width, height])], 1)


def check_tiles(size: tuple[int, int], overlap: int) -> None:
    """Raises a SegkitError unless a tile has pixels and is larger than the overlap."""
    if min(size) < 1:
        raise SegkitError(f"size: a tile has at least one pixel; got {size[0]} x {size[1]}", key="size", value=size)
    if not 0 <= overlap < min(size):
        raise SegkitError(
            f"overlap: expected 0 to {min(size) - 1}, less than a tile's side; got {overlap}",
            key="overlap",
            value=overlap,
        )


def windows_at(windows: Tensor, point: tuple[float, float]) -> Tensor:
    """Indices int64 [N] of the windows [T, 4] that contain a point (x, y)."""
    x, y = point
    x0, y0, x1, y1 = windows.unbind(1)
    return ((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)).nonzero().squeeze(1)


def boxes_to_image(boxes: Tensor, window: tuple[int, int, int, int]) -> Tensor:
    """Boxes XYXY [N, 4] of a tile in the image's pixels."""
    x, y = window[:2]
    return boxes + boxes.new_tensor([x, y, x, y])


def masks_to_image(
    masks: InstanceMasks, window: tuple[int, int, int, int], image_size: tuple[int, int]
) -> InstanceMasks:
    """Masks of a tile on the whole image of ``image_size`` (H, W)."""
    return masks.placed(image_size, *window[:2])


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along a side."""
    if length <= tile:
        return [0]
    last = length - tile
    return [*range(0, last, tile - overlap), last]

"""Grids of overlapping tiles on an image.

Along each side the tiles start at multiples of size - overlap; the last one ends at the border, so that it overlaps more.
A side that is shorter than a tile has one tile, as long as the side.
"""

from __future__ import annotations

import torch
from torch import Tensor

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


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along a side."""
    if length <= tile:
        return [0]
    last = length - tile
    return [*range(0, last, tile - overlap), last]
